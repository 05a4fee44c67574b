//! Who calls, and the errors of those who may not: cases 44 to 53 of the contract.

use countersign_token::secret::Secret;
use http::Method;
use serde_json::{Value, json};

use crate::read::NOBODY;
use crate::world::{Actor, Answer, OWNER_EMAIL, World, on_both, on_sqlite};

const UNKNOWN_BEARER: &str = "csat_0123456789012345678901234567890123456789000000";
const UNKNOWN_JWT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl";

#[test]
fn case_44_an_empty_id_leads_nowhere() {
    on_both(async |world| {
        let token = world.issue_default().await;
        for scope in ["accounts", "zones"] {
            for caller in [world.writer(), world.anonymous()] {
                let path = format!("/{scope}//access/service_tokens/{}", token.id);
                let answer = caller.delete(&path).await;
                let expected =
                    format!("Could not route to /client/v4{path}, perhaps your object identifier is invalid?");
                assert_eq!(answer.refused(404, 7003), expected);
                assert_eq!(answer.json["errors"][1], json!({"code": 7000, "message": "No route for that URI"}));
            }
        }
        world.assert_admitted(&token).await;
    });
}

#[test]
fn case_45_a_method_that_is_not_there() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x"})).await;
            let answer = world.writer().call(Method::PATCH, &token.path, r#"{"name":"y"}"#).await;
            assert_eq!(answer.refused(405, 7001), "Method PATCH not available for that URI.");
            assert_eq!(world.reader().get(&token.path).await.ok()["name"], "x");
        }
    });
}

#[test]
fn case_46_nobody() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let answer = world.anonymous().get(&tokens).await;
            assert_eq!(answer.refused(400, 9106), "Missing X-Auth-Key, X-Auth-Email or Authorization headers");
        }
    });
}

#[test]
fn case_47_a_malformed_authorization() {
    on_both(async |world| {
        let long = format!("Bearer {}", "a".repeat(81));
        let short = format!("Bearer {}", "a".repeat(39));
        let inside = format!("Bearer {} {}", "a".repeat(40), "b");
        let values = [
            "Bearer abc-def",
            "abc-def",
            "Basic dXNlcjpwYXNz",
            "Token abc",
            "Bearer: x",
            &long,
            &short,
            &inside,
            "Bearer\tx",
            "Bearer a.b",
            "Bearer a.b.c.d",
            "Bearer ..",
            "Bearer a..c",
            "Bearer é0123456789012345678901234567890123456789",
        ];
        for value in values {
            let answer = world.anonymous().with("authorization", value).get(&world.tokens()).await;
            assert_eq!(answer.refused(400, 6003), "Invalid request headers", "{value}");
            let chain = json!([{"code": 6111, "message": "Invalid format for Authorization header"}]);
            assert_eq!(answer.json["errors"][0]["error_chain"], chain, "{value}");
        }
    });
}

#[test]
fn case_47_two_authorizations() {
    on_both(async |world| {
        let answer =
            world.writer().with("authorization", &format!("Bearer {UNKNOWN_BEARER}")).get(&world.tokens()).await;
        answer.refused(400, 6003);
        let twice = world.writer().with("authorization", &format!("Bearer {}", world.writer_bearer()));
        twice.get(&world.tokens()).await.refused(400, 6003);
        let beside_empty = world.anonymous().with("authorization", "Bearer ").with("authorization", "Bearer ");
        beside_empty.get(&world.tokens()).await.refused(400, 6003);
    });
}

/// Clients that are configured with an empty token send it together with a valid key.
#[test]
fn case_48_an_empty_bearer_is_none() {
    on_both(async |world| {
        for empty in ["Bearer ", "Bearer", "bearer   ", ""] {
            world.owner_key().with("authorization", empty).get(&world.tokens()).await.ok();
            let answer = world.anonymous().with("authorization", empty).get(&world.tokens()).await;
            answer.refused(400, 9106);
        }
    });
}

