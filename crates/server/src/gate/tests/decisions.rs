//! Every row of the table in the interface, and that a change is in force on the very next request.

use std::time::Duration;

use countersign_token::api_token::ApiTokenStatus;
use countersign_token::feed::Subject;
use countersign_token::service_token::Owner;

use super::world::{ServiceToken, World, bearer, pair, pair_of};
use crate::config::Stale;

fn allowed() -> (u16, String) {
    (200, String::new())
}

fn refused(reason: &str) -> (u16, String) {
    (401, reason.to_owned())
}

#[tokio::test]
async fn the_identity_of_a_service_token() {
    let world = World::new().await;
    let token = world.account_token();
    let answer = world.ask(&world.demand(), &pair(&token)).await;
    let expected = format!(
        "200\ncache-control: no-store\ncontent-length: 0\ncountersign-account-id: {}\ncountersign-client-id: {}\n\
         countersign-kind: service_token\ncountersign-token-id: {}\ncountersign-token-name: ci%20deploy\n",
        token.owner.account, token.client_id, token.id
    );
    assert_eq!(answer.text(), expected);

    let token = world.zone_token();
    let answer = world.ask(&world.demand(), &pair(&token)).await;
    let expected = format!(
        "200\ncache-control: no-store\ncontent-length: 0\ncountersign-account-id: {}\ncountersign-client-id: {}\n\
         countersign-kind: service_token\ncountersign-token-id: {}\ncountersign-token-name: Z%C3%BCrich\n\
         countersign-zone-id: {}\n",
        token.owner.account, token.client_id, token.id, world.here.zone
    );
    assert_eq!(answer.text(), expected);
}

#[tokio::test]
async fn the_identity_of_an_api_token() {
    let world = World::new().await;
    let token = world.api_token(None);
    let answer = world.ask(&world.demand(), &bearer(&token)).await;
    let expected = format!(
        "200\ncache-control: no-store\ncontent-length: 0\ncountersign-account-id: {}\ncountersign-kind: api_token\n\
         countersign-token-id: {}\n",
        world.here.pfid, token.id
    );
    assert_eq!(answer.text(), expected);

    let token = world.api_token(Some(world.here.environment));
    let answer = world.ask(&world.demand(), &bearer(&token)).await;
    let expected = format!(
        "200\ncache-control: no-store\ncontent-length: 0\ncountersign-account-id: {}\n\
         countersign-environment-id: {}\ncountersign-kind: api_token\ncountersign-token-id: {}\n",
        world.here.pfid, world.here.environment, token.id
    );
    assert_eq!(answer.text(), expected);
}

#[tokio::test]
async fn the_headers_of_refusals() {
    let world = World::new().await;
    let token = world.account_token();
    let answer = world.ask(&world.demand(), "").await;
    let expected = "401\ncache-control: no-store\ncontent-length: 0\ncountersign-reason: missing\n\
                    www-authenticate: Bearer realm=\"countersign\"\n";
    assert_eq!(answer.text(), expected);
    let answer = world.ask(&format!("zone_id={}", world.elsewhere.zone), &pair(&token)).await;
    assert_eq!(answer.text(), "403\ncache-control: no-store\ncontent-length: 0\ncountersign-reason: not_permitted\n");
    world.clock.advance(super::world::MAX_STALENESS + Duration::from_millis(1));
    let answer = world.ask(&world.demand(), &pair(&token)).await;
    let expected = "503\ncache-control: no-store\ncontent-length: 0\ncountersign-reason: stale\nretry-after: 1\n";
    assert_eq!(answer.text(), expected);
}

