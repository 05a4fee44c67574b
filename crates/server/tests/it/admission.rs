//! What the gate makes of tokens that the management API has issued: cases 56, 58, 60, 64 and 72 of the contract.

use std::time::Duration;

use countersign_store::{Node, NodeId, Store};
use countersign_token::entropy::Entropy;
use serde_json::json;

use crate::world::{DAY, HOUR, Issued, Verdict, World, on_both};

const ID: &str = "CF-Access-Client-Id";
const SECRET: &str = "CF-Access-Client-Secret";

fn account(world: &World) -> String {
    format!("account_id={}", world.account)
}

#[test]
fn case_56_header_names_have_no_case() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x"})).await;
            for (id, secret) in [
                (ID, SECRET),
                ("cf-access-client-id", "cf-access-client-secret"),
                ("CF-ACCESS-CLIENT-ID", "CF-ACCESS-CLIENT-SECRET"),
                ("cF-aCCess-Client-iD", "Cf-Access-client-Secret"),
            ] {
                let headers = [(id, token.client_id.as_str()), (secret, &token.secret)];
                assert_eq!(world.ask(&account(world), &headers).await, Verdict::admitted(), "{id}");
            }
        }
    });
}

#[test]
fn case_58_what_is_refused_and_why() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x"})).await;
            let other = world.issue(&tokens, json!({"name": "other"})).await;
            let short = world.issue(&tokens, json!({"name": "short", "duration": "1h"})).await;
            let disabled = world.issue(&tokens, json!({"name": "disabled", "enabled": false})).await;
            let check = async |client_id: &str, secret: &str, reason: &str| {
                let headers = [(ID, client_id), (SECRET, secret)];
                let verdict = world.ask(&account(world), &headers).await;
                assert_eq!(verdict, Verdict::refused(401, reason), "{reason}");
            };
            check(&token.client_id, "wrong", "invalid").await;
            check(&token.client_id, &other.secret, "invalid").await;
            check(&token.client_id, &token.secret[..50], "invalid").await;
            check(&token.client_id, &format!("{}x", token.secret), "invalid").await;
            check(&token.client_id, &token.secret.to_lowercase(), "invalid").await;
            check(&"0".repeat(32), &token.secret, "invalid").await;
            check(&format!("{}.access", "0".repeat(32)), &token.secret, "invalid").await;
            check(&token.client_id.replace(".access", ""), &token.secret, "invalid").await;
            check("nobody", "nothing", "invalid").await;
            check(&disabled.client_id, &disabled.secret, "disabled").await;
            check(&disabled.client_id, "wrong", "invalid").await;
            world.assert_admitted(&short).await;
            world.advance(HOUR);
            check(&short.client_id, &short.secret, "expired").await;
            check(&short.client_id, "wrong", "invalid").await;
            world.assert_admitted(&token).await;
        }
    });
}

#[test]
fn case_60_half_doubled_or_mixed_credentials() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let other = world.issue_default().await;
        let (id, secret) = (token.client_id.as_str(), token.secret.as_str());
        let single = single_header(&token);
        let with_header = format!("{}&header=X-Token", account(world));
        let malformed: [(&str, &[(&str, &str)]); 12] = [
            ("only the id", &[(ID, id)]),
            ("only the secret", &[(SECRET, secret)]),
            ("an empty secret", &[(ID, id), (SECRET, "")]),
            ("an empty id", &[(ID, ""), (SECRET, secret)]),
            ("two ids", &[(ID, id), (ID, id), (SECRET, secret)]),
            ("two ids that differ", &[(ID, id), (ID, &other.client_id), (SECRET, secret)]),
            ("two secrets", &[(ID, id), (SECRET, secret), (SECRET, secret)]),
            ("two secrets that differ", &[(ID, id), (SECRET, "wrong"), (SECRET, secret)]),
            ("both headers twice", &[(ID, id), (SECRET, secret), (ID, id), (SECRET, secret)]),
            ("the pair and the single header", &[(ID, id), (SECRET, secret), ("X-Token", &single)]),
            ("half a pair and the single header", &[(ID, id), ("X-Token", &single)]),
            ("the single header twice", &[("X-Token", &single), ("X-Token", &single)]),
        ];
        for (what, headers) in malformed {
            assert_eq!(world.ask(&with_header, headers).await, Verdict::refused(401, "malformed"), "{what}");
        }
        assert_eq!(world.ask(&with_header, &[]).await, Verdict::refused(401, "missing"));
        let long = "x".repeat(513);
        for (id, secret) in [(id, long.as_str()), (&long, secret), (id, "sécret"), (id, "two words")] {
            let verdict = world.ask(&account(world), &[(ID, id), (SECRET, secret)]).await;
            assert_eq!(verdict, Verdict::refused(401, "malformed"));
        }
        let read = world.reader().get(&token.path).await.ok();
        assert_eq!(read.get("last_seen_at"), None, "none of them was an admission");
    });
}

