//! `validate-config`: every key, its value, and where that comes from.

use serde_json::Value;

use crate::world::{World, outcome};

fn source<'d>(document: &'d Value, key: &str) -> (Option<&'d str>, &'d str) {
    let keys = document.as_array().unwrap();
    let found = keys.iter().find(|found| found["key"] == key).unwrap_or_else(|| panic!("{key}: {document}"));
    (found["value"].as_str(), found["source"].as_str().unwrap())
}

#[test]
fn each_key_says_where_its_value_comes_from() {
    let world = World::new();
    let config = world.path("countersign.toml");
    let text = "listen = \"127.0.0.1:1\"\nlog_format = \"json\"\ndatabase_url = \"postgres://u:s3cret@db/c?password=s3cret\"\n";
    std::fs::write(&config, text).unwrap();
    let file = config.to_str().unwrap();
    let mut command = world.command(&["validate-config", file, "--gate-listen", "127.0.0.1:2", "--json"]);
    command.env("COUNTERSIGN_LOG_FORMAT", "human").env("RUST_LOG", "debug");
    let document = outcome(&mut command).json();
    assert_eq!(source(&document, "gate_listen"), (Some("127.0.0.1:2"), "flag"));
    assert_eq!(source(&document, "log_format"), (Some("human"), "environment"));
    assert_eq!(source(&document, "log_level"), (Some("debug"), "environment"));
    assert_eq!(source(&document, "data_dir").1, "environment");
    assert_eq!(source(&document, "listen"), (Some("127.0.0.1:1"), "file"));
    assert_eq!(source(&document, "database_url"), (Some("postgres://…@db/c"), "file"));
    assert_eq!(source(&document, "secret_format"), (Some("scannable"), "default"));
    assert_eq!(source(&document, "gate_unix"), (None, "default"));
    assert!(source(&document, "installation_key_file").0.unwrap().ends_with("data/installation.key"));
    assert!(!document.to_string().contains("s3cret"), "{document}");
    assert!(!world.data_dir().exists(), "nothing is made");

    let said = world.run(&["validate-config", "--config", file]).ok();
    assert!(said.contains("SOURCE") && said.contains("127.0.0.1:1") && !said.contains("s3cret"), "{said}");
}

#[test]
fn a_mistake_names_file_line_and_key() {
    let world = World::new();
    let config = world.path("countersign.toml");
    let refused = |text: &str, parts: &[&str]| {
        std::fs::write(&config, text).unwrap();
        let said = world.run(&["validate-config", config.to_str().unwrap()]).failed(1);
        for part in parts.iter().chain(&["countersign.toml"]) {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("s3cret"), "{said}");
    };
    refused("# mine\nlissten = \"127.0.0.1:1\"\n", &["line 2", "lissten"]);
    refused("\nlisten = \"localhost\"\n", &["line 2", "listen"]);
    refused("stale = \"serve\"\nstale = \"serve\"\n", &["line 2", "stale"]);
    refused("stale = 1\n", &["line 1", "stale"]);
    refused("database_url = \"postgres://u:s3cret@db/c\n", &["line 1", "database_url"]);
    refused("database_url = [\"postgres://u:s3cret@db/c\"]\n", &["line 1", "database_url"]);

    let said = world.run(&["validate-config", "/nowhere/c.toml"]).failed(1);
    assert!(said.contains("/nowhere/c.toml"), "{said}");
    let said = world.run(&["validate-config", "--log-level", "=="]).failed(1);
    assert!(said.contains("=="), "{said}");
    let mut command = world.command(&["validate-config"]);
    command.env("COUNTERSIGN_STALE", "perhaps");
    let said = outcome(&mut command).failed(1);
    assert!(said.contains("COUNTERSIGN_STALE"), "{said}");
}
