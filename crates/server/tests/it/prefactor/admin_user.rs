//! The people of an account.

use serde_json::{Value, json};

use super::NOBODY;
use crate::world::{HOUR, OWNER_EMAIL, World, on_both};

async fn user(world: &World, email: &str) -> Value {
    let rows = world.prefactor().get("/admin_user").await.summaries();
    rows.into_iter().find(|row| row["email"] == email).unwrap()
}

#[test]
fn the_members_of_the_account() {
    on_both(async |world| {
        let emails = |rows: Vec<Value>| {
            let mut emails: Vec<String> = rows.iter().map(|row| row["email"].as_str().unwrap().to_owned()).collect();
            emails.sort_unstable();
            emails
        };
        assert_eq!(emails(world.prefactor().get("/admin_user").await.summaries()), ["member@example.com", OWNER_EMAIL]);
        let foreign = world.foreign_prefactor().get("/admin_user").await.summaries();
        assert_eq!(emails(foreign.clone()), ["foreign@example.com"]);
        let owner = user(world, OWNER_EMAIL).await;
        let expected = json!({
            "type": "admin_user", "id": owner["id"], "account_id": world.account_pfid, "email": OWNER_EMAIL,
            "name": null, "job_title": null, "last_active_at": null, "profile_completed_at": null,
            "inserted_at": crate::world::START, "updated_at": crate::world::START,
        });
        assert_eq!(owner, expected);
        for id in [foreign[0]["id"].as_str().unwrap(), NOBODY] {
            let path = format!("/admin_user/{id}");
            world.prefactor().get(&path).await.refused(404, "not_found");
            world.prefactor().put(&path, &json!({"details": {"name": "x"}})).await.refused(404, "not_found");
        }
        assert_eq!(world.foreign_prefactor().get("/admin_user").await.summaries(), foreign);
    });
}

#[test]
fn what_people_say_of_themselves() {
    on_both(async |world| {
        let caller = world.prefactor();
        let mut expected = user(world, "member@example.com").await;
        let path = format!("/admin_user/{}", expected["id"].as_str().unwrap());
        assert_eq!(caller.get(&path).await.details(), expected);
        let update = async |details: Value| caller.put(&path, &json!({ "details": details })).await;
        for (key, given, shown) in [
            ("name", json!("N"), json!("N")),
            ("job_title", json!("Ünïcödé"), json!("Ünïcödé")),
            ("profile_completed_at", json!("2026-01-01T02:00:00.5+02:00"), json!("2026-01-01T00:00:00Z")),
            ("name", Value::Null, Value::Null),
            ("profile_completed_at", Value::Null, Value::Null),
            ("job_title", Value::Null, Value::Null),
        ] {
            world.advance(HOUR);
            let details = update(json!({ (key): given })).await.details();
            expected[key] = shown;
            expected["updated_at"] = json!(world.now().to_string());
            assert_eq!(details, expected);
            assert_eq!(user(world, "member@example.com").await, expected);
        }
        world.advance(HOUR);
        assert_eq!(update(json!({})).await.details(), expected, "what is left out stays");
        for (field, value) in [
            ("name", json!(5)),
            ("name", json!("\u{0}")),
            ("job_title", json!({})),
            ("job_title", json!("a\u{0}")),
            ("profile_completed_at", json!("tomorrow")),
            ("profile_completed_at", json!(5)),
        ] {
            update(json!({ (field): value })).await.invalid(&format!("details.{field}"), "invalid_value");
        }
        // What is not theirs to say is not taken.
        let details = update(json!({"email": "x@example.com", "id": NOBODY, "last_active_at": null})).await.details();
        assert_eq!(details, expected);
        caller.put(&path, &json!({})).await.invalid("details", "required_value");
    });
}

/// A person who has used their key was active.
#[test]
fn when_somebody_was_last_active() {
    on_both(async |world| {
        world.advance(HOUR);
        world.member().get(&world.tokens()).await.ok();
        let active = world.now().to_string();
        world.advance(HOUR);
        assert_eq!(user(world, "member@example.com").await["last_active_at"], active);
        assert_eq!(user(world, OWNER_EMAIL).await["last_active_at"], Value::Null);
        let before = user(world, "member@example.com").await;
        world.restart().await;
        assert_eq!(user(world, "member@example.com").await, before);
    });
}