fn single_header(token: &Issued) -> String {
    json!({"cf-access-client-id": token.client_id, "cf-access-client-secret": token.secret}).to_string()
}

#[test]
fn case_64_the_single_header() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x"})).await;
            let single = single_header(&token);
            for name in ["Authorization", "X-Token"] {
                let named = format!("{}&header={name}", account(world));
                assert_eq!(world.ask(&named, &[(name, &single)]).await, Verdict::admitted(), "{name}");
                let lower = name.to_lowercase();
                assert_eq!(world.ask(&named, &[(&lower, &single)]).await, Verdict::admitted(), "{name}");
                // The plain pair alone still works.
                let pair = [(ID, token.client_id.as_str()), (SECRET, token.secret.as_str())];
                assert_eq!(world.ask(&named, &pair).await, Verdict::admitted(), "{name}");
                // Keys are lower case, or they are not these keys.
                let camel = json!({"CF-Access-Client-Id": token.client_id, "CF-Access-Client-Secret": token.secret});
                assert_eq!(world.ask(&named, &[(name, &camel.to_string())]).await.status, 401, "{name}");
                let wrong = json!({"cf-access-client-id": token.client_id, "cf-access-client-secret": "wrong"});
                let verdict = world.ask(&named, &[(name, &wrong.to_string())]).await;
                assert_eq!(verdict, Verdict::refused(401, "invalid"), "{name}");
            }
            // Not configured, the header is not looked at.
            assert_eq!(world.ask(&account(world), &[("X-Token", &single)]).await, Verdict::refused(401, "missing"));
            let pair = [(ID, token.client_id.as_str()), (SECRET, token.secret.as_str()), ("X-Token", "anything")];
            assert_eq!(world.ask(&account(world), &pair).await, Verdict::admitted());
        }
    });
}

/// The demand decides where a token is good: an account, one of its zones, these tokens.
#[test]
fn a_token_is_good_where_it_is_demanded() {
    on_both(async |world| {
        let of_account = world.issue(&world.tokens(), json!({"name": "x"})).await;
        let of_zone = world.issue(&world.zone_tokens(), json!({"name": "x"})).await;
        let foreign = world.stranger().post(&world.foreign_tokens(), &json!({"name": "x"})).await.created();
        let ask = async |query: String, client_id: &str, secret: &str| {
            let verdict = world.ask(&query, &[(ID, client_id), (SECRET, secret)]).await;
            assert!([200, 403].contains(&verdict.status), "{verdict:?}");
            verdict.status == 200
        };
        let admitted = async |query: String| {
            let foreign_pair = [&foreign["client_id"], &foreign["client_secret"]].map(|value| value.as_str().unwrap());
            [
                ask(query.clone(), &of_account.client_id, &of_account.secret).await,
                ask(query.clone(), &of_zone.client_id, &of_zone.secret).await,
                ask(query, foreign_pair[0], foreign_pair[1]).await,
            ]
        };
        assert_eq!(admitted(format!("account_id={}", world.account)).await, [true, true, false]);
        assert_eq!(admitted(format!("account_id={}", world.foreign_account)).await, [false, false, true]);
        assert_eq!(admitted(format!("zone_id={}", world.zone)).await, [true, true, false]);
        assert_eq!(admitted(format!("zone_id={}", world.second_zone)).await, [true, false, false]);
        assert_eq!(admitted(format!("zone_id={}", world.foreign_zone)).await, [false, false, true]);
        let one = format!("account_id={}&service_token_id={}", world.account, of_zone.id);
        assert_eq!(admitted(one.clone()).await, [false, true, false]);
        assert_eq!(admitted(format!("{one}&service_token_id={}", of_account.id)).await, [true, true, false]);
        let contradiction = format!("account_id={}&zone_id={}", world.account, world.foreign_zone);
        assert_eq!(admitted(contradiction).await, [false, false, false]);
        // Those who manage tokens hold no credential for the gate.
        let bearer = format!("Bearer {}", world.writer_bearer());
        let verdict = world.ask(&account(world), &[("authorization", &bearer)]).await;
        assert_eq!(verdict, Verdict::refused(401, "invalid"));
    });
}

