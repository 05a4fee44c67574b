//! Assertions of several servers on one database: whoever has read the keys of one accepts what any of them has signed.

use serde_json::Value;

use crate::postgres::Cluster;
use crate::world::{Answer, Place, Server, request};

fn get(server: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    request(server, "GET", path, headers, None).expect("an answer")
}

/// The ids of the keys that a server publishes.
fn published(server: &Server) -> Vec<String> {
    let certs = get(&server.gate, "/cdn-cgi/access/certs", &[]).json();
    let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
    certs["keys"].as_array().unwrap().iter().map(kid).collect()
}

/// What the head of an assertion is encoded as, if this key has signed it.
fn head(kid: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let text = format!(r#"{{"alg":"RS256","kid":"{kid}","typ":"JWT"}}"#);
    let digits = |bytes: &[u8]| {
        let [a, b, c] = [0, 1, 2].map(|place| u32::from(bytes.get(place).copied().unwrap_or(0)));
        let bits = a << 16 | b << 8 | c;
        let digit = |shift: u32| ALPHABET[((bits >> shift) & 63) as usize] as char;
        [18, 12, 6, 0].map(digit).iter().take(bytes.len() + 1).collect::<String>()
    };
    text.as_bytes().chunks(3).map(digits).collect()
}

#[test]
fn every_server_signs_with_keys_that_all_publish() {
    let Some(cluster) = Cluster::start(|_| ()) else { return };
    let place = Place::new(Some(cluster.database()));
    let first = &place.first;
    let servers = [0, 1].map(|_| place.serve());
    let remote = |arguments: &[&str]| {
        let all = [["service-token"].as_slice(), arguments, &["--account", first.account(), "--json"]].concat();
        servers[0].remote(&place.world, first.api_token(), &all).json()
    };
    let token = remote(&["create", "--name", "x"]);
    let pair = [
        ("CF-Access-Client-Id", token["client_id"].as_str().unwrap()),
        ("CF-Access-Client-Secret", token["client_secret"].as_str().unwrap()),
    ];
    let demand = format!("/verify?account_id={}&aud=app", first.account());
    let ask = |server: &Server| {
        let answer = get(&server.gate, &demand, &pair);
        (answer.status, answer.header("cf-access-jwt-assertion").map(str::to_owned))
    };
    let all_accept = || {
        for server in &servers {
            let (status, assertion) = ask(server);
            assert_eq!(status, 200);
            let assertion = assertion.expect("an assertion");
            for other in &servers {
                let kids = published(other);
                assert!(kids.iter().any(|kid| assertion.starts_with(&format!("{}.", head(kid)))), "{kids:?}");
            }
        }
    };
    // What is new has no need to be known everywhere when the call returns.
    while ask(&servers[1]).0 == 401 {}
    all_accept();

    let bearer = format!("Bearer {}", first.api_token());
    let path = format!("/client/v4/accounts/{}/access/keys/rotate", first.account());
    let rotated = request(&servers[0].management, "POST", &path, &[("Authorization", &bearer)], None).unwrap();
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    all_accept();

    remote(&["disable", token["id"].as_str().unwrap()]);
    for server in &servers {
        assert_eq!(ask(server), (401, None));
    }
}
