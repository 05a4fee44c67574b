//! Service tokens.

use countersign_client::Credential;
use countersign_client::cloudflare::{
    Client, Error, Grace, ListFilter, NewServiceToken, Scope, ServiceTokenId, UpdateServiceToken,
};

use crate::server::{self, http};

const ACCOUNT: &str = "2f0c5b1be6f84e7f8a2d3c4b5a697887";
const ID: &str = "3537a672-e4d8-4d89-aab9-26cb622918a1";

fn ok(status: &str, result: &str, info: &str) -> Option<String> {
    let body = format!(r#"{{"success":true,"errors":[],"messages":[],"result":{result}{info}}}"#);
    Some(http(status, &body))
}

fn token(name: &str) -> String {
    format!(
        r#"{{"id":"{ID}","client_id":"88bf3b6d86161464f6509f7219099e57.access","name":"{name}","duration":"8760h","enabled":true,
        "client_secret_version":1,"created_at":"2025-09-25T22:26:26Z","updated_at":"2025-09-25T22:26:26Z",
        "expires_at":"2026-09-25T22:26:26Z"}}"#
    )
}

fn issued(name: &str) -> String {
    token(name).replacen('{', r#"{"client_secret":"csec_shown_once","#, 1)
}

async fn against<T>(answers: Vec<Option<String>>, call: impl AsyncFnOnce(Client) -> T) -> (T, Vec<String>) {
    server::against(answers, async |address, credential| call(Client::new(address, credential).unwrap()).await).await
}

fn scope() -> Scope {
    Scope::account(ACCOUNT).unwrap()
}

fn id() -> ServiceTokenId {
    ID.parse().unwrap()
}

#[tokio::test]
async fn a_create_sends_what_is_meant_and_gives_the_secret_apart() {
    let (outcome, asked) = against(vec![ok("201 Created", &issued("deploy"), "")], async |client| {
        client.create_service_token(&scope(), &NewServiceToken::named("deploy"), None).await
    })
    .await;
    let issued = outcome.unwrap();
    assert_eq!(issued.client_secret.expose(), "csec_shown_once");
    assert_eq!(issued.token.name, "deploy");
    assert!(!format!("{issued:?}").contains("csec_shown_once"));
    assert!(asked[0].starts_with(&format!("POST /client/v4/accounts/{ACCOUNT}/access/service_tokens HTTP/1.1\r\n")));
    assert!(asked[0].contains("authorization: Bearer csat_caller\r\n"), "{}", asked[0]);
    assert!(asked[0].ends_with(r#"{"name":"deploy"}"#), "{}", asked[0]);
}

/// Where a key is given, and nowhere else.
#[tokio::test]
async fn a_key_stands_in_a_header() {
    let answers = vec![
        ok("201 Created", &issued("deploy"), ""),
        ok("200 OK", &issued("deploy"), ""),
        ok("200 OK", &issued("deploy"), ""),
        ok("200 OK", &issued("deploy"), ""),
    ];
    let (_, asked) = against(answers, async |client| {
        let update = UpdateServiceToken { client_secret_version: Some(2), ..UpdateServiceToken::default() };
        client.create_service_token(&scope(), &NewServiceToken::named("deploy"), Some("k 1")).await.unwrap();
        client.update_service_token(&scope(), &id(), &update, Some("k2")).await.unwrap();
        client.rotate_service_token(&scope(), &id(), Grace::Ends, Some("k3")).await.unwrap();
        client.rotate_service_token(&scope(), &id(), Grace::Ends, None).await.unwrap();
    })
    .await;
    for (asked, key) in asked.iter().zip(["k 1", "k2", "k3"]) {
        assert!(asked.contains(&format!("idempotency-key: {key}\r\n")), "{asked}");
    }
    assert!(!asked[3].contains("idempotency-key"), "{}", asked[3]);
    let (outcome, asked) =
        against(vec![], async |client| client.rotate_service_token(&scope(), &id(), Grace::Ends, Some("a\nb")).await)
            .await;
    assert!(matches!(outcome.unwrap_err(), Error::IdempotencyKey));
    assert!(asked.is_empty());
}

#[tokio::test]
async fn a_lost_answer_is_not_asked_for_again() {
    let (outcome, asked) = against(vec![None], async |client| {
        client.create_service_token(&scope(), &NewServiceToken::named("deploy"), None).await
    })
    .await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::Transport { .. }) && !error.is_unsent(), "{error:?}");
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn a_list_follows_the_pages() {
    let page = |names: &[&str]| {
        let tokens: Vec<String> = names.iter().map(|name| token(name)).collect();
        ok(
            "200 OK",
            &format!("[{}]", tokens.join(",")),
            r#","result_info":{"page":1,"per_page":2,"count":2,"total_count":3,"total_pages":2}"#,
        )
    };
    let filter = ListFilter { name: Some("a b&c".to_owned()), search: None };
    let (outcome, asked) = against(vec![page(&["one", "two"]), page(&["three"])], async |client| {
        client.list_service_tokens(&scope(), filter).all().await
    })
    .await;
    let names: Vec<String> = outcome.unwrap().into_iter().map(|token| token.name).collect();
    assert_eq!(names, ["one", "two", "three"]);
    assert!(asked[0].contains("?page=1&per_page=1000&name=a+b%26c HTTP"), "{}", asked[0]);
    assert!(asked[1].contains("?page=2&per_page=1000&name=a+b%26c HTTP"), "{}", asked[1]);
}

#[tokio::test]
async fn a_list_without_a_count_ends_with_an_empty_page() {
    let full = ok("200 OK", &format!("[{}]", token("one")), "");
    let (outcome, asked) = against(vec![full, ok("200 OK", "[]", "")], async |client| {
        client.list_service_tokens(&scope(), ListFilter::default()).all().await
    })
    .await;
    assert_eq!(outcome.unwrap().len(), 1);
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn a_refusal_keeps_status_code_pointer_and_request_id() {
    let body = r#"{"success":false,"errors":[{"code":12130,"message":"access.api.error.invalid_request: no","source":{"pointer":"/previous_client_secret_expires_at"}}],"messages":[],"result":null}"#;
    let (outcome, asked) = against(vec![Some(http("400 Bad Request", body))], async |client| {
        client.rotate_service_token(&scope(), &id(), Grace::Ends, None).await
    })
    .await;
    let error = outcome.unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!((refusal.status, refusal.has_code(12130)), (400, true));
    assert_eq!(refusal.problems[0].pointer.as_deref(), Some("/previous_client_secret_expires_at"));
    assert_eq!(refusal.request_id.as_deref(), Some("r1"));
    assert!(asked[0].starts_with(&format!("POST /client/v4/accounts/{ACCOUNT}/access/service_tokens/{ID}/rotate ")));
    assert!(asked[0].ends_with("{}"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere =
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let (outcome, _) =
        against(vec![Some(elsewhere.to_owned())], async |client| client.delete_service_token(&scope(), &id()).await)
            .await;
    assert!(matches!(outcome.unwrap_err(), Error::Unexpected { status: 302, .. }));
}

#[test]
fn an_encrypted_address_is_taken() {
    Client::new("https://countersign.example.com", &Credential::bearer("csat_caller")).unwrap();
}
