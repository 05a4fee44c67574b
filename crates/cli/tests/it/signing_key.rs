//! `signing-key`: a new key for new tokens, while the old ones stay good.

use countersign_server::token::api_token::{Claims, ScopeKind, mint};
use countersign_server::token::digest::InstallationKey;
use countersign_server::token::time::Timestamp;
use serde_json::Value;

use crate::world::{Installation, World, gate_says_to_bearer};

fn text(document: &Value, name: &str) -> String {
    document[name].as_str().unwrap_or_else(|| panic!("{name}: {document}")).to_owned()
}

/// The text of this token, as the signing key of that id makes it.
fn minted(world: &World, first: &Installation, token: &Value, key_id: &str) -> String {
    let file = std::fs::read_to_string(world.data_dir().join("installation.key")).unwrap();
    let key = InstallationKey::parse_hex(&file).unwrap();
    let made = world.run(&["audit", "list", "--action", "installation.create", "--json"]).json();
    let time = |name: &str| Timestamp::parse_rfc3339(&text(token, name)).unwrap();
    let claims = Claims {
        installation: text(&made[0]["subject"], "id").parse().unwrap(),
        id: text(token, "id").parse().unwrap(),
        account: text(&first.document["account"], "pfid").parse().unwrap(),
        scope: ScopeKind::Account,
        issued_at: time("inserted_at"),
        expires_at: time("expires_at"),
    };
    mint(&key.jwt_key(key_id), &claims).expose().to_owned()
}

#[test]
fn old_tokens_stay_good_and_new_ones_are_signed_anew() {
    let world = World::new();
    let first = world.init();
    let server = world.serve();
    let create = |arguments: &[&str]| {
        let all = [["api-token", "create", "--scope", "account", "--json"].as_slice(), arguments].concat();
        server.remote(&world, first.account_token(), &all).json()
    };
    let admits = |token: &str| {
        gate_says_to_bearer(&server.gate, &format!("account_id={}", first.account()), token).status == 200
            && server.prefactor(token, "GET", "/ping", "").status == 200
    };
    let key_id = |command: &str| text(&world.run(&["signing-key", command, "--json"]).json(), "id");

    let (old_key, keyed) = (key_id("show"), ["--expires-at", "2099-01-01T00:00:00Z", "--idempotency-key", "k"]);
    let old = create(&keyed);
    assert_eq!(text(&old, "token"), minted(&world, &first, &old, &old_key));
    let new_key = key_id("rotate");
    assert_ne!(new_key, old_key);
    assert_eq!(key_id("show"), new_key);

    // The running server takes the new one at once.
    let new = create(&[]);
    assert_eq!(text(&new, "token"), minted(&world, &first, &new, &new_key));
    assert_ne!(text(&new, "token"), minted(&world, &first, &new, &old_key));
    for token in [first.account_token(), &text(&old, "token"), &text(&new, "token")] {
        assert!(admits(token));
    }
    // Repeated, a create gives the token that it gave, with the signature that it had.
    assert_eq!(create(&keyed)["token"], old["token"]);
    // What another key would have signed is no token.
    assert!(!admits(&minted(&world, &first, &new, &old_key)));

    let said = world.run(&["signing-key", "rotate"]).ok();
    assert!(said.contains("stay good"), "{said}");
    let events = world.run(&["audit", "list", "--action", "signing_key.rotate", "--json"]).json();
    assert_eq!(events.as_array().unwrap().len(), 2);
    assert_eq!(text(&events[0]["actor"], "kind"), "operator");
}
