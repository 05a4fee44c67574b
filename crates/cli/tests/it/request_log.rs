//! The lines of the request log are what `docs/request-log.md` says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::world::{Server, World, gate_says, request};

const PAGE: &str = include_str!("../../../../docs/request-log.md");

/// The page's table: each field's type, and whether every line has it.
fn contract() -> BTreeMap<&'static str, (&'static str, bool)> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
    let fields = rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[0].trim_end_matches('`'), (cells[1], cells[2] == "always"))
    });
    fields.collect()
}

/// The lines with a message, as objects.
fn lines(server: &Server, message: &str) -> Vec<Map<String, Value>> {
    let log = server.log();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    lines.filter(|line: &Map<String, Value>| line["message"] == message).collect()
}

#[test]
fn each_request_is_one_line_of_the_fields_that_the_page_names() {
    let world = World::new();
    let first = world.init();
    let server = world.serve_with(&["--log-format", "json"]);
    let tokens = format!("/client/v4/accounts/{}/access/service_tokens", first.account());
    let bearer = format!("Bearer {}", first.api_token());
    let long = format!("/nowhere/{}", "x".repeat(1000));
    let send = |method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>| {
        request(&server.management, method, path, headers, body).unwrap()
    };
    let made = send(
        "POST",
        &format!("{tokens}?password=hunter2"),
        &[("Authorization", &bearer), ("X-Request-Id", "of-mine")],
        Some(r#"{"name":"s3cret-name"}"#),
    );
    send("GET", &tokens, &[("Authorization", "Bearer nobody")], None);
    send("GET", &long, &[], None);
    send("GET", "/invite/hunter2", &[], None);
    send("GET", "/livez", &[], None);
    let shown = server.prefactor(first.account_token(), "GET", "/ping", "");
    assert_eq!((made.status, shown.status), (201, 200));
    server.says("/api/v1/ping");

    let lines = lines(&server, "request");
    assert_eq!(lines.len(), 6, "one a request: {lines:?}");
    let contract = contract();
    let mut seen = BTreeSet::new();
    for line in &lines {
        let fields = line.iter().filter(|(name, _)| !["span", "spans"].contains(&name.as_str()));
        for (name, value) in fields {
            let (kind, _) = contract.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not on the page"));
            assert!(if *kind == "number" { value.is_u64() } else { value.is_string() }, "{name}: {value}");
            seen.insert(name.as_str());
        }
        for (name, _) in contract.iter().filter(|(_, (_, always))| *always) {
            assert!(line.contains_key(*name), "{name} is missing in {line:?}");
        }
    }
    assert_eq!(seen, contract.keys().copied().collect(), "what the page names, some line has");

    let [create, unknown, nowhere, invite, live, ping] = lines.as_slice() else { panic!("{lines:?}") };
    let check = |line: &Map<String, Value>, expected: &[(&str, &str)]| {
        for (name, value) in expected {
            let found = line.get(*name).map(|found| found.as_str().map_or(found.to_string(), str::to_owned));
            assert_eq!(found.as_deref(), Some(*value), "{name} in {line:?}");
        }
    };
    let length = made.body.len().to_string();
    check(
        create,
        &[
            ("request.id", "of-mine"),
            ("api", "cloudflare"),
            ("method", "POST"),
            ("path", &tokens),
            ("route", "/client/v4/accounts/{account_id}/access/service_tokens"),
            ("status", "201"),
            ("bytes", &length),
            ("caller.kind", "management_token"),
            ("account.id", first.account()),
            ("address", "127.0.0.1"),
        ],
    );
    check(unknown, &[("status", "400"), ("route", "/client/v4/accounts/{account_id}/access/service_tokens")]);
    check(nowhere, &[("path", &long[..256]), ("status", "404"), ("api", "cloudflare")]);
    check(invite, &[("path", "/invite/"), ("route", "/invite/{token}"), ("api", "page")]);
    check(live, &[("route", "/livez"), ("api", "own"), ("status", "200")]);
    check(ping, &[("api", "prefactor"), ("route", "/api/v1/ping"), ("caller.kind", "api_token")]);
    for (line, absent) in [(unknown, "caller.id"), (unknown, "account.id"), (nowhere, "route"), (live, "caller.kind")] {
        assert!(!line.contains_key(absent), "{absent} in {line:?}");
    }

    let log = server.log();
    let secret = made.json()["result"]["client_secret"].as_str().unwrap().to_owned();
    for hidden in first.secrets().iter().map(String::as_str).chain([secret.as_str(), "hunter2", "s3cret"]) {
        assert!(!log.contains(hidden), "{hidden} in {log}");
    }
}

#[test]
fn refusals_of_the_gate_are_logged_for_as_long_as_somebody_asks() {
    let world = World::new();
    let first = world.init();
    let config = world.path("countersign.toml");
    std::fs::write(&config, "log_format = \"json\"\n").unwrap();
    let server = world.serve_with(&["--config", config.to_str().unwrap()]);
    let id = format!("{}.access", "0".repeat(32));
    let refused = || gate_says(&server.gate, first.account(), &id, "hunter2");
    assert_eq!(refused(), (401, Some("invalid".to_owned())));
    std::fs::write(&config, "log_format = \"json\"\nlog_level = \"info,countersign_server::gate=debug\"\n").unwrap();
    server.signal("HUP");
    // Whether the new level is in force is seen by what it lets through.
    while lines(&server, "refused").is_empty() {
        refused();
    }
    let lines = lines(&server, "refused");
    let line = lines.first().unwrap();
    assert_eq!(
        (&line["reason"], &line["address"], &line["level"]),
        (&"invalid".into(), &"127.0.0.1".into(), &"DEBUG".into())
    );
    assert!(!server.log().contains("hunter2"), "{}", server.log());
}
