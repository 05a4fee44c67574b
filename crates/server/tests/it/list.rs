//! Listing tokens: cases 13 to 18 of the contract.

use serde_json::{Value, json};

use crate::world::{Answer, on_both};

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|token| token["name"].as_str().unwrap()).collect()
}

fn ids(answer: Answer) -> Vec<String> {
    let list = answer.ok();
    list.as_array().unwrap().iter().map(|token| token["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn case_13_a_list_of_three() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let issued = world.issue_many(&tokens, ["a", "b", "c"].map(|name| json!({"name": name}))).await;
            let answer = world.reader().get(&tokens).await;
            let info = json!({"page": 1, "per_page": 1000, "count": 3, "total_count": 3, "total_pages": 1});
            assert_eq!(answer.json["result_info"], info);
            let list = answer.ok();
            assert_eq!(names(&list), ["a", "b", "c"], "in the order of their creation");
            for (listed, token) in list.as_array().unwrap().iter().zip(&issued) {
                let mut expected = token.result.clone();
                expected.as_object_mut().unwrap().remove("client_secret");
                assert_eq!(*listed, expected);
                assert!(listed["client_secret_version"].is_u64());
            }
        }
    });
}

#[test]
fn case_14_a_page_past_the_end_is_empty() {
    on_both(async |world| {
        for tokens in world.scopes() {
            world.issue_many(&tokens, ["a", "b", "c"].map(|name| json!({"name": name}))).await;
            for page in ["2", "3", "1001", "9007199254740993"] {
                let answer = world.reader().get(&format!("{tokens}?page={page}")).await;
                let page = page.parse::<u64>().unwrap();
                let info = json!({"page": page, "per_page": 1000, "count": 0, "total_count": 3, "total_pages": 1});
                assert_eq!(answer.json["result_info"], info);
                assert_eq!(answer.ok(), json!([]));
            }
        }
    });
}

#[test]
fn case_15_pages_do_not_overlap() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let issued = world.issue_many(&tokens, ["a", "b", "c"].map(|name| json!({"name": name}))).await;
            let page = async |query: &str| ids(world.reader().get(&format!("{tokens}?{query}")).await);
            let expected: Vec<&str> = issued.iter().map(|token| token.id.as_str()).collect();
            // Twice, since the second round knows where the pages ended.
            for _ in 0..2 {
                assert_eq!(page("per_page=2").await, expected[..2]);
                assert_eq!(page("per_page=2&page=2").await, expected[2..]);
                assert!(page("per_page=2&page=3").await.is_empty());
            }
            let info = world.reader().get(&format!("{tokens}?per_page=2&page=2")).await.json["result_info"].clone();
            assert_eq!(info, json!({"page": 2, "per_page": 2, "count": 1, "total_count": 3, "total_pages": 2}));
        }
    });
}

#[test]
fn case_16_paging_out_of_range() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let issued = world.issue(&tokens, json!({"name": "x"})).await;
            for per_page in ["1000", "1001", "5000", "18446744073709551615", "18446744073709551616", "01000"] {
                let answer = world.reader().get(&format!("{tokens}?per_page={per_page}")).await;
                assert_eq!(answer.json["result_info"]["per_page"], 1000, "{per_page}");
                assert_eq!(ids(answer), [issued.id.as_str()]);
            }
            for page in ["18446744073709551615", "18446744073709551616", &"9".repeat(400)] {
                let answer = world.reader().get(&format!("{tokens}?page={page}&per_page=1000")).await;
                assert!(ids(answer).is_empty(), "{page}");
            }
            for value in
                ["0", "-1", "x", "1.5", "1.0", "1e3", "", "%20", "+1", "1+", "%2B1", "0x10", "%31%00", "٣", "1,2"]
            {
                for parameter in ["page", "per_page"] {
                    let answer = world.reader().get(&format!("{tokens}?{parameter}={}", encode(value))).await;
                    let message = answer.refused(400, 12130);
                    assert!(message.contains(&format!("invalid_request: {parameter}: ")), "{answer}");
                    assert!(answer.json["errors"][0].get("source").is_none(), "a query has no JSON pointer");
                }
            }
            let twice = world.reader().get(&format!("{tokens}?page=1&page=1")).await;
            twice.refused(400, 12130);
        }
    });
}

