//! A program that verifies by itself: the example service, as it stands in `examples/`, beside the real server.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use countersign_client::Clock;
use serde_json::{Value, json};

use crate::postgres::Cluster;
use crate::world::{Answer, Place, Server, World, request};

const PERMISSION: &str = "Countersign: Verification Feed Read";

/// How long anything may take that is waited for. Only a failure takes that long.
const PATIENCE: Duration = Duration::from_secs(30);

impl Place {
    /// A token that may follow the feed of an account, and its id.
    fn follower(&self, account: &str) -> (String, String) {
        let made = self.run(&[
            "token",
            "create",
            "--account",
            account,
            "--name",
            "service",
            "--permission",
            PERMISSION,
            "--json",
        ]);
        let made = made.json();
        (made["token"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
    }
}

/// The id, client id and secret of a new service token.
struct Made {
    id: String,
    client_id: String,
    secret: String,
}

fn create(server: &Server, place: &Place, account: &str, name: &str) -> Made {
    create_as(server, place, place.first.api_token(), account, name)
}

fn create_as(server: &Server, place: &Place, caller: &str, account: &str, name: &str) -> Made {
    let arguments = ["service-token", "create", "--account", account, "--name", name, "--json"];
    let made = server.remote(&place.world, caller, &arguments).json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    Made { id: text("id"), client_id: text("client_id"), secret: text("client_secret") }
}

/// Deletes a token, and returns what the answer says of the nodes.
fn delete(server: &Server, place: &Place, account: &str, id: &str) -> String {
    let path = format!("/client/v4/accounts/{account}/access/service_tokens/{id}");
    let bearer = format!("Bearer {}", place.first.api_token());
    let answer = request(&server.management, "DELETE", &path, &[("authorization", &bearer)], None).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.header("countersign-propagation").expect("what takes away says how far").to_owned()
}

/// The example service. Dropping it kills it.
struct Service {
    child: Child,
    address: String,
}

/// The example's program, built of the file as it is now: cargo builds examples for tests only where nobody names a target.
fn example() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let profile = Path::new(env!("CARGO_BIN_EXE_countersign")).parent().unwrap();
        if let Some(cargo) = std::env::var_os("CARGO") {
            let name = profile.file_name().unwrap().to_str().unwrap();
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--locked", "--example", "service", "--profile"]);
            build.arg(if name == "debug" { "dev" } else { name });
            build.arg("--target-dir").arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
            assert!(build.status().unwrap().success());
        }
        profile.join("examples/service")
    })
}

impl Service {
    fn start(url: &str, token: &str, demand: &str) -> Self {
        let mut command = Command::new(example());
        command.env_clear().env("COUNTERSIGN_URL", url).env("COUNTERSIGN_API_TOKEN", token).arg(demand);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening ").expect("it listens").to_owned();
        Self { child, address }
    }

    fn ask(&self, headers: &[(&str, &str)]) -> Answer {
        request(&self.address, "GET", "/", headers, None).unwrap()
    }

    fn says(&self, made: &Made) -> (u16, Option<String>) {
        let answer = self.ask(&[("CF-Access-Client-Id", &made.client_id), ("CF-Access-Client-Secret", &made.secret)]);
        (answer.status, answer.header("countersign-reason").map(str::to_owned))
    }

    /// Waits until it says this.
    fn comes_to_say(&self, made: &Made, expected: (u16, Option<&str>)) {
        let begun = Clock::System.boot();
        loop {
            let said = self.says(made);
            if (said.0, said.1.as_deref()) == expected {
                return;
            }
            assert!(Clock::System.boot().duration_since(begun) < PATIENCE, "{said:?}, not {expected:?}");
        }
    }

