//! Accounts, zones, users and management tokens, on the store itself.

use serde_json::Value;

use crate::world::{World, request};

#[test]
fn what_is_created_is_listed_and_shown() {
    let world = World::new();
    let first = world.init();

    let account = world.run(&["account", "create", "--name", "Platform", "--json"]).json();
    let account_id = account["id"].as_str().unwrap();
    let mut keys: Vec<&String> = account.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["account_token", "id", "name", "pfid"]);
    let shown = world.run(&["account", "show", account_id, "--json"]).json();
    assert_eq!((&shown["id"], &shown["pfid"], &shown["name"]), (&account["id"], &account["pfid"], &account["name"]));
    let counts = ["service_tokens", "api_tokens", "environments"].map(|name| shown[name].as_u64().unwrap());
    assert_eq!(counts, [0, 1, 1]);
    let listed = world.run(&["account", "list", "--json"]).json();
    let ids: Vec<&Value> = listed.as_array().unwrap().iter().map(|account| &account["id"]).collect();
    assert!(ids.contains(&&account["id"]) && ids.contains(&&first.document["account"]["id"]) && ids.len() == 2);

    let zone = world.run(&["zone", "create", "--account", account_id, "--name", "example.org", "--json"]).json();
    let zone_id = zone["id"].as_str().unwrap();
    assert_eq!(world.run(&["zone", "show", zone_id, "--json"]).json(), zone);
    let of_account = world.run(&["zone", "list", "--account", account_id, "--json"]).json();
    assert_eq!(of_account, Value::Array(vec![zone]));
    assert_eq!(world.run(&["zone", "list", "--json"]).json().as_array().unwrap().len(), 2);

    let user = world.run(&["user", "create", "--email", "Dev@Example.com", "--account", account_id, "--json"]).json();
    assert_eq!(user["email"], "dev@example.com");
    assert_eq!(user["api_key"].as_str().unwrap().len(), 37);
    let granted =
        world.run(&["user", "grant", "--email", "dev@example.com", "--account", first.account(), "--json"]).json();
    assert_eq!(granted["account_ids"].as_array().unwrap().len(), 2);
    for named in ["dev@example.com", user["id"].as_str().unwrap()] {
        assert_eq!(world.run(&["user", "show", named, "--json"]).json(), granted);
    }
    assert_eq!(world.run(&["user", "list", "--json"]).json().as_array().unwrap().len(), 2);

    let text = world.run(&["account", "list"]).ok();
    assert!(text.starts_with("ID ") && text.contains("Platform") && text.contains(account_id), "{text}");
}