/// Every change is in force on the very next check, and a token's neighbour does not notice.
#[test]
fn changes_are_in_force_at_once() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let neighbour = world.issue(&tokens, json!({"name": "neighbour"})).await;
            let writer = world.writer();
            for _ in 0..20 {
                let token = world.issue(&tokens, json!({"name": "x", "duration": "48h"})).await;
                world.assert_admitted(&token).await;
                writer.put(&token.path, &json!({"enabled": false})).await.ok();
                world.assert_refused(&token, &token.secret, "disabled").await;
                writer.put(&token.path, &json!({"enabled": true})).await.ok();
                world.assert_admitted(&token).await;
                writer.put(&token.path, &json!({"duration": "1ns"})).await.ok();
                world.advance(std::time::Duration::from_micros(1));
                world.assert_refused(&token, &token.secret, "expired").await;
                writer.act(&format!("{}/refresh", token.path)).await.ok();
                world.assert_admitted(&token).await;
                let rotated = writer.act(&format!("{}/rotate", token.path)).await.ok();
                world.assert_refused(&token, &token.secret, "invalid").await;
                world.assert_admitted_with(&token, rotated["client_secret"].as_str().unwrap()).await;
                let body = json!({"client_secret_version": 9, "previous_client_secret_expires_at": world.after(DAY)});
                let again = writer.put(&token.path, &body).await.ok();
                world.assert_admitted_with(&token, rotated["client_secret"].as_str().unwrap()).await;
                world.assert_admitted_with(&token, again["client_secret"].as_str().unwrap()).await;
                writer.delete(&token.path).await.ok();
                world.assert_refused(&token, again["client_secret"].as_str().unwrap(), "invalid").await;
                world.assert_refused(&token, rotated["client_secret"].as_str().unwrap(), "invalid").await;
                world.assert_admitted(&neighbour).await;
            }
        }
    });
}