#[tokio::test]
async fn unknown_and_wrong_are_one_answer() {
    let world = World::new().await;
    let token = world.account_token();
    let other = world.account_token();
    let unknown = "0123456789abcdef0123456789abcdef.access";
    let mut answers = Vec::new();
    for headers in [
        pair_of(unknown, token.secret.expose()),
        pair_of(unknown, "garbage"),
        pair_of("garbage", token.secret.expose()),
        pair_of(&token.client_id.to_string(), other.secret.expose()),
        pair_of(&token.client_id.to_string(), "garbage"),
        "Authorization: Bearer garbage\r\n".to_owned(),
        "Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2ln\r\n".to_owned(),
    ] {
        answers.push(world.ask(&world.demand(), &headers).await.text());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(answers[0].contains("countersign-reason: invalid\n"), "{answers:?}");
}

#[tokio::test]
async fn changes_of_a_service_token_are_in_force_at_once() {
    let world = World::new().await;
    let demand = world.demand();
    let token = world.account_token();
    assert_eq!(world.outcome(&demand, &pair(&token)).await, allowed());

    world.put(&ServiceToken { enabled: false, ..token.clone() });
    assert_eq!(world.outcome(&demand, &pair(&token)).await, refused("disabled"));
    let wrong = pair_of(&token.client_id.to_string(), "wrong");
    assert_eq!(world.outcome(&demand, &wrong).await, refused("invalid"), "the state is for who has the secret");
    world.put(&token);
    assert_eq!(world.outcome(&demand, &pair(&token)).await, allowed());

    world.put(&ServiceToken { deleted: true, ..token.clone() });
    assert_eq!(world.outcome(&demand, &pair(&token)).await, refused("invalid"));
}

#[tokio::test]
async fn a_token_expires_at_its_instant() {
    let world = World::new().await;
    let demand = world.demand();
    let token = world.account_token();
    world.put(&ServiceToken { expires_at: Some(world.now().saturating_add_micros(2_000_000)), ..token.clone() });
    world.advance(Duration::from_micros(1_999_999));
    assert_eq!(world.outcome(&demand, &pair(&token)).await, allowed());
    world.advance(Duration::from_micros(1));
    assert_eq!(world.outcome(&demand, &pair(&token)).await, refused("expired"));
    // Refreshed.
    world.put(&token);
    assert_eq!(world.outcome(&demand, &pair(&token)).await, allowed());
}

#[tokio::test]
async fn a_superseded_secret_lives_as_long_as_its_grace() {
    let world = World::new().await;
    let demand = world.demand();
    let token = world.account_token();
    let rotated = world.rotate(&token, world.now().saturating_add_micros(60_000_000));
    assert_eq!(world.outcome(&demand, &pair(&token)).await, allowed());
    assert_eq!(world.outcome(&demand, &pair(&rotated)).await, allowed());
    world.put(&ServiceToken { enabled: false, ..rotated.clone() });
    assert_eq!(world.outcome(&demand, &pair(&token)).await, refused("disabled"), "a secret in its grace is right");
    world.put(&rotated);
    world.advance(Duration::from_secs(60));
    assert_eq!(world.outcome(&demand, &pair(&token)).await, refused("invalid"));
    assert_eq!(world.outcome(&demand, &pair(&rotated)).await, allowed());

    // A second rotation ends the grace of the first secret, and a rotation without grace ends the second at once.
    let again = world.rotate(&rotated, world.now());
    assert_eq!(world.outcome(&demand, &pair(&token)).await, refused("invalid"));
    assert_eq!(world.outcome(&demand, &pair(&rotated)).await, refused("invalid"));
    assert_eq!(world.outcome(&demand, &pair(&again)).await, allowed());
}

#[tokio::test]
async fn changes_of_an_api_token_are_in_force_at_once() {
    let world = World::new().await;
    let demand = world.demand();
    let mut token = world.api_token(Some(world.here.environment));
    assert_eq!(world.outcome(&demand, &bearer(&token)).await, allowed());
    for (status, expected) in [
        (ApiTokenStatus::Suspended, refused("disabled")),
        (ApiTokenStatus::Active, allowed()),
        (ApiTokenStatus::Revoked, refused("revoked")),
        (ApiTokenStatus::Active, allowed()),
    ] {
        token.status = status;
        world.put_api_token(&token);
        assert_eq!(world.outcome(&demand, &bearer(&token)).await, expected);
    }
    world.advance(Duration::from_secs(3600));
    assert_eq!(world.outcome(&demand, &bearer(&token)).await, refused("expired"));

    let mut token = world.api_token(Some(world.here.environment));
    assert_eq!(world.outcome(&demand, &bearer(&token)).await, allowed());
    token.deleted = true;
    world.put_api_token(&token);
    assert_eq!(world.outcome(&demand, &bearer(&token)).await, refused("invalid"));

    let token = world.api_token(Some(world.here.environment));
    let of_account = world.api_token(None);
    assert_eq!(world.outcome(&demand, &bearer(&token)).await, allowed());
    let environment = Subject::Environment { id: world.here.environment, account: world.here.account, deleted: true };
    world.apply(environment);
    assert_eq!(world.outcome(&demand, &bearer(&token)).await, refused("invalid"));
    assert_eq!(world.outcome(&demand, &bearer(&of_account)).await, allowed());
}

#[tokio::test]
async fn state_comes_before_demand() {
    let world = World::new().await;
    let token = world.account_token();
    world.put(&ServiceToken { enabled: false, ..token.clone() });
    for query in [
        format!("account_id={}", world.elsewhere.account),
        format!("zone_id={}", world.elsewhere.zone),
        format!("environment_id={}", world.here.environment),
    ] {
        assert_eq!(world.outcome(&query, &pair(&token)).await, refused("disabled"));
    }
}

#[tokio::test]
async fn a_stale_node_refuses_everything() {
    let world = World::new().await;
    let token = world.account_token();
    let stale = (503, "stale".to_owned());
    world.clock.advance(super::world::MAX_STALENESS);
    assert_eq!(world.outcome(&world.demand(), &pair(&token)).await, allowed(), "it is fresh up to its limit");
    world.clock.advance(Duration::from_micros(1));
    assert_eq!(world.outcome(&world.demand(), &pair(&token)).await, stale);
    assert_eq!(world.outcome(&world.demand(), "").await, stale);
    assert_eq!(world.outcome("", &pair(&token)).await, (403, "no_demand".to_owned()), "that is the proxy's fault");
    let mut client = world.connect().await;
    assert_eq!(client.ask("GET /readyz HTTP/1.1\r\n\r\n").await.status, 503);
    assert_eq!(client.ask("GET /livez HTTP/1.1\r\n\r\n").await.status, 200);
    world.advance(Duration::ZERO);
    assert_eq!(client.ask("GET /readyz HTTP/1.1\r\n\r\n").await.status, 200);
    assert_eq!(world.outcome(&world.demand(), &pair(&token)).await, allowed());
}

#[tokio::test]
async fn a_node_may_be_told_to_serve_stale_answers() {
    let world = World::with(super::world::OPTIONS, Stale::Serve, None).await;
    let token = world.account_token();
    world.clock.advance(super::world::MAX_STALENESS * 100);
    assert_eq!(world.outcome(&world.demand(), &pair(&token)).await, allowed());
}

#[tokio::test]
async fn what_is_admitted_is_marked_as_seen_and_counted() {
    let world = World::new().await;
    let token = world.account_token();
    let unseen = world.account_token();
    let api_token = world.api_token(None);
    world.advance(Duration::from_secs(30));
    assert_eq!(world.outcome(&world.demand(), &pair(&token)).await, allowed());
    assert_eq!(world.outcome(&world.demand(), &bearer(&api_token)).await, allowed());
    let elsewhere = format!("account_id={}", world.elsewhere.account);
    assert_eq!(world.outcome(&elsewhere, &pair(&unseen)).await, (403, "not_permitted".to_owned()));
    assert_eq!(world.outcome(&elsewhere, "").await, refused("missing"));
    let mut marks = Vec::new();
    world.index.drain_seen(&mut |mark| marks.push((format!("{:?}", mark.subject), mark.at.as_secs())));
    marks.sort_unstable();
    let now = world.now().as_secs();
    let expected = [format!("ApiToken({:?})", api_token.id), format!("ServiceToken({:?})", token.id)];
    assert_eq!(marks, expected.map(|subject| (subject, now)));
    let counted = ["service_token", "api_token", "not_permitted", "missing", "invalid"];
    assert_eq!(counted.map(|reason| world.tallies.answers(reason)), [1, 1, 1, 1, 0]);
}

#[tokio::test]
async fn names_reach_the_upstream_encoded_and_cut() {
    let world = World::new().await;
    let owner = Owner { account: world.here.account, zone: None };
    let token = world.service_token(owner, &"🔑".repeat(350));
    let answer = world.ask(&world.demand(), &pair(&token)).await;
    assert_eq!(answer.header("countersign-token-name"), Some("%F0%9F%94%91".repeat(42).as_str()));
    let token = world.service_token(owner, "a\r\nCountersign-Kind: admin");
    let answer = world.ask(&world.demand(), &pair(&token)).await;
    assert_eq!(answer.header("countersign-token-name"), Some("a%0D%0ACountersign-Kind:%20admin"));
    assert_eq!(answer.header("countersign-kind"), Some("service_token"));
}
