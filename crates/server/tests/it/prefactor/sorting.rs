//! The order of lists: cases 42 to 47 and 96 of the contract.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{HOUR, World, on_both};

const SECOND: Duration = Duration::from_secs(1);

/// The fields that may be asked for, and the key of a row that each means.
const FIELDS: [(&str, &str); 10] = [
    ("id", "id"),
    ("inserted_at", "inserted_at"),
    ("created_at", "inserted_at"),
    ("timestamp", "inserted_at"),
    ("updated_at", "updated_at"),
    ("expires_at", "expires_at"),
    ("last_used_at", "last_used_at"),
    ("last_seen", "last_used_at"),
    ("status", "status"),
    ("token_scope", "token_scope"),
];

/// Tokens that differ in every field, with ties and nulls in each where there can be some.
async fn variety(world: &World) {
    let caller = world.prefactor();
    let agent = world.agent().await;
    for round in 0..2 {
        let a = world.token().await;
        let b = world.environment_token(&world.environment).await;
        world.advance(SECOND);
        let c = world.deployment_token(&agent, &world.environment).await;
        let d = caller.create(json!({"token_scope": "account", "expires_at": "2027-01-01T00:00:00Z"})).await;
        let e = caller.create(json!({"token_scope": "account", "expires_at": "2028-01-01T00:00:00Z"})).await;
        world.advance(SECOND);
        for token in [&a, &c] {
            world.nobody().with_token(&token.secret).get("/ping").await.ok();
        }
        caller.do_to(&c, "suspend").await.ok();
        caller.do_to(&e, "revoke").await.ok();
        world.advance(SECOND);
        world.nobody().with_token(&d.secret).get("/ping").await.ok();
        if round == 0 {
            caller.do_to(&b, "suspend").await.ok();
        }
        world.advance(HOUR);
    }
}

/// What a list must look like, by looking at its rows.
fn sorted(mut rows: Vec<Value>, key: &str, descending: bool, nulls_first: bool) -> Vec<Value> {
    rows.sort_by(|one, other| {
        let text = |row: &Value, key: &str| row[key].as_str().map(str::to_owned);
        let (of_one, of_other) = (text(one, key), text(other, key));
        let by_null = match (&of_one, &of_other) {
            (None, Some(_)) if nulls_first => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(_), None) if nulls_first => std::cmp::Ordering::Greater,
            (Some(_), None) => std::cmp::Ordering::Less,
            _ => std::cmp::Ordering::Equal,
        };
        let by_value = of_one.cmp(&of_other).then(text(one, "id").cmp(&text(other, "id")));
        by_null.then(if descending { by_value.reverse() } else { by_value })
    });
    rows
}

fn column(rows: &[Value], key: &str) -> Vec<(Value, Value)> {
    rows.iter().map(|row| (row[key].clone(), row["id"].clone())).collect()
}

#[test]
fn every_field_in_both_directions() {
    on_both(async |world| {
        variety(world).await;
        let caller = world.prefactor();
        let rows = caller.get("/api_token").await.summaries();
        assert_eq!(rows.len(), 11);
        for (field, key) in FIELDS {
            for (direction, descending) in [("asc", false), ("desc", true)] {
                let expected = sorted(rows.clone(), key, descending, descending);
                let sign = if descending { "-" } else { "" };
                for query in [
                    format!("sorting={sign}{field}"),
                    format!("sorting[field]={field}&sorting[direction]={direction}"),
                    format!("sorting%5Bdirection%5D={direction}&sorting%5Bfield%5D={field}"),
                    format!("sorting=%7B%22field%22:%22{field}%22,%22direction%22:%22{direction}%22%7D"),
                ] {
                    let body = caller.get(&format!("/api_token?{query}")).await.ok();
                    assert_eq!(body["sorting"], json!({"field": field, "direction": direction}), "{query}");
                    let got = body["summaries"].as_array().unwrap();
                    assert_eq!(column(got, key), column(&expected, key), "{query}");
                }
            }
        }
    });
}

#[test]
fn nulls_go_where_they_are_sent() {
    on_both(async |world| {
        variety(world).await;
        let caller = world.prefactor();
        let rows = caller.get("/api_token").await.summaries();
        assert!(rows.iter().filter(|row| row["last_used_at"].is_null()).count() > 2);
        for (field, key) in FIELDS {
            for (direction, descending) in [("asc", false), ("desc", true)] {
                for (nulls, first) in [("first", true), ("last", false), ("auto", descending)] {
                    let query = format!("sorting[field]={field}&sorting[direction]={direction}&sorting[nulls]={nulls}");
                    let answer = caller.get(&format!("/api_token?{query}")).await;
                    let expected = sorted(rows.clone(), key, descending, first);
                    assert_eq!(column(&answer.summaries(), key), column(&expected, key), "{query}");
                }
            }
        }
        caller.get("/api_token?sorting[field]=id&sorting[nulls]=middle").await.invalid_parameter("sorting");
    });
}

/// Marks that the store has not been told yet count in the order as they count in the row.
#[test]
fn the_newest_use_is_last() {
    on_both(async |world| {
        let tokens = [world.token().await, world.token().await, world.token().await];
        for token in [&tokens[2], &tokens[0], &tokens[1]] {
            world.advance(HOUR);
            world.nobody().with_token(&token.secret).get("/ping").await.ok();
        }
        world.advance(HOUR);
        let order = world.prefactor().ids("/api_token?sorting=last_used_at").await;
        assert_eq!(order[..3], [tokens[2].id.clone(), tokens[0].id.clone(), tokens[1].id.clone()]);
        let order = world.prefactor().ids("/api_token?sorting=-last_used_at").await;
        assert_eq!(order[1..], [tokens[1].id.clone(), tokens[0].id.clone(), tokens[2].id.clone()]);
    });
}