#[test]
fn case_49_a_bearer_is_judged_alone() {
    on_both(async |world| {
        let garbage = world.writer().with("x-auth-email", "no address").with("x-auth-key", "no key");
        garbage.get(&world.tokens()).await.ok();
        let duplicates = world.writer().with("x-auth-key", "a").with("x-auth-key", "b");
        duplicates.get(&world.tokens()).await.ok();
        world.writer().with("x-auth-user-service-key", "v1.0-garbage").get(&world.tokens()).await.ok();
        // A bad bearer is not saved by a good key.
        let unknown = world.owner_key().with("authorization", &format!("Bearer {UNKNOWN_BEARER}"));
        unknown.get(&world.tokens()).await.refused(401, 10000);
        world.owner_key().with("authorization", "Bearer abc-def").get(&world.tokens()).await.refused(400, 6003);
    });
}

#[test]
fn case_50_an_unknown_bearer() {
    on_both(async |world| {
        let wrong_end = format!("{}0", &world.writer_bearer()[..50]);
        let forty = "a".repeat(40);
        let eighty = "-".repeat(80);
        for token in [UNKNOWN_BEARER, UNKNOWN_JWT, &forty, &eighty, &wrong_end] {
            for tokens in world.scopes() {
                let caller = world.anonymous().with("authorization", &format!("Bearer {token}"));
                assert_eq!(caller.get(&tokens).await.refused(401, 10000), "Authentication error");
            }
        }
        // A secret of another kind is no bearer.
        let token = world.issue_default().await;
        for secret in [token.secret.as_str(), world.owner_global_key()] {
            let caller = world.anonymous().with("authorization", &format!("Bearer {secret}"));
            let answer = caller.get(&world.tokens()).await;
            assert!(
                [(401, Some(10000)), (400, Some(6003))].contains(&(answer.status.as_u16(), answer.code())),
                "{answer}"
            );
        }
    });
}

#[test]
fn case_51_half_a_key() {
    on_both(async |world| {
        let anonymous = world.anonymous();
        anonymous.clone().with("x-auth-email", OWNER_EMAIL).get(&world.tokens()).await.refused(400, 9106);
        anonymous.clone().with("x-auth-key", world.owner_global_key()).get(&world.tokens()).await.refused(400, 9106);
        let empty = anonymous.with("x-auth-email", OWNER_EMAIL).with("x-auth-key", "");
        empty.get(&world.tokens()).await.refused(400, 9106);
    });
}

#[test]
fn malformed_keys_and_addresses() {
    on_both(async |world| {
        let check = async |email: &str, key: &str, code: u64, header: &str| {
            let caller = world.anonymous().with("x-auth-email", email).with("x-auth-key", key);
            let answer = caller.get(&world.tokens()).await;
            assert_eq!(answer.refused(400, 6003), "Invalid request headers");
            let chain = json!([{"code": code, "message": format!("Invalid format for {header} header")}]);
            assert_eq!(answer.json["errors"][0]["error_chain"], chain, "{email} {key}");
        };
        let key = world.owner_global_key();
        let bad_keys = [
            "short".to_owned(),
            "a".repeat(36),
            "a".repeat(61),
            format!("{}é", "a".repeat(37)),
            format!("{} x", "a".repeat(37)),
        ];
        for bad in bad_keys {
            check(OWNER_EMAIL, &bad, 6103, "X-Auth-Key").await;
        }
        for bad in ["nobody", "a@", &format!("{}@example.com", "a".repeat(250)), "öwner@example.com"] {
            check(bad, key, 6102, "X-Auth-Email").await;
        }
        let twice = world.owner_key().with("x-auth-key", key);
        assert_eq!(twice.get(&world.tokens()).await.json["errors"][0]["error_chain"][0]["code"], 6103);
        let twice = world.owner_key().with("x-auth-email", OWNER_EMAIL);
        assert_eq!(twice.get(&world.tokens()).await.json["errors"][0]["error_chain"][0]["code"], 6102);
    });
}

