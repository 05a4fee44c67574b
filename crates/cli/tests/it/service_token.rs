//! `service-token`, against a running server.

use std::net::TcpListener;

use serde_json::Value;

use crate::world::{Installation, Outcome, Server, World, outcome};

struct Scene {
    world: World,
    first: Installation,
    server: Server,
}

impl Scene {
    fn new(serving: &[&str]) -> Self {
        let world = World::new();
        let first = world.init();
        let server = world.serve_with(serving);
        Self { world, first, server }
    }

    /// `service-token` with these arguments, on the first account unless they name a zone.
    fn run(&self, arguments: &[&str]) -> Outcome {
        let mut all = vec!["service-token"];
        all.extend(arguments);
        if !arguments.contains(&"--zone") && !arguments.contains(&"--account") {
            all.extend(["--account", self.first.account()]);
        }
        self.server.remote(&self.world, self.first.api_token(), &all)
    }

    fn gate_says(&self, token: &Value) -> String {
        let (id, secret) = (token["client_id"].as_str().unwrap(), token["client_secret"].as_str().unwrap());
        match self.server.gate_says(self.first.account(), id, secret) {
            (200, None) => "admitted".to_owned(),
            (_, reason) => reason.unwrap(),
        }
    }
}

fn id(token: &Value) -> &str {
    token["id"].as_str().unwrap()
}

#[test]
fn a_life() {
    let scene = Scene::new(&[]);
    let issued = scene.run(&["create", "--name", "deploy", "--duration", "24h", "--json"]).json();
    let id = id(&issued);
    assert_eq!((&issued["name"], &issued["duration"]), (&"deploy".into(), &"24h".into()));
    assert_eq!(scene.gate_says(&issued), "admitted");

    let shown = scene.run(&["show", id, "--json"]).json();
    assert_eq!((&shown["client_id"], shown.get("client_secret")), (&issued["client_id"], None));
    assert!(shown["last_seen_at"].is_string(), "{shown}");

    let renamed = scene.run(&["update", id, "--name", "deploy-eu", "--json"]).json();
    assert_eq!((&renamed["name"], &renamed["expires_at"]), (&"deploy-eu".into(), &issued["expires_at"]));

    let rotated = scene.run(&["rotate", id, "--grace", "1h", "--json"]).json();
    assert_eq!(rotated["client_secret_version"], 2);
    assert_eq!((scene.gate_says(&issued), scene.gate_says(&rotated)), ("admitted".into(), "admitted".into()));
    scene.run(&["update", id, "--end-grace"]).ok();
    assert_eq!((scene.gate_says(&issued), scene.gate_says(&rotated)), ("invalid".into(), "admitted".into()));
    let again = scene.run(&["rotate", id, "--json"]).json();
    assert_eq!((scene.gate_says(&rotated), scene.gate_says(&again)), ("invalid".into(), "admitted".into()));
    let third = scene.run(&["update", id, "--secret-version", "7", "--grace", "30m", "--json"]).json();
    assert_eq!(third["client_secret_version"], 7);
    assert_eq!((scene.gate_says(&again), scene.gate_says(&third)), ("admitted".into(), "admitted".into()));

    assert_eq!(scene.run(&["disable", id, "--json"]).json()["enabled"], false);
    assert_eq!(scene.gate_says(&third), "disabled");
    assert_eq!(scene.run(&["enable", id, "--json"]).json()["enabled"], true);
    assert_eq!(scene.gate_says(&third), "admitted");

    let refreshed = scene.run(&["refresh", id, "--json"]).json();
    assert_ne!(refreshed["expires_at"], issued["expires_at"]);

    let said = scene.run(&["delete", id]).failed(2);
    assert!(said.contains("--yes"), "{said}");
    assert_eq!(scene.gate_says(&third), "admitted");
    assert_eq!(scene.run(&["delete", id, "--yes", "--json"]).json()["id"], *id);
    assert_eq!(scene.gate_says(&third), "invalid");
    let said = scene.run(&["delete", id, "--yes"]).failed(1);
    assert!(said.contains("12135") && said.contains("countersign service-token list"), "{said}");
}

