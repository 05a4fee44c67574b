//! What clients send as credentials, well-formed or not.

use super::world::{World, bearer, get, pair, pair_of};

struct Cases {
    world: World,
}

impl Cases {
    async fn new() -> Self {
        Self { world: World::new().await }
    }

    async fn check(&self, query: &str, headers: &str, expected: &str) {
        let query = format!("{}{query}", self.world.demand());
        let (status, reason) = self.world.outcome(&query, headers).await;
        let expected_status = if expected == "allowed" { 200 } else { 401 };
        let reason = if status == 200 { "allowed" } else { &reason };
        assert_eq!((status, reason), (expected_status, expected), "{query} {headers}");
    }
}

#[tokio::test]
async fn pairs() {
    let cases = Cases::new().await;
    let token = cases.world.account_token();
    let (id, secret) = (token.client_id.to_string(), token.secret.expose());
    let id_line = format!("CF-Access-Client-Id: {id}\r\n");
    let secret_line = format!("CF-Access-Client-Secret: {secret}\r\n");
    for (headers, expected) in [
        (format!("{id_line}{secret_line}"), "allowed"),
        (format!("{secret_line}{id_line}"), "allowed"),
        (
            format!("{id_line}{secret_line}").to_ascii_lowercase().replace(&secret.to_ascii_lowercase(), secret),
            "allowed",
        ),
        (format!("cF-aCCESS-cLIENT-iD: {id}\r\nCF-ACCESS-CLIENT-SECRET: {secret}\r\n"), "allowed"),
        (format!("CF-Access-Client-Id:{id}\r\nCF-Access-Client-Secret: \t{secret} \t\r\n"), "allowed"),
        (String::new(), "missing"),
        (id_line.clone(), "malformed"),
        (secret_line.clone(), "malformed"),
        (format!("{id_line}{id_line}{secret_line}"), "malformed"),
        (format!("{id_line}{secret_line}{secret_line}"), "malformed"),
        (format!("{id_line}{secret_line}CF-Access-Client-Secret: other\r\n"), "malformed"),
        (pair_of("", secret), "malformed"),
        (pair_of(&id, ""), "malformed"),
        (pair_of("", ""), "malformed"),
        (pair_of(&id, &format!("{secret} {secret}")), "malformed"),
        (pair_of(&id, &format!("{secret}\u{e9}")), "malformed"),
        (pair_of(&format!("{id}\u{e9}"), secret), "malformed"),
        (pair_of(&id, &"a".repeat(512)), "invalid"),
        (pair_of(&id, &"a".repeat(513)), "malformed"),
        (pair_of(&"a".repeat(64), secret), "invalid"),
        (pair_of(&"a".repeat(65), secret), "malformed"),
        (pair_of(&id.to_ascii_uppercase(), secret), "invalid"),
        (pair_of(id.trim_end_matches(".access"), secret), "invalid"),
        (pair_of(&id, &secret.to_ascii_uppercase()), "invalid"),
        (pair_of(&id, &format!("{secret}0")), "invalid"),
        (pair_of(&id, &secret[..secret.len() - 1]), "invalid"),
    ] {
        cases.check("", &headers, expected).await;
    }
}

#[tokio::test]
async fn binary_values() {
    let cases = Cases::new().await;
    let token = cases.world.account_token();
    let demand = cases.world.demand();
    for secret in [b"\xff\xfe\xfd".as_slice(), b"\xc3\x28", b"\xed\xa0\x80", b"a\x80"] {
        let mut request =
            get(&demand, &format!("CF-Access-Client-Id: {}\r\nCF-Access-Client-Secret: ", token.client_id));
        request.truncate(request.len() - 2);
        let mut request = request.into_bytes();
        request.extend_from_slice(secret);
        request.extend_from_slice(b"\r\n\r\n");
        let answer = cases.world.connect().await.ask(request).await;
        assert_eq!((answer.status, answer.header("countersign-reason")), (401, Some("malformed")), "{secret:?}");
    }
}

