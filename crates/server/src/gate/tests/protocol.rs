//! HTTP as proxies speak it, and as attackers do.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::slowing;
use super::world::{OPTIONS, World, get, pair};
use crate::config::Stale;
use crate::gate::listener;
use crate::gate::plain::{self, End};
use crate::lifecycle::http;
use crate::lifecycle::stop::Stop;

#[tokio::test]
async fn any_method_asks() {
    let world = World::new().await;
    let token = world.account_token();
    let mut client = world.connect().await;
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "x-own"] {
        let request = get(&world.demand(), &pair(&token)).replacen("GET", method, 1);
        assert_eq!(client.ask(&request).await.status, 200, "{method}");
    }
}

#[tokio::test]
async fn other_paths() {
    let world = World::new().await;
    let mut client = world.connect().await;
    for (path, status, body) in [
        ("/livez", 200, "alive\n"),
        ("/readyz", 200, "ready\n"),
        ("/livez?x=y", 200, "alive\n"),
        ("/", 404, "not found\n"),
        ("/livez/", 404, "not found\n"),
        ("/Verify", 404, "not found\n"),
        ("/%76erify", 404, "not found\n"),
        ("/x/verify", 404, "not found\n"),
        ("/metrics", 404, "not found\n"),
    ] {
        let answer = client.ask(format!("GET {path} HTTP/1.1\r\n\r\n")).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
}

#[tokio::test]
async fn the_absolute_form_is_the_same_request() {
    let world = World::new().await;
    let token = world.account_token();
    let request = get(&world.demand(), &pair(&token)).replacen("/verify", "http://gate.internal/verify", 1);
    assert_eq!(world.connect().await.ask(&request).await.status, 200);
}

#[tokio::test]
async fn request_ids_are_kept_and_never_made() {
    let world = World::new().await;
    let mut client = world.connect().await;
    let long = "a".repeat(128);
    for (sent, kept) in [
        (Some("abc-DEF_1.2"), Some("abc-DEF_1.2")),
        (Some(long.as_str()), Some(long.as_str())),
        (Some(&format!("{long}a")), None),
        (Some(""), None),
        (Some("a b"), None),
        (Some("a\u{e9}"), None),
        (Some("a/b"), None),
        (None, None),
    ] {
        let header = sent.map(|id| format!("X-Request-Id: {id}\r\n")).unwrap_or_default();
        for query in [&world.demand(), ""] {
            let answer = client.ask(get(query, &header)).await;
            assert_eq!(answer.header("x-request-id"), kept, "{sent:?}");
        }
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let world = World::new().await;
    let token = world.account_token();
    let mut client = world.connect().await;
    let admitted = get(&world.demand(), &format!("{}X-Request-Id: a\r\n", pair(&token)));
    let missing = get(&world.demand(), "X-Request-Id: b\r\n");
    let no_demand = get("", "X-Request-Id: c\r\n");
    client.send([admitted, missing, no_demand].concat().repeat(50)).await;
    for _ in 0..50 {
        for (status, id) in [(200, "a"), (401, "b"), (403, "c")] {
            let answer = client.answer().await.unwrap();
            assert_eq!((answer.status, answer.header("x-request-id")), (status, Some(id)));
        }
    }
}

#[tokio::test]
async fn a_body_is_never_taken_for_a_request() {
    let world = World::new().await;
    let token = world.account_token();
    let smuggled = get(&world.demand(), &pair(&token));
    let ask = |headers: &str| get(&world.demand(), headers).replacen("GET", "POST", 1);

    // Together with its head: the connection goes on behind it.
    let mut client = world.connect().await;
    for _ in 0..3 {
        let head = ask(&format!("Content-Length: {}\r\n", smuggled.len()));
        assert_eq!(client.ask(format!("{head}{smuggled}")).await.status, 401);
        let head = ask("Transfer-Encoding: chunked\r\n");
        let body = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
        client.try_send(format!("{head}{body}")).await;
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, 401);
        if answer.header("connection") == Some("close") {
            assert!(client.is_closed().await);
            client = world.connect().await;
        }
    }
    assert_eq!(client.ask(&smuggled).await.status, 200);

    // Later than its head: the answer comes at once, and the connection is given up.
    for header in [format!("Content-Length: {}\r\n", smuggled.len()), "Transfer-Encoding: chunked\r\n".to_owned()] {
        let mut client = world.connect().await;
        let answer = client.ask(ask(&header)).await;
        assert_eq!((answer.status, answer.header("connection")), (401, Some("close")), "{header}");
        client.try_send(&smuggled).await;
        assert!(client.is_closed().await, "{header}");
    }

    // A client that waits to be told is answered, not told.
    let mut client = world.connect().await;
    let answer = client.ask(ask("Content-Length: 5\r\nExpect: 100-continue\r\n")).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn a_large_body_is_not_read() {
    let world = World::new().await;
    let mut client = world.connect().await;
    let head = get(&world.demand(), "Content-Length: 10000000000\r\n").replacen("GET", "POST", 1);
    client.try_send(format!("{head}{}", "x".repeat(100_000))).await;
    assert_eq!(client.answer().await.map(|answer| answer.status), Some(401));
}

#[tokio::test]
async fn connections_are_kept_as_the_client_asks() {
    let world = World::new().await;
    let mut client = world.connect().await;
    assert_eq!(client.ask(get(&world.demand(), "Connection: close\r\n")).await.header("connection"), Some("close"));
    assert!(client.is_closed().await);
    let mut client = world.connect().await;
    client.send(get(&world.demand(), "").replace("HTTP/1.1", "HTTP/1.0")).await;
    client.raw_until_closed("HTTP/1.0 401 ").await;
}

#[tokio::test]
async fn heads_that_are_no_http() {
    let world = World::new().await;
    let token = world.account_token();
    let good = get(&world.demand(), &pair(&token));
    let cookie = |size: usize| get(&world.demand(), &format!("{}Cookie: {}\r\n", pair(&token), "c".repeat(size)));
    let many = |count: usize| get(&world.demand(), &"X-Padding: 1\r\n".repeat(count));
    for (request, status) in [
        (good.clone().into_bytes(), 200),
        (cookie(32 * 1024).into_bytes(), 200),
        (cookie(60 * 1024).into_bytes(), 200),
        (cookie(64 * 1024).into_bytes(), 431),
        (cookie(1024 * 1024).into_bytes(), 431),
        (many(90).into_bytes(), 401),
        (many(200).into_bytes(), 431),
        (good.replace("HTTP/1.1", "HTTP/9.9").into_bytes(), 400),
        (good.replace("Host: gate", "Host gate").into_bytes(), 400),
        (good.replace("Host: gate", "Host : gate").into_bytes(), 400),
        (good.replace("Host: gate", "Host: ga\0te").into_bytes(), 400),
        (good.replace("Host: gate", "Host: gate\r\n folded: x").into_bytes(), 400),
        (good.replace("Host: gate", "H\u{f6}st: gate").into_bytes(), 400),
        (good.replacen("GET ", "GET  ", 1).into_bytes(), 400),
        (format!("GET /verify?{} HTTP/1.1\r\n\r\n", "q".repeat(70_000)).into_bytes(), 431),
        (get(&world.demand(), "Content-Length: 1\r\nContent-Length: 2\r\n").into_bytes(), 400),
        (get(&world.demand(), "Content-Length: -1\r\n").into_bytes(), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400),
        (b"\xff\xff\xff\xff\r\n\r\n".to_vec(), 400),
    ] {
        let mut client = world.connect().await;
        client.try_send(&request).await;
        let shown = String::from_utf8_lossy(&request[..request.len().min(120)]).into_owned();
        assert_eq!(client.answer().await.map(|answer| answer.status), Some(status), "{shown:?}");
        if status != 200 && status != 401 {
            assert!(client.is_closed().await, "{shown:?}");
        }
    }
    assert_eq!(world.ask(&world.demand(), &pair(&token)).await.status, 200, "the gate goes on");
}

#[tokio::test]
async fn a_request_that_breaks_off_is_forgotten() {
    let world = World::new().await;
    let token = world.account_token();
    let request = get(&world.demand(), &pair(&token));
    for length in [1, 3, 10, request.len() / 2, request.len() - 1] {
        let mut client = world.connect().await;
        client.send(&request[..length]).await;
        client.shut().await;
        assert!(client.answer().await.is_none_or(|answer| answer.status == 400), "{length}");
    }
    assert_eq!(world.tallies.answers("service_token"), 0);
    assert_eq!(world.ask(&world.demand(), &pair(&token)).await.status, 200);
}

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let http = http::Options { head_timeout: Duration::from_millis(50), ..OPTIONS.http };
    let options = listener::Options { http, ..OPTIONS };
    let world = World::with(options, Stale::Refuse, None).await;
    let token = world.account_token();
    let request = get(&world.demand(), &pair(&token));
    for length in [0, 1, request.len() - 1] {
        let mut client = world.connect().await;
        client.send(&request[..length]).await;
        assert!(client.answer().await.is_none_or(|answer| answer.status == 408), "{length}");
    }
    let mut client = world.connect().await;
    assert_eq!(client.ask(&request).await.status, 200);
    client.send(&request[..request.len() / 2]).await;
    assert_eq!(client.answer().await, None, "also behind a request that was in time");
}

/// The short way ends where something else begins, and hyper goes on with the very next byte.
#[tokio::test]
async fn what_is_not_plain_is_read_on_where_the_plain_has_ended() {
    let world = World::new().await;
    let token = world.account_token();
    let plain = get(&world.demand(), &pair(&token));
    let posted = format!("{}hello", plain.replacen("GET", "POST", 1).replacen("Host", "Content-Length: 5\r\nHost", 1));
    let live = "GET /livez HTTP/1.1\r\n\r\n";
    let mut client = world.connect().await;
    client.send([&plain, &posted, live, &plain, live, &plain].concat()).await;
    for body in ["", "", "alive\n", "", "alive\n", ""] {
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, body));
    }
    // Two that come in pieces, wherever these are cut.
    let two = [plain.as_str(), &plain].concat();
    for cut in [plain.len() + 1, plain.len() + 3, plain.len() + 20, two.len() - 2, two.len() - 1] {
        let mut client = world.connect().await;
        client.send(&two[..cut]).await;
        assert_eq!(client.answer().await.unwrap().status, 200, "{cut}");
        client.send(&two[cut..]).await;
        assert_eq!(client.answer().await.unwrap().status, 200, "{cut}");
        assert_eq!(client.ask(&plain).await.status, 200, "{cut}");
    }
}

