//! Input that nobody means well with: the right answer, nothing changed, no 5xx.

use axum::body::{Body, Bytes};
use http::{HeaderValue, Method, Request};
use hyper::body::Frame;
use serde_json::{Value, json};

use crate::world::{Answer, World, on_both, on_sqlite};

const MIB: usize = 1 << 20;

async fn assert_unchanged(world: &World, before: &Value) {
    assert_eq!(world.reader().get(&world.tokens()).await.ok(), *before, "nothing changed");
}

/// Sends a body to each route that reads one.
async fn send_everywhere(world: &World, path: &str, body: impl Fn() -> Body) -> [Answer; 3] {
    let send = async |method: Method, path: &str| world.writer().call(method, path, body()).await;
    [
        send(Method::POST, &world.tokens()).await,
        send(Method::PUT, path).await,
        send(Method::POST, &format!("{path}/rotate")).await,
    ]
}

#[test]
fn bodies_that_are_no_json_object() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let before = world.reader().get(&world.tokens()).await.ok();
        let deep_array = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let deep_object = format!("{}1{}", r#"{"name":"#.repeat(100_000), "}".repeat(100_000));
        let deep_field = format!(r#"{{"name":"x","foo":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
        let unclosed = "[".repeat(500_000);
        let bodies: [&[u8]; 28] = [
            b"not json",
            b"{",
            b"}",
            b"[]",
            b"5",
            b"\"x\"",
            b"true",
            b"nul",
            b"{\"name\"}",
            b"{\"name\":}",
            b"{\"name\":\"x\",}",
            b"{name:\"x\"}",
            b"{'name':'x'}",
            b"{\"name\":\"x\"} {}",
            b"{\"name\":\"x\"}x",
            b"\xef\xbb\xbf{\"name\":\"x\"}",
            b"{\"name\":\"\xff\"}",
            b"{\"\xff\":1}",
            b"\xff\xfe{\0}\0",
            b"{\"name\":\"\x01\"}",
            b"{\"name\":\"x",
            b"\0",
            b"{\"name\":\"x\"}\0",
            b"name=x",
            deep_array.as_bytes(),
            deep_object.as_bytes(),
            deep_field.as_bytes(),
            unclosed.as_bytes(),
        ];
        for body in bodies {
            for answer in send_everywhere(world, &token.path, || Body::from(body.to_vec())).await {
                let message = answer.refused(400, 12130);
                assert!(message.starts_with("access.api.error.invalid_request: the body "), "{answer}");
                assert!(answer.text.len() < 500, "a body is not repeated: {answer}");
            }
        }
        for surrogate in [r"\ud800", r"\udc00", r"\udc00\ud800", r"\ud800x", r"\ud83d\u0041", r"\u12", r"\x41"] {
            let body = format!(r#"{{"name":"{surrogate}"}}"#);
            for answer in send_everywhere(world, &token.path, || Body::from(body.clone())).await {
                answer.refused(400, 12130);
            }
        }
        assert_unchanged(world, &before).await;
        world.assert_admitted(&token).await;
    });
}

