//! Input that nobody means well with: the right answer, nothing changed, no 5xx.

use axum::body::{Body, Bytes};
use http::Method;
use hyper::body::Frame;
use serde_json::{Value, json};

use crate::world::prefactor::{Answer, Token};
use crate::world::{World, on_both};

const MIB: usize = 1 << 20;

/// Every route that reads a body, with what is there for it.
async fn routes(world: &World) -> (Vec<(Method, String)>, Token) {
    let caller = world.prefactor();
    let token = world.token().await;
    let agent = world.agent().await;
    let details = json!({"agent_id": agent, "environment_id": world.environment});
    let deployment = caller.make("/agent_deployment", details).await;
    let user = caller.ids("/admin_user").await[0].clone();
    let invite = caller.make("/admin_user_invite", json!({"email": "a@example.com"})).await;
    let (post, put, delete) = (Method::POST, Method::PUT, Method::DELETE);
    let routes = vec![
        (post.clone(), "/api_token".to_owned()),
        (post.clone(), format!("{}/suspend", token.path)),
        (post.clone(), format!("{}/activate", token.path)),
        (post.clone(), format!("{}/revoke", token.path)),
        (delete.clone(), token.path.clone()),
        (put.clone(), format!("/account/{}", world.account_pfid)),
        (post.clone(), "/environment".to_owned()),
        (put.clone(), format!("/environment/{}", world.environment)),
        (delete.clone(), format!("/environment/{}", world.environment)),
        (post.clone(), "/agent".to_owned()),
        (put.clone(), format!("/agent/{agent}")),
        (delete.clone(), format!("/agent/{agent}")),
        (post.clone(), "/agent_deployment".to_owned()),
        (delete, format!("/agent_deployment/{deployment}")),
        (put, format!("/admin_user/{user}")),
        (post.clone(), "/admin_user_invite".to_owned()),
        (post.clone(), format!("/admin_user_invite/{invite}/revoke")),
        (post.clone(), "/pfid/generate".to_owned()),
        (post, "/bulk".to_owned()),
    ];
    (routes, token)
}

/// Everything that the account has, as its lists show it.
async fn everything(world: &World) -> Vec<Value> {
    let mut lists = Vec::new();
    for collection in
        ["/api_token", "/account", "/environment", "/agent", "/agent_deployment", "/admin_user", "/admin_user_invite"]
    {
        let mut rows = world.prefactor().get(collection).await.summaries();
        for row in &mut rows {
            row.as_object_mut().unwrap().remove("last_used_at");
        }
        lists.push(json!(rows));
    }
    lists
}