#[test]
fn lists_are_whole_and_scopes_are_apart() {
    let scene = Scene::new(&[]);
    let zone = scene.first.zone();
    scene.run(&["create", "--name", "of the zone", "--zone", zone]).ok();
    for name in ["a", "b", "c"] {
        scene.run(&["create", "--name", name, "--disabled"]).ok();
    }
    let names = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|token| token["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&scene.run(&["list", "--json"]).json()), ["a", "b", "c"]);
    assert_eq!(names(&scene.run(&["list", "--json", "--name", "b"]).json()), ["b"]);
    assert_eq!(names(&scene.run(&["list", "--json", "--search", "C"]).json()).last().unwrap(), "c");
    assert_eq!(names(&scene.run(&["list", "--json", "--zone", zone]).json()), ["of the zone"]);

    let text = scene.run(&["list"]).ok();
    assert!(text.starts_with("ID ") && text.contains("disabled"), "{text}");

    // A zone that is named wins over the account of the environment.
    let mut command = scene.world.command(&["service-token", "list", "--zone", zone, "--json"]);
    command.env("COUNTERSIGN_URL", &scene.server.management).env("COUNTERSIGN_API_TOKEN", scene.first.api_token());
    command.env("COUNTERSIGN_ACCOUNT_ID", scene.first.account());
    assert_eq!(names(&outcome(&mut command).json()), ["of the zone"]);
}

#[test]
fn the_same_key_gives_the_same_secret() {
    let scene = Scene::new(&[]);
    let create = ["create", "--name", "deploy", "--idempotency-key", "deploy 42", "--json"];
    let first = scene.run(&create).json();
    assert_eq!(scene.run(&create).json(), first);
    assert_eq!(scene.gate_says(&first), "admitted");
    let id = id(&first);

    let rotate =
        ["rotate", id, "--idempotency-key", "january", "--previous-expires-at", "2099-01-01T00:00:00Z", "--json"];
    let second = scene.run(&rotate).json();
    assert_eq!(scene.run(&rotate).json(), second);
    assert_ne!(second["client_secret"], first["client_secret"]);
    for issued in [&first, &second] {
        assert_eq!(scene.gate_says(issued), "admitted");
    }
    let update = ["update", id, "--idempotency-key", "february", "--secret-version", "7", "--json"];
    let third = scene.run(&update).json();
    assert_eq!(scene.run(&update).json(), third);
    assert_eq!((&third["client_secret_version"], scene.gate_says(&third)), (&7.into(), "admitted".to_owned()));
    assert_eq!(scene.run(&["list", "--json"]).json().as_array().unwrap().len(), 1);

    let said = scene.run(&["create", "--name", "other", "--idempotency-key", "deploy 42"]).failed(1);
    assert!(said.contains("used for another request"), "{said}");
    let said = scene.run(&["create", "--name", "x", "--idempotency-key", &"k".repeat(65)]).failed(1);
    assert!(said.contains("Idempotency-Key: must be 1 to 64"), "{said}");
    let said = scene.run(&["create", "--name", "x", "--idempotency-key", "\u{e4}"]).failed(2);
    assert!(said.contains("idempotency key"), "{said}");
    // A grace that counts from now makes another request of every repetition.
    let said = scene.run(&["rotate", id, "--grace", "1h", "--idempotency-key", "k"]).failed(2);
    assert!(said.contains("--grace"), "{said}");
}

#[test]
fn a_lost_answer_says_what_may_be_repeated() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let account = "0".repeat(32);
    let token = format!("csat_{account}");
    let create =
        ["service-token", "create", "--name", "x", "--url", &url, "--api-token", &token, "--account", &account];
    world.loses_answers(&listener, &create, "countersign service-token list");
}