#[test]
fn what_is_absent_is_said_with_a_way_on() {
    let world = World::new();
    world.init();
    let nobody = "00000000000000000000000000000000";
    for (arguments, words) in [
        (["account", "show", nobody].as_slice(), "countersign account list"),
        (&["zone", "show", nobody], "countersign zone list"),
        (&["zone", "create", "--account", nobody, "--name", "x"], "countersign account list"),
        (&["zone", "list", "--account", nobody], "countersign account list"),
        (&["user", "show", nobody], "countersign user list"),
        (&["user", "show", "nobody@example.com"], "countersign user list"),
        (&["user", "create", "--email", "a@b", "--account", nobody], "countersign account list"),
        (&["user", "create", "--email", "no address", "--account", nobody], "email"),
        (&["token", "create", "--account", nobody, "--name", "x", "--permission", "Everything"], "account list"),
        (&["token", "revoke", nobody, "--yes"], "countersign token list"),
        (&["account", "create", "--name", ""], "name"),
    ] {
        let said = world.run(arguments).failed(1);
        assert!(said.starts_with("error: ") && said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn an_address_is_one_users() {
    let world = World::new();
    let first = world.init();
    let arguments = ["user", "create", "--email", "ADMIN@example.com", "--account", first.account()];
    let said = world.run(&arguments).failed(1);
    assert!(said.contains("already"), "{said}");
}

#[test]
fn wrong_usage_is_told_apart() {
    let world = World::new();
    for arguments in [
        [].as_slice(),
        &["frobnicate"],
        &["account"],
        &["account", "create"],
        &["account", "show", "not-an-id"],
        &["token", "create", "--account", "00000000000000000000000000000000", "--name", "x"],
        &["token", "create", "--account", "00000000000000000000000000000000", "--name", "x", "--permission", "Fly"],
        &["token", "revoke", "00000000000000000000000000000000"],
        &["service-token", "list"],
        &["service-token", "create", "--name", "x", "--duration", "1 year"],
        &["service-token", "list", "--account", "a", "--zone", "b"],
        &["api-token", "list"],
        &["api-token", "show", "not-an-id"],
        &["api-token", "create"],
        &["api-token", "create", "--scope", "galaxy"],
        &["signing-key"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--log-format", "xml"],
    ] {
        let said = world.run(arguments).failed(2);
        assert!(!said.is_empty(), "{arguments:?}");
    }
}

#[test]
fn without_an_installation_there_is_a_way_to_one() {
    let world = World::new();
    for arguments in [["account", "list"].as_slice(), &["serve"], &["audit", "verify"], &["signing-key", "rotate"]] {
        let said = world.run(arguments).failed(1);
        assert!(said.contains("countersign init"), "{arguments:?}: {said}");
    }
    assert!(!world.data_dir().exists(), "nothing was created");
}

/// What the management API says to a bearer, asked for the account's tokens.
fn status(management: &str, account: &str, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let path = format!("/client/v4/accounts/{account}/access/service_tokens");
    request(management, "GET", &path, &[("Authorization", &bearer)], None).unwrap().status
}

#[test]
fn a_management_token_lives_and_dies_while_the_server_runs() {
    let world = World::new();
    let first = world.init();
    let server = world.serve();
    for round in 0..5 {
        let arguments = [
            "token",
            "create",
            "--account",
            first.account(),
            "--name",
            "ci",
            "--permission",
            "Access: Service Tokens Read",
            "--json",
        ];
        let made = world.run(&arguments).json();
        let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
        assert_eq!(status(&server.management, first.account(), token), 200, "round {round}");
        let read_only = ["service-token", "create", "--name", "x", "--account", first.account()];
        let said = server.remote(&world, token, &read_only).failed(1);
        assert!(said.contains("10000") && said.contains("403"), "{said}");

        let listed = world.run(&["token", "list", "--account", first.account(), "--json"]).json();
        assert!(listed.as_array().unwrap().iter().any(|other| other["id"] == made["id"]), "{listed}");
        assert!(!listed.to_string().contains(token));

        let revoked = world.run(&["token", "revoke", id, "--yes", "--json"]).json();
        // The command has returned: the very next request is refused.
        assert_eq!(status(&server.management, first.account(), token), 401, "round {round}");
        assert_eq!(revoked["status"], "revoked");
        assert!(revoked["propagation"].as_str().unwrap().starts_with("complete; nodes=1"), "{revoked}");
        // Revoking it again is no error.
        assert_eq!(world.run(&["token", "revoke", id, "--yes", "--json"]).json()["id"], made["id"]);
    }
}

#[test]
fn an_account_made_beside_a_running_server_is_served() {
    let world = World::new();
    let first = world.init();
    let server = world.serve();
    let account = world.run(&["account", "create", "--name", "Late", "--json"]).json();
    let account = account["id"].as_str().unwrap();
    // The first user owns the installation, but the token was made for one account only.
    assert_eq!(status(&server.management, account, first.api_token()), 403);
    let arguments = ["token", "create", "--account", account, "--name", "late", "--permission", "Everything", "--json"];
    let token = world.run(&arguments).json()["token"].as_str().unwrap().to_owned();
    let issued =
        server.remote(&world, &token, &["service-token", "create", "--name", "x", "--account", account, "--json"]);
    let issued = issued.json();
    let (id, secret) = (issued["client_id"].as_str().unwrap(), issued["client_secret"].as_str().unwrap());
    assert_eq!(server.gate_says(account, id, secret), (200, None));
}