#[test]
fn bodies_that_are_no_json_object() {
    on_both(async |world| {
        let (routes, token) = routes(world).await;
        let before = everything(world).await;
        let deep_array = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let deep_object = format!("{}1{}", r#"{"details":"#.repeat(90_000), "}".repeat(50_000));
        let deep_field = format!(r#"{{"details":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
        let unclosed = "{\"details\":".repeat(50_000);
        let bodies: [&[u8]; 26] = [
            b"not json",
            b"{",
            b"}",
            b"[]",
            b"5",
            b"\"x\"",
            b"true",
            b"null",
            b"nul",
            b"{\"details\"}",
            b"{\"details\":{},}",
            b"{details:{}}",
            b"{'details':{}}",
            b"{\"details\":{}} {}",
            b"\xef\xbb\xbf{}",
            b"{\"details\":\"\xff\"}",
            b"{\"\xff\":1}",
            b"\xff\xfe{\0}\0",
            b"{\"details\":\"\x01\"}",
            b"\0",
            b"details=x",
            br#"{"details":"\ud800"}"#,
            deep_array.as_bytes(),
            deep_object.as_bytes(),
            deep_field.as_bytes(),
            unclosed.as_bytes(),
        ];
        for body in bodies {
            for (method, path) in &routes {
                let answer = world.prefactor().call(method.clone(), path, body.to_vec()).await;
                answer.refused(400, "bad_request");
            }
        }
        assert_eq!(everything(world).await, before);
        world.assert_good(&token).await;
    });
}

/// A value that no field of any name takes, in every field of every write.
#[test]
fn values_that_no_field_takes() {
    on_both(async |world| {
        let (routes, token) = routes(world).await;
        let before = everything(world).await;
        let fields = [
            "token_scope",
            "account_id",
            "environment_id",
            "agent_id",
            "expires_at",
            "id",
            "name",
            "description",
            "purpose",
            "external_identifier",
            "organisation_name",
            "email",
            "job_title",
            "profile_completed_at",
        ];
        let huge = "9".repeat(5000);
        let long = format!("\"{}\"", "x".repeat(100_000));
        let values =
            ["5", "-0.0", "1e400", &huge, "true", "[]", "{}", "[[[{}]]]", r#""\u0000""#, r#""a\u0000b""#, &long];
        for (method, path) in routes.iter().filter(|(method, path)| {
            *method != Method::DELETE
                && !path.ends_with("/revoke")
                && !path.ends_with("suspend")
                && !path.ends_with("activate")
        }) {
            for field in fields {
                for value in values {
                    let base = match path.as_str() {
                        "/api_token" => r#""token_scope":"environment""#,
                        "/admin_user_invite" => r#""email":"b""#,
                        _ => r#""more":1"#,
                    };
                    let body = format!(r#"{{"details":{{{base},"{field}":{value}}},"count":{value}}}"#);
                    let answer = world.prefactor().call(method.clone(), path, body).await;
                    let status = answer.status.as_u16();
                    // A number that no parser reads is no JSON; a field that this write does not have may be anything.
                    assert!([200, 400, 422].contains(&status), "{answer}");
                    let may_pass = *method == Method::PUT || path == "/pfid/generate";
                    assert!(status != 200 || may_pass, "{answer}");
                }
            }
        }
        let after = everything(world).await;
        for (after, before) in after.iter().zip(&before) {
            let strip = |rows: &Value| {
                let mut rows = rows.clone();
                for row in rows.as_array_mut().unwrap() {
                    row.as_object_mut().unwrap().remove("updated_at");
                }
                rows
            };
            // Long texts may be texts that a field takes.
            assert_eq!(strip(after).as_array().unwrap().len(), strip(before).as_array().unwrap().len());
        }
        world.assert_good(&token).await;
    });
}

/// Each field of a new token with what can't stand in it: it is named, and nothing else is.
#[test]
fn wrong_types_are_named() {
    on_both(async |world| {
        let agent = world.agent().await;
        let whole = json!({
            "token_scope": "agent_deployment", "account_id": world.account_pfid, "environment_id": world.environment,
            "agent_id": agent, "expires_at": "2099-01-01T00:00:00Z",
        });
        world.prefactor().create(whole.clone()).await;
        for field in ["token_scope", "account_id", "environment_id", "agent_id", "expires_at"] {
            for value in [
                json!(5),
                json!(1.5),
                json!(true),
                json!([]),
                json!(["x"]),
                json!({}),
                json!({"x": 1}),
                json!("\u{0}"),
                json!(""),
            ] {
                let mut details = whole.clone();
                details[field] = value;
                let answer = world.prefactor().post("/api_token", &json!({ "details": details })).await;
                answer.invalid(&format!("details.{field}"), "invalid_value");
            }
        }
        assert_eq!(world.prefactor().count("/api_token").await, 2);
    });
}

/// A field given twice must not be judged by one value and stored with the other.
#[test]
fn a_field_given_twice() {
    on_both(async |world| {
        let both = async |body: &str| {
            let answer = world.prefactor().call(Method::POST, "/api_token", body.to_owned()).await;
            if answer.status == 200 {
                let token = Token::of(answer);
                assert_eq!(world.prefactor().show(&token).await, token.details);
                world.assert_good(&token).await;
            } else {
                assert!([400, 422].contains(&answer.status.as_u16()), "{answer}");
            }
        };
        both(r#"{"details":{"token_scope":"account"},"details":{"token_scope":"galaxy"}}"#).await;
        both(r#"{"details":{"token_scope":"galaxy"},"details":{"token_scope":"account"}}"#).await;
        both(r#"{"details":{"token_scope":"account","token_scope":"environment"}}"#).await;
        both(r#"{"details":{"token_scope":"environment","token_scope":"account"}}"#).await;
        let token = world.token().await;
        let body = r#"{"idempotency_key":"a","idempotency_key":"b"}"#;
        let answer = world.prefactor().call(Method::POST, &format!("{}/suspend", token.path), body).await;
        assert!([200, 400, 422].contains(&answer.status.as_u16()), "{answer}");
    });
}

fn body_of(length: usize) -> String {
    let frame = r#"{"details":{"token_scope":"account","padding":""}}"#.len();
    format!(r#"{{"details":{{"token_scope":"account","padding":"{}"}}}}"#, "p".repeat(length - frame))
}

fn in_pieces(text: &str) -> Body {
    let pieces: Vec<Bytes> = text.as_bytes().chunks(7000).map(Bytes::copy_from_slice).collect();
    Body::new(Pieces(pieces.into_iter(), None))
}

/// A body in pieces whose length nobody announces, and which may end in an error.
struct Pieces(std::vec::IntoIter<Bytes>, Option<std::io::Error>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let next = self.0.next().map(|piece| Ok(Frame::data(piece)));
        std::task::Poll::Ready(next.or_else(|| self.1.take().map(Err)))
    }
}

#[test]
fn a_body_has_at_most_a_mebibyte() {
    on_both(async |world| {
        for length in [MIB - 1, MIB] {
            Token::of(world.prefactor().call(Method::POST, "/api_token", body_of(length)).await);
        }
        Token::of(world.prefactor().call(Method::POST, "/api_token", in_pieces(&body_of(MIB))).await);
        let (routes, token) = routes(world).await;
        let before = everything(world).await;
        for length in [MIB + 1, MIB * 3] {
            for (method, path) in &routes {
                let answer = world.prefactor().call(method.clone(), path, body_of(length)).await;
                answer.refused(413, "bad_request");
                let answer = world.prefactor().call(method.clone(), path, in_pieces(&body_of(length))).await;
                answer.refused(413, "bad_request");
            }
        }
        let nobody = world.nobody().call(Method::POST, "/api_token", body_of(MIB * 3)).await;
        nobody.refused(401, "not_authenticated");
        assert_eq!(everything(world).await, before);
        world.assert_good(&token).await;
    });
}

#[test]
fn a_body_that_is_cut_off_changes_nothing() {
    on_both(async |world| {
        let (routes, token) = routes(world).await;
        let before = everything(world).await;
        for piece in ["", r#"{"details":"#, r#"{"details":{"token_scope":"account"}}"#, "{}"] {
            for (method, path) in &routes {
                let pieces = vec![Bytes::copy_from_slice(piece.as_bytes())];
                let error = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the client went away");
                let body = Body::new(Pieces(pieces.into_iter(), Some(error)));
                world.prefactor().call(method.clone(), path, body).await.refused(400, "bad_request");
            }
        }
        assert_eq!(everything(world).await, before);
        world.assert_good(&token).await;
    });
}

/// A name can't break out of wherever it is shown or kept.
#[test]
fn names_are_only_text() {
    on_both(async |world| {
        for name in [
            "'; DROP TABLE api_token; --",
            "\" OR \"\"=\"",
            "$1",
            "?",
            "{}",
            "\r\nset-cookie: a=b",
            "<img src=x onerror=alert(1)>",
            "\u{1b}[31m",
            "\\",
            "\\u0000",
            "%00",
            "\u{2028}",
            "null",
            "\u{10ffff}",
        ] {
            let id = world.prefactor().make("/agent", json!({ "name": name })).await;
            let shown = world.prefactor().get(&format!("/agent/{id}")).await.details();
            assert_eq!(shown["name"], name);
            let details = json!({"name": name, "description": name, "external_identifier": name});
            let id = world.prefactor().make("/environment", details).await;
            let shown = world.prefactor().get(&format!("/environment/{id}")).await.details();
            assert_eq!((&shown["description"], &shown["external_identifier"]), (&json!(name), &json!(name)));
        }
    });
}

/// Nothing that is sent anywhere is answered with a 5xx, or in another shape.
#[test]
fn whatever_comes_is_answered() {
    on_both(async |world| {
        let bodies = [
            "",
            "{}",
            "[]",
            "\0",
            "{\"details\":null}",
            "{\"details\":{}}",
            "{\"items\":[null]}",
            "{\"items\":{}}",
            "{\"count\":null}",
            "{\"details\":{\"id\":null,\"name\":null}}",
            "{\"idempotency_key\":{}}",
        ];
        let (routes, _) = routes(world).await;
        let mut answers: Vec<Answer> = Vec::new();
        for (_, path) in routes {
            for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::OPTIONS] {
                for body in bodies {
                    let caller = world.prefactor().with("content-type", "application/x-www-form-urlencoded");
                    answers.push(caller.call(method.clone(), &path, body).await);
                }
            }
        }
        assert!(answers.iter().all(|answer| !answer.status.is_server_error()));
    });
}