#[test]
fn an_unknown_key() {
    on_both(async |world| {
        let key = world.owner_global_key();
        let callers = [("nobody@example.com", key), (OWNER_EMAIL, &"0".repeat(37)), ("member@example.com", key)];
        for (email, key) in callers {
            let caller = world.anonymous().with("x-auth-email", email).with("x-auth-key", key);
            assert_eq!(caller.get(&world.tokens()).await.refused(403, 9103), "Unknown X-Auth-Key or X-Auth-Email");
        }
        // Nobody tells the cases of an address apart.
        let caller = world.anonymous().with("x-auth-email", "OWNER@Example.COM").with("x-auth-key", key);
        caller.get(&world.tokens()).await.ok();
        let upper = world.anonymous().with("x-auth-email", OWNER_EMAIL).with("x-auth-key", &key.to_uppercase());
        upper.get(&world.tokens()).await.refused(403, 9103);
    });
}

const ACTIVE: &str = "This API Token is valid and active";

fn assert_active(answer: Answer) -> Value {
    assert_eq!(answer.json["messages"], json!([{"code": 10000, "message": ACTIVE, "type": null}]), "{answer}");
    let result = answer.ok();
    assert_eq!(result["status"], "active");
    let id = result["id"].as_str().unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    for date in ["expires_on", "not_before"] {
        assert_ne!(result.get(date), Some(&json!("")), "never empty");
    }
    result
}

#[test]
fn case_52_a_user_verifies_their_token() {
    on_both(async |world| {
        let path = "/user/tokens/verify";
        assert_active(world.owner_token().get(path).await);
        for caller in [world.writer(), world.reader(), world.stranger(), world.api_token()] {
            assert_eq!(caller.get(path).await.refused(401, 1000), "Invalid API Token", "{}", caller.name);
        }
        for unknown in [UNKNOWN_BEARER, UNKNOWN_JWT] {
            let caller = world.anonymous().with("authorization", &format!("Bearer {unknown}"));
            caller.get(path).await.refused(401, 1000);
        }
        assert_eq!(world.owner_key().get(path).await.refused(400, 1001), "Missing \"Authorization\" header");
        world.anonymous().with("authorization", "Bearer abc").get(path).await.refused(400, 6003);
        world.anonymous().get(path).await.refused(400, 9106);
    });
}

#[test]
fn case_53_an_account_verifies_its_token() {
    on_both(async |world| {
        let path = format!("/accounts/{}/tokens/verify", world.account);
        assert_eq!(assert_active(world.writer().get(&path).await)["id"], world.writer_id());
        assert_active(world.reader().get(&path).await);
        // A user's token is no account's, and an account's is no other account's.
        world.owner_token().get(&path).await.refused(401, 1000);
        world.stranger().get(&path).await.refused(401, 1000);
        let foreign = format!("/accounts/{}/tokens/verify", world.foreign_account);
        assert_active(world.stranger().get(&foreign).await);
        world.writer().get(&foreign).await.refused(401, 1000);
        world.owner_key().get(&path).await.refused(400, 1001);
        world.anonymous().get(&path).await.refused(400, 9106);
    });
}

#[test]
fn a_scheme_has_no_case_and_a_value_no_margin() {
    on_sqlite(async |world| {
        let bearer = world.writer_bearer();
        for value in [format!("bearer {bearer}"), format!("BEARER {bearer}"), format!("Bearer   {bearer}  ")] {
            world.anonymous().with("authorization", &value).get(&world.tokens()).await.ok();
        }
    });
}

