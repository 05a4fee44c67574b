//! Lists of tokens: cases 32 to 35 and 48 of the contract, and 87 to 89 for their neighbours' envelopes.

use serde_json::{Value, json};

use super::{MALFORMED, NOBODY};
use crate::world::on_both;

#[test]
fn case_32_the_list_of_a_fresh_account() {
    on_both(async |world| {
        for (caller, account) in
            [(world.prefactor(), &world.account_pfid), (world.foreign_prefactor(), &world.foreign_account_pfid)]
        {
            let body = caller.get("/api_token").await.ok();
            assert_eq!(body["summaries"].as_array().unwrap().len(), 1);
            let row = &body["summaries"][0];
            assert_eq!((&row["account_id"], &row["token_scope"]), (&json!(account), &json!("account")));
            assert_eq!((row.get("token"), row.get("available_actions")), (None, None));
            assert_eq!(body["sorting"], json!({"field": "id", "direction": "asc"}));
            let pagination = json!({
                "item_count": 1, "page_size": 100, "page_offset": 0, "item_start": 1, "item_end": 1,
                "page_count": 1, "page_index": 1, "next_page_offset": null, "previous_page_offset": null,
            });
            assert_eq!(body["pagination"], pagination);
        }
    });
}

#[test]
fn case_33_the_own_account_named() {
    on_both(async |world| {
        world.token().await;
        let plain = world.prefactor().get("/api_token").await.ok();
        assert_eq!(plain["summaries"].as_array().unwrap().len(), 2);
        for query in ["account_id", "account%5Fid"] {
            let path = format!("/api_token?{query}={}", world.account_pfid);
            assert_eq!(world.prefactor().get(&path).await.ok(), plain);
        }
    });
}

#[test]
fn case_34_another_account_named() {
    on_both(async |world| {
        let collections =
            ["/api_token", "/environment", "/agent", "/agent_deployment", "/admin_user", "/admin_user_invite"];
        for collection in collections {
            for account in [&world.foreign_account_pfid, NOBODY] {
                let path = format!("{collection}?account_id={account}");
                world.prefactor().get(&path).await.refused(403, "not_permitted");
            }
            for malformed in MALFORMED.iter().filter(|malformed| **malformed != "null") {
                let answer = world.prefactor().get(&format!("{collection}?account_id={malformed}")).await;
                answer.invalid("account_id", "invalid_value");
            }
            let own = format!("{collection}?account_id={}", world.account_pfid);
            assert_eq!(world.prefactor().get(&own).await.ok(), world.prefactor().get(collection).await.ok());
        }
    });
}

#[test]
fn case_35_accounts_are_kept_apart() {
    on_both(async |world| {
        let (own, foreign) = (world.prefactor(), world.foreign_prefactor());
        world.token().await;
        own.make("/agent", json!({"name": "of A"})).await;
        own.post("/admin_user_invite", &json!({"details": {"email": "a@example.com"}})).await.ok();
        let agent = world.agent().await;
        world.deployment_token(&agent, &world.environment).await;
        foreign.create(json!({"token_scope": "account"})).await;
        for (caller, account) in [(&own, &world.account_pfid), (&foreign, &world.foreign_account_pfid)] {
            for collection in
                ["/api_token", "/environment", "/agent", "/agent_deployment", "/admin_user", "/admin_user_invite"]
            {
                for row in caller.get(collection).await.summaries() {
                    assert_eq!(row["account_id"], **account, "{collection}");
                }
            }
        }
        assert_eq!(own.count("/api_token").await, 3);
        assert_eq!(foreign.count("/api_token").await, 2);
        assert_eq!([foreign.count("/agent").await, foreign.count("/admin_user_invite").await], [0, 0]);
    });
}

