//! Whole answers to the letter. The clock stands still and randomness repeats itself, so nothing has to be left out.

use serde_json::json;

use crate::world::{Answer, HOUR, World, on_both};

/// An answer as a client sees it: the status, the headers in their order, the body.
fn shown(answer: &Answer) -> String {
    let mut headers: Vec<String> =
        answer.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    headers.sort();
    format!("{}\n{}\n\n{}", answer.status.as_u16(), headers.join("\n"), answer.text)
}

/// On both databases the same.
fn alike(test: impl AsyncFn(&mut World)) {
    insta::allow_duplicates! { on_both(test) }
}

#[test]
fn a_created_token() {
    alike(async |world| {
        let writer = world.writer().with("x-request-id", "request-1");
        let answer = writer.post(&world.tokens(), &json!({"name": "CI/CD token"})).await;
        insta::assert_snapshot!(shown(&answer), @r#"
        201
        cache-control: no-store
        cf-ray: request-1
        content-length: 410
        content-type: application/json
        x-request-id: request-1

        {"success":true,"errors":[],"messages":[],"result":{"client_id":"2977f6df41c078b9e2fbcfbec098c6e8.access","client_secret":"csec_YwZKogSUUFtScoNUqwRSHlptSaJvGytm6rEkD9Sg3YGmxH","created_at":"2026-03-01T12:00:00Z","updated_at":"2026-03-01T12:00:00Z","expires_at":"2027-03-01T12:00:00Z","id":"019ca945-0a00-7355-8c76-da8f295d7b4b","name":"CI/CD token","duration":"8760h","client_secret_version":1,"enabled":true}}
        "#);
    });
}

#[test]
fn an_update_that_rotates() {
    alike(async |world| {
        let token = world.issue_default().await;
        world.assert_admitted(&token).await;
        world.advance(HOUR);
        let body = json!({"client_secret_version": 2, "previous_client_secret_expires_at": world.after(HOUR)});
        let writer = world.writer().with("x-request-id", "request-1");
        insta::assert_snapshot!(shown(&writer.put(&token.path, &body).await), @r#"
        200
        cache-control: no-store
        cf-ray: request-1
        content-length: 497
        content-type: application/json
        countersign-propagation: complete; nodes=1; waited=0ms
        x-request-id: request-1

        {"success":true,"errors":[],"messages":[],"result":{"client_id":"2977f6df41c078b9e2fbcfbec098c6e8.access","client_secret":"csec_4hZZj4sicQH2SyUwwhkRfAp2dwn6DcPWg9RhIJhx0KhjMe","created_at":"2026-03-01T12:00:00Z","updated_at":"2026-03-01T13:00:00Z","expires_at":"2027-03-01T12:00:00Z","id":"019ca945-0a00-7355-8c76-da8f295d7b4b","name":"x","duration":"8760h","client_secret_version":2,"enabled":true,"last_seen_at":"2026-03-01T12:00:00Z","previous_client_secret_expires_at":"2026-03-01T14:00:00Z"}}
        "#);
    });
}

#[test]
fn a_list() {
    alike(async |world| {
        world
            .issue_many(&world.zone_tokens(), ["a", "b"].map(|name| json!({"name": name, "duration": "forever"})))
            .await;
        let reader = world.reader().with("x-request-id", "request-1");
        insta::assert_snapshot!(shown(&reader.get(&world.zone_tokens()).await), @r#"
        200
        cache-control: no-store
        cf-ray: request-1
        content-length: 698
        content-type: application/json
        x-request-id: request-1

        {"success":true,"errors":[],"messages":[],"result":[{"client_id":"2977f6df41c078b9e2fbcfbec098c6e8.access","created_at":"2026-03-01T12:00:00Z","updated_at":"2026-03-01T12:00:00Z","expires_at":"2126-02-05T12:00:00Z","id":"019ca945-0a01-7355-8c76-da8f295d7b4b","name":"a","duration":"forever","client_secret_version":1,"enabled":true},{"client_id":"802b2323a980b26a26964fbc1cb81e3a.access","created_at":"2026-03-01T12:00:00Z","updated_at":"2026-03-01T12:00:00Z","expires_at":"2126-02-05T12:00:00Z","id":"019ca945-0a02-724e-92a4-2f42316cd5e5","name":"b","duration":"forever","client_secret_version":1,"enabled":true}],"result_info":{"page":1,"per_page":1000,"count":2,"total_count":2,"total_pages":1}}
        "#);
    });
}

#[test]
fn an_invalid_request() {
    alike(async |world| {
        let writer = world.writer().with("x-request-id", "request-1");
        let answer = writer.post(&world.tokens(), &json!({"name": "x", "duration": "1d"})).await;
        insta::assert_snapshot!(shown(&answer), @r#"
        400
        cache-control: no-store
        cf-ray: request-1
        content-length: 252
        content-type: application/json
        x-request-id: request-1

        {"success":false,"errors":[{"code":12130,"message":"access.api.error.invalid_request: duration: has an unknown unit; the units are ns, us, ms, s, m and h, in lower case and without spaces","source":{"pointer":"/duration"}}],"messages":[],"result":null}
        "#);
    });
}

#[test]
fn a_malformed_header() {
    alike(async |world| {
        let caller = world.anonymous().with("authorization", "Bearer abc-def").with("x-request-id", "request-1");
        insta::assert_snapshot!(shown(&caller.get(&world.tokens()).await), @r#"
        400
        cache-control: no-store
        cf-ray: request-1
        content-length: 188
        content-type: application/json
        x-request-id: request-1

        {"success":false,"errors":[{"code":6003,"message":"Invalid request headers","error_chain":[{"code":6111,"message":"Invalid format for Authorization header"}]}],"messages":[],"result":null}
        "#);
    });
}

#[test]
fn no_route() {
    alike(async |world| {
        let caller = world.anonymous().with("x-request-id", "request-1");
        insta::assert_snapshot!(shown(&caller.get("/nowhere").await), @r#"
        404
        cache-control: no-store
        cf-ray: request-1
        content-length: 212
        content-type: application/json
        x-request-id: request-1

        {"success":false,"errors":[{"code":7003,"message":"Could not route to /client/v4/nowhere, perhaps your object identifier is invalid?"},{"code":7000,"message":"No route for that URI"}],"messages":[],"result":null}
        "#);
    });
}

/// Every message about a field, in one table.
#[test]
fn what_is_said_of_a_field() {
    alike(async |world| {
        let bodies = [
            json!({}),
            json!({"name": ""}),
            json!({"name": 5}),
            json!({"name": "a".repeat(351)}),
            json!({"name": "\0"}),
            json!({"name": "x", "duration": ""}),
            json!({"name": "x", "duration": 5}),
            json!({"name": "x", "duration": "1d"}),
            json!({"name": "x", "duration": "1"}),
            json!({"name": "x", "duration": "0s"}),
            json!({"name": "x", "duration": "2562048h"}),
            json!({"name": "x", "enabled": "yes"}),
            json!({"name": "x", "client_secret_version": 1.5}),
            json!({"name": "x", "client_secret_version": "2"}),
            json!({"name": "x", "previous_client_secret_expires_at": "tomorrow"}),
            json!({"name": "x", "previous_client_secret_expires_at": 5}),
            json!({"name": "x", "previous_client_secret_expires_at": "2026-02-30T00:00:00Z"}),
        ];
        let mut messages = Vec::new();
        for body in bodies {
            let answer = world.writer().post(&world.tokens(), &body).await;
            messages
                .push(answer.refused(400, 12130).trim_start_matches("access.api.error.invalid_request: ").to_owned());
        }
        insta::assert_snapshot!(messages.join("\n"), @r#"
        name: is required
        name: must not be empty
        name: must be a string
        name: must not be longer than 350 characters
        name: must not contain U+0000
        duration: must not be empty; write for example 8760h or forever
        duration: must be a string
        duration: has an unknown unit; the units are ns, us, ms, s, m and h, in lower case and without spaces
        duration: has a number without a unit; the units are ns, us, ms, s, m and h
        duration: must be longer than zero
        duration: must not exceed 2562047h47m16.854775807s; write forever for a token that never expires
        enabled: must be true or false
        client_secret_version: must be a whole number from 0 to 4294967295
        client_secret_version: must be a whole number from 0 to 4294967295
        previous_client_secret_expires_at: must be an RFC 3339 date-time with an offset, such as 2026-01-31T12:00:00Z
        previous_client_secret_expires_at: must be a string or null
        previous_client_secret_expires_at: names a date or time that does not exist
        "#);
    });
}
