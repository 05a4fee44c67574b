//! Invites to an account.

use serde_json::{Value, json};

use super::NOBODY;
use crate::world::{HOUR, OWNER_EMAIL, on_both};

#[test]
fn an_invites_life() {
    on_both(async |world| {
        let caller = world.prefactor();
        let now = world.now().to_string();
        let body = json!({"details": {"email": "new@example.com", "account_id": world.account_pfid}});
        let invite = caller.post("/admin_user_invite", &body).await.details();
        let id = invite["id"].as_str().unwrap().to_owned();
        assert_eq!((&invite["email"], &invite["status"]), (&json!("new@example.com"), &json!("pending")));
        assert_eq!((&invite["inserted_at"], &invite["updated_at"]), (&json!(now), &json!(now)));
        let token = invite["token"].as_str().unwrap();
        assert!(token.len() > id.len() + 20, "an invite's token can't be guessed from its id");
        assert!(invite["invite_url"].as_str().unwrap().contains(token), "{invite}");
        let path = format!("/admin_user_invite/{id}");
        assert_eq!(caller.get(&path).await.details(), invite);
        let mut row = invite.clone();
        row.as_object_mut().unwrap().retain(|key, _| !["token", "invite_url"].contains(&key.as_str()));
        assert_eq!(caller.get("/admin_user_invite").await.summaries(), [row]);
        world.restart().await;
        let caller = world.prefactor();
        assert_eq!(caller.get(&path).await.details(), invite, "the same token whenever it is worked out");
        world.advance(HOUR);
        let revoked = caller.post(&format!("{path}/revoke"), &json!({})).await.details();
        assert_eq!((&revoked["status"], &revoked["updated_at"]), (&json!("revoked"), &json!(world.now().to_string())));
        assert_eq!(caller.get(&path).await.details(), revoked);
        caller.act(&format!("{path}/revoke")).await.refused(409, "invalid_action");
        assert_eq!(caller.get(&path).await.details(), revoked);
    });
}

#[test]
fn what_is_refused() {
    on_both(async |world| {
        let caller = world.prefactor();
        let create = async |details: Value| caller.post("/admin_user_invite", &json!({ "details": details })).await;
        create(json!({})).await.invalid("details.email", "required_value");
        create(json!({"email": null})).await.invalid("details.email", "required_value");
        let long = format!("{}@example.com", "a".repeat(250));
        for email in [
            json!(""),
            json!("nobody"),
            json!("a@"),
            json!("@b"),
            json!("a@b@c"),
            json!("a b@c"),
            json!(long),
            json!(5),
            json!("a\u{0}@b.c"),
        ] {
            create(json!({ "email": email })).await.invalid("details.email", "invalid_value");
        }
        // Who is in already needs no invitation, however they write their address.
        for email in [OWNER_EMAIL, "member@example.com", "MEMBER@Example.COM"] {
            create(json!({ "email": email })).await.invalid("details.email", "invalid_value");
        }
        for account in [&world.foreign_account_pfid, NOBODY] {
            create(json!({"email": "a@example.com", "account_id": account})).await.refused(403, "not_permitted");
        }
        caller.post("/admin_user_invite", &json!({})).await.invalid("details", "required_value");
        assert_eq!(caller.count("/admin_user_invite").await, 0);
        let path = format!("/admin_user_invite/{NOBODY}");
        caller.get(&path).await.refused(404, "not_found");
        caller.act(&format!("{path}/revoke")).await.refused(404, "not_found");
        // A member of another account is none of this one, and theirs is not ours.
        let invite = caller.make("/admin_user_invite", json!({"email": "foreign@example.com"})).await;
        let path = format!("/admin_user_invite/{invite}");
        let foreign = world.foreign_prefactor();
        foreign.get(&path).await.refused(404, "not_found");
        foreign.act(&format!("{path}/revoke")).await.refused(404, "not_found");
        assert_eq!(caller.get(&path).await.details()["status"], "pending");
    });
}
