//! Finding one's ids: accounts, zones, the user.

use serde_json::{Value, json};

use crate::world::{OWNER_EMAIL, START, World, on_both};

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

fn sorted<const N: usize>(ids: [String; N]) -> Vec<String> {
    let mut ids = Vec::from(ids);
    ids.sort();
    ids
}

fn both(world: &World) -> Vec<String> {
    sorted([world.account.to_string(), world.foreign_account.to_string()])
}

#[test]
fn a_caller_sees_the_accounts_they_have_rights_on() {
    on_both(async |world| {
        let mine = json!({"id": world.account.to_string(), "name": "Default", "type": "standard", "created_on": START});
        for caller in [world.writer(), world.reader(), world.owner_token(), world.member(), world.api_token()] {
            let list = caller.get("/accounts").await;
            assert_eq!(
                list.json["result_info"],
                json!({"page": 1, "per_page": 1000, "count": 1, "total_count": 1, "total_pages": 1})
            );
            assert_eq!(list.ok(), json!([mine]), "{}", caller.name);
            assert_eq!(caller.get(&format!("/accounts/{}", world.account)).await.ok(), mine, "{}", caller.name);
        }
        let mut all = ids(&world.owner_key().get("/accounts").await.ok());
        all.sort();
        assert_eq!(all, both(world));
        for stranger in world.strangers() {
            assert_eq!(ids(&stranger.get("/accounts").await.ok()), [world.foreign_account.to_string()]);
            stranger.get(&format!("/accounts/{}", world.account)).await.refused(403, 10000);
        }
    });
}

#[test]
fn a_caller_sees_the_zones_of_their_accounts() {
    on_both(async |world| {
        let account = json!({"id": world.account.to_string(), "name": "Default"});
        let zone = json!({"id": world.zone.to_string(), "name": "example.com", "status": "active", "account": account});
        for caller in [world.writer(), world.reader(), world.owner_token(), world.member(), world.api_token()] {
            let mut list = ids(&caller.get("/zones").await.ok());
            list.sort();
            assert_eq!(list, sorted([world.zone.to_string(), world.second_zone.to_string()]), "{}", caller.name);
            assert_eq!(caller.get(&format!("/zones/{}", world.zone)).await.ok(), zone, "{}", caller.name);
            caller.get(&format!("/zones/{}", world.foreign_zone)).await.refused(403, 10000);
        }
        for stranger in world.strangers() {
            assert_eq!(ids(&stranger.get("/zones").await.ok()), [world.foreign_zone.to_string()]);
            stranger.get(&format!("/zones/{}", world.zone)).await.refused(403, 10000);
        }
        assert_eq!(world.owner_key().get("/zones").await.ok().as_array().unwrap().len(), 3);
    });
}

#[test]
fn zones_are_found_by_name_and_account() {
    on_both(async |world| {
        let owner = world.owner_key();
        let check = async |query: &str, expected: &[String]| {
            let mut found = ids(&owner.get(&format!("/zones?{query}")).await.ok());
            found.sort();
            assert_eq!(found, expected, "{query}");
        };
        check("name=example.com", &[world.zone.to_string()]).await;
        check("name=EXAMPLE.com", &[]).await;
        check("name=nothing", &[]).await;
        check(&format!("account.id={}", world.foreign_account), &[world.foreign_zone.to_string()]).await;
        check(&format!("account.id={}&name=example.com", world.foreign_account), &[]).await;
        check(&format!("account.id={}", "0".repeat(32)), &[]).await;
        owner.get("/zones?account.id=x").await.refused(400, 12130);
        // Asking for another's account gives nothing of it.
        let asked = world.writer().get(&format!("/zones?account.id={}", world.foreign_account)).await;
        assert_eq!(asked.ok(), json!([]));
        assert_eq!(ids(&owner.get("/accounts?name=Other").await.ok()), [world.foreign_account.to_string()]);
        assert_eq!(owner.get("/accounts?name=other").await.ok(), json!([]));
        assert_eq!(world.writer().get("/accounts?name=Other").await.ok(), json!([]));
    });
}

#[test]
fn lists_of_accounts_and_zones_have_pages() {
    on_both(async |world| {
        let owner = world.owner_key();
        for path in ["/accounts", "/zones"] {
            let whole = ids(&owner.get(path).await.ok());
            let mut paged = Vec::new();
            for page in 1.. {
                let answer = owner.get(&format!("{path}?per_page=1&page={page}")).await;
                let info = answer.json["result_info"].clone();
                assert_eq!((&info["total_count"], &info["total_pages"]), (&json!(whole.len()), &json!(whole.len())));
                let ids = ids(&answer.ok());
                if ids.is_empty() {
                    break;
                }
                assert_eq!(ids.len(), 1);
                paged.extend(ids);
            }
            assert_eq!(paged, whole, "{path}");
            for query in ["page=0", "per_page=0", "page=x", "page=-1", "page=1&page=2", "name=%00", "name=%FF"] {
                owner.get(&format!("{path}?{query}")).await.refused(400, 12130);
            }
            for far in ["18446744073709551615", "99999999999999999999"] {
                assert_eq!(owner.get(&format!("{path}?page={far}")).await.ok(), json!([]));
            }
            assert_eq!(owner.get(&format!("{path}?per_page=5000")).await.json["result_info"]["per_page"], 1000);
        }
    });
}

#[test]
fn a_user_sees_themselves() {
    on_both(async |world| {
        let user = world.owner_key().get("/user").await.ok();
        assert_eq!(user["email"], OWNER_EMAIL);
        assert_eq!(user["id"].as_str().unwrap().len(), 32);
        assert_eq!(world.owner_token().get("/user").await.ok(), user);
        assert_eq!(world.member().get("/user").await.ok()["email"], "member@example.com");
        for caller in [world.writer(), world.reader(), world.stranger(), world.api_token()] {
            let answer = caller.get("/user").await;
            assert_eq!(answer.refused(403, 9109), "Unauthorized to access requested resource", "{}", caller.name);
        }
    });
}

/// What does not exist answers like what is another's, or ids could be guessed.
#[test]
fn nobodys_account_is_like_anothers() {
    on_both(async |world| {
        let nobody = "0".repeat(32);
        for caller in world.writers() {
            let is_owner = caller.name == "owner_key";
            for (kind, foreign) in
                [("accounts", world.foreign_account.to_string()), ("zones", world.foreign_zone.to_string())]
            {
                for suffix in ["", "/access/service_tokens"] {
                    let answers = [
                        caller.get(&format!("/{kind}/{nobody}{suffix}")).await,
                        caller.get(&format!("/{kind}/{foreign}{suffix}")).await,
                    ];
                    answers[0].refused(403, 10000);
                    if !is_owner {
                        answers[1].refused(403, 10000);
                        assert_eq!(answers[0].text, answers[1].text);
                    }
                }
            }
        }
    });
}