/// What the route says comes first, then the caller, then the right, then the body, then the id.
#[test]
fn the_order_of_the_checks() {
    on_both(async |world| {
        let nobody = world.account.to_string().replace(|_| true, "0");
        let anonymous = || world.anonymous();
        let malformed = || anonymous().with("authorization", "Bearer abc");
        let unknown = || anonymous().with("authorization", &format!("Bearer {UNKNOWN_BEARER}"));
        let bad = "not json";
        let tokens = world.tokens();
        let one = format!("{tokens}/{NOBODY}");
        let shapeless = format!("{tokens}/not-a-uuid");
        let upper = world.account.to_string().to_uppercase().replace(|byte: char| byte.is_ascii_digit(), "A");
        type Check<'w> = (Actor<'w>, Method, String, &'static str, (u16, u64));
        let checks: [Check<'_>; 26] = [
            // 7003 before everything, also before 7001.
            (anonymous(), Method::PATCH, "/accounts/xyz/access/service_tokens".to_owned(), bad, (404, 7003)),
            (anonymous(), Method::POST, "/accounts/xyz/access/service_tokens".to_owned(), bad, (404, 7003)),
            (malformed(), Method::POST, format!("/zones/{nobody}0/access/service_tokens"), bad, (404, 7003)),
            (world.writer(), Method::GET, format!("/accounts/{upper}/access/service_tokens"), bad, (404, 7003)),
            (world.writer(), Method::DELETE, "/accounts/xyz".to_owned(), bad, (404, 7003)),
            (anonymous(), Method::PUT, format!("{one}/rotate/more"), bad, (404, 7003)),
            // 7001 before the caller.
            (anonymous(), Method::PATCH, tokens.clone(), bad, (405, 7001)),
            (malformed(), Method::PUT, tokens.clone(), bad, (405, 7001)),
            (unknown(), Method::POST, one.clone(), bad, (405, 7001)),
            (anonymous(), Method::GET, format!("{shapeless}/rotate"), bad, (405, 7001)),
            (anonymous(), Method::PATCH, format!("/accounts/{nobody}"), bad, (405, 7001)),
            // The caller before the right, the body and the id.
            (anonymous(), Method::POST, tokens.clone(), bad, (400, 9106)),
            (anonymous(), Method::PUT, shapeless.clone(), bad, (400, 9106)),
            (malformed(), Method::POST, tokens.clone(), bad, (400, 6003)),
            (unknown(), Method::PUT, one.clone(), bad, (401, 10000)),
            (anonymous(), Method::GET, format!("/accounts/{nobody}/access/service_tokens?page=0"), bad, (400, 9106)),
            // The right before the body and the id.
            (world.reader(), Method::POST, tokens.clone(), bad, (403, 10000)),
            (world.reader(), Method::PUT, shapeless.clone(), bad, (403, 10000)),
            (world.stranger(), Method::PUT, one.clone(), bad, (403, 10000)),
            (world.stranger(), Method::GET, format!("{tokens}?page=0"), "", (403, 10000)),
            (world.writer(), Method::POST, format!("/zones/{nobody}/access/service_tokens"), bad, (403, 10000)),
            (world.owner_key(), Method::POST, format!("/accounts/{nobody}/access/service_tokens"), bad, (403, 10000)),
            // The body before the id.
            (world.writer(), Method::PUT, one.clone(), bad, (400, 12130)),
            (world.writer(), Method::PUT, shapeless.clone(), r#"{"duration":"1d"}"#, (400, 12130)),
            (world.writer(), Method::POST, format!("{shapeless}/rotate"), bad, (400, 12130)),
            // The id.
            (world.writer(), Method::PUT, shapeless.clone(), "{}", (404, 12135)),
        ];
        for (caller, method, path, body, (status, code)) in checks {
            caller.call(method.clone(), &path, body).await.refused(status, code);
            // Both mounts are the same page of routes.
            caller.at_root().call(method, &path, body).await.refused(status, code);
        }
    });
}

/// The routes at the root are those under the prefix.
#[test]
fn both_mounts_answer_alike() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let root = world.writer().at_root();
            let token = root.post(&tokens, &json!({"name": "x"})).await.created();
            let path = format!("{tokens}/{}", token["id"].as_str().unwrap());
            assert_eq!(root.get(&path).await.ok(), world.writer().get(&path).await.ok());
            assert_eq!(root.get(&tokens).await.ok(), world.writer().get(&tokens).await.ok());
            assert_eq!(root.put(&path, &json!({"name": "y"})).await.ok()["name"], "y");
            assert_eq!(root.act(&format!("{path}/rotate")).await.ok()["client_secret_version"], 2);
            root.act(&format!("{path}/refresh")).await.ok();
            assert_eq!(root.delete(&path).await.ok()["id"], token["id"]);
            // An error shows the path as it was asked for.
            let answer = root.get("/nowhere").await;
            assert!(answer.refused(404, 7003).contains("route to /nowhere,"), "{answer}");
            let answer = world.writer().get("/nowhere").await;
            assert!(answer.refused(404, 7003).contains("route to /client/v4/nowhere,"), "{answer}");
        }
    });
}