#[test]
fn case_48_a_key_on_a_read_does_nothing() {
    on_both(async |world| {
        let first = world.prefactor().get("/api_token?idempotency_key=k").await.ok();
        assert_eq!(world.prefactor().get("/api_token?idempotency_key=k").await.ok(), first);
        let token = world.token().await;
        // Not even a bad one.
        let long = "k".repeat(65);
        for key in ["k", "", &long, "%00"] {
            assert_eq!(world.prefactor().get(&format!("/api_token?idempotency_key={key}")).await.ids().len(), 2);
            world.prefactor().get(&format!("{}?idempotency_key={key}", token.path)).await.ok();
        }
        world.prefactor().with("idempotency-key", &long).get("/api_token").await.ok();
        let body = json!({"details": {"token_scope": "account"}, "idempotency_key": "k"});
        let answer = world.prefactor().post("/api_token", &body).await;
        assert!(!answer.is_replay(), "a read has not used the key");
        answer.ok();
    });
}

/// A row of a list is what a look at the token shows, without its actions.
#[test]
fn rows_are_details_without_actions() {
    on_both(async |world| {
        let agent = world.agent().await;
        let tokens = [
            world.token().await,
            world.environment_token(&world.environment).await,
            world.deployment_token(&agent, &world.environment).await,
        ];
        world.prefactor().do_to(&tokens[0], "suspend").await.ok();
        world.prefactor().do_to(&tokens[1], "revoke").await.ok();
        let rows = world.prefactor().get("/api_token").await.summaries();
        for token in &tokens {
            let mut shown = world.prefactor().show(token).await;
            shown.as_object_mut().unwrap().remove("available_actions");
            assert_eq!(rows.iter().find(|row| row["id"] == *token.id), Some(&shown));
        }
    });
}

/// Queries may name the same thing in more than one way, and hold what nobody asked for.
#[test]
fn odd_queries() {
    on_both(async |world| {
        let caller = world.prefactor();
        for query in
            ["", "&", "&&", "=", "=x", "x", "x&x=%20", "x[y]=1", "x[y][z]=1&x[]=2", "details[token_scope]=account"]
        {
            assert_eq!(caller.get(&format!("/api_token?{query}")).await.ids().len(), 1, "{query}");
        }
        // No text, and so nothing that a parameter could be.
        for query in ["account_id=%FF", "account_id=%C3%28", "account_id=%00", "account_id=%ED%A0%80"] {
            let answer = caller.get(&format!("/api_token?{query}")).await;
            assert!([400, 422].contains(&answer.status.as_u16()), "{answer}");
        }
        // An object where a text belongs, and the other way round.
        caller.get("/api_token?account_id[x]=1").await.refused(422, "validation_errors");
        caller.get("/api_token?pagination=1").await.invalid_parameter("pagination");
        for query in ["pagination[offset][x]=1", "sorting[field][x]=1", "account_id[x][y]=1"] {
            let answer = caller.get(&format!("/api_token?{query}")).await;
            assert!([200, 422].contains(&answer.status.as_u16()), "{answer}");
        }
        let deep = "[x]".repeat(10_000);
        let answer = caller.get(&format!("/api_token?pagination{deep}=1")).await;
        assert!([200, 400, 422].contains(&answer.status.as_u16()), "{answer}");
        let many: String = (0..5000).map(|number| format!("x[{number}]=1&")).collect();
        caller.get(&format!("/api_token?{many}")).await.ok();
    });
}

/// What stands in an account's list is there however it is asked for.
#[test]
fn a_list_shows_what_a_show_shows_for_neighbours_too() {
    on_both(async |world| {
        let caller = world.prefactor();
        let agent = world.agent().await;
        world.deployment_token(&agent, &world.environment).await;
        caller.post("/admin_user_invite", &json!({"details": {"email": "a@example.com"}})).await.ok();
        for collection in
            ["/account", "/environment", "/agent", "/agent_deployment", "/admin_user", "/admin_user_invite"]
        {
            let body = caller.get(collection).await.ok();
            assert_eq!(body["sorting"], json!({"field": "id", "direction": "asc"}), "{collection}");
            let rows: &Vec<Value> = body["summaries"].as_array().unwrap();
            assert!(!rows.is_empty(), "{collection}");
            for row in rows {
                let mut shown = caller.get(&format!("{collection}/{}", row["id"].as_str().unwrap())).await.details();
                if collection == "/admin_user_invite" {
                    // A list shows no secret.
                    shown.as_object_mut().unwrap().retain(|key, _| !["token", "invite_url"].contains(&key.as_str()));
                }
                assert_eq!(*row, shown, "{collection}");
            }
        }
    });
}
