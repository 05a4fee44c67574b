//! The document as a whole. That what is served is what it says, the conformance suite `schemathesis` finds out.

use std::collections::BTreeSet;

use super::*;

/// Every `$ref` within a value.
fn references<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn what_has_a_name_is_used_and_what_is_used_exists() {
    let document = document();
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    let existing = ["schemas", "responses"].into_iter().flat_map(|kind| {
        let names = document["components"][kind].as_object().unwrap().keys();
        names.map(move |name| format!("#/components/{kind}/{name}"))
    });
    let existing: Vec<String> = existing.collect();
    assert_eq!(used, existing.iter().map(String::as_str).collect());
}

#[test]
fn operations_have_names_of_their_own_and_say_what_can_go_wrong() {
    let document = document();
    let mut names = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(names.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("500"), "{method} {path}");
            let is_open = operation["security"].as_array().unwrap().is_empty();
            assert_eq!(responses.contains_key("401"), !is_open || path == "/cli/connect" && method == "post", "{path}");
        }
    }
}

#[test]
fn the_parts_share_no_name() {
    let parts = [own::part(), cloudflare::openapi::part(), prefactor::openapi::part(), admin::openapi::part()];
    let mut names = BTreeSet::new();
    for part in &parts {
        for names_of_part in [&part.paths, &part.responses, &part.schemas, &part.security_schemes] {
            for name in names_of_part.keys() {
                assert!(names.insert(name.clone()), "{name}");
            }
        }
    }
}

/// A change of the interface is a change of this file, and seen when it is reviewed.
#[test]
fn the_interface_is_as_it_was_reviewed() {
    let mut document = document();
    assert_eq!(document["info"]["version"].take(), env!("CARGO_PKG_VERSION"));
    insta::assert_json_snapshot!("document", document);
}
