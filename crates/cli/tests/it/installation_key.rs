//! `installation-key`: from one key to the next, under servers that go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::postgres::Cluster;
use crate::world::{Installation, Outcome, Place, Server, gate_says, gate_says_to_bearer, request};

impl Place {
    fn key_file(&self) -> String {
        std::fs::read_to_string(self.world.data_dir().join("installation.key")).unwrap()
    }

    fn put_key_file(&self, content: &str) {
        std::fs::write(self.world.data_dir().join("installation.key"), content).unwrap();
    }

    fn status(&self) -> Value {
        self.run(&["installation-key", "status", "--json"]).json()
    }
}

/// Asks every server for everything that was handed out.
struct Traffic<'t> {
    /// The gate and the management API of each.
    servers: Vec<[String; 2]>,
    first: &'t Installation,
    id: String,
    secrets: [String; 2],
}

impl Traffic<'_> {
    fn round(&self) {
        let (account, owner) = (self.first.account(), &self.first.document["user"]);
        let own = format!("/client/v4/accounts/{account}/access/service_tokens");
        let management = format!("Bearer {}", self.first.api_token());
        let (email, key) = (owner["email"].as_str().unwrap(), owner["api_key"].as_str().unwrap());
        for [gate, api] in &self.servers {
            for secret in &self.secrets {
                assert_eq!(gate_says(gate, account, &self.id, secret).0, 200);
            }
            assert_ne!(gate_says(gate, account, &self.id, "csec_wrong").0, 200);
            let token = self.first.account_token();
            assert_eq!(gate_says_to_bearer(gate, &format!("account_id={account}"), token).status, 200);
            let bearer = format!("Bearer {token}");
            let headers = [("authorization", bearer.as_str())];
            assert_eq!(request(api, "GET", "/api/v1/ping", &headers, None).unwrap().status, 200);
            for headers in
                [vec![("authorization", management.as_str())], vec![("x-auth-email", email), ("x-auth-key", key)]]
            {
                assert_eq!(request(api, "GET", &own, &headers, None).unwrap().status, 200);
            }
        }
    }
}

fn addresses(servers: &[Server]) -> Vec<[String; 2]> {
    servers.iter().map(|server| [server.gate.clone(), server.management.clone()]).collect()
}

fn changes(url: Option<String>, count: usize) {
    let place = Place::new(url);
    let first = &place.first;
    let servers: Vec<Server> = (0..count).map(|_| place.serve()).collect();
    let remote = |arguments: &[&str]| {
        let all = [["service-token"].as_slice(), arguments, &["--account", first.account(), "--json"]].concat();
        servers[0].remote(&place.world, first.api_token(), &all).json()
    };
    let token = remote(&["create", "--name", "x"]);
    let text = |document: &Value, name: &str| document[name].as_str().unwrap().to_owned();
    let rotated = remote(&["rotate", &text(&token, "id"), "--grace", "10h"]);
    let secrets = [text(&rotated, "client_secret"), text(&token, "client_secret")];
    let traffic = Traffic { servers: addresses(&servers), first, id: text(&token, "client_id"), secrets };
    let stop = AtomicBool::new(false);
    let old = place.key_file();

    thread::scope(|scope| {
        let going_on = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                traffic.round();
            }
        });
        place.run(&["installation-key", "rotate"]).failed(1);
        let said = place.run(&["installation-key", "prepare"]).ok();
        assert!(said.contains("Copy") && !said.contains(old.trim()), "{said}");
        let both = place.key_file();
        assert!(both.starts_with(&old) && both.split_ascii_whitespace().count() == 2);
        place.run(&["installation-key", "prepare"]).ok();
        assert_eq!(place.key_file(), both, "prepared once");

        // The running servers read the file by themselves.
        let all_hold = |status: &Value| {
            let held = status["servers"].as_array().unwrap();
            held.len() == count && held.iter().all(|server| server["newest_key"] == 2)
        };
        while !all_hold(&place.status()) {
            assert!(!going_on.is_finished());
        }
        place.run(&["installation-key", "rotate"]).ok();
        // Both keys are needed now, and none of this takes one away.
        for arguments in [["installation-key", "prepare"].as_slice(), &["installation-key", "prepare", "--again"]] {
            assert!(place.run(arguments).failed(1).contains("installation-key finish"));
            assert_eq!(place.key_file(), both);
        }
        let left =
            json!({ "service_tokens": 0, "previous_secrets": 0, "api_tokens": 0, "management_tokens": 0, "users": 0 });
        let has_moved = |status: &Value| left.as_object().unwrap().iter().all(|(kind, _)| status["remains"][kind] == 0);
        while !has_moved(&place.status()) {
            assert!(!going_on.is_finished());
        }

        let said = place.run(&["installation-key", "finish"]).failed(1);
        assert!(said.contains("--void-the-rest") && said.contains("repeated requests"), "{said}");
        place.run(&["installation-key", "finish", "--void-the-rest"]).failed(2);
        assert_eq!(place.key_file(), both);
        place.run(&["installation-key", "finish", "--void-the-rest", "--yes"]).ok();
        let new = place.key_file();
        assert!(new.split_ascii_whitespace().count() == 1 && !new.contains(old.trim()));
        // A run that was cut short can be repeated.
        place.run(&["installation-key", "finish"]).ok();
        traffic.round();
        stop.store(true, Ordering::Relaxed);
        going_on.join().expect("nothing was refused");
    });
    traffic.round();
    assert_eq!(place.status()["remains"], Value::Null);
    let Traffic { id, secrets, .. } = traffic;
    drop(servers);

    // The new key is needed, and is enough: to start, for the audit log.
    let new = place.key_file();
    place.put_key_file(&old);
    let said = place.run(&["audit", "verify"]).failed(1);
    assert!(said.contains("installation key 2") && said.contains("docs/key-rotation.md"), "{said}");
    place.put_key_file(&new);
    place.run(&["audit", "verify"]).ok();
    let again = [place.serve()];
    Traffic { servers: addresses(&again), first, id, secrets }.round();
}