#[test]
fn refusals_say_what_to_do() {
    let scene = Scene::new(&[]);
    let (account, api_token) = (scene.first.account(), scene.first.api_token());
    let list = ["service-token", "list", "--account", account];

    let said = scene.world.run(&list).failed(2);
    assert!(said.contains("COUNTERSIGN_API_TOKEN") && said.contains("countersign token create"), "{said}");
    let said = scene.server.remote(&scene.world, api_token, &["service-token", "list"]).failed(2);
    assert!(said.contains("--account") && said.contains("countersign account list"), "{said}");

    let unknown = format!("csat_{}", "0".repeat(46));
    let said = scene.server.remote(&scene.world, &unknown, &list).failed(1);
    assert!(said.contains("10000") && said.contains("countersign token create") && !said.contains(&unknown), "{said}");
    let elsewhere = "0".repeat(32);
    let said = scene.server.remote(&scene.world, api_token, &["service-token", "list", "--account", &elsewhere]);
    let said = said.failed(1);
    assert!(said.contains("403") && said.contains("countersign token list"), "{said}");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{nobody}");
    let mut all = list.to_vec();
    all.extend(["--url", &url, "--api-token", api_token]);
    let said = scene.world.run(&all).failed(1);
    assert!(said.contains(&url) && said.contains("countersign serve") && !said.contains(api_token), "{said}");

    let mut all = list.to_vec();
    all.extend(["--url", &scene.server.gate]);
    let said = scene.server.remote(&scene.world, api_token, &all).failed(1);
    assert!(said.contains("--url"), "{said}");
}

#[test]
fn the_api_token_is_in_no_message() {
    let scene = Scene::new(&[]);
    let token = scene.first.api_token();
    for arguments in [
        // Wherever somebody may put it by mistake.
        ["service-token", "list", token].as_slice(),
        &["service-token", "show", token],
        &["service-token", "list", "--account", token],
        &["service-token", "list", "--zone", token],
        &["service-token", "list", "--api-token", token, "--nonsense"],
        &["service-token", "list", "--api-token", token, "--account", "x"],
        &["token", "revoke", token, "--yes"],
        &[token],
    ] {
        let said = scene.world.run(arguments).failed(2);
        assert!(!said.contains(&token[5..]), "{arguments:?}: {said}");
    }
    // The environment is shown by name only.
    let help = scene.server.remote(&scene.world, token, &["service-token", "list", "--help"]).ok();
    assert!(help.contains("COUNTERSIGN_API_TOKEN") && !help.contains(token), "{help}");
}

/// Every secret of a busy server's life, and its whole log at the most talkative level.
#[test]
fn no_secret_reaches_the_log() {
    for format in ["human", "json"] {
        let scene = Scene::new(&["--log-level", "trace", "--log-format", format]);
        let mut secrets = scene.first.secrets();
        for form in [["--name", "one"], ["--name", "csec_in_the_name"]] {
            let mut arguments = vec!["create", "--json"];
            arguments.extend(form);
            let issued = scene.run(&arguments).json();
            assert_eq!(scene.gate_says(&issued), "admitted");
            let rotated = scene.run(&["rotate", id(&issued), "--json"]).json();
            assert_eq!(scene.gate_says(&issued), "invalid");
            let updated = scene.run(&["update", id(&issued), "--secret-version", "9", "--json"]).json();
            for token in [&issued, &rotated, &updated] {
                secrets.push(token["client_secret"].as_str().unwrap().to_owned());
            }
        }
        let wrong = format!("csat_{}", "w".repeat(46));
        scene
            .server
            .remote(&scene.world, &wrong, &["service-token", "list", "--account", scene.first.account()])
            .failed(1);
        secrets.push(wrong);
        let key = scene.first.document["user"]["api_key"].as_str().unwrap();
        let headers = [("X-Auth-Email", "admin@example.com"), ("X-Auth-Key", key)];
        let answer = crate::world::request(&scene.server.management, "GET", "/client/v4/user", &headers, None).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let account_token = scene.first.document["account_token"].as_str().unwrap();
        let bearer = format!("Bearer {account_token}");
        let target = format!("/verify?account_id={}", scene.first.account());
        let answer = crate::world::request(&scene.server.gate, "GET", &target, &[("Authorization", &bearer)], None);
        assert_eq!(answer.unwrap().header("countersign-kind"), Some("api_token"));

        scene.server.signal("TERM");
        let (status, log) = scene.server.wait();
        assert!(status.success(), "{log}");
        assert!(log.lines().count() >= 8, "every request is logged: {log}");
        for secret in secrets {
            assert!(!log.contains(&secret), "{secret} is in the log:\n{log}");
        }
    }
}