/// Nobody is answered the short way who must be told that the connection ends.
#[tokio::test]
async fn what_comes_when_the_gate_stops_is_not_plain() {
    let world = World::new().await;
    let request = get(&world.demand(), "");
    let (mut client, mut connection) = tokio::io::duplex(8 * 1024);
    client.write_all(request.as_bytes()).await.unwrap();
    let stop = Stop::default();
    stop.request();
    let end = plain::serve(&slowing::gate(&world, ""), None, &mut connection, &stop).await.unwrap();
    assert!(matches!(end, End::Other(bytes) if bytes == request.as_bytes()));
}

#[tokio::test]
async fn an_answer_has_the_second_at_which_it_was_given() {
    let world = World::new().await;
    let request = get(&world.demand(), "");
    let mut client = world.connect().await;
    for (millis, second) in [(0, "05"), (999, "05"), (1, "06"), (53_999, "59"), (1, "00")] {
        world.advance(Duration::from_millis(millis));
        let answer = client.ask(&request).await;
        let minute = if second == "00" { "05" } else { "04" };
        let date = format!("Fri, 02 Jan 2026 03:{minute}:{second} GMT");
        assert_eq!(answer.header("date"), Some(date.as_str()));
    }
}

/// What a client sees must not depend on whether its request was read the short way ([`crate::gate`]'s `plain`), or by
/// hyper, which serves whoever has asked for something else before.
#[tokio::test]
async fn both_ways_of_reading_a_request_give_one_answer() {
    let world = World::new().await;
    let token = world.account_token();
    let (demand, good) = (world.demand(), pair(&token));
    let (own_header, fragment) = (format!("{demand}&header=X-Own"), format!("{demand}#part"));
    let queries = [demand.as_str(), "", "account_id=x", &own_header, &fragment, "a=%zz", "a|b", "\u{e9}"];
    let wrong = good.replace("csec_", "csec-");
    let own =
        format!("X-Own: {{\"cf-access-client-id\":\"{}\",\"cf-access-client-secret\":\"x\"}}\r\n", token.client_id);
    let headers = [
        String::new(),
        good.clone(),
        good.to_uppercase().replace("CF-ACCESS", "cf-Access"),
        wrong,
        format!("{good}{good}"),
        own,
        format!("{good}X-Request-Id: a1\r\nx-request-id: a2\r\n"),
        format!("{good}Content-Length: 0\r\n"),
        format!("{good}Connection: Keep-Alive\r\n"),
        format!("{good}Connection: close\r\n"),
        format!("{good}Expect: 100-continue\r\n"),
        format!("{good}Upgrade: websocket\r\nConnection: upgrade\r\n"),
        format!("{good}TE: trailers\r\nX-Odd:\u{e9}\t \r\n"),
        format!("{good}Bad Name: x\r\n"),
        format!("{good}X-Folded: a\r\n b\r\n"),
        format!("{good}{}", "X-Many: x\r\n".repeat(90)),
        format!("{good}{}", "X-Many: x\r\n".repeat(110)),
        format!("{good}X-Long: {}\r\n", "x".repeat(20_000)),
    ];
    for query in queries {
        for header in &headers {
            for method in ["GET", "POST", "HEAD", "x-own"] {
                let request = get(query, header).replacen("GET", method, 1);
                let mut fresh = world.connect().await;
                let mut known = world.connect().await;
                assert_eq!(known.ask("GET /livez HTTP/1.1\r\n\r\n").await.status, 200);
                fresh.try_send(&request).await;
                known.try_send(&request).await;
                let (one, other) = (fresh.head().await, known.head().await);
                assert!(one.is_some(), "{request}");
                assert_eq!(one, other, "{request}");
            }
        }
    }
}
