//! `serve`: what it prints, how it ends, and what it refuses.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::world::{World, request, request_unix};

#[test]
fn what_is_bound_is_printed_and_answers() {
    let world = World::new();
    let first = world.init();
    let socket = world.path("gate.sock");
    let server = world.serve_with(&["--gate-unix", socket.to_str().unwrap()]);
    assert!(!server.management.ends_with(":0") && !server.gate.ends_with(":0"));
    assert_eq!(server.line(), format!("listening gate-unix unix:{}", socket.display()));
    assert_eq!(request(&server.management, "GET", "/livez", &[], None).unwrap().status, 200);
    assert_eq!(request(&server.management, "GET", "/readyz", &[], None).unwrap().status, 200);
    assert_eq!(request(&server.gate, "GET", "/readyz", &[], None).unwrap().status, 200);
    let target = format!("/verify?account_id={}", first.account());
    assert_eq!(request_unix(&socket, &target, &[]).unwrap().header("countersign-reason"), Some("missing"));

    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    assert!(!socket.exists(), "the socket file is gone");
}

#[test]
fn a_request_under_way_is_answered_before_the_end() {
    let world = World::new();
    let first = world.init();
    for signal in ["TERM", "INT"] {
        let server = world.serve();
        let host = server.management.strip_prefix("http://").unwrap().to_owned();
        let body = r#"{"name":"late"}"#;
        let mut stream = TcpStream::connect(&host).unwrap();
        let (now, later) = body.split_at(5);
        write!(
            stream,
            "POST /client/v4/accounts/{}/access/service_tokens HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            first.account(),
            first.api_token(),
            body.len()
        )
        .unwrap();
        // The server asks for the body: it has taken the request.
        let mut asked = [0; 25];
        stream.read_exact(&mut asked).unwrap();
        assert!(asked.starts_with(b"HTTP/1.1 100 Continue"), "{}", String::from_utf8_lossy(&asked));
        stream.write_all(now.as_bytes()).unwrap();

        server.signal(signal);
        // New connections are refused once the signal has been taken.
        while TcpStream::connect(&host).is_ok() {
            std::thread::yield_now();
        }
        stream.write_all(later.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let world = World::new();
    world.init();
    let config = world.path("countersign.toml");
    std::fs::write(&config, "# mine\nlisten = \"127.0.0.1:0\"\nlissten = \"127.0.0.1:0\"\n").unwrap();
    let said = world.run(&["serve", "--config", config.to_str().unwrap()]).failed(1);
    assert!(said.contains("lissten") && said.contains("line 3") && said.contains("countersign.toml"), "{said}");
}

#[test]
fn flags_win_over_environment_over_file() {
    let world = World::new();
    world.init();
    let config = world.path("countersign.toml");
    std::fs::write(&config, "listen = \"127.0.0.1:1\"\ngate_listen = \"127.0.0.1:1\"\nlog_format = \"json\"\n")
        .unwrap();
    let mut command = world.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("COUNTERSIGN_CONFIG", &config).env("COUNTERSIGN_LISTEN", "127.0.0.1:2");
    command.env("COUNTERSIGN_GATE_LISTEN", "127.0.0.1:0");
    let server = crate::world::Server::start(command);
    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[test]
fn two_servers_do_not_share_a_database() {
    let world = World::new();
    world.init();
    let _server = world.serve();
    let said = world.run(&["serve", "--listen", "127.0.0.1:0", "--gate-listen", "127.0.0.1:0"]).failed(1);
    assert!(said.contains("another server"), "{said}");
}

#[test]
fn a_port_in_use_is_named() {
    let world = World::new();
    world.init();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = world.run(&["serve", "--listen", &address]).failed(1);
    assert!(said.contains(&address), "{said}");
}

#[test]
fn a_bad_log_level_is_refused() {
    let world = World::new();
    world.init();
    let said = world.run(&["serve", "--log-level", "=="]).failed(1);
    assert!(said.contains("=="), "{said}");
}