/// The secrets of a world are looked for in every answer, every header, the log at every level, the audit log and the
/// database's file, at the end of every test. Here is one that has all of them to look through.
#[test]
fn case_72_a_secret_is_shown_once() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x"})).await;
            let rotated = world.writer().act(&format!("{}/rotate", token.path)).await.ok();
            let updated = world.writer().put(&token.path, &json!({"client_secret_version": 9})).await.ok();
            let secrets =
                [&token.secret, rotated["client_secret"].as_str().unwrap(), updated["client_secret"].as_str().unwrap()];
            for secret in secrets {
                // Each wrong in its own way, so that every refusal has had a secret in hand.
                world.ask(&account(world), &[(ID, &token.client_id), (SECRET, secret)]).await;
                world.ask(&account(world), &[(ID, "nobody"), (SECRET, secret)]).await;
                world.ask(&account(world), &[(SECRET, secret)]).await;
                world.ask("", &[(ID, &token.client_id), (SECRET, secret)]).await;
                world.ask(&account(world), &[("authorization", &format!("Bearer {secret}"))]).await;
                let bearer = world.anonymous().with("authorization", &format!("Bearer {secret}"));
                assert_eq!(bearer.get(&tokens).await.status, 401);
                let key = world.anonymous().with("x-auth-email", "a@example.com").with("x-auth-key", secret);
                key.get(&tokens).await.refused(403, 9103);
                // In a place where it should not be, it is not repeated.
                let body = json!({"name": ["x"], "duration": secret, "client_secret": secret});
                world.writer().post(&tokens, &body).await.refused(400, 12130);
                let body = json!({"name": "x", "duration": secret, "enabled": secret});
                world.writer().post(&tokens, &body).await.refused(400, 12130);
                let body = json!({"name": "x", "previous_client_secret_expires_at": secret});
                world.writer().post(&tokens, &body).await.refused(400, 12130);
                world
                    .writer()
                    .call(http::Method::POST, &tokens, format!("{{\"name\":{secret}}}"))
                    .await
                    .refused(400, 12130);
                world.reader().get(&format!("{tokens}?page={secret}")).await.refused(400, 12130);
                world.reader().get(&format!("{tokens}?search={secret}&per_page=1")).await.ok();
            }
            for caller in world.writers() {
                caller.get(&tokens).await.ok();
                caller.get(&token.path).await.ok();
                caller.put(&token.path, &json!({"name": "y"})).await.ok();
                caller.act(&format!("{}/refresh", token.path)).await.ok();
            }
            world.writer().delete(&token.path).await.ok();
        }
        world.restart().await;
    });
}

/// What `look` finds in the list of nodes, as soon as it finds anything.
async fn when<T>(store: &Store, look: impl Fn(&[Node]) -> Option<T>) -> T {
    let looked = async {
        loop {
            if let Some(found) = look(&store.list_nodes().await.unwrap()) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looked).await.expect("the list comes to be so")
}

/// The heartbeat of a node when it is first as `reached` has it.
async fn heartbeat_when(store: &Store, id: NodeId, reached: impl Fn(&Node) -> bool) -> i64 {
    when(store, |nodes| nodes.iter().find(|node| node.id == id && reached(node)).map(|node| node.heartbeat)).await
}

#[test]
fn beside_another_node_own_writes_are_reported_at_once() {
    on_both(async |world| {
        let store = world.ops().store();
        if store.is_embedded() {
            // There can be no other.
            return;
        }
        let own = store.list_nodes().await.unwrap().remove(0);
        let other = NodeId::generate(&Entropy::seeded(6));
        store.register_node(&Node::new(other, own.started_at, own.applied)).await.unwrap();
        // The server learns of the other one as it counts.
        let mut heartbeat = heartbeat_when(store, own.id, |node| node.heartbeat > own.heartbeat + 1).await;
        // A heartbeat reports too, and may come in between: but not every time.
        for _ in 0..10 {
            world.issue_default().await;
            let revision = store.revision().await.unwrap();
            let before = heartbeat;
            heartbeat = heartbeat_when(store, own.id, |node| node.applied >= revision).await;
            if before == heartbeat {
                return;
            }
        }
        panic!("own writes were reported with heartbeats only");
    });
}

#[test]
fn a_node_that_was_killed_is_soon_forgotten() {
    on_both(async |world| {
        let store = world.ops().store();
        if store.is_embedded() {
            return;
        }
        let own = store.list_nodes().await.unwrap().remove(0);
        let [killed, admitting] =
            [7, 8].map(|seed| Node::new(NodeId::generate(&Entropy::seeded(seed)), own.started_at, own.applied));
        store.register_node(&killed).await.unwrap();
        store.register_node(&Node { serves_stale: true, ..admitting }).await.unwrap();
        heartbeat_when(store, own.id, |node| node.heartbeat > own.heartbeat + 1).await;
        world.advance(Duration::from_secs(60));
        let is_listed = |nodes: &[Node], other: &Node| nodes.iter().any(|node| node.id == other.id);
        let stays = |nodes: &[Node]| (!is_listed(nodes, &killed)).then(|| is_listed(nodes, &admitting));
        assert!(when(store, stays).await, "the receipts must go on telling of a node that may admit");
    });
}