/// A token that is taken away is refused on the very next call, and its user keeps their others.
#[test]
fn a_revoked_management_token_is_unknown() {
    on_both(async |world| {
        let id = world.writer_id().parse().unwrap();
        world.writer().get(&world.tokens()).await.ok();
        let operator = countersign_server::caller::Caller::Operator;
        for _ in 0..2 {
            world.ops().revoke_management_token(&operator, &id).await.unwrap();
            world.writer().get(&world.tokens()).await.refused(401, 10000);
            world.writer().get(&format!("/accounts/{}/tokens/verify", world.account)).await.refused(401, 1000);
        }
        world.reader().get(&world.tokens()).await.ok();
    });
}

/// A command in another process takes a token away: when it returns, the running server has taken it away.
#[test]
fn what_a_command_revokes_is_unknown_when_it_returns() {
    on_both(async |world| {
        world.writer().get(&world.tokens()).await.ok();
        let outside = world.open_outside().await;
        let id = world.writer_id().parse().unwrap();
        let operator = countersign_server::caller::Caller::Operator;
        let (_, propagation) = outside.ops.revoke_management_token(&operator, &id).await.unwrap();
        world.writer().get(&world.tokens()).await.refused(401, 10000);
        assert!(propagation.unwrap().complete);
        outside.close().await;
    });
}

/// A user who is given an account can use it on the next call.
#[test]
fn what_a_command_grants_is_there_when_it_returns() {
    on_both(async |world| {
        let [_, foreign_member, _] = world.strangers();
        foreign_member.get(&world.tokens()).await.refused(403, 10000);
        let outside = world.open_outside().await;
        let operator = countersign_server::caller::Caller::Operator;
        outside.ops.grant_account(&operator, "foreign@example.com", &world.account).await.unwrap();
        foreign_member.get(&world.tokens()).await.ok();
        outside.close().await;
    });
}

/// The installation's owner has every right also on accounts made later; a token of theirs has what it was given.
#[test]
fn the_owner_owns_later_accounts_too() {
    on_both(async |world| {
        let operator = countersign_server::caller::Caller::Operator;
        let later = world.ops().create_account(&operator, "Later").await.unwrap();
        let token = Secret::from(later.account_token.expose().to_owned());
        let path = format!("/accounts/{}/access/service_tokens", later.account.id);
        world.owner_key().post(&path, &json!({"name": "x"})).await.created();
        world.owner_token().get(&path).await.refused(403, 10000);
        world.member().get(&path).await.refused(403, 10000);
        let own = world.anonymous().with("authorization", &format!("Bearer {}", token.expose()));
        assert_eq!(own.get(&path).await.ok().as_array().unwrap().len(), 1);
        own.get(&world.tokens()).await.refused(403, 10000);
    });
}

/// A world's callers are who they are said to be.
#[test]
fn readers_read_and_writers_write() {
    on_both(async |world: &mut World| {
        for tokens in world.scopes() {
            for writer in world.writers() {
                let token = writer.post(&tokens, &json!({"name": "x"})).await.created();
                let path = format!("{tokens}/{}", token["id"].as_str().unwrap());
                let reader = world.reader();
                reader.get(&tokens).await.ok();
                reader.get(&path).await.ok();
                reader.put(&path, &json!({"name": "y"})).await.refused(403, 10000);
                reader.act(&format!("{path}/rotate")).await.refused(403, 10000);
                reader.act(&format!("{path}/refresh")).await.refused(403, 10000);
                reader.delete(&path).await.refused(403, 10000);
                writer.delete(&path).await.ok();
            }
        }
    });
}