/// Percent-encodes what no URL can hold, and leaves the rest alone.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[test]
fn case_17_name_is_exact_and_search_is_not() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let all = ["x", "xy", "CI deploy", "ci/cd 100%", "a_b", "a\\b", "Ünïcödé", "STRASSE", "x"];
            let issued = world.issue_many(&tokens, all.map(|name| json!({"name": name}))).await;
            let check = async |query: &str, expected: &[&str]| {
                let answer = world.reader().get(&format!("{tokens}?{query}")).await;
                assert_eq!(answer.json["result_info"]["total_count"], expected.len(), "{query}");
                assert_eq!(names(&answer.ok()), expected, "{query}");
            };
            check("name=x", &["x", "x"]).await;
            check("name=X", &[]).await;
            check("name=xy", &["xy"]).await;
            check("name=CI+deploy", &["CI deploy"]).await;
            check("name=CI%20deploy", &["CI deploy"]).await;
            check("name=%C3%9Cn%C3%AFc%C3%B6d%C3%A9", &["Ünïcödé"]).await;
            check("name=nothing", &[]).await;
            check("search=CI", &["CI deploy", "ci/cd 100%"]).await;
            check("search=ci", &["CI deploy", "ci/cd 100%"]).await;
            check("search=X", &["x", "xy", "x"]).await;
            check("search=%C3%BCN%C3%8FC", &["Ünïcödé"]).await;
            check("search=strasse", &["STRASSE"]).await;
            // What a pattern language would take for a wildcard is a character like any other.
            check("search=%25", &["ci/cd 100%"]).await;
            check("search=_", &["a_b"]).await;
            check("search=%5C", &["a\\b"]).await;
            check("search=a_", &["a_b"]).await;
            check("search=a%25", &[]).await;
            check("search=*", &[]).await;
            // An empty filter is none, as clients send it that leave a field blank.
            check("name=&search=", &all).await;
            check("name=x&search=Y", &[]).await;
            check("name=xy&search=Y", &["xy"]).await;
            for token in &issued {
                let name = token.result["name"].as_str().unwrap();
                check(&format!("search={}", token.client_id), &[name]).await;
                check(&format!("search={}", token.client_id[4..30].to_uppercase()), &[name]).await;
                check(&format!("search={}", token.id), &[name]).await;
                check(&format!("search={}", token.id[20..].to_uppercase()), &[name]).await;
            }
            // Pages of a filter are counted within it.
            let answer = world.reader().get(&format!("{tokens}?name=x&per_page=1&page=2")).await;
            let info = json!({"page": 2, "per_page": 1, "count": 1, "total_count": 2, "total_pages": 2});
            assert_eq!(answer.json["result_info"], info);
            assert_eq!(ids(answer), [issued[8].id.as_str()]);
        }
    });
}

#[test]
fn case_18_an_empty_list_is_an_array() {
    on_both(async |world| {
        for tokens in world.scopes() {
            for query in ["", "?page=2", "?name=x", "?search=x", "?per_page=1"] {
                let answer = world.reader().get(&format!("{tokens}{query}")).await;
                assert_eq!(answer.json["result_info"]["total_count"], 0);
                assert_eq!(answer.json["result_info"]["total_pages"], 1);
                assert_eq!(answer.ok(), json!([]));
            }
        }
    });
}

/// The account's tokens and each zone's are separate lists.
#[test]
fn lists_are_of_one_place() {
    on_both(async |world| {
        world.issue(&world.tokens(), json!({"name": "account"})).await;
        world.issue(&world.zone_tokens(), json!({"name": "zone"})).await;
        world.stranger().post(&world.foreign_tokens(), &json!({"name": "foreign"})).await.created();
        let list = async |path: &str| world.owner_key().get(path).await.ok();
        assert_eq!(names(&list(&world.tokens()).await), ["account"]);
        assert_eq!(names(&list(&world.zone_tokens()).await), ["zone"]);
        assert_eq!(names(&list(&world.foreign_tokens()).await), ["foreign"]);
        let second = format!("/zones/{}/access/service_tokens", world.second_zone);
        assert_eq!(list(&second).await, json!([]));
        assert_eq!(names(&list(&format!("{}?search=o", world.tokens())).await), ["account"]);
    });
}