    fn stop(mut self) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the feed answers to the holder of `token`.
fn feed(server: &Server, token: &str, question: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    request(&server.management, "POST", "/admin/v1/feed", &headers, Some(&question.to_string())).unwrap()
}

const ADMITTED: (u16, Option<&str>) = (200, None);
const INVALID: (u16, Option<&str>) = (401, Some("invalid"));
const STALE: (u16, Option<&str>) = (503, Some("stale"));

/// Each test on both databases.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod on_sqlite {
            $(#[test] fn $name() { super::$name(crate::world::Place::new(None)); })*
        }

        // One cluster, one after the other.
        #[test]
        fn on_postgres() {
            let Some(cluster) = Cluster::start(|_| ()) else { return };
            $($name(Place::new(Some(cluster.database())));)*
        }
    };
}

on_both! {
    what_is_revoked_is_refused_when_the_call_returns
    an_outage_is_survived_for_as_long_as_was_promised
    accounts_and_permissions_are_kept_apart
    verifiers_of_one_token_are_counted
}

#[expect(clippy::needless_pass_by_value, reason = "a test has its place to itself")]
fn what_is_revoked_is_refused_when_the_call_returns(place: Place) {
    let account = place.first.account();
    let server = place.serve_at("127.0.0.1:0");
    let before = create(&server, &place, account, "before");
    let (token, _) = place.follower(account);
    let alone = create(&server, &place, account, "alone");
    assert!(delete(&server, &place, account, &alone.id).starts_with("complete; nodes=1;"));
    let service = Service::start(&server.management, &token, &format!("account_id={account}"));

    let greeted =
        service.ask(&[("CF-Access-Client-Id", &before.client_id), ("CF-Access-Client-Secret", &before.secret)]);
    assert_eq!((greeted.status, greeted.body.as_str()), (200, "hello, before\n"));
    let nobody = service.ask(&[]);
    assert_eq!((nobody.status, nobody.header("countersign-reason")), (401, Some("missing")));
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer realm=\"countersign\""));
    assert_eq!(nobody.header("cache-control"), Some("no-store"));
    let bearer = format!("Bearer {}", place.first.account_token());
    assert_eq!(service.ask(&[("Authorization", &bearer)]).status, 200);
    // Whoever may read the feed may do nothing else with it, also here.
    let follower = format!("Bearer {token}");
    assert_eq!(service.ask(&[("Authorization", &follower)]).header("countersign-reason"), Some("invalid"));

    // Each is refused as soon as the call has returned, and admitted soon after it was made.
    for round in 0..20 {
        let made = create(&server, &place, account, &format!("round {round}"));
        service.comes_to_say(&made, ADMITTED);
        let receipt = delete(&server, &place, account, &made.id);
        let said = service.says(&made);
        assert_eq!((said.0, said.1.as_deref()), INVALID, "round {round}");
        assert!(receipt.starts_with("complete; nodes=2;"), "{receipt}");
    }
    // It knows where its callers come from.
    let listed = create(&server, &place, account, "listed");
    let allow_from = |network| {
        let arguments = ["service-token", "allow-from", &listed.id, network, "--account", account];
        server.remote(&place.world, place.first.api_token(), &arguments).ok();
    };
    allow_from("10.0.0.0/8");
    assert_eq!(service.says(&listed), (403, Some("address_not_allowed".to_owned())));
    allow_from("127.0.0.0/8");
    service.comes_to_say(&listed, ADMITTED);
    service.stop();
    assert!(
        delete(&server, &place, account, &before.id).starts_with("complete; nodes=1;"),
        "it has said that it stops"
    );
}

