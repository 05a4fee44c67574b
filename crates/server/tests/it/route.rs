//! Every route of the dialect, walked by those who may not use it.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::world::{Actor, Answer, World, on_both, on_sqlite};

/// Whose a route is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ground {
    /// It names an account or a zone: nobody else gets in.
    Scoped,
    /// It shows whoever calls what is theirs.
    Own,
}

/// Every route that there is.
const ROUTES: [(&str, &str, Ground); 24] = [
    ("GET", "/accounts", Ground::Own),
    ("GET", "/accounts/{account_id}", Ground::Scoped),
    ("GET", "/accounts/{account_id}/tokens/verify", Ground::Scoped),
    ("GET", "/accounts/{account_id}/access/service_tokens", Ground::Scoped),
    ("POST", "/accounts/{account_id}/access/service_tokens", Ground::Scoped),
    ("GET", "/accounts/{account_id}/access/service_tokens/{id}", Ground::Scoped),
    ("PUT", "/accounts/{account_id}/access/service_tokens/{id}", Ground::Scoped),
    ("DELETE", "/accounts/{account_id}/access/service_tokens/{id}", Ground::Scoped),
    ("POST", "/accounts/{account_id}/access/service_tokens/{id}/refresh", Ground::Scoped),
    ("POST", "/accounts/{account_id}/access/service_tokens/{id}/rotate", Ground::Scoped),
    ("GET", "/accounts/{account_id}/access/keys", Ground::Scoped),
    ("PUT", "/accounts/{account_id}/access/keys", Ground::Scoped),
    ("POST", "/accounts/{account_id}/access/keys/rotate", Ground::Scoped),
    ("GET", "/zones", Ground::Own),
    ("GET", "/zones/{zone_id}", Ground::Scoped),
    ("GET", "/zones/{zone_id}/access/service_tokens", Ground::Scoped),
    ("POST", "/zones/{zone_id}/access/service_tokens", Ground::Scoped),
    ("GET", "/zones/{zone_id}/access/service_tokens/{id}", Ground::Scoped),
    ("PUT", "/zones/{zone_id}/access/service_tokens/{id}", Ground::Scoped),
    ("DELETE", "/zones/{zone_id}/access/service_tokens/{id}", Ground::Scoped),
    ("POST", "/zones/{zone_id}/access/service_tokens/{id}/refresh", Ground::Scoped),
    ("POST", "/zones/{zone_id}/access/service_tokens/{id}/rotate", Ground::Scoped),
    ("GET", "/user", Ground::Own),
    ("GET", "/user/tokens/verify", Ground::Own),
];

fn routes() -> impl Iterator<Item = (Method, &'static str, Ground)> {
    ROUTES.into_iter().map(|(method, path, ground)| (method.parse().unwrap(), path, ground))
}

/// The ids to put into a route's path.
struct Ids<'a> {
    account: &'a str,
    zone: &'a str,
    token: &'a str,
}

impl Ids<'_> {
    fn fill(&self, path: &str) -> String {
        path.replace("{account_id}", self.account).replace("{zone_id}", self.zone).replace("{id}", self.token)
    }
}

async fn call(actor: &Actor<'_>, method: &Method, path: &str) -> Answer {
    let has_body = *method == Method::POST || *method == Method::PUT;
    let body = if has_body { r#"{"name":"stolen","enabled":false,"client_secret_version":7}"# } else { "" };
    actor.call(method.clone(), path, body).await
}

/// Everything that the owner of the installation can see of all tokens.
async fn everything(world: &World) -> Value {
    let owner = world.owner_key();
    let second = format!("/zones/{}/access/service_tokens", world.second_zone);
    let foreign_zone = format!("/zones/{}/access/service_tokens", world.foreign_zone);
    let mut all = Vec::new();
    for path in [world.tokens(), world.zone_tokens(), second, world.foreign_tokens(), foreign_zone] {
        all.push(owner.get(&path).await.ok());
    }
    all.push(owner.get("/accounts").await.ok());
    all.push(owner.get("/zones").await.ok());
    all.into()
}

/// The list above against the page of routes in the source, read as text: a route that is added there and not here is
/// a route that no walk takes.
#[test]
fn the_list_is_complete() {
    let source = include_str!("../../src/cloudflare.rs");
    let routing = &source[source.find("\nroutes! {\n").expect("the page of routes")..];
    let routing = &routing[..routing.find("\n}\n").expect("its end")];
    let mut found = BTreeSet::new();
    for route in routing.lines().filter(|line| line.ends_with(';')) {
        let (method, rest) = route.split_once('"').expect("a method and a path");
        let (path, _) = rest.split_once('"').expect("a path and a name");
        found.insert((method.trim().to_owned(), path.to_owned()));
    }
    let listed: BTreeSet<(String, String)> =
        routes().map(|(method, path, _)| (method.to_string(), path.to_owned())).collect();
    assert_eq!(found, listed);
}

/// Whatever is not on the list is not there: each known path knows no other method.
#[test]
fn no_other_method_is_there() {
    on_sqlite(async |world| {
        let (account, zone) = (world.account.to_string(), world.zone.to_string());
        let token = world.issue_default().await;
        let ids = Ids { account: &account, zone: &zone, token: &token.id };
        let before = everything(world).await;
        let paths: BTreeSet<&str> = routes().map(|(_, path, _)| path).collect();
        for path in paths {
            for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get"] {
                let method: Method = method.parse().unwrap();
                if routes().any(|(known, at, _)| (known.as_str(), at) == (method.as_str(), path)) {
                    continue;
                }
                for actor in [world.owner_key(), world.anonymous()] {
                    let answer = call(&actor, &method, &ids.fill(path)).await;
                    assert_eq!(answer.refused(405, 7001), format!("Method {method} not available for that URI."));
                }
            }
        }
        assert_eq!(everything(world).await, before);
    });
}

