//! Whoever fails too often is told to wait, and nobody else is.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use countersign_token::time::Clock;
use http::HeaderMap;

use super::world::{MAX_STALENESS, ServiceToken, World};
use crate::config::Stale;
use crate::gate::{Gate, forward_auth};

/// The same world's gate in this thread, which lets three failures a minute pass.
pub(super) fn gate(world: &World, proxies: &str) -> Gate {
    let (index, freshness) = (Arc::clone(&world.index), Arc::clone(&world.freshness));
    let clock = Clock::Manual(world.clock.clone());
    Gate::new(index, freshness, MAX_STALENESS, Stale::Refuse, clock, world.tallies.clone())
        .believing(proxies.parse().unwrap())
        .slowing(NonZeroU32::new(3).unwrap(), &world.entropy)
}

/// Who asks, and with which pair.
struct Request<'r> {
    gate: &'r Gate,
    peer: Option<&'r str>,
    said: Option<&'r str>,
    demand: &'r str,
    client_id: &'r str,
    secret: &'r str,
}

impl Request<'_> {
    /// Status, reason and `Retry-After` of the answer.
    fn ask(&self) -> (u16, String, Option<u64>) {
        let mut headers = HeaderMap::new();
        headers.insert("cf-access-client-id", self.client_id.parse().unwrap());
        headers.insert("cf-access-client-secret", self.secret.parse().unwrap());
        if let Some(said) = self.said {
            headers.insert("x-forwarded-for", said.parse().unwrap());
        }
        let uri = format!("/verify?{}", self.demand).parse().unwrap();
        let peer = self.peer.map(|peer| peer.parse().unwrap());
        let answer = forward_auth::handle(self.gate, peer, &uri, &headers).unwrap();
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("www-authenticate").is_some(), answer.status() == 401);
        let reason = header("countersign-reason").unwrap_or_default();
        (answer.status().as_u16(), reason, header("retry-after").map(|wait| wait.parse().unwrap()))
    }
}

fn wrong() -> (u16, String, Option<u64>) {
    (401, "invalid".to_owned(), None)
}

fn told(status: u16, wait: u64) -> (u16, String, Option<u64>) {
    (status, "throttled".to_owned(), Some(wait))
}

#[tokio::test]
async fn whoever_fails_waits_and_whoever_knows_does_not() {
    let world = World::new().await;
    let token = world.account_token();
    let disabled = ServiceToken { enabled: false, ..world.account_token() };
    world.put(&disabled);
    let gate = gate(&world, "");
    let (id, disabled_id) = (token.client_id.to_string(), disabled.client_id.to_string());
    let unknown = format!("{}.access", "0".repeat(32));
    let (demand, carrying) = (world.demand(), format!("{}&throttle_status=429", world.demand()));
    let ask = |demand: &str, client_id: &str, secret: &str, peer: &str| {
        Request { gate: &gate, peer: Some(peer), said: None, demand, client_id, secret }.ask()
    };
    let (here, there) = ("192.0.2.1", "192.0.2.2");
    // What is disabled was not guessed, and what can't be read is no guess.
    for _ in 0..5 {
        assert_eq!(ask(&demand, &disabled_id, disabled.secret.expose(), here).1, "disabled");
        assert_eq!(ask(&demand, "malformed id", "x", here).1, "malformed");
    }
    // An unknown id and a wrong secret count alike.
    assert_eq!(ask(&demand, &id, "wrong", here), wrong());
    assert_eq!(ask(&demand, &unknown, "wrong", here), wrong());
    assert_eq!(ask(&carrying, &id, "wrong", here), wrong());
    for client_id in [&id, &unknown] {
        assert_eq!(ask(&demand, client_id, "wrong", here), told(401, 20));
        assert_eq!(ask(&carrying, client_id, "wrong", here), told(429, 20));
    }
    // Neighbours are admitted, and refused for what they are.
    assert_eq!(ask(&demand, &id, token.secret.expose(), here).0, 200);
    assert_eq!(ask(&carrying, &disabled_id, disabled.secret.expose(), here).1, "disabled");
    assert_eq!(ask(&demand, &id, "wrong", there), wrong());
    world.advance(Duration::from_secs(20));
    assert_eq!(ask(&carrying, &id, "wrong", here), wrong());
    assert_eq!(ask(&carrying, &id, "wrong", here), told(429, 20));
    assert_eq!(world.tallies.answers("throttled"), 5);

    // All threads count together.
    let other = gate.for_thread();
    let request =
        Request { gate: &other, peer: Some(here), said: None, demand: &carrying, client_id: &id, secret: "x" };
    assert_eq!(request.ask(), told(429, 20));
    // Without a limit nobody is told anything.
    let free = Gate::new(
        Arc::clone(&world.index),
        Arc::clone(&world.freshness),
        MAX_STALENESS,
        Stale::Refuse,
        Clock::Manual(world.clock.clone()),
        world.tallies.clone(),
    );
    for _ in 0..1000 {
        assert_eq!(Request { gate: &free, ..request }.ask(), wrong());
    }
}

#[tokio::test]
async fn clients_behind_a_proxy_of_ours_wait_each_for_themselves() {
    let world = World::new().await;
    let gate = gate(&world, "192.0.2.0/24, unix");
    let demand = format!("{}&throttle_status=429", world.demand());
    let id = world.account_token().client_id.to_string();
    let ask = |peer, said| Request { gate: &gate, peer, said, demand: &demand, client_id: &id, secret: "wrong" }.ask();
    for _ in 0..3 {
        assert_eq!(ask(Some("192.0.2.1"), Some("203.0.113.1, 198.51.100.1")), wrong());
    }
    assert_eq!(ask(Some("192.0.2.1"), Some("198.51.100.1")), told(429, 20));
    assert_eq!(ask(None, Some("198.51.100.1")), told(429, 20), "over the socket, too");
    assert_eq!(ask(Some("192.0.2.1"), Some("198.51.100.2")), wrong());
    // Whoever is not named shares the proxy's place with nobody: it can't be said who that is.
    for _ in 0..10 {
        assert_eq!(ask(Some("192.0.2.1"), None), wrong());
        assert_eq!(ask(Some("192.0.2.1"), Some("unknown")), wrong());
        assert_eq!(ask(None, None), wrong());
    }
}
