//! What the documents say of the code's structure, held against the code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn manifest(directory: &Path) -> toml::Table {
    std::fs::read_to_string(directory.join("Cargo.toml")).unwrap().parse().unwrap()
}

/// The crates of the workspace that a manifest names, in whatever table: for builds, tests or one platform only.
fn arrows(table: &toml::Table, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let Some(inner) = value.as_table() else { continue };
        if key.ends_with("dependencies") {
            for (name, specification) in inner {
                let package = specification.get("package").and_then(toml::Value::as_str).unwrap_or(name);
                if let Some(name) = package.strip_prefix("countersign-") {
                    found.insert(name.to_owned());
                }
                let path = specification.get("path").and_then(toml::Value::as_str);
                assert!(path.is_none(), "{name} is named by its path, past the workspace's list");
            }
        } else {
            arrows(inner, found);
        }
    }
}

#[test]
fn crates_depend_on_each_other_as_designed() {
    let allowed = [
        ("cli", vec!["client", "server"]),
        ("client", vec!["token"]),
        ("server", vec!["store", "token"]),
        ("store", vec!["token"]),
        ("token", vec![]),
    ];
    let mut crates: Vec<PathBuf> =
        std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path()).collect();
    crates.sort();
    let names: Vec<&str> = crates.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, allowed.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "a sixth crate needs a reason");
    for (directory, (name, expected)) in crates.iter().zip(allowed) {
        let manifest = manifest(directory);
        assert_eq!(manifest["package"]["name"].as_str(), Some(format!("countersign-{name}").as_str()));
        let mut found = BTreeSet::new();
        arrows(&manifest, &mut found);
        // The workspace's list may name packages otherwise than they are called.
        assert_eq!(found, expected.into_iter().map(str::to_owned).collect(), "what {name} depends on");
    }
}

/// Every crate obeys the lints that keep clocks, randomness, panics and `unsafe` where they belong.
#[test]
fn every_crate_takes_the_workspace_lints() {
    let workspace = manifest(&root());
    assert_eq!(workspace["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("deny"));
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let directory = entry.unwrap().path();
        let manifest = manifest(&directory);
        let lints = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        assert_eq!(lints, Some(true), "{}", directory.display());
    }
}

/// Only `store` knows SQL, only `server` and `client` HTTP, and `token` nothing that does I/O or waits.
#[test]
fn what_a_crate_must_not_know_it_does_not_depend_on() {
    let forbidden = [
        ("token", &["tokio", "sqlx", "axum", "hyper", "http", "reqwest", "tracing", "serde", "serde_json"][..]),
        ("store", &["axum", "hyper", "http", "reqwest", "serde", "serde_json"]),
        ("server", &["sqlx", "reqwest"]),
        ("client", &["sqlx", "axum", "hyper"]),
        ("cli", &["sqlx", "axum", "hyper", "reqwest"]),
    ];
    for (name, forbidden) in forbidden {
        let manifest = manifest(&root().join("crates").join(name));
        let dependencies = manifest["dependencies"].as_table().unwrap();
        for dependency in forbidden {
            assert!(!dependencies.contains_key(*dependency), "{name} depends on {dependency}");
        }
    }
}

/// The paths among the words in backticks: with a slash inside or an ending that files have, and made of characters that
/// paths are made of.
fn paths(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        let quoted = line.split('`').skip(1).step_by(2);
        found.extend(quoted.filter(|word| is_path(word)));
    }
    found
}

fn is_path(word: &str) -> bool {
    let of_a_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let ends_like_a_file =
        [".rs", ".md", ".toml", ".sql", ".tsv", ".sh", ".yml", ".lock"].iter().any(|end| word.ends_with(end));
    let has_directory = word.contains('/') && word.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.');
    !word.is_empty() && word.chars().all(of_a_path) && (ends_like_a_file || has_directory)
}

#[test]
fn paths_are_told_from_other_words() {
    let check = |text: &str, expected: &[&str]| assert_eq!(paths(text), expected, "{text}");
    check("see `crates/token/src/verify.rs` and `docs/`", &["crates/token/src/verify.rs", "docs/"]);
    check("`clippy.toml`, `ops::Error`, `/client/v4`, `GET /x`, `a b/c`, `{id}/x`", &["clippy.toml"]);
    check("```text\n`crates/none.rs`\n```\n`./test`", &["./test"]);
    check("`verify` `x.y` `application/json`", &["application/json"]);
}

/// A path may be written from the root, from `crates/`, or from a crate's sources.
#[test]
fn every_path_in_the_architecture_exists() {
    let root = root();
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let paths = paths(&text);
    assert!(paths.len() > 10, "ARCHITECTURE.md is a map, and names only {paths:?}");
    let mut bases = vec![root.clone(), root.join("crates")];
    for entry in std::fs::read_dir(root.join("crates")).unwrap() {
        let directory = entry.unwrap().path();
        bases.extend([directory.join("src"), directory]);
    }
    let media_types = ["application/json"];
    let missing: Vec<&str> = paths
        .into_iter()
        .filter(|path| !media_types.contains(path) && !bases.iter().any(|base| base.join(path).exists()))
        .collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names what is not there: {missing:?}");
}

/// What the page shows is the file that the conformance suite runs.
#[test]
fn the_configuration_in_the_documents_is_the_one_that_is_tested() {
    let docs = root().join("docs");
    for (page, language, tested) in [
        ("gate-nginx.md", "nginx", "nginx/countersign.conf"),
        ("gate-caddy.md", "text", "caddy/Caddyfile"),
        ("gate-traefik.md", "yaml", "traefik/traefik.yml"),
        ("gate-traefik.md", "yaml", "traefik/countersign.yml"),
        ("gate-haproxy.md", "text", "haproxy/haproxy.cfg"),
        ("gate-haproxy.md", "lua", "haproxy/countersign.lua"),
        ("gate-envoy.md", "yaml", "envoy/envoy.yaml"),
        ("gate-envoy.md", "yaml", "envoy/grpc.yaml"),
    ] {
        let shown = std::fs::read_to_string(docs.join(page)).unwrap();
        let file = std::fs::read_to_string(docs.join(tested)).unwrap();
        assert!(shown.contains(&format!("```{language}\n{file}```\n")), "docs/{page} shows another docs/{tested}");
    }
}
