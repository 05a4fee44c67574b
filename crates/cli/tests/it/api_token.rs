//! `api-token`, against a running server.

use std::net::TcpListener;

use serde_json::Value;

use crate::world::{Installation, Outcome, Server, World, gate_says_to_bearer};

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

    /// `api-token` with these arguments, as the holder of the account's token.
    fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_as(self.first.account_token(), arguments)
    }

    fn run_as(&self, token: &str, arguments: &[&str]) -> Outcome {
        let mut all = vec!["api-token"];
        all.extend(arguments);
        self.server.remote(&self.world, token, &all)
    }

    fn create_in_environment(&self) -> Value {
        self.run(&["create", "--scope", "environment", "--environment", self.first.environment(), "--json"]).json()
    }

    /// `admitted`, or why not, where the environment is demanded.
    fn gate_says(&self, token: &Value) -> String {
        let demand = format!("environment_id={}", self.first.environment());
        let answer = gate_says_to_bearer(&self.server.gate, &demand, text(token, "token"));
        match answer.header("countersign-reason") {
            Some(reason) => reason.to_owned(),
            None if answer.status == 200 => "admitted".to_owned(),
            None => panic!("{answer:?}"),
        }
    }
}

fn text<'a>(document: &'a Value, name: &str) -> &'a str {
    document[name].as_str().unwrap_or_else(|| panic!("{name}: {document}"))
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|token| text(token, "id")).collect()
}

#[test]
fn a_life() {
    let scene = Scene::new(&[]);
    let made = scene.create_in_environment();
    let id = text(&made, "id");
    assert_eq!((text(&made, "type"), text(&made, "status")), ("api_token", "active"));
    assert_eq!((text(&made, "token_scope"), text(&made, "environment_id")), ("environment", scene.first.environment()));
    assert_eq!(made["account_id"], scene.first.document["account"]["pfid"]);
    assert!(made["agent_id"].is_null() && made["last_used_at"].is_null(), "{made}");
    assert_eq!(scene.gate_says(&made), "admitted");
    let answer =
        gate_says_to_bearer(&scene.server.gate, &format!("account_id={}", scene.first.account()), text(&made, "token"));
    assert_eq!((answer.status, answer.header("countersign-kind")), (200, Some("api_token")));
    assert_eq!(answer.header("countersign-token-id"), Some(id));
    assert_eq!(answer.header("countersign-environment-id"), Some(scene.first.environment()));

    let shown = scene.run(&["show", id, "--json"]).json();
    assert_eq!((&shown["id"], shown.get("token")), (&made["id"], None));
    assert!(shown["last_used_at"].is_string(), "{shown}");

    assert_eq!(text(&scene.run(&["suspend", id, "--json"]).json(), "status"), "suspended");
    assert_eq!(scene.gate_says(&made), "disabled");
    let said = scene.run(&["suspend", id]).failed(1);
    assert!(said.contains("invalid_action") && said.contains("409"), "{said}");
    assert_eq!(text(&scene.run(&["activate", id, "--json"]).json(), "status"), "active");
    assert_eq!(scene.gate_says(&made), "admitted");

    for action in ["revoke", "delete"] {
        let said = scene.run(&[action, id]).failed(2);
        assert!(said.contains("--yes"), "{said}");
        assert_eq!(scene.gate_says(&made), "admitted");
    }
    let said = scene.run(&["delete", id, "--yes"]).failed(1);
    assert!(said.contains("invalid_action"), "{said}");
    let revoked = scene.run(&["revoke", id, "--yes", "--json"]).json();
    assert_eq!(text(&revoked, "status"), "revoked");
    assert_eq!(scene.gate_says(&made), "revoked");
    scene.run(&["activate", id]).failed(1);
    assert_eq!(text(&scene.run(&["delete", id, "--yes", "--json"]).json(), "id"), id);
    assert_eq!(scene.gate_says(&made), "invalid");
    let said = scene.run(&["show", id]).failed(1);
    assert!(said.contains("404") && said.contains("countersign api-token list"), "{said}");

    let events = scene.world.run(&["audit", "list", "--subject", id, "--json"]).json();
    let actions: Vec<&str> = events.as_array().unwrap().iter().map(|event| text(event, "action")).collect();
    assert_eq!(
        actions,
        ["api_token.create", "api_token.suspend", "api_token.activate", "api_token.revoke", "api_token.delete"]
    );
    for event in events.as_array().unwrap() {
        assert_eq!((text(&event["subject"], "kind"), text(&event["actor"], "kind")), ("api_token", "api_token"));
        assert_eq!(text(event, "account_id"), scene.first.account());
    }
    let suspensions = scene.world.run(&["audit", "list", "--action", "api_token.suspend"]).ok();
    assert!(suspensions.contains(id), "{suspensions}");
}