#[expect(clippy::needless_pass_by_value, reason = "a test has its place to itself")]
fn an_outage_is_survived_for_as_long_as_was_promised(place: Place) {
    let account = place.first.account();
    let mut server = place.serve_at("127.0.0.1:0");
    let listen = server.management.strip_prefix("http://").unwrap().to_owned();
    let (token, _) = place.follower(account);
    let (kept, taken) = (create(&server, &place, account, "kept"), create(&server, &place, account, "taken"));
    let service = Service::start(&server.management, &token, &format!("account_id={account}"));
    service.comes_to_say(&taken, ADMITTED);

    server.kill();
    let begun = Clock::System.boot();
    assert_eq!(service.says(&kept).0, 200, "nobody has to ask the server");
    service.comes_to_say(&kept, STALE);
    let lasted = Clock::System.boot().duration_since(begun);
    assert!(
        (Duration::from_secs(2)..Duration::from_secs(7)).contains(&lasted),
        "five seconds are promised: {lasted:?}"
    );
    assert_eq!(request(&service.address, "GET", "/readyz", &[], None).unwrap().status, 503);

    // It comes back, goes on where it was, and the list of nodes has it again.
    let server = place.serve_at(&listen);
    service.comes_to_say(&kept, ADMITTED);
    let receipt = delete(&server, &place, account, &taken.id);
    let said = service.says(&taken);
    assert_eq!((said.0, said.1.as_deref()), INVALID);
    assert!(receipt.starts_with("complete; nodes="), "{receipt}");
    assert_eq!(service.says(&kept).0, 200);
}

/// A restored store is behind nobody's cursor: deletions that were not seen can't be found in it any more.
#[test]
fn a_store_that_has_forgotten_is_read_anew() {
    let place = Place::new(None);
    let account = place.first.account();
    let mut server = place.serve_at("127.0.0.1:0");
    let listen = server.management.strip_prefix("http://").unwrap().to_owned();
    let (token, _) = place.follower(account);
    let (kept, taken) = (create(&server, &place, account, "kept"), create(&server, &place, account, "taken"));
    let service = Service::start(&server.management, &token, &format!("account_id={account}"));
    service.comes_to_say(&taken, ADMITTED);

    let question = json!({"verifier": "test"});
    let read = feed(&server, &token, &question).json();
    let read = feed(&server, &token, &json!({"verifier": "test", "cursor": read["cursor"]})).json();
    assert_eq!((&read["reset"], &read["complete"]), (&json!(false), &json!(true)));

    // While the service hears nothing, another server takes a token away, and the store moves.
    server.kill();
    let elsewhere = place.serve_at("127.0.0.1:0");
    delete(&elsewhere, &place, account, &taken.id);
    drop(elsewhere);
    place.run(&["backup", "moved.backup", "--with-key"]).ok();
    let restored = place.world.path("restored");
    let restored = restored.to_str().unwrap();
    place.run(&["restore", "moved.backup", "--data-dir", restored]).ok();
    let all = ["serve", "--gate-listen", "127.0.0.1:0", "--listen", &listen, "--data-dir", restored];
    let server = Server::start(place.world.command(&all));
    let again = feed(&server, &token, &json!({"verifier": "test", "cursor": read["cursor"]})).json();
    assert_eq!((&again["reset"], &again["complete"]), (&json!(true), &json!(false)));
    service.comes_to_say(&kept, ADMITTED);
    let said = service.says(&taken);
    assert_eq!((said.0, said.1.as_deref()), INVALID);
    let made = create(&server, &place, account, "made");
    service.comes_to_say(&made, ADMITTED);
}