#[tokio::test]
async fn bearers() {
    let cases = Cases::new().await;
    let token = cases.world.api_token(None);
    let bearer = token.bearer.expose();
    let line = format!("Authorization: Bearer {bearer}\r\n");
    for (headers, expected) in [
        (line.clone(), "allowed"),
        (format!("authorization: bearer {bearer}\r\n"), "allowed"),
        (format!("AUTHORIZATION: BEARER {bearer}\r\n"), "allowed"),
        (format!("{line}{line}"), "malformed"),
        ("Authorization: \r\n".to_owned(), "malformed"),
        ("Authorization: Bearer\r\n".to_owned(), "malformed"),
        ("Authorization: Bearer \r\n".to_owned(), "malformed"),
        (format!("Authorization: Bearer {bearer} {bearer}\r\n"), "malformed"),
        (format!("Authorization: Bearer {bearer}\u{e9}\r\n"), "malformed"),
        (format!("Authorization: Bearer {}\r\n", "a".repeat(5000)), "malformed"),
        ("Authorization: Basic dXNlcjpwYXNz\r\n".to_owned(), "missing"),
        ("Authorization: Digest username=\"u\"\r\n".to_owned(), "missing"),
        (format!("Authorization: Bearer {bearer}x\r\n"), "invalid"),
        ("Authorization: Bearer csat_0123456789012345678901234567890123456789012345\r\n".to_owned(), "invalid"),
        (format!("Authorization: Bearer {}\r\n", "0".repeat(37)), "invalid"),
        ("Authorization: Bearer garbage\r\n".to_owned(), "invalid"),
    ] {
        cases.check("", &headers, expected).await;
    }
}

#[tokio::test]
async fn the_pair_decides_where_it_is_present() {
    let cases = Cases::new().await;
    let token = cases.world.account_token();
    let api_token = cases.world.api_token(None);
    let wrong = pair_of(&token.client_id.to_string(), "wrong");
    for (headers, expected) in [
        (format!("{}Authorization: Basic dXNlcjpwYXNz\r\n", pair(&token)), "allowed"),
        (format!("{}Authorization: Bearer for-the-upstream\r\n", pair(&token)), "allowed"),
        (format!("{wrong}{}", bearer(&api_token)), "invalid"),
        (format!("CF-Access-Client-Id: {}\r\n{}", token.client_id, bearer(&api_token)), "malformed"),
    ] {
        cases.check("", &headers, expected).await;
    }
}

#[tokio::test]
async fn the_single_header() {
    let cases = Cases::new().await;
    let token = cases.world.account_token();
    let api_token = cases.world.api_token(None);
    let (id, secret) = (token.client_id.to_string(), token.secret.expose());
    let json = format!(r#"{{"cf-access-client-id":"{id}","cf-access-client-secret":"{secret}"}}"#);
    let line = |value: &str| format!("Authorization: {value}\r\n");
    let named = "&header=Authorization";
    for (query, headers, expected) in [
        (named, line(&json), "allowed"),
        ("&header=authorization", line(&json), "allowed"),
        ("&header=X-Token", format!("x-token: {json}\r\n"), "allowed"),
        (named, line(&json.replace("cf-", r"\u0063f-")), "allowed"),
        // Off unless named: then it is another scheme, or another header.
        ("", line(&json), "missing"),
        ("", format!("X-Token: {json}\r\n"), "missing"),
        ("&header=X-Other", format!("X-Token: {json}\r\n"), "missing"),
        (named, line(&json.replace("cf-access-client-id", "CF-Access-Client-Id")), "malformed"),
        (named, line(&json.replace("cf-access", "Cf-Access")), "malformed"),
        (named, line(&format!(r#"{{"cf-access-client-id":"{id}"}}"#)), "malformed"),
        (named, line("{}"), "malformed"),
        (named, line("{"), "malformed"),
        (named, line(&json.replace('}', "")), "malformed"),
        (named, line(&json.replace('{', r#"{"cf-access-client-id":"x","#)), "malformed"),
        (named, line(&format!("{json}x")), "malformed"),
        (named, line(&format!("{json}{}", " ".repeat(0))).repeat(2), "malformed"),
        (named, line(&format!(r#"{{"cf-access-client-id":"{id}","cf-access-client-secret":5}}"#)), "malformed"),
        (named, line(&json.replace(secret, "wrong")), "invalid"),
        (named, format!("{}{}", line(&json), pair(&token)), "malformed"),
        // Where a header is named, the pair alone still works, beside what belongs to the upstream.
        (named, pair(&token), "allowed"),
        (named, format!("{}Authorization: Basic dXNlcjpwYXNz\r\n", pair(&token)), "allowed"),
        (named, format!("{}Authorization: Bearer for-the-upstream\r\n", pair(&token)), "allowed"),
        (named, bearer(&api_token), "allowed"),
        (named, String::new(), "missing"),
    ] {
        cases.check(query, &headers, expected).await;
    }
}

#[tokio::test]
async fn headers_of_ours_are_never_believed() {
    let cases = Cases::new().await;
    let spoofed =
        "Countersign-Kind: service_token\r\nCountersign-Token-Id: x\r\nCf-Access-Jwt-Assertion: eyJ.e30.x\r\n";
    cases.check("", spoofed, "missing").await;
    let token = cases.world.account_token();
    let answer = cases.world.ask(&cases.world.demand(), &format!("{spoofed}{}", pair(&token))).await;
    assert_eq!(answer.header("countersign-token-id"), Some(token.id.to_string().as_str()));
}
