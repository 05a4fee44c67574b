//! Whatever a client makes up: an answer of the dialect, never a 5xx, and what was made is what is shown.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::world::prefactor::Token;
use crate::world::{World, on_sqlite};

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() })
}

/// Some JSON, with the names of ids that the world fills in.
fn value() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(vec![
        "",
        "account",
        "environment",
        "agent_deployment",
        "x",
        "\u{0}",
        "null",
        "A",
        "E",
        "G",
        "T",
        "B",
        "N",
        "2099-01-01T00:00:00Z",
        "2020-01-01T00:00:00Z",
        "2099-01-01",
        "production",
        "a@b.c",
        "ü\u{10ffff}",
    ]);
    let leaf = prop_oneof![
        8 => text.prop_map(|text| json!(text)),
        3 => Just(Value::Null),
        1 => any::<bool>().prop_map(|value| json!(value)),
        1 => any::<i64>().prop_map(|value| json!(value)),
        1 => any::<f64>().prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((name(), inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "token_scope",
        "account_id",
        "environment_id",
        "agent_id",
        "expires_at",
        "name",
        "id",
        "purpose",
        "description",
        "external_identifier",
        "email",
        "job_title",
        "profile_completed_at",
        "organisation_name",
        "count",
        "items",
        "_type",
        "idempotency_key",
        "details",
        "x",
    ])
    .prop_map(str::to_owned)
}

fn details() -> impl Strategy<Value = Value> {
    let scope = prop::sample::select(vec!["account", "environment", "agent_deployment"]);
    prop_oneof![
        1 => value(),
        6 => (scope, prop::collection::vec((name(), value()), 0..5)).prop_map(|(scope, pairs)| {
            let mut object: Map<String, Value> = [("token_scope".to_owned(), json!(scope))].into_iter().collect();
            object.extend(pairs);
            Value::Object(object)
        }),
    ]
}

/// The ids that one-letter texts stand for.
fn filled(value: &Value, ids: &[(&str, &str)]) -> Value {
    match value {
        Value::String(text) => json!(ids.iter().find(|(name, _)| name == text).map_or(text.as_str(), |(_, id)| id)),
        Value::Array(values) => values.iter().map(|value| filled(value, ids)).collect(),
        Value::Object(values) => {
            Value::Object(values.iter().map(|(name, value)| (name.clone(), filled(value, ids))).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn made_up_bodies() {
    let paths = prop::sample::select(vec![
        "/api_token",
        "/api_token",
        "/api_token",
        "/environment",
        "/agent",
        "/agent_deployment",
        "/admin_user_invite",
        "/pfid/generate",
        "/bulk",
    ]);
    let bodies = prop::collection::vec((paths, details(), prop::option::weighted(0.2, value())), 60..120);
    runner(8)
        .run(&bodies, |bodies| {
            on_sqlite(async |world: &mut World| {
                let (agent, token) = (world.agent().await, world.token().await);
                let ids = [
                    ("A", world.account_pfid.as_str()),
                    ("B", &world.foreign_account_pfid),
                    ("E", &world.environment),
                    ("G", &agent),
                    ("T", &token.id),
                    ("N", super::NOBODY),
                ];
                for (path, details, key) in &bodies {
                    let details = filled(details, &ids);
                    let mut body = json!({ "details": details, "count": details["count"], "items": details });
                    if let Some(key) = key {
                        body["idempotency_key"] = key.clone();
                    }
                    let answer = world.prefactor().post(path, &body).await;
                    let status = answer.status.as_u16();
                    assert!([200, 403, 404, 409, 422].contains(&status), "{body} {answer}");
                    if *path == "/api_token" && status == 200 && !answer.is_replay() {
                        let made = Token::of(answer);
                        assert_eq!(made.details["token_scope"], details["token_scope"]);
                        if made.details["token_scope"] != "account" {
                            assert_eq!(made.details["environment_id"], details["environment_id"]);
                        }
                        assert_eq!(world.prefactor().show(&made).await, made.details);
                        world.assert_good(&made).await;
                    }
                }
                world.assert_good(&token).await;
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn made_up_queries() {
    let part = prop::sample::select(vec![
        "pagination",
        "sorting",
        "account_id",
        "agent_id",
        "idempotency_key",
        "[",
        "]",
        "[offset]",
        "[page_size]",
        "[field]",
        "[direction]",
        "[nulls]",
        "[]",
        "=",
        "=",
        "=",
        "&",
        "&",
        "id",
        "-id",
        "asc",
        "desc",
        "first",
        "0",
        "1",
        "10",
        "100",
        "101",
        "-1",
        "%5B",
        "%5D",
        "%00",
        "%FF",
        "%",
        "+",
        "%7B%22field%22:%22id%22%7D",
        "null",
        "x",
        "%C3%BC",
        "status",
    ]);
    let query = prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat());
    let collection =
        prop::sample::select(vec!["/api_token", "/agent", "/agent_deployment", "/environment", "/account"]);
    let queries = prop::collection::vec((collection, query), 150..300);
    runner(8)
        .run(&queries, |queries| {
            on_sqlite(async |world: &mut World| {
                for (collection, query) in &queries {
                    let answer = world.prefactor().get(&format!("{collection}?{query}")).await;
                    assert!([200, 400, 403, 404, 422].contains(&answer.status.as_u16()), "{answer}");
                }
            });
            Ok(())
        })
        .unwrap();
}