#[test]
fn values_that_no_field_takes() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let before = world.reader().get(&world.tokens()).await.ok();
        let huge = "9".repeat(5000);
        let exponent = format!("1e{}", "9".repeat(50));
        let small = format!("-{huge}");
        let values = [
            ("name", "5"),
            ("name", "{}"),
            ("name", "[\"x\"]"),
            ("name", "true"),
            ("name", r#""""#),
            ("name", r#""\u0000""#),
            ("name", r#""a\u0000b""#),
            ("name", &huge),
            ("duration", "5"),
            ("duration", r#""\u0000""#),
            ("duration", r#""1h\u0000""#),
            ("duration", r#""999999999999999999999999h""#),
            ("duration", r#""-1h""#),
            ("duration", r#""forever ""#),
            ("duration", r#""Forever""#),
            ("enabled", "\"true\""),
            ("enabled", "1"),
            ("client_secret_version", &huge),
            ("client_secret_version", &small),
            ("client_secret_version", "1e400"),
            ("client_secret_version", &exponent),
            ("client_secret_version", "-1e400"),
            ("client_secret_version", "1.0000000001"),
            ("client_secret_version", "NaN"),
            ("client_secret_version", "Infinity"),
            ("previous_client_secret_expires_at", "1e400"),
            ("previous_client_secret_expires_at", r#""\u0000""#),
            ("previous_client_secret_expires_at", r#""999999999-01-01T00:00:00Z""#),
        ];
        let long_duration = format!(r#""{}1h""#, "0".repeat(10_000));
        for (field, value) in values.into_iter().chain([("duration", long_duration.as_str())]) {
            // The field comes first and last: neither order lets it through.
            for body in [format!(r#"{{"{field}":{value},"foo":1}}"#), format!(r#"{{"foo":1,"{field}":{value}}}"#)] {
                for method in [Method::POST, Method::PUT] {
                    let path = if method == Method::POST { world.tokens() } else { token.path.clone() };
                    let body = if field == "name" { body.clone() } else { body.replacen('{', r#"{"name":"y","#, 1) };
                    let answer = world.writer().call(method, &path, body).await;
                    let message = answer.refused(400, 12130).to_owned();
                    let names_field = message.contains(&format!("invalid_request: {field}: "));
                    // A number that no parser reads is not JSON, as the message then says.
                    assert!(names_field || message.contains("the body is not JSON"), "{answer}");
                    assert!(answer.text.len() < 500, "a value is not repeated: {answer}");
                }
            }
        }
        assert_unchanged(world, &before).await;
        world.assert_admitted(&token).await;
    });
}

/// A name given twice must not be judged by one value and stored with the other.
#[test]
fn a_field_given_twice() {
    on_both(async |world| {
        let answer = world.writer().call(Method::POST, &world.tokens(), r#"{"name":"a","name":"b"}"#).await;
        if answer.status == 201 {
            let token = answer.created();
            let read = world.reader().get(&format!("{}/{}", world.tokens(), token["id"].as_str().unwrap())).await.ok();
            assert_eq!(read["name"], token["name"]);
        } else {
            answer.refused(400, 12130);
        }
        world.writer().call(Method::POST, &world.tokens(), r#"{"name":"a","name":""}"#).await.refused(400, 12130);
    });
}

/// A body of exactly `length` bytes that creates a token.
fn body_of(length: usize) -> String {
    let frame = r#"{"name":"x","padding":""}"#.len();
    format!(r#"{{"name":"x","padding":"{}"}}"#, "p".repeat(length - frame))
}

#[test]
fn a_body_has_at_most_a_mebibyte() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let tokens = world.tokens();
        for length in [MIB - 1, MIB] {
            world.writer().call(Method::POST, &tokens, body_of(length)).await.created();
        }
        let before = world.reader().get(&tokens).await.ok();
        for length in [MIB + 1, MIB * 3] {
            for answer in send_everywhere(world, &token.path, || Body::from(body_of(length))).await {
                answer.refused(413, 12130);
                assert!(answer.message().starts_with("access.api.error.invalid_request: "), "{answer}");
            }
            // The same in pieces, so that no length is known beforehand.
            for answer in send_everywhere(world, &token.path, || in_pieces(&body_of(length))).await {
                answer.refused(413, 12130);
            }
        }
        // Nothing of it is read for somebody who may not write.
        world.reader().call(Method::POST, &tokens, body_of(MIB * 3)).await.refused(403, 10000);
        world.anonymous().call(Method::POST, &tokens, body_of(MIB * 3)).await.refused(400, 9106);
        assert_unchanged(world, &before).await;
        let answer = world.writer().call(Method::POST, &tokens, in_pieces(&body_of(MIB))).await;
        answer.created();
    });
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
fn a_body_that_is_cut_off_changes_nothing() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let before = world.reader().get(&world.tokens()).await.ok();
        for piece in ["", r#"{"name":"#, r#"{"name":"y"}"#] {
            let cut = || {
                let pieces = vec![Bytes::copy_from_slice(piece.as_bytes())];
                let error = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the client went away");
                Body::new(Pieces(pieces.into_iter(), Some(error)))
            };
            for answer in send_everywhere(world, &token.path, cut).await {
                answer.refused(400, 12130);
            }
        }
        assert_unchanged(world, &before).await;
    });
}

#[test]
fn queries_that_are_no_text() {
    on_both(async |world| {
        world.issue_default().await;
        let tokens = world.tokens();
        for query in [
            "name=%FF",
            "name=%C3",
            "name=%C3%28",
            "search=%ED%A0%80",
            "%FF=1",
            "name=%",
            "name=%4",
            "name=%GG",
            "name=a%",
            "name=%00",
            "search=%00",
            "name=a%00b",
            "search=%F4%90%80%80",
        ] {
            let answer = world.reader().get(&format!("{tokens}?{query}")).await;
            let message = answer.refused(400, 12130);
            assert!(message.starts_with("access.api.error.invalid_request: "), "{query}");
        }
        for query in [
            "name=a&name=b",
            "search=a&search=b",
            "page=1&page=1",
            "per_page=1&per_page=2",
            "name=&name=",
            "n%61me=a&name=b",
        ] {
            world.reader().get(&format!("{tokens}?{query}")).await.refused(400, 12130);
        }
        // What is not known is not looked at, and what is empty is not there.
        for query in [
            "",
            "&",
            "&&&",
            "=",
            "=x",
            "foo",
            "foo&foo=%20",
            "foo=1&foo=2",
            "name",
            "name=",
            "search",
            "direction=desc&order=name",
        ] {
            assert_eq!(
                world.reader().get(&format!("{tokens}?{query}")).await.ok().as_array().unwrap().len(),
                1,
                "{query}"
            );
        }
        let long = "x".repeat(60_000);
        assert_eq!(world.reader().get(&format!("{tokens}?search={long}")).await.ok(), json!([]));
        assert_eq!(world.reader().get(&format!("{tokens}?name={long}")).await.ok(), json!([]));
        // A pattern made to be slow is only text.
        let pattern = "%25_%5C".repeat(3000);
        assert_eq!(world.reader().get(&format!("{tokens}?search={pattern}")).await.ok(), json!([]));
    });
}

#[test]
fn ids_that_are_no_text() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let before = world.reader().get(&world.tokens()).await.ok();
        let long = "a".repeat(30_000);
        let ids = [
            "%00",
            "%2e%2e",
            "%2F",
            "a%2Fb",
            "%0d%0a",
            "%F0%9F%94%91",
            "'",
            "%27%20OR%201=1",
            "*",
            "..",
            ".",
            "%25",
            "null",
            "0",
            "-1",
            &long,
        ];
        for id in ids {
            for method in [Method::GET, Method::PUT, Method::DELETE] {
                let answer = world.writer().call(method, &format!("{}/{id}", world.tokens()), "{}").await;
                answer.refused(404, 12135);
            }
        }
        // Bytes that are no text can't be an id; which of the two it is called does not matter.
        for id in ["%FF", "%C3", "%ED%A0%80"] {
            for method in [Method::GET, Method::PUT, Method::DELETE] {
                let answer = world.writer().call(method, &format!("{}/{id}", world.tokens()), "{}").await;
                let got = (answer.status.as_u16(), answer.code());
                assert!([(404, Some(12135)), (404, Some(7003))].contains(&got), "{answer}");
            }
        }
        assert_unchanged(world, &before).await;
        world.assert_admitted(&token).await;
    });
}

#[test]
fn headers_that_are_no_text() {
    on_both(async |world| {
        let token = world.issue_default().await;
        for (name, status, code) in
            [("authorization", 400, 6003), ("x-auth-key", 400, 6003), ("x-auth-email", 400, 6003)]
        {
            for value in [&b"\xff\xfe"[..], b"Bearer \xff\xff\xff\xff", b"\x80"] {
                let request = Request::get(token.path.as_str()).header(name, HeaderValue::from_bytes(value).unwrap());
                let request = request.header("x-auth-email", "a@example.com").header("x-auth-key", "0".repeat(37));
                world.anonymous().send(request.body(Body::empty()).unwrap()).await.refused(status, code);
            }
        }
        let long = "a".repeat(1 << 16);
        let caller = world.anonymous().with("authorization", &format!("Bearer {long}"));
        caller.get(&token.path).await.refused(400, 6003);
        let jwt = world.anonymous().with("authorization", &format!("Bearer {long}.{long}.{long}"));
        jwt.get(&token.path).await.refused(400, 6003);
        // What says nothing about the caller may be anything.
        let request =
            Request::get(token.path.as_str()).header("x-request-id", HeaderValue::from_bytes(b"\xff").unwrap());
        world.reader().send(request.body(Body::empty()).unwrap()).await.ok();
        let odd =
            world.reader().with("accept", "text/html").with("content-length", "x").with("transfer-encoding", "gzip");
        odd.get(&token.path).await.ok();
    });
}

/// A name can't break out of wherever it is shown or kept.
#[test]
fn names_are_only_text() {
    on_both(async |world| {
        let names = [
            "'; DROP TABLE service_token; --",
            "\" OR \"\"=\"",
            "$1",
            "?",
            "%s",
            "{}",
            "\r\nset-cookie: a=b",
            "<img src=x onerror=alert(1)>",
            "\u{1b}[31m",
            "${jndi:ldap://x}",
            "\\",
            "\\u0000",
            "%00",
            "\u{2028}",
            "null",
            "\u{10ffff}",
            "\u{fffe}",
        ];
        let issued = world.issue_many(&world.tokens(), names.map(|name| json!({"name": name}))).await;
        for (name, token) in names.into_iter().zip(&issued) {
            assert_eq!(world.reader().get(&token.path).await.ok()["name"], name);
            let query: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let found = world.reader().get(&format!("{}?name={query}", world.tokens())).await.ok();
            assert_eq!(found.as_array().unwrap().len(), 1, "{name}");
            let found = world.reader().get(&format!("{}?search={query}", world.tokens())).await.ok();
            assert!(found.as_array().unwrap().iter().any(|token| token["name"] == name), "{name}");
            world.assert_admitted(token).await;
        }
    });
}

/// Many at once: each gets its own answer.
#[test]
fn calls_at_once_do_not_mix() {
    on_sqlite(async |world| {
        let names: Vec<String> = (0..200).map(|number| format!("token {number}")).collect();
        let issued = world.issue_many(&world.tokens(), names.iter().map(|name| json!({"name": name}))).await;
        for (name, token) in names.iter().zip(&issued) {
            assert_eq!(token.result["name"], *name);
            world.assert_admitted(token).await;
        }
    });
}
