//! The account itself: cases 87 and 88 of the contract.

use countersign_server::caller::Caller;
use countersign_token::entropy::Entropy;
use countersign_token::id::Pfid;
use serde_json::{Value, json};

use super::NOBODY;
use crate::world::on_both;

#[test]
fn case_87_the_list_is_the_own_account() {
    on_both(async |world| {
        for (caller, pfid, name) in [
            (world.prefactor(), &world.account_pfid, "Default"),
            (world.foreign_prefactor(), &world.foreign_account_pfid, "Other"),
        ] {
            let body = caller.get("/account").await.ok();
            assert_eq!(body["summaries"].as_array().unwrap().len(), 1);
            let row = &body["summaries"][0];
            assert_eq!((&row["id"], &row["name"]), (&json!(pfid), &json!(name)));
            assert_eq!((&row["type"], &row["purpose"]), (&json!("account"), &json!("business")));
            assert_eq!(row["organisation_name"], Value::Null);
            assert_eq!(body.get("details"), None);
        }
    });
}

#[test]
fn case_88_another_name() {
    on_both(async |world| {
        let caller = world.prefactor();
        let path = format!("/account/{}", world.account_pfid);
        let details = caller.put(&path, &json!({"details": {"name": "N"}})).await.details();
        assert_eq!((&details["name"], &details["type"]), (&json!("N"), &json!("account")));
        assert_eq!(caller.get(&path).await.details(), details);
        assert_eq!(caller.get("/account").await.summaries(), [details]);
        // The other dialect shows the same account.
        let other = world.owner_key().get(&format!("/accounts/{}", world.account)).await.ok();
        assert_eq!(other["name"], "N");
    });
}

#[test]
fn its_other_fields() {
    on_both(async |world| {
        let caller = world.prefactor();
        let path = format!("/account/{}", world.account_pfid);
        let update = async |details: Value| caller.put(&path, &json!({ "details": details })).await;
        let mut expected = caller.get(&path).await.details();
        for (key, value) in [
            ("organisation_name", json!("Ünïcödé Ltd")),
            ("organisation_name", Value::Null),
            ("name", json!("Other name")),
            ("organisation_name", json!("x")),
        ] {
            expected[key] = value.clone();
            let details = update(json!({ (key): value })).await.details();
            for key in ["id", "name", "organisation_name", "purpose"] {
                assert_eq!(details[key], expected[key], "{key}");
            }
        }
        let after = caller.get(&path).await.details();
        assert_eq!(update(json!({})).await.details(), after, "what is left out stays");
        for (field, value) in [
            ("name", json!("")),
            ("name", json!(5)),
            ("name", json!("a\u{0}b")),
            ("organisation_name", json!(5)),
            ("organisation_name", json!("\u{0}")),
            ("purpose", json!(5)),
            ("purpose", json!("\u{0}")),
        ] {
            update(json!({ (field): value })).await.invalid(&format!("details.{field}"), "invalid_value");
        }
        assert_eq!(update(json!({"name": null, "purpose": null})).await.details(), after, "neither can be cleared");
        caller.put(&path, &json!({})).await.invalid("details", "required_value");
        assert_eq!(caller.get(&path).await.details(), after);
    });
}

/// A partition belongs to one account, however the draw falls out.
#[test]
fn a_partition_is_given_once() {
    on_both(async |world| {
        let mut partitions = std::collections::HashSet::new();
        for pfid in [&world.account_pfid, &world.foreign_account_pfid] {
            partitions.insert(pfid.parse::<Pfid>().unwrap().partition());
        }
        let mut ids = std::collections::HashSet::new();
        for name in ["one", "two", "three"] {
            // The same draws again.
            let outside = world.open_outside_drawing(Entropy::seeded(77)).await;
            let made = outside.ops.create_account(&Caller::Operator, name).await.unwrap();
            assert!(partitions.insert(made.account.pfid.as_pfid().partition()), "{name}");
            assert!(ids.insert(made.account.id));
            outside.close().await;
            let holder = world.nobody().with_token(made.account_token.expose());
            assert_eq!(holder.get("/account").await.summaries()[0]["name"], name);
        }
    });
}

#[test]
fn other_accounts_are_not_there() {
    on_both(async |world| {
        for id in [&world.foreign_account_pfid, NOBODY, "x", &world.account.to_string()] {
            let path = format!("/account/{id}");
            world.prefactor().get(&path).await.refused(404, "not_found");
            let body = json!({"details": {"name": "taken"}});
            world.prefactor().put(&path, &body).await.refused(404, "not_found");
        }
        assert_eq!(world.foreign_prefactor().get("/account").await.summaries()[0]["name"], "Other");
    });
}