#[test]
fn nobody_gets_nothing_anywhere() {
    on_both(async |world| {
        let tokens = [
            world.issue(&world.tokens(), json!({"name": "x"})).await,
            world.issue(&world.zone_tokens(), json!({"name": "x"})).await,
        ];
        let (account, zone) = (world.account.to_string(), world.zone.to_string());
        let before = everything(world).await;
        for (method, path, _) in routes() {
            for token in &tokens {
                let path = Ids { account: &account, zone: &zone, token: &token.id }.fill(path);
                for actor in [world.anonymous(), world.anonymous().at_root()] {
                    call(&actor, &method, &path).await.refused(400, 9106);
                }
            }
        }
        assert_eq!(everything(world).await, before);
        for token in &tokens {
            world.assert_admitted(token).await;
        }
    });
}

/// Nobody of another account gets in, whatever ids they put where: each place of a path takes ids of either account and
/// ids that nobody has.
#[test]
fn a_stranger_gets_in_nowhere() {
    on_both(async |world| {
        let mine = [
            world.issue(&world.tokens(), json!({"name": "x"})).await,
            world.issue(&world.zone_tokens(), json!({"name": "x"})).await,
        ];
        let nobody = "0".repeat(32);
        let accounts = [world.account.to_string(), nobody.clone()];
        let zones = [world.zone.to_string(), world.second_zone.to_string(), nobody];
        let foreign = format!("/zones/{}/access/service_tokens", world.foreign_zone);
        let stranger = world.stranger();
        let theirs = [
            stranger.post(&world.foreign_tokens(), &json!({"name": "x"})).await.created(),
            stranger.post(&foreign, &json!({"name": "x"})).await.created(),
        ];
        let ids: Vec<&str> = mine
            .iter()
            .map(|token| token.id.as_str())
            .chain(theirs.iter().map(|token| token["id"].as_str().unwrap()))
            .collect();
        let before = everything(world).await;
        let events = world.audit_end().await;
        let mut calls = 0;
        for (method, path, ground) in routes() {
            if ground == Ground::Own {
                continue;
            }
            for (account, zone) in accounts.iter().flat_map(|account| zones.iter().map(move |zone| (account, zone))) {
                for token in &ids {
                    let path = Ids { account, zone, token }.fill(path);
                    for actor in world.strangers() {
                        let answer = call(&actor, &method, &path).await;
                        let verifies = path.ends_with("/tokens/verify");
                        let expected: &[(u16, u64)] =
                            if verifies { &[(401, 1000), (400, 1001)] } else { &[(403, 10000)] };
                        let got = (answer.status.as_u16(), answer.code().unwrap());
                        assert!(expected.contains(&got), "{} {answer}", actor.name);
                        calls += 1;
                    }
                }
            }
        }
        assert!(calls > 1000, "only {calls} calls");
        // Their own account and zone are no way in either.
        let (account, zone) = (world.foreign_account.to_string(), world.foreign_zone.to_string());
        for (method, path, _) in routes().filter(|(_, path, _)| path.contains("{id}")) {
            for token in &mine {
                let path = Ids { account: &account, zone: &zone, token: &token.id }.fill(path);
                for actor in world.strangers() {
                    call(&actor, &method, &path).await.refused(404, 12135);
                }
            }
        }
        assert_eq!(everything(world).await, before, "nothing changed");
        assert!(world.audit(events).await.is_empty(), "and nothing is in the audit log");
        for token in &mine {
            world.assert_admitted(token).await;
        }
    });
}

/// What shows a caller their own shows nothing of anybody else.
#[test]
fn a_stranger_sees_only_their_own() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let hidden = [
            world.account.to_string(),
            world.zone.to_string(),
            world.second_zone.to_string(),
            token.id.clone(),
            token.client_id.clone(),
            "example.com".to_owned(),
            "example.net".to_owned(),
            "Default".to_owned(),
        ];
        for (method, path, _) in routes().filter(|(_, _, ground)| *ground == Ground::Own) {
            for actor in world.strangers() {
                let answer = call(&actor, &method, path).await;
                // The user's own address is at the same domain.
                let text = answer.text.replace("foreign@example.com", "");
                for word in &hidden {
                    assert!(!text.contains(word.as_str()), "{word} in {answer}");
                }
            }
        }
    });
}

/// A reader changes nothing, wherever they try.
#[test]
fn a_reader_changes_nothing() {
    on_both(async |world| {
        let (account, zone) = (world.account.to_string(), world.zone.to_string());
        let tokens = [
            world.issue(&world.tokens(), json!({"name": "x"})).await,
            world.issue(&world.zone_tokens(), json!({"name": "x"})).await,
        ];
        let before = everything(world).await;
        for (method, path, _) in routes().filter(|(method, _, _)| *method != Method::GET) {
            for token in &tokens {
                let path = Ids { account: &account, zone: &zone, token: &token.id }.fill(path);
                call(&world.reader(), &method, &path).await.refused(403, 10000);
            }
        }
        assert_eq!(everything(world).await, before);
    });
}
