//! `quickstart`: what it prints works when it is pasted.

use std::process::Command;

use crate::world::{Outcome, Server, World, outcome};

const START: [&str; 5] = ["quickstart", "--listen", "127.0.0.1:0", "--gate-listen", "127.0.0.1:0"];

/// Runs what a person would paste into a shell.
fn paste(world: &World, command: &str) -> Outcome {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(world.path(".")).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    outcome(&mut shell)
}

/// What is printed after the listening lines: the whole, and each `# comment` with the lines under it.
fn read(server: &Server) -> (String, Vec<(String, String)>) {
    let lines = server.lines_until("# Ctrl-C");
    let whole = lines.join("\n");
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in &lines {
        match (line.strip_prefix("# "), commands.last_mut()) {
            (Some(comment), _) => commands.push((comment.to_owned(), String::new())),
            (None, Some((_, command))) => command.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    (whole, commands)
}

fn command<'a>(commands: &'a [(String, String)], about: &str) -> &'a str {
    &commands.iter().find(|(comment, _)| comment.contains(about)).unwrap_or_else(|| panic!("{about}: {commands:?}")).1
}

#[test]
fn the_printed_commands_work() {
    let world = World::new();
    let server = Server::start(world.command(&START));
    let (whole, commands) = read(&server);
    assert!(whole.contains("admin@example.com") && whole.contains("shown this once"), "{whole}");
    assert!(!whole.contains('\u{1b}'), "colours belong on a terminal");

    let asked = paste(&world, command(&commands, "Ask the gate")).ok();
    assert!(asked.starts_with("HTTP/1.1 200 "), "{asked}");
    let asked = asked.to_ascii_lowercase();
    assert!(asked.contains("countersign-kind: service_token"), "{asked}");
    assert!(asked.contains("countersign-token-name: quickstart"), "{asked}");

    let made = paste(&world, command(&commands, "Make a service token")).json();
    assert_eq!((&made["success"], &made["result"]["name"]), (&true.into(), &"my-service".into()));
    assert!(made["result"]["client_secret"].is_string());

    let rotated = paste(&world, command(&commands, "new secret")).json();
    assert_eq!((&rotated["success"], &rotated["result"]["client_secret_version"]), (&true.into(), &2.into()));
    // The old secret is still good, as the comment says.
    let asked = paste(&world, command(&commands, "Ask the gate")).ok();
    assert!(asked.starts_with("HTTP/1.1 200 "), "{asked}");

    let checked = paste(&world, command(&commands, "Check the management token")).json();
    assert_eq!((&checked["success"], &checked["result"]["status"]), (&true.into(), &"active".into()));

    let exports = command(&commands, "official SDKs");
    let after_exports = |about: &str| paste(&world, &format!("{exports}\n{}", command(&commands, about)));
    let script = "curl -sS -H \"Authorization: Bearer $CLOUDFLARE_API_TOKEN\" \
                  \"$CLOUDFLARE_BASE_URL/accounts/$CLOUDFLARE_ACCOUNT_ID\"";
    let account = paste(&world, &format!("{exports}\n{script}")).json();
    assert_eq!(account["result"]["name"], "Default");
    let script = "curl -sS -H \"Authorization: Bearer $PREFACTOR_API_TOKEN\" \"$PREFACTOR_API_URL/api/v1/account\"";
    let accounts = paste(&world, &format!("{exports}\n{script}")).json();
    assert_eq!(accounts["summaries"][0]["name"], "Default");

    assert_eq!(after_exports("Check the account token").json()["status"], "success");
    let make = command(&commands, "Make an API token for the environment");
    let ask = command(&commands, "Ask the gate with it");
    let asked = paste(&world, &format!("{exports}\n{make}\n{ask}")).ok();
    assert!(asked.starts_with("HTTP/1.1 200 "), "{asked}");
    let asked = asked.to_ascii_lowercase();
    assert!(asked.contains("countersign-kind: api_token") && asked.contains("countersign-environment-id: "), "{asked}");
    let seen = after_exports("tokens of both kinds").ok();
    assert!(seen.contains("my-service") && seen.contains("environment  active"), "{seen}");

    for secret in whole.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let is_secret = ["csat_", "csec_", "eyJ"].iter().any(|start| secret.starts_with(start)) || secret.len() == 37;
        assert!(!is_secret || !server.log().contains(secret), "{secret} is in the log");
    }
}

#[test]
fn a_second_one_serves_and_says_how_to_make_new_secrets() {
    let world = World::new();
    // What is printed names the store, wherever it is.
    let url = format!("sqlite:{}", world.path("an odd place.db").display());
    let mut arguments = START.to_vec();
    arguments.extend(["--database-url", &url]);
    let server = Server::start(world.command(&arguments));
    read(&server);
    server.signal("TERM");
    assert!(server.wait().0.success());

    let server = Server::start(world.command(&arguments));
    let lines = server.lines_until("  --permission Everything");
    let whole = lines.join("\n");
    assert!(whole.contains("shown once") && !whole.contains("csat_") && !whole.contains("csec_"), "{whole}");
    let page = format!("{}/cli/connect", server.management);
    assert!(whole.contains(&page), "{whole}");
    let answer = crate::world::request(&server.management, "GET", "/cli/connect", &[], None).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let start = lines.iter().position(|line| line.contains(" token create ")).unwrap();
    let made = paste(&world, &format!("{} --json", lines[start..].join("\n"))).json();
    let token = made["token"].as_str().unwrap();
    let bearer = format!("Bearer {token}");
    let path = "/client/v4/user/tokens/verify";
    let answer = crate::world::request(&server.management, "GET", path, &[("Authorization", &bearer)], None).unwrap();
    assert_eq!(answer.json()["result"]["status"], "active");
}

#[test]
fn secrets_are_shown_even_if_it_comes_to_nothing() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let outcome = world.run(&["quickstart", "--listen", &address, "--gate-listen", "127.0.0.1:0"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("csat_") && outcome.stdout.contains("this once"), "{outcome:?}");
    assert!(outcome.stderr.contains(&address), "{outcome:?}");
}
