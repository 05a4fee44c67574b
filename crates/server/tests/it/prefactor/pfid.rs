//! Ids made for clients: case 86 of the contract.

use std::collections::HashSet;

use countersign_token::id::Pfid;
use serde_json::{Value, json};

use super::{MALFORMED, NOBODY};
use crate::world::prefactor::Answer;
use crate::world::{World, on_both};

async fn generate(world: &World, body: Value) -> Answer {
    world.prefactor().post("/pfid/generate", &body).await
}

fn pfids(answer: Answer, world: &World) -> Vec<String> {
    let body = answer.ok();
    assert_eq!(body["account_id"], world.account_pfid);
    let partition = world.account_pfid.parse::<Pfid>().unwrap().partition();
    let pfids: Vec<String> =
        body["pfids"].as_array().unwrap().iter().map(|pfid| pfid.as_str().unwrap().to_owned()).collect();
    for pfid in &pfids {
        let parsed: Pfid = pfid.parse().unwrap();
        assert_eq!(parsed.partition(), partition);
        assert_eq!(i64::try_from(parsed.timestamp_ms()).unwrap(), world.now().as_micros() / 1000);
    }
    assert_eq!(pfids.iter().collect::<HashSet<_>>().len(), pfids.len(), "all differ");
    pfids
}

#[test]
fn case_86_three_ids() {
    on_both(async |world| {
        assert_eq!(pfids(generate(world, json!({"count": 3})).await, world).len(), 3);
        let named = json!({"count": 3, "account_id": world.account_pfid});
        assert_eq!(pfids(generate(world, named).await, world).len(), 3);
        assert_eq!(pfids(generate(world, json!({"count": 1})).await, world).len(), 1);
        assert_eq!(pfids(generate(world, json!({"count": 1000})).await, world).len(), 1000);
    });
}

#[test]
fn every_token_may_ask_for_ids() {
    on_both(async |world| {
        let agent = world.agent().await;
        for token in [
            world.environment_token(&world.environment).await,
            world.deployment_token(&agent, &world.environment).await,
        ] {
            let holder = world.nobody().with_token(&token.secret);
            assert_eq!(pfids(holder.post("/pfid/generate", &json!({"count": 2})).await, world).len(), 2);
            let foreign = json!({"count": 2, "account_id": world.foreign_account_pfid});
            holder.post("/pfid/generate", &foreign).await.refused(403, "not_permitted");
            let keyed = json!({"count": 2, "idempotency_key": token.id});
            let first = holder.post("/pfid/generate", &keyed).await.ok();
            assert_eq!(holder.post("/pfid/generate", &keyed).await.replayed(), first);
        }
    });
}

#[test]
fn what_is_refused() {
    on_both(async |world| {
        for count in [json!(0), json!(1001), json!(-1), json!(1.5), json!("3"), json!(true), json!([]), json!(1e300)] {
            generate(world, json!({ "count": count })).await.invalid("count", "invalid_value");
        }
        for account in [&world.foreign_account_pfid, NOBODY] {
            let answer = generate(world, json!({"count": 1, "account_id": account})).await;
            answer.refused(403, "not_permitted");
        }
        for malformed in MALFORMED.map(|text| json!(text)).into_iter().chain([json!(5)]) {
            let answer = generate(world, json!({"count": 1, "account_id": malformed})).await;
            answer.invalid("account_id", "invalid_value");
        }
        let other_kind = generate(world, json!({"count": 1, "account_id": world.environment})).await;
        other_kind.invalid("account_id", "unexpected_ref_type");
        world.nobody().post("/pfid/generate", &json!({"count": 1})).await.refused(401, "not_authenticated");
    });
}
