//! `service-token import`, and the file of the page about it.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::world::{Installation, Outcome, World};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/import.md");

/// The block of the page that begins with this line.
fn block(first: &str) -> String {
    let page = fs::read_to_string(PAGE).unwrap();
    let mut blocks = page.split("\n```").filter_map(|block| block.split_once('\n').map(|(_, text)| text));
    blocks.find(|text| text.starts_with(first)).unwrap_or_else(|| panic!("no {first} in the page")).to_owned()
}

/// Imports `content` into the first account.
fn import(world: &World, first: &Installation, content: impl AsRef<[u8]>, flags: &[&str]) -> Outcome {
    let file = world.path("tokens");
    fs::write(&file, content).unwrap();
    let mut all = vec!["service-token", "import", file.to_str().unwrap(), "--account", first.account()];
    all.extend(flags);
    world.run(&all)
}

fn report(imported: usize, tokens: usize, dry_run: bool, problems: &Value) -> Value {
    json!({"imported": imported, "tokens": tokens, "dry_run": dry_run, "problems": problems})
}

#[test]
fn the_pages_files_are_imported_beside_a_running_server() {
    let world = World::new();
    let first = world.init();
    let server = world.serve();
    let secret = "0f9a3c5d7e1b2a4c6e8f0a1b3c5d7e9f0f9a3c5d7e1b2a4c6e8f0a1b3c5d7e9f";
    let csv = block("name,client_id");
    let gate = |id: &str, secret: &str| server.gate_says(first.account(), id, secret);
    let (one, two) = ("88bf3b6d86161464f6509f7219099e57.access", "3c5d7e9f0a1b2c3d4e5f60718293a4b5.access");

    let tried = import(&world, &first, &csv, &["--dry-run", "--json"]).json();
    assert_eq!(tried, report(0, 2, true, &json!([])));
    assert_eq!(gate(one, secret).0, 401);
    let said = import(&world, &first, &csv, &["--dry-run"]).ok();
    assert_eq!(said, "2 service token(s) can be imported. Nothing was done yet.\n");

    let done = import(&world, &first, &csv, &["--json"]).json();
    assert_eq!(done, report(2, 2, false, &json!([])));
    assert_eq!(gate(one, secret), (200, None));
    assert_eq!(gate(two, "another system's secret".replace(' ', "-").as_str()), (200, None));
    let again = import(&world, &first, &csv, &[]).failed(1);
    assert!(again.contains("nothing was imported: 2 problem(s)\nline 2: client_id: the installation has"), "{again}");
    assert!(!again.contains(secret), "{again}");

    // The same from standard input, as JSON, into the zone.
    let lines = block("{\"name\"");
    let mut command = world.command(&["service-token", "import", "-", "--zone", first.zone(), "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let done: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(done, report(1, 1, false, &json!([])));
    let imported = world.run(&["audit", "list", "--action", "service_token.import", "--json"]).json();
    assert_eq!(imported.as_array().unwrap().len(), 3);
    assert!(!imported.to_string().contains(secret));
}

#[test]
fn whatever_is_wrong_is_said_at_once_and_nothing_is_done() {
    let world = World::new();
    let first = world.init();
    let taken = "88bf3b6d86161464f6509f7219099e57.access";
    import(&world, &first, format!("name,client_id,client_secret\nx,{taken},hush-1\n"), &[]).ok();
    let file = format!(
        "name,client_id,client_secret\ny,{},hush-2\nz,{taken},hush-3\n,nobody,hush 4\n",
        taken.replace('8', "9")
    );
    for flags in [[].as_slice(), &["--dry-run"]] {
        let said = import(&world, &first, &file, flags).failed(1);
        for line in
            ["line 3: client_id: the installation has", "line 4: name: is required", "line 4: client_secret: must"]
        {
            assert!(said.contains(line), "{said}");
        }
        assert!(!said.contains("hush") && !said.contains("line 2"), "{said}");
    }
    let outcome = import(&world, &first, &file, &["--json"]);
    assert_eq!(outcome.code, Some(1));
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&document["imported"], document["problems"][0]["line"].as_u64()), (&0.into(), Some(3)));
    assert!(!format!("{outcome:?}").contains("hush"), "{outcome:?}");
    let imported = world.run(&["audit", "list", "--action", "service_token.import", "--json"]).json();
    assert_eq!(imported.as_array().unwrap().len(), 1);
}

#[test]
fn files_that_are_none_and_places_that_are_none() {
    let world = World::new();
    let first = world.init();
    let mut hostile = vec![b'x'; 10_000_000];
    hostile.extend(b"\n\xff\x00\"");
    for content in [b"".as_slice(), b"\xff\xfe", b"\0", b"name\n\"", b"{\"a\":", &hostile, b"\xef\xbb\xbf\r\n"] {
        let said = import(&world, &first, content, &[]).failed(1);
        assert!(said.contains("nothing was imported: ") && said.contains("\nline ") && said.len() < 500, "{said}");
    }
    let nobody = "0".repeat(32);
    let file = world.path("tokens");
    let file = file.to_str().unwrap();
    let run = |arguments: &[&str]| world.run(&[["service-token", "import"].as_slice(), arguments].concat());
    assert!(run(&[file, "--account", &nobody]).failed(1).contains("countersign account list"));
    assert!(run(&[file, "--zone", &nobody]).failed(1).contains("countersign zone list"));
    assert!(run(&[file]).failed(2).contains("--account"));
    assert!(run(&[file, "--account", &nobody, "--zone", &nobody]).failed(2).contains("--zone"));
    assert!(run(&["/nonexistent", "--account", first.account()]).failed(1).contains("cannot read /nonexistent"));
}

/// As many as go at once, and one more.
#[test]
fn a_hundred_thousand_at_once() {
    let world = World::new();
    let first = world.init();
    let mut file = String::from("name,client_id,client_secret\n");
    for number in 0..100_000 {
        file.push_str(&format!("imported {number},{number:032x}.access,s{number}\n"));
    }
    let done = import(&world, &first, &file, &["--json"]).json();
    assert_eq!(done, report(100_000, 100_000, false, &json!([])));
    let server = world.serve();
    assert_eq!(server.gate_says(first.account(), &format!("{:032x}.access", 99_999), "s99999"), (200, None));
    file.push_str(&format!("one more,{:032x}.access,s\n", 100_000));
    let said = import(&world, &first, &file, &[]).failed(1);
    assert!(said.contains("the file has 100001 tokens, and 100000 at once is the most"), "{said}");
}
