//! API tokens.

use countersign_client::prefactor::{ApiTokenId, ApiTokenStatus, Client, Error, NewApiToken, NewScope, ScopeKind};
use countersign_client::{Credential, Timestamp};

use crate::server::{self, http};

const ID: &str = "01kdvdna003nqk8n000g40r40m30e209";
const ENVIRONMENT: &str = "013xrzp12g3nqk8n7f8f9jbg8d18q7tm";

async fn against<T>(answers: Vec<Option<String>>, call: impl AsyncFnOnce(Client) -> T) -> (T, Vec<String>) {
    server::against(answers, async |address, credential| call(Client::new(address, credential).unwrap()).await).await
}

fn id() -> ApiTokenId {
    ID.parse().unwrap()
}

fn token(id: &str, status: &str) -> String {
    format!(
        r#"{{"type":"api_token","id":"{id}","account_id":"013xrzp12g3nqk8ngskn1wtxgka5b0nf",
        "token_scope":"environment","environment_id":"{ENVIRONMENT}","agent_deployment_id":null,"agent_id":null,
        "created_by_admin_user_id":null,"status":"{status}","expires_at":"2027-01-01T00:00:00Z","last_used_at":null,
        "inserted_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z"}}"#
    )
}

fn details(status: &str) -> Option<String> {
    Some(http("200 OK", &format!(r#"{{"status":"success","details":{}}}"#, token(ID, status))))
}

fn page(ids: &[&str], next: &str) -> Option<String> {
    let summaries: Vec<String> = ids.iter().map(|id| token(id, "active")).collect();
    let body = format!(
        r#"{{"status":"success","summaries":[{}],"sorting":{{"field":"id","direction":"asc"}},
        "pagination":{{"item_count":3,"page_size":2,"page_offset":0,"item_start":1,"item_end":2,"page_count":2,
        "page_index":1,"next_page_offset":{next},"previous_page_offset":null}}}}"#,
        summaries.join(",")
    );
    Some(http("200 OK", &body))
}

fn refusal(status: &str, code: &str, message: &str, rest: &str) -> Option<String> {
    Some(http(status, &format!(r#"{{"status":"error","code":"{code}","message":"{message}"{rest}}}"#)))
}

#[tokio::test]
async fn a_create_sends_what_is_meant_and_gives_the_secret_apart() {
    let made = format!(r#"{{"status":"success","details":{},"token":"eyJ.shown.once"}}"#, token(ID, "active"));
    let new = NewApiToken {
        scope: NewScope::Environment(ENVIRONMENT.parse().unwrap()),
        expires_at: Some(Timestamp::parse_rfc3339("2027-01-01T00:00:00Z").unwrap()),
    };
    let (outcome, asked) =
        against(vec![Some(http("200 OK", &made))], async |client| client.create_api_token(&new, Some("key-1")).await)
            .await;
    let issued = outcome.unwrap();
    assert_eq!(issued.secret.expose(), "eyJ.shown.once");
    assert!(!format!("{issued:?}").contains("shown"));
    assert_eq!((issued.token.id, issued.token.token_scope), (id(), ScopeKind::Environment));
    assert!(asked[0].starts_with("POST /api/v1/api_token HTTP/1.1\r\n"), "{}", asked[0]);
    assert!(asked[0].contains("authorization: Bearer csat_caller\r\n"), "{}", asked[0]);
    let body = format!(
        r#"{{"details":{{"token_scope":"environment","environment_id":"{ENVIRONMENT}","expires_at":"2027-01-01T00:00:00Z"}},"idempotency_key":"key-1"}}"#
    );
    assert!(asked[0].ends_with(&body), "{}", asked[0]);
}

#[tokio::test]
async fn a_lost_answer_is_not_asked_for_again() {
    let new = NewApiToken { scope: NewScope::Account, expires_at: None };
    let (outcome, asked) = against(vec![None], async |client| client.create_api_token(&new, Some("key-1")).await).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::Transport { .. }) && !error.is_unsent(), "{error:?}");
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn a_list_follows_the_offsets() {
    let (one, two, three) = (ID, &ID.replacen("20", "21", 1), &ID.replacen("20", "22", 1));
    let (outcome, asked) = against(vec![page(&[one, two], "2"), page(&[three], "null")], async |client| {
        client.list_api_tokens(Some("-created_at".to_owned())).all().await
    })
    .await;
    let ids: Vec<String> = outcome.unwrap().iter().map(|token| token.id.to_string()).collect();
    assert_eq!(ids, [one, two, three]);
    let size = "pagination%5Bpage_size%5D=100&sorting=-created_at";
    for (request, offset) in asked.iter().zip([0, 2]) {
        let start = format!("GET /api/v1/api_token?pagination%5Boffset%5D={offset}&{size} HTTP");
        assert!(request.starts_with(&start), "{request}");
    }
}

#[tokio::test]
async fn a_list_that_leads_round_and_round_is_none() {
    let (outcome, asked) =
        against(vec![page(&[ID], "2"), page(&[ID], "2")], async |client| client.list_api_tokens(None).all().await)
            .await;
    assert!(matches!(outcome.unwrap_err(), Error::Unexpected { status: 200, .. }));
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn actions_have_paths_of_their_own() {
    let answers = vec![details("suspended"), details("active"), details("revoked"), details("revoked")];
    let (outcome, asked) = against(answers, async |client| {
        let mut statuses = Vec::new();
        statuses.push(client.suspend_api_token(&id()).await?.status);
        statuses.push(client.activate_api_token(&id()).await?.status);
        statuses.push(client.revoke_api_token(&id()).await?.status);
        statuses.push(client.delete_api_token(&id()).await?.status);
        Ok::<_, Error>(statuses)
    })
    .await;
    let expected =
        [ApiTokenStatus::Suspended, ApiTokenStatus::Active, ApiTokenStatus::Revoked, ApiTokenStatus::Revoked];
    assert_eq!(outcome.unwrap(), expected);
    let lines: Vec<&str> = asked.iter().map(|request| request.lines().next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            format!("POST /api/v1/api_token/{ID}/suspend HTTP/1.1"),
            format!("POST /api/v1/api_token/{ID}/activate HTTP/1.1"),
            format!("POST /api/v1/api_token/{ID}/revoke HTTP/1.1"),
            format!("DELETE /api/v1/api_token/{ID} HTTP/1.1"),
        ]
    );
}

#[tokio::test]
async fn a_refusal_keeps_status_code_fields_and_request_id() {
    let errors = r#","errors":{"details":{"status":"error","code":"validation_errors","message":"m","errors":{
        "environment_id":{"status":"error","code":"unexpected_ref_type","message":"is an agent"}}}}"#;
    let answer = refusal("422 Unprocessable Content", "validation_errors", "Validation failed", errors);
    let new = NewApiToken { scope: NewScope::Environment(ENVIRONMENT.parse().unwrap()), expires_at: None };
    let (outcome, _) = against(vec![answer], async |client| client.create_api_token(&new, None).await).await;
    let error = outcome.unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!((refusal.status, refusal.code.as_str()), (422, "validation_errors"));
    let field = &refusal.fields[0];
    assert_eq!((field.path.as_str(), field.code.as_str()), ("details.environment_id", "unexpected_ref_type"));
    assert_eq!(refusal.request_id.as_deref(), Some("r1"));
}

#[tokio::test]
async fn a_plain_refusal_has_no_fields() {
    let answer = refusal("409 Conflict", "invalid_action", "Token is revoked and cannot be activated", "");
    let (outcome, _) = against(vec![answer], async |client| client.activate_api_token(&id()).await).await;
    let error = outcome.unwrap_err();
    assert!(error.refusal().unwrap().fields.is_empty());
    assert_eq!(error.to_string(), "Token is revoked and cannot be activated (code invalid_action) [HTTP 409]");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere =
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let (outcome, _) =
        against(vec![Some(elsewhere.to_owned())], async |client| client.find_api_token(&id()).await).await;
    assert!(matches!(outcome.unwrap_err(), Error::Unexpected { status: 302, .. }));
}

#[test]
fn an_encrypted_address_is_taken() {
    Client::new("https://countersign.example.com", &Credential::bearer("eyJ")).unwrap();
}