#[test]
fn a_token_comes_from_the_networks_that_are_named() {
    let scene = Scene::new(&[]);
    let issued = scene.run(&["create", "--name", "deploy", "--json"]).json();
    let id = id(&issued);
    let said = scene.run(&["allow-from", id]).ok();
    assert!(said.contains("May come from  anywhere\n"), "{said}");
    let said = scene.run(&["allow-from", id, "10.0.0.0/8", "2001:db8::7"]).ok();
    assert!(said.contains("May come from  10.0.0.0/8, 2001:db8::7/128\n"), "{said}");
    assert_eq!(scene.gate_says(&issued), "address_not_allowed");
    let json = scene.run(&["allow-from", id, "127.0.0.0/8", "--json"]).json();
    assert_eq!(json, serde_json::json!({"networks": ["127.0.0.0/8"]}));
    assert_eq!(scene.gate_says(&issued), "admitted");
    assert_eq!(scene.run(&["allow-from", id, "--json"]).json(), json, "asking changes nothing");

    let said = scene.run(&["allow-from", id, "10.1.2.3/8"]).failed(1);
    assert!(said.contains("10.0.0.0/8"), "{said}");
    let said = scene.run(&["allow-from", "00000000-0000-0000-0000-000000000000", "10.0.0.0/8"]).failed(1);
    assert!(said.contains("countersign service-token list"), "{said}");
    scene.run(&["allow-from", id, "10.0.0.0/8", "--anywhere"]).failed(2);
    assert_eq!(scene.gate_says(&issued), "admitted");
    let said = scene.run(&["allow-from", id, "--anywhere"]).ok();
    assert!(said.contains("anywhere"), "{said}");
}

#[test]
fn a_rotation_says_who_still_comes_with_the_old_secret() {
    let scene = Scene::new(&[]);
    let issued = scene.run(&["create", "--name", "deploy", "--json"]).json();
    let id = id(&issued);
    let said = scene.run(&["rotation", id]).ok();
    assert!(said.ends_with("\n\nThere is no old secret that is still good.\n"), "{said}");
    let said = scene.run(&["rotation", id, "--finish-when-quiet", "24h"]).failed(1);
    assert!(said.contains("rotate with --grace"), "{said}");

    let rotated = scene.run(&["rotate", id, "--grace", "48h", "--json"]).json();
    let (said, errors) = scene.run(&["rotation", id]).not_yet();
    assert!(said.contains("Nobody has come with the old secret since") && said.contains("too early"), "{said}");
    assert_eq!(errors, "");

    assert_eq!(scene.gate_says(&issued), "admitted");
    let (said, _) = scene.run(&["rotation", id]).not_yet();
    assert!(said.contains("Old secret seen") && said.contains(" from 127.0.0.1"), "{said}");
    assert!(said.contains("Somebody still comes with the old secret"), "{said}");
    let (json, _) = scene.run(&["rotation", id, "--json", "--quiet", "1h"]).not_yet();
    let told: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&told["previous_secret"]["version"], &told["previous_secret"]["address"]),
        (&1.into(), &"127.0.0.1".into())
    );
    assert_eq!(
        (&told["current_secret"]["version"], &told["current_secret"]["last_seen_at"]),
        (&2.into(), &Value::Null)
    );

    // Whatever happens, the end comes before.
    let said = scene.run(&["rotation", id, "--finish-when-quiet", "48h"]).failed(1);
    assert!(said.contains("in any case") && said.contains("update ID --grace"), "{said}");
    let said = scene.run(&["rotation", id, "--finish-when-quiet", "24h"]).ok();
    assert!(said.contains("Ends when quiet   for 24h, not before "), "{said}");
    let kept = scene.run(&["rotation", id, "--keep", "--json"]).json();
    assert_eq!((&kept["finish_when_quiet"], kept["previous_secret"].is_object()), (&Value::Null, true));
    assert_eq!(scene.gate_says(&issued), "admitted");

    let said = scene.run(&["rotation", id, "--finish-now"]).ok();
    assert!(said.ends_with("\n\nThere is no old secret that is still good.\n"), "{said}");
    assert_eq!((scene.gate_says(&issued), scene.gate_says(&rotated)), ("invalid".into(), "admitted".into()));

    let said = scene.run(&["rotation", "00000000-0000-0000-0000-000000000000"]).failed(1);
    assert!(said.contains("countersign service-token list"), "{said}");
    let said = scene.run(&["rotation", id, "--finish-when-quiet", "forever"]).failed(2);
    assert!(said.contains("forever"), "{said}");
    scene.run(&["rotation", id, "--finish-now", "--keep"]).failed(2);
}