/// What `serve` says that refuses to start with this key file.
fn refuses(place: &Place, content: &str, words: &[&str]) {
    place.put_key_file(content);
    let listen = ["serve", "--listen", "127.0.0.1:0", "--gate-listen", "127.0.0.1:0"];
    let said = place.run(&listen).failed(1);
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}

/// Power cuts between one step and the next, wrong key files in each phase, and operators who do the same at once.
#[test]
fn a_change_that_is_cut_short_goes_on() {
    let place = Place::new(None);
    let first = &place.first;
    let mut server = place.serve();
    let remote = |server: &Server, arguments: &[&str]| {
        let all = [["service-token"].as_slice(), arguments, &["--account", first.account(), "--json"]].concat();
        server.remote(&place.world, first.api_token(), &all).json()
    };
    let token = remote(&server, &["create", "--name", "x"]);
    let text = |document: &Value, name: &str| document[name].as_str().unwrap().to_owned();
    let (id, secret) = (text(&token, "client_id"), text(&token, "client_secret"));
    let traffic = |server: &Server| Traffic {
        servers: vec![[server.gate.clone(), server.management.clone()]],
        first,
        id: id.clone(),
        secrets: [secret.clone(), secret.clone()],
    };
    let at_once = |arguments: &[&str]| -> Vec<Outcome> {
        thread::scope(|scope| {
            let running: Vec<_> = (0..3).map(|_| scope.spawn(|| place.run(arguments))).collect();
            running.into_iter().map(|one| one.join().unwrap()).collect()
        })
    };
    let succeeded = |outcomes: &[Outcome]| outcomes.iter().filter(|outcome| outcome.code == Some(0)).count();
    let old = place.key_file();

    // `prepare` was killed when its key was in the file, and the database did not know of it.
    let left = "5".repeat(64);
    place.put_key_file(&format!("{old}{left}\n"));
    let outcomes = at_once(&["installation-key", "prepare"]);
    assert_eq!(succeeded(&outcomes), 3, "{outcomes:?}");
    assert_eq!(place.key_file(), format!("{old}{left}\n"), "it is not lost, and there is no other");
    // Another one in its place: the dropped one leaves the file, and never the current one.
    place.run(&["installation-key", "prepare", "--again"]).ok();
    let both = place.key_file();
    let new = both.strip_prefix(&old).unwrap().to_owned();
    assert!(both.split_ascii_whitespace().count() == 2 && !both.contains(&left));
    let said = place.run(&["installation-key", "finish"]).failed(1);
    assert!(said.contains("installation-key rotate"), "{said}");
    server.kill();

    refuses(&place, &new, &["installation key 1 is needed", "docs/key-rotation.md"]);
    place.put_key_file(&old);
    drop(place.serve());
    place.put_key_file(&both);
    let mut server = place.serve();
    while !place.status()["servers"].as_array().unwrap().iter().any(|server| server["newest_key"] == 3) {}
    traffic(&server).round();
    let outcomes = at_once(&["installation-key", "rotate"]);
    assert_eq!(succeeded(&outcomes), 1, "{outcomes:?}");
    // The server is killed while secrets move.
    traffic(&server).round();
    server.kill();
    refuses(&place, &old, &["installation key 3 is needed", "docs/key-rotation.md"]);
    refuses(&place, &new, &["installation key 1 is needed", "docs/key-rotation.md"]);
    place.put_key_file(&both);
    server = place.serve();
    let moved = |status: &Value| {
        ["service_tokens", "api_tokens", "management_tokens", "users"].iter().all(|kind| status["remains"][kind] == 0)
    };
    while !moved(&place.status()) {
        traffic(&server).round();
    }
    let outcomes = at_once(&["installation-key", "finish", "--void-the-rest", "--yes"]);
    assert!(succeeded(&outcomes) >= 1, "{outcomes:?}");
    assert_eq!(place.key_file(), new);
    traffic(&server).round();
    // `finish` was killed before it took the old key out of the file.
    place.put_key_file(&both);
    let said = place.run(&["doctor"]).ok();
    assert!(said.contains("key 1 is over"), "{said}");
    place.run(&["installation-key", "finish"]).ok();
    assert_eq!(place.key_file(), new);
    server.kill();
    refuses(&place, &old, &["installation key 3 is needed", "docs/key-rotation.md"]);
    place.put_key_file(&new);
    traffic(&place.serve()).round();
}

#[test]
fn a_server_goes_on_while_the_key_changes() {
    changes(None, 1);
}

#[test]
fn several_servers_go_on_while_the_key_changes() {
    let Some(cluster) = Cluster::start(|_| ()) else { return };
    changes(Some(cluster.database()), 2);
}