#[test]
fn case_42_the_older_form() {
    on_both(async |world| {
        variety(world).await;
        let body = world.prefactor().get("/api_token?sorting[field]=id&sorting[direction]=desc").await.ok();
        assert_eq!(body["sorting"], json!({"field": "id", "direction": "desc"}));
        let ids: Vec<&str> =
            body["summaries"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert!(ids.is_sorted_by(|one, other| one > other), "{ids:?}");
    });
}

#[test]
fn case_43_the_newer_form() {
    on_both(async |world| {
        let mut made = vec![world.prefactor().ids("/api_token").await[0].clone()];
        for _ in 0..5 {
            world.advance(SECOND);
            made.push(world.token().await.id);
        }
        made.reverse();
        let body = world.prefactor().get("/api_token?sorting=-created_at").await.ok();
        assert_eq!(body["sorting"], json!({"field": "created_at", "direction": "desc"}));
        let ids: Vec<&str> =
            body["summaries"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert_eq!(ids, made);
    });
}

#[test]
fn case_44_ascending() {
    on_both(async |world| {
        let body = world.prefactor().get("/api_token?sorting=id").await.ok();
        assert_eq!(body["sorting"], json!({"field": "id", "direction": "asc"}));
    });
}

#[test]
fn case_45_no_direction() {
    on_both(async |world| {
        let body = world.prefactor().get("/api_token?sorting[field]=status").await.ok();
        assert_eq!(body["sorting"], json!({"field": "status", "direction": "asc"}));
        let body = world.prefactor().get("/api_token?sorting=%7B%22field%22:%22status%22%7D").await.ok();
        assert_eq!(body["sorting"], json!({"field": "status", "direction": "asc"}));
    });
}

#[test]
fn case_46_no_such_order() {
    on_both(async |world| {
        for query in [
            "sorting=bogus",
            "sorting[direction]=sideways",
            "sorting[field]=title",
            "sorting=email",
            "sorting=-",
            "sorting=--id",
            "sorting=%2Bid",
            "sorting=id%20",
            "sorting=ID",
            "sorting=id,status",
            "sorting=account_id",
            "sorting=digest",
            "sorting=id%00",
            "sorting=id%3B%20DROP%20TABLE%20api_token",
            "sorting[field]=id&sorting[direction]=DESC",
            "sorting[field]=id&sorting[direction]=",
            "sorting[field]=-id",
            "sorting[field]=",
            "sorting=%7B%22field%22:5%7D",
            "sorting=%7B%22field%22:%22id%22",
            "sorting=%5B%5D",
            "sorting=%7B%22field%22:%22id%22,%22direction%22:%22sideways%22%7D",
        ] {
            world.prefactor().get(&format!("/api_token?{query}")).await.invalid_parameter("sorting");
        }
        // Each list has its own fields.
        for collection in ["/environment", "/agent", "/agent_deployment", "/account", "/admin_user_invite"] {
            let answer = world.prefactor().get(&format!("{collection}?sorting=last_used_at")).await;
            answer.invalid_parameter("sorting");
            for field in ["id", "inserted_at", "created_at", "updated_at"] {
                let body = world.prefactor().get(&format!("{collection}?sorting=-{field}")).await.ok();
                assert_eq!(body["sorting"], json!({"field": field, "direction": "desc"}), "{collection}");
            }
        }
    });
}

#[test]
fn case_47_both_forms_at_once() {
    on_both(async |world| {
        for query in
            ["sorting=id&sorting[field]=id", "sorting[field]=id&sorting=id", "sorting[direction]=asc&sorting=id"]
        {
            world.prefactor().get(&format!("/api_token?{query}")).await.invalid_parameter("sorting");
        }
    });
}

/// Typed clients read every form of the order back from the same object.
#[test]
fn case_96_the_order_is_an_object_in_every_form() {
    on_both(async |world| {
        for query in ["", "sorting=id", "sorting=-id", "sorting[field]=id", "sorting[field]=id&sorting[direction]=desc"]
        {
            let body = world.prefactor().get(&format!("/api_token?{query}")).await.ok();
            assert!(body["sorting"].is_object() && body["pagination"].is_object(), "{query}");
        }
    });
}

/// Neighbours are ordered as they are asked to be.
#[test]
fn neighbours_in_order() {
    on_both(async |world| {
        let caller = world.prefactor();
        let mut agents = Vec::new();
        for name in ["a", "b", "c"] {
            world.advance(SECOND);
            agents.push(caller.make("/agent", json!({ "name": name })).await);
        }
        world.advance(SECOND);
        caller.put(&format!("/agent/{}", agents[0]), &json!({"details": {"name": "z"}})).await.ok();
        let pick = |order: [usize; 3]| order.map(|at| agents[at].clone());
        assert_eq!(caller.ids("/agent").await, pick([0, 1, 2]));
        assert_eq!(caller.ids("/agent?sorting=-id").await, pick([2, 1, 0]));
        assert_eq!(caller.ids("/agent?sorting=-inserted_at").await, pick([2, 1, 0]));
        assert_eq!(caller.ids("/agent?sorting=updated_at").await, pick([1, 2, 0]));
        assert_eq!(caller.ids("/agent?sorting=-updated_at").await, pick([0, 2, 1]));
    });
}
