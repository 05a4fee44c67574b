//! P9: a credential that is taken away is refused from the very next request on, ten thousand times, under load.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::cpu::Cores;
use crate::load::{Clients, Until};
use crate::refusals::ApiToken;
use crate::server::{Connection, Installation, Pair, Server, get};
use crate::{CONNECTIONS, TOKENS};

/// Of each kind of revocation: a service token disabled, one deleted, an API token revoked.
const TIMES: usize = 3334;

/// Connections of whoever is refused: several, so that each thread of the gate has some.
const ASKING: usize = 8;

pub(crate) fn measure(cores: &Cores) {
    let tokens: Vec<Pair> = (0..TOKENS).map(Pair::numbered).collect();
    let (installation, server) = cores.on_all(|| {
        let installation = Installation::make();
        installation.import(&tokens, true);
        let server = installation.start();
        (installation, server)
    });
    let mut load = installation.requests(&tokens, 200);
    let done = AtomicBool::new(false);
    let (late, outcome) = std::thread::scope(|scope| {
        let loading = scope
            .spawn(|| Clients::connect(server.gate, CONNECTIONS).ask(&mut load, &Until::Told(&done), &[server.id()]));
        let late = revoke(&installation, &server);
        done.store(true, Ordering::Relaxed);
        (late, loading.join().unwrap())
    });
    let rate = outcome.rate();
    println!(
        "<!-- figures: P9 -->
{} revocations beside {CONNECTIONS} connections that ask ({rate:.0} a second): {late} were admitted after the answer to the revocation.
<!-- end of figures: P9 -->
reached P9: {late} of {}",
        3 * TIMES,
        3 * TIMES
    );
    assert_eq!(late, 0);
}

/// How many credentials were admitted though they had been taken away.
fn revoke(installation: &Installation, server: &Server) -> usize {
    let mut management = Connection::open(server.management);
    let mut asking: Vec<Connection> = (0..ASKING).map(|_| Connection::open(server.gate)).collect();
    let service_tokens = format!("/client/v4/accounts/{}/access/service_tokens", installation.account_id());
    let token = installation.text(&["api_token"]);
    let mut late = 0;
    for number in 0..TIMES {
        let gate = &mut asking[number % ASKING];
        let created = management.call("POST", &service_tokens, token, r#"{"name":"bench"}"#);
        let created: serde_json::Value = serde_json::from_str(&created).unwrap();
        let text = |key: &str| created["result"][key].as_str().expect(key).to_owned();
        let (one, client_id, secret) =
            (format!("{service_tokens}/{}", text("id")), text("client_id"), text("client_secret"));
        let pair = get(
            &installation.verify(),
            &format!("CF-Access-Client-Id: {client_id}\r\nCF-Access-Client-Secret: {secret}\r\n"),
        );
        expect(gate, &pair, 200);
        management.call("PUT", &one, token, r#"{"enabled":false}"#);
        late += count(gate, &pair);
        management.call("PUT", &one, token, r#"{"enabled":true}"#);
        expect(gate, &pair, 200);
        management.call("DELETE", &one, token, "");
        late += count(gate, &pair);

        let api_token = ApiToken::create(installation, &mut management);
        let bearer = get(&installation.verify(), &format!("Authorization: Bearer {}\r\n", api_token.bearer));
        expect(gate, &bearer, 200);
        api_token.revoke(installation, &mut management);
        late += count(gate, &bearer);
    }
    late
}

fn expect(gate: &mut Connection, request: &str, status: u16) {
    assert_eq!(gate.send(request).0, status);
}

/// One, if a request is still admitted.
fn count(gate: &mut Connection, request: &str) -> usize {
    match gate.send(request).0 {
        200 => 1,
        401 => 0,
        status => panic!("unexpected status {status}"),
    }
}