#[expect(clippy::needless_pass_by_value, reason = "a test has its place to itself")]
fn accounts_and_permissions_are_kept_apart(place: Place) {
    let account = place.first.account();
    let other = place.run(&["account", "create", "--name", "other", "--json"]).json();
    let other = other["id"].as_str().unwrap();
    let others_token =
        place.run(&["token", "create", "--account", other, "--name", "o", "--permission", "Everything", "--json"]);
    let others_token = others_token.json()["token"].as_str().unwrap().to_owned();
    let server = place.serve_at("127.0.0.1:0");
    let (token, id) = place.follower(account);
    let (mine, foreign) =
        (create(&server, &place, account, "mine"), create_as(&server, &place, &others_token, other, "foreign"));

    let everything = feed(&server, &token, &json!({"verifier": "test"}));
    assert_eq!(everything.status, 200, "{}", everything.body);
    for secret in [&foreign.client_id, &foreign.id, other] {
        assert!(!everything.body.contains(secret), "{}", everything.body);
    }
    let document = everything.json();
    assert_eq!((&document["reset"], &document["complete"]), (&json!(true), &json!(false)));
    for kind in ["user", "management_token"] {
        assert!(document["changes"].as_array().unwrap().iter().all(|change| change["kind"] != kind));
    }
    // What changes is shown to those who may see it.
    let changes = feed(&server, &token, &json!({"verifier": "test", "cursor": document["cursor"]}));
    let cursor = changes.json()["cursor"].clone();
    create_as(&server, &place, &others_token, other, "foreign too");
    let seen = create(&server, &place, account, "mine too");
    let changes = feed(&server, &token, &json!({"verifier": "test", "cursor": cursor})).json();
    let named: Vec<_> = changes["changes"].as_array().unwrap().iter().map(|change| change["id"].clone()).collect();
    assert_eq!(named, [json!(seen.id)], "{changes}");

    // A service that demands the other account knows nobody there.
    let service = Service::start(&server.management, &token, &format!("account_id={account}"));
    service.comes_to_say(&mine, ADMITTED);
    let said = service.says(&foreign);
    assert_eq!((said.0, said.1.as_deref()), INVALID);

    // The permission gives nothing else, and nothing else gives it.
    for path in [format!("accounts/{account}/access/service_tokens"), "accounts".to_owned()] {
        let bearer = format!("Bearer {token}");
        let path = format!("/client/v4/{path}");
        let answer = request(&server.management, "GET", &path, &[("authorization", &bearer)], None).unwrap();
        assert!(answer.status == 403 || answer.json()["result"] == json!([]), "{answer:?}");
    }
    let made = place.run(&[
        "token",
        "create",
        "--account",
        account,
        "--name",
        "w",
        "--permission",
        "Access: Service Tokens Write",
        "--json",
    ]);
    let writer = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(feed(&server, &writer, &json!({"verifier": "test"})).status, 403);
    assert_eq!(feed(&server, place.first.account_token(), &json!({"verifier": "test"})).status, 403);
    assert_eq!(feed(&server, "csat_0000000000000000000000000000000000000000000000", &json!({})).status, 401);

    // Taken away, the service is told no more, and refuses when nothing can be promised any longer.
    place.run(&["token", "revoke", &id, "--yes"]).ok();
    assert_eq!(feed(&server, &token, &json!({"verifier": "test"})).status, 401);
    service.comes_to_say(&mine, STALE);
}

/// Whoever revokes waits for all of them, so nobody's may be without number.
#[expect(clippy::needless_pass_by_value, reason = "a test has its place to itself")]
fn verifiers_of_one_token_are_counted(place: Place) {
    let server = place.serve_at("127.0.0.1:0");
    let [(token, _), (another, _)] = [place.follower(place.first.account()), place.follower(place.first.account())];
    let ask = |token: &str, name: &str| feed(&server, token, &json!({"verifier": name}));
    for number in 0..256 {
        assert_eq!(ask(&token, &format!("v{number}")).status, 200, "{number}");
    }
    let refused = ask(&token, "v256");
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("conflict")), "{}", refused.body);
    assert!(
        refused.body.contains("256 verifiers") && refused.body.contains("a token of their own"),
        "{}",
        refused.body
    );
    assert_eq!(ask(&token, "v7").status, 200, "those who follow go on");
    assert_eq!(ask(&another, "v256").status, 200, "others are not counted among them");
    let bearer = format!("Bearer {token}");
    let left = request(&server.management, "DELETE", "/admin/v1/feed/v7", &[("authorization", &bearer)], None);
    assert_eq!(left.unwrap().status, 200);
    assert_eq!(ask(&token, "v256").status, 200);
    assert_eq!(ask(&token, "v7").status, 409);
}