#[test]
fn a_token_for_an_agent_deploys_it() {
    let scene = Scene::new(&[]);
    let answer =
        scene.server.prefactor(scene.first.account_token(), "POST", "/agent", r#"{"details":{"name":"crawler"}}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    let agent = answer.json()["details"]["id"].as_str().unwrap().to_owned();
    let environment = scene.first.environment();
    let create = ["create", "--scope", "agent_deployment", "--agent", &agent, "--environment", environment, "--json"];
    let (one, other) = (scene.run(&create).json(), scene.run(&create).json());
    assert_eq!((text(&one, "agent_id"), text(&one, "environment_id")), (agent.as_str(), environment));
    assert_eq!(text(&one, "agent_deployment_id"), text(&other, "agent_deployment_id"));
    assert_ne!(one["id"], other["id"]);
    assert_eq!(scene.gate_says(&one), "admitted");
    let found = scene.run(&["list", "--search", text(&one, "agent_deployment_id"), "--json"]).json();
    assert_eq!(ids(&found), [text(&one, "id"), text(&other, "id")]);
}

#[test]
fn people_see_it_once() {
    let scene = Scene::new(&[]);
    let shown = scene.run(&["create", "--scope", "account", "--expires-in", "24h"]).ok();
    assert!(shown.contains("eyJ") && shown.contains("shown this once"), "{shown}");
    assert!(shown.contains("suspend, revoke") && !shown.contains('\u{1b}'), "{shown}");
    let id = shown.lines().find_map(|line| line.strip_prefix("Token id")).unwrap().trim();
    let again = scene.run(&["show", id]).ok();
    assert!(!again.contains("eyJ") && !again.contains("shown"), "{again}");
    let listed = scene.run(&["list"]).ok();
    assert!(listed.starts_with("ID ") && listed.contains(id) && !listed.contains("eyJ"), "{listed}");
    let none = scene.run(&["list", "--search", "nothing like it"]).ok();
    assert_eq!(none, "There are no such API tokens.\n");
}

#[test]
fn an_expiry_is_a_time_or_a_length() {
    let scene = Scene::new(&[]);
    let at = "2099-01-01T02:00:00+02:00";
    let made = scene.run(&["create", "--scope", "account", "--expires-at", at, "--json"]).json();
    assert_eq!(text(&made, "expires_at"), "2099-01-01T00:00:00Z");
    let short = scene.run(&["create", "--scope", "account", "--expires-in", "1h", "--json"]).json();
    let usual = scene.run(&["create", "--scope", "account", "--json"]).json();
    assert!(text(&short, "expires_at") < text(&usual, "expires_at"), "{short} {usual}");
    let past = scene.run(&["create", "--scope", "account", "--expires-at", "2001-01-01T00:00:00Z"]).failed(1);
    assert!(past.contains("invalid_value at details.expires_at"), "{past}");
}

#[test]
fn the_same_key_gives_the_same_token() {
    let scene = Scene::new(&[]);
    let create = ["create", "--scope", "account", "--idempotency-key", "deploy-42", "--expires-at"];
    let with = |at: &str, rest: &[&str]| scene.run(&[&create, [at].as_slice(), rest].concat());
    let (once, again) = ("2099-01-01T00:00:00Z", ["--json"].as_slice());
    let first = with(once, again).json();
    let second = with(once, again).json();
    assert_eq!((&first["id"], &first["token"]), (&second["id"], &second["token"]));
    assert_eq!(scene.run(&["list", "--json"]).json().as_array().unwrap().len(), 2);
    let said = with("2099-01-02T00:00:00Z", &[]).failed(1);
    assert!(said.contains("idempotency_key_already_used"), "{said}");
    let said = scene.run(&["create", "--scope", "account", "--idempotency-key", &"k".repeat(65)]).failed(1);
    assert!(said.contains("at idempotency_key"), "{said}");
}

#[test]
fn lists_are_whole_searched_and_sorted() {
    let scene = Scene::new(&[]);
    let environment = scene.first.environment();
    // More than one page of them.
    let body = format!(r#"{{"details":{{"token_scope":"environment","environment_id":"{environment}"}}}}"#);
    for _ in 0..104 {
        let made = scene.server.prefactor(scene.first.account_token(), "POST", "/api_token", &body);
        assert_eq!(made.status, 200, "{made:?}");
    }
    let soon = scene.run(&["create", "--scope", "account", "--expires-in", "1h", "--json"]).json();
    let late = scene.run(&["create", "--scope", "account", "--expires-at", "2099-01-01T00:00:00Z", "--json"]).json();
    scene.run(&["suspend", text(&soon, "id")]).ok();
    let list = |arguments: &[&str]| scene.run(&[&["list", "--json"], arguments].concat()).json();

    let all = list(&[]);
    let mut found = ids(&all);
    assert!(found.is_sorted(), "oldest first");
    found.dedup();
    assert_eq!(found.len(), 107, "with the account's first");
    assert!(all[0].get("available_actions").is_none() && all[0].get("token").is_none(), "{}", all[0]);

    assert_eq!(ids(&list(&["--search", "SUSPENDED"])), [text(&soon, "id")]);
    assert_eq!(ids(&list(&["--search", text(&late, "id")])), [text(&late, "id")]);
    assert_eq!(list(&["--search", environment]).as_array().unwrap().len(), 104);
    assert_eq!(list(&["--search", "account"]).as_array().unwrap().len(), 3);
    let user = scene.first.document["user"]["pfid"].as_str().unwrap();
    assert_eq!(list(&["--search", user]).as_array().unwrap().len(), 1, "the account's first is the user's");

    let by_expiry = list(&["--sort", "expires_at"]);
    assert_eq!((&by_expiry[0]["id"], &by_expiry[106]["id"]), (&soon["id"], &late["id"]));
    let reversed = list(&["--sort", "-expires_at"]);
    assert_eq!((&reversed[0]["id"], &reversed[106]["id"]), (&late["id"], &soon["id"]));
    let newest_first = list(&["--sort", "-id"]);
    assert!(ids(&newest_first).iter().rev().is_sorted(), "newest first");
    let said = scene.run(&["list", "--sort", "title"]).failed(1);
    assert!(said.contains("at sorting"), "{said}");

    let counted = scene.world.run(&["account", "show", scene.first.account(), "--json"]).json();
    assert_eq!(counted["api_tokens"], 107);
}

#[test]
fn scopes_want_what_they_reach() {
    let scene = Scene::new(&[]);
    let environment = scene.first.environment();
    for (arguments, words) in [
        (["--scope", "account", "--environment", environment].as_slice(), "narrower"),
        (&["--scope", "account", "--agent", environment], "narrower"),
        (&["--scope", "environment"], "--environment ID"),
        (&["--scope", "environment", "--environment", environment, "--agent", environment], "agent_deployment"),
        (&["--scope", "agent_deployment", "--environment", environment], "--agent ID"),
        (&["--scope", "agent_deployment", "--agent", environment], "--environment ID"),
        (&["--scope", "environment", "--environment", "production"], "PFID"),
        (&["--scope", "account", "--expires-in", "forever"], "forever"),
        (&["--scope", "account", "--expires-in", "90d"], "unit"),
        (&["--scope", "account", "--expires-at", "tomorrow"], "--expires-at"),
        (&["--scope", "account", "--expires-in", "1h", "--expires-at", "2099-01-01T00:00:00Z"], "--expires-at"),
    ] {
        let said = scene.run(&[&["create"], arguments].concat()).failed(2);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    assert_eq!(scene.run(&["list", "--json"]).json().as_array().unwrap().len(), 1, "nothing was made");
}

#[test]
fn refusals_say_what_to_do() {
    let scene = Scene::new(&[]);
    let said = scene.world.run(&["api-token", "list"]).failed(2);
    assert!(said.contains("COUNTERSIGN_API_TOKEN") && said.contains("countersign init"), "{said}");

    let arguments = ["token", "create", "--account", scene.first.account(), "--name", "ci", "--permission"];
    let management =
        scene.world.run(&[arguments.as_slice(), &["Access: Service Tokens Write", "--json"]].concat()).json();
    let management = text(&management, "token");
    let said = scene.run_as(management, &["list"]).failed(1);
    assert!(said.contains("A management token (csat_…) is no API token (eyJ…)"), "{said}");
    assert!(!said.contains(management), "{said}");

    let made = scene.create_in_environment();
    let narrow = text(&made, "token");
    for arguments in [["list"].as_slice(), &["create", "--scope", "account"], &["suspend", text(&made, "id")]] {
        let said = scene.run_as(narrow, arguments).failed(1);
        assert!(said.contains("not_permitted") && said.contains("scope account"), "{said}");
    }
    scene.run(&["revoke", text(&made, "id"), "--yes"]).ok();
    let said = scene.run_as(narrow, &["list"]).failed(1);
    assert!(said.contains("bad_authtoken") && said.contains("/cli/connect") && !said.contains(narrow), "{said}");

    let nobody = text(&made, "id").replacen(text(&made, "id").get(..10).unwrap(), "0000000000", 1);
    for arguments in [
        ["show", &nobody].as_slice(),
        &["suspend", &nobody],
        &["create", "--scope", "environment", "--environment", &nobody],
    ] {
        let said = scene.run(arguments).failed(1);
        assert!(said.contains("not_found") && said.contains("countersign api-token list"), "{said}");
    }
    // An id of something else is told apart.
    let said = scene.run(&["create", "--scope", "environment", "--environment", text(&made, "id")]).failed(1);
    assert!(said.contains("unexpected_ref_type at details.environment_id"), "{said}");

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let said = scene.run(&["list", "--url", &url]).failed(1);
    assert!(said.contains(&url) && said.contains("countersign serve"), "{said}");
    let said = scene.run(&["list", "--url", &scene.server.gate]).failed(1);
    assert!(said.contains("--url"), "{said}");
}

#[test]
fn a_lost_answer_says_what_may_be_repeated() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let create = ["api-token", "create", "--scope", "account", "--url", &url, "--api-token", "eyJ.e30.x"];
    world.loses_answers(&listener, &create, "countersign api-token list");
}

#[test]
fn an_account_token_calls_both_dialects() {
    let scene = Scene::new(&[]);
    let (token, account) = (scene.first.account_token(), scene.first.account());
    let create = ["service-token", "create", "--name", "deploy", "--account", account, "--json"];
    let issued = scene.server.remote(&scene.world, token, &create).json();
    let (id, secret) = (text(&issued, "client_id"), text(&issued, "client_secret"));
    assert_eq!(scene.server.gate_says(account, id, secret), (200, None));
    let narrow = scene.create_in_environment();
    let said = scene.server.remote(&scene.world, text(&narrow, "token"), &create).failed(1);
    assert!(said.contains("403"), "{said}");
}

#[test]
fn a_restart_keeps_everything() {
    let scene = Scene::new(&[]);
    let (active, suspended, revoked) =
        (scene.create_in_environment(), scene.create_in_environment(), scene.create_in_environment());
    scene.run(&["suspend", text(&suspended, "id")]).ok();
    scene.run(&["revoke", text(&revoked, "id"), "--yes"]).ok();
    let before = scene.run(&["list", "--json"]).json();
    let Scene { world, first, server } = scene;
    server.signal("TERM");
    assert!(server.wait().0.success());
    let scene = Scene { server: world.serve(), world, first };
    let after = scene.run(&["list", "--json"]).json();
    for (was, is) in before.as_array().unwrap().iter().zip(after.as_array().unwrap()) {
        for name in ["id", "token_scope", "environment_id", "status", "expires_at", "inserted_at", "updated_at"] {
            assert_eq!(was[name], is[name], "{name}");
        }
    }
    let said = [&active, &suspended, &revoked].map(|token| scene.gate_says(token));
    assert_eq!(said, ["admitted", "disabled", "revoked"]);
}

/// Every API token of a busy server's life, and its whole log at the most talkative level.
#[test]
fn no_token_reaches_the_log() {
    for format in ["human", "json"] {
        let scene = Scene::new(&["--log-level", "trace", "--log-format", format]);
        let mut secrets = scene.first.secrets();
        let create = ["create", "--scope", "account", "--idempotency-key", "k", "--expires-at", "2099-01-01T00:00:00Z"];
        for _ in 0..2 {
            let made = scene.run(&[create.as_slice(), &["--json"]].concat());
            assert_eq!(made.stderr, "");
            let made = made.json();
            assert_eq!(scene.gate_says(&made), "admitted");
            secrets.push(text(&made, "token").to_owned());
        }
        let wrong = format!("{}x", scene.first.account_token());
        let said = scene.run_as(&wrong, &["list"]).failed(1);
        secrets.push(wrong);
        let misplaced = scene.run(&["show", scene.first.account_token()]).failed(2);

        scene.server.signal("TERM");
        let (status, log) = scene.server.wait();
        assert!(status.success(), "{log}");
        for secret in secrets {
            // The signature is what makes a token good: not even that alone may be seen.
            let key = secret.rsplit('.').next().unwrap();
            for (place, text) in [("the log", &log), ("a refusal", &said), ("a usage error", &misplaced)] {
                assert!(!text.contains(key), "{key} is in {place}:\n{text}");
            }
        }
    }
}
