//! The document that describes the dialect.

use axum::body::Body;
use http::{Method, Request};
use serde_json::Value;

use super::NOBODY;
use crate::world::{World, on_both};

async fn document(world: &World) -> Value {
    let request = Request::get("/openapi").body(Body::empty()).unwrap();
    let (status, headers, body) = world.nobody().send_raw(request).await;
    assert_eq!(status, 200);
    assert_eq!(headers["content-type"], "application/json; charset=utf-8");
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn it_is_there_for_everybody() {
    on_both(async |world| {
        let document = document(world).await;
        assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{}", document["openapi"]);
        assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
        let token = &document["paths"]["/api/v1/api_token"];
        assert!(token["get"].is_object() && token["post"].is_object(), "{}", document["paths"]);
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.keys().any(|path| path.starts_with("/api/v1/api_token/{") && path.ends_with("}/suspend")));
    });
}

/// Whatever it names is there, and whatever is there for a path is named.
#[test]
fn it_names_what_there_is() {
    on_both(async |world| {
        let document = document(world).await;
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.len() >= 20, "{:?}", paths.keys());
        let mut names = std::collections::HashSet::new();
        for (path, operations) in paths {
            let plain = path.strip_prefix("/api/v1").unwrap();
            let asked: String = plain
                .split('/')
                .map(|part| if part.starts_with('{') { NOBODY.to_owned() } else { part.to_owned() })
                .collect::<Vec<_>>()
                .join("/");
            for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
                let operation = operations.get(method.as_str().to_lowercase());
                let request = Request::builder().method(method.clone()).uri(&*asked).body(Body::from("{}")).unwrap();
                // Nobody in particular: what is there asks who calls.
                let (status, _, _) = world.nobody().send_raw(request).await;
                match operation {
                    Some(operation) => {
                        assert!([200, 401].contains(&status.as_u16()), "{method} {path}: {status}");
                        let name = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path}"));
                        assert!(names.insert(name.to_owned()), "{name} twice");
                    }
                    None => assert_eq!(status, 405, "{method} {path}"),
                }
            }
        }
    });
}