/// An installation whose key is of the form of before can't hand out what makes digests, and says how that is changed.
#[test]
fn a_key_of_before_is_changed_first() {
    const BACKUP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../store/tests/data/0005.backup");
    const KEY: &str = "912ecf72d3364fee2daa748a46cb226ebffc3323294c4aadd7d9102b68974325";
    let world = World::new();
    std::fs::create_dir(world.data_dir()).unwrap();
    let key_file = world.data_dir().join("installation.key");
    std::fs::write(&key_file, KEY).unwrap();
    std::fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    world.run(&["restore", BACKUP]).ok();
    let accounts = world.run(&["account", "list", "--json"]).json();
    let accounts = accounts.as_array().unwrap_or_else(|| accounts["accounts"].as_array().unwrap());
    let account = accounts[0]["id"].as_str().unwrap();
    let server = world.serve();
    let made =
        world.run(&["token", "create", "--account", account, "--name", "s", "--permission", PERMISSION, "--json"]);
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let question = json!({"verifier": "test"});

    let refused = feed(&server, &token, &question);
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("conflict")), "{}", refused.body);
    assert!(refused.body.contains("installation-key"), "{}", refused.body);
    assert!(!refused.body.contains(KEY));
    world.run(&["installation-key", "prepare"]).ok();
    let begun = Clock::System.boot();
    while world.run(&["installation-key", "rotate"]).code != Some(0) {
        assert!(Clock::System.boot().duration_since(begun) < PATIENCE, "the server never holds the key");
    }
    assert_eq!(feed(&server, &token, &question).status, 409, "some rows still stand under the key of before");
    world.run(&["installation-key", "finish", "--void-the-rest", "--yes"]).ok();
    let made =
        world.run(&["token", "create", "--account", account, "--name", "t", "--permission", PERMISSION, "--json"]);
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let shown = feed(&server, &token, &question);
    assert_eq!(shown.status, 200, "{}", shown.body);
    assert_eq!(shown.json()["keys"].as_array().unwrap().len(), 1);
}

/// More than one answer holds.
#[test]
fn everything_is_read_page_by_page() {
    const TOKENS: usize = 9_000;
    let place = Place::new(None);
    let account = place.first.account();
    let secret = "0f9a3c5d7e1b2a4c6e8f0a1b3c5d7e9f0f9a3c5d7e1b2a4c6e8f0a1b3c5d7e9f";
    let mut csv = String::from("name,client_id,client_secret\n");
    for number in 0..TOKENS {
        csv.push_str(&format!("token {number},{number:032x}.access,{secret}\n"));
    }
    let file = place.world.path("tokens.csv");
    std::fs::write(&file, csv).unwrap();
    place.run(&["service-token", "import", file.to_str().unwrap(), "--account", account]).ok();
    let server = place.serve_at("127.0.0.1:0");
    let (token, _) = place.follower(account);

    let (mut cursor, mut known, mut answers) = (Value::Null, std::collections::HashSet::new(), 0);
    loop {
        let answer = feed(&server, &token, &json!({"verifier": "test", "cursor": cursor})).json();
        assert_eq!(answer["reset"], json!(answers == 0));
        let tokens = answer["changes"].as_array().unwrap().iter().filter(|change| change["kind"] == "service_token");
        known.extend(tokens.map(|token| token["client_id"].as_str().unwrap().to_owned()));
        (cursor, answers) = (answer["cursor"].clone(), answers + 1);
        if answer["complete"] == json!(true) {
            break;
        }
    }
    assert_eq!((known.len(), answers), (TOKENS, 4), "three pages, and what has changed meanwhile");
    let service = Service::start(&server.management, &token, &format!("account_id={account}"));
    for number in [0, TOKENS / 2, TOKENS - 1] {
        let made = Made { id: String::new(), client_id: format!("{number:032x}.access"), secret: secret.to_owned() };
        service.comes_to_say(&made, ADMITTED);
    }
}
