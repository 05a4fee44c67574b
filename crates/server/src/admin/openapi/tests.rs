//! The API's part of the document against the code.

use std::collections::BTreeSet;

use super::*;

#[test]
fn every_route_is_described() {
    let expected: BTreeSet<(String, String, String)> = ROUTES
        .iter()
        .map(|route| (format!("{PREFIX}{}", route.path), route.method.to_lowercase(), format!("admin/{}", route.name)))
        .collect();
    let part = part();
    let described = part.paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(|(method, operation)| {
            (path.clone(), method.clone(), operation["operationId"].as_str().unwrap().to_owned())
        })
    });
    assert_eq!(described.collect::<BTreeSet<_>>(), expected);
    assert_eq!(expected.len(), ROUTES.len());
}

#[test]
fn errors_stand_under_their_status() {
    for (status, _, errors) in errors() {
        for error in errors {
            assert_eq!(error.status().as_u16(), status, "{error:?}");
        }
    }
}
