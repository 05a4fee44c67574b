//! The bodies of successes: which keys they have, and what stands in them.

use countersign_token::id::Pfid;
use http::Method;
use serde_json::{Map, Value};

const API_TOKEN: [&str; 13] = [
    "type",
    "id",
    "account_id",
    "token_scope",
    "environment_id",
    "agent_deployment_id",
    "agent_id",
    "created_by_admin_user_id",
    "status",
    "expires_at",
    "last_used_at",
    "inserted_at",
    "updated_at",
];
const ACCOUNT: [&str; 5] = ["type", "id", "name", "organisation_name", "purpose"];
const ENVIRONMENT: [&str; 7] = ["type", "id", "account_id", "name", "description", "purpose", "external_identifier"];
const AGENT: [&str; 7] = ["type", "id", "account_id", "name", "status", "inserted_at", "updated_at"];
const AGENT_DEPLOYMENT: [&str; 8] =
    ["type", "id", "account_id", "agent_id", "environment_id", "current_version_id", "inserted_at", "updated_at"];
const ADMIN_USER: [&str; 10] = [
    "type",
    "id",
    "account_id",
    "email",
    "name",
    "job_title",
    "last_active_at",
    "profile_completed_at",
    "inserted_at",
    "updated_at",
];
const ADMIN_USER_INVITE: [&str; 7] = ["type", "id", "account_id", "email", "status", "inserted_at", "updated_at"];
const PAGINATION: [&str; 9] = [
    "item_count",
    "page_size",
    "page_offset",
    "item_start",
    "item_end",
    "page_count",
    "page_index",
    "next_page_offset",
    "previous_page_offset",
];
const COLLECTIONS: [&str; 7] =
    ["/api_token", "/account", "/environment", "/agent", "/agent_deployment", "/admin_user", "/admin_user_invite"];

/// Checks the body of a success.
pub(super) fn check_body(body: &Value, method: &Method, path: &str) -> Result<(), String> {
    let body = body.as_object().ok_or("no object")?;
    let is_list = *method == Method::GET && COLLECTIONS.contains(&path);
    let mut expected = match path {
        _ if is_list => vec!["status", "summaries", "pagination", "sorting"],
        "/pfid/generate" => vec!["status", "account_id", "pfids"],
        "/bulk" => vec!["status", "outputs"],
        _ => vec!["status", "details"],
    };
    if *method == Method::POST && path == "/api_token" {
        expected.push("token");
    }
    same_keys(body, &expected)?;
    if is_list {
        check_list(body)?;
    } else if path.starts_with("/ping") {
        if body["details"]["token_type"] != "api" {
            return Err("token_type".to_owned());
        }
    } else if let Some(details) = body.get("details") {
        check_object(details, true, *method == Method::DELETE)?;
    }
    Ok(())
}

fn same_keys(object: &Map<String, Value>, expected: &[&str]) -> Result<(), String> {
    let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
    let mut expected = expected.to_vec();
    keys.sort_unstable();
    expected.sort_unstable();
    if keys == expected { Ok(()) } else { Err(format!("keys {keys:?}, not {expected:?}")) }
}

fn check_list(body: &Map<String, Value>) -> Result<(), String> {
    let rows = body["summaries"].as_array().ok_or("summaries")?;
    let sorting = body["sorting"].as_object().ok_or("sorting is no object")?;
    same_keys(sorting, &["field", "direction"])?;
    if !sorting["field"].is_string() || !["asc", "desc"].contains(&sorting["direction"].as_str().unwrap_or_default()) {
        return Err("sorting".to_owned());
    }
    let pagination = body["pagination"].as_object().ok_or("pagination is no object")?;
    same_keys(pagination, &PAGINATION)?;
    let number = |key: &str| pagination[key].as_u64().ok_or(format!("{key} is no integer"));
    let (n, s, o) = (number("item_count")?, number("page_size")?, number("page_offset")?);
    let v = n.saturating_sub(o).min(s);
    let next = (o + s < n).then_some(o + s);
    let previous = (o > 0).then(|| o.saturating_sub(s));
    let expected = [
        ("item_start", Some(if v > 0 { o + 1 } else { 0 })),
        ("item_end", Some(if v > 0 { o + v } else { 0 })),
        ("page_count", Some(n.div_ceil(s))),
        ("page_index", Some(o / s + 1)),
        ("next_page_offset", next),
        ("previous_page_offset", previous),
    ];
    for (key, value) in expected {
        if pagination[key] != value.map_or(Value::Null, Value::from) {
            return Err(format!("{key} is {}, not {value:?}", pagination[key]));
        }
    }
    if rows.len() as u64 != v {
        return Err(format!("{} rows, not {v}", rows.len()));
    }
    rows.iter().try_for_each(|row| check_object(row, false, false))
}

/// Checks one object: the keys of its type, the form of its ids and times, and that its actions are those of its state.
fn check_object(object: &Value, is_whole: bool, is_deleted: bool) -> Result<(), String> {
    let kind = object["type"].as_str().ok_or("no type")?;
    let map = object.as_object().ok_or("no object")?;
    let mut expected = match kind {
        "api_token" => API_TOKEN.to_vec(),
        "account" => ACCOUNT.to_vec(),
        "environment" => ENVIRONMENT.to_vec(),
        "agent" => AGENT.to_vec(),
        "agent_deployment" => AGENT_DEPLOYMENT.to_vec(),
        "admin_user" => ADMIN_USER.to_vec(),
        "admin_user_invite" => ADMIN_USER_INVITE.to_vec(),
        other => return Err(format!("type {other}")),
    };
    match kind {
        "api_token" if is_whole => expected.push("available_actions"),
        "admin_user_invite" if is_whole => expected.extend(["token", "invite_url"]),
        _ => {}
    }
    same_keys(map, &expected)?;
    check_ids(map, kind)?;
    for (key, value) in map.iter().filter(|(key, _)| key.ends_with("_at")) {
        let may_be_null = ["last_used_at", "last_active_at", "profile_completed_at"].contains(&key.as_str());
        if !(may_be_null && value.is_null() || value.as_str().is_some_and(is_time)) {
            return Err(format!("{key} is {value}"));
        }
    }
    if kind == "api_token" { check_api_token(object, is_whole, is_deleted) } else { Ok(()) }
}

fn check_ids(object: &Map<String, Value>, kind: &str) -> Result<(), String> {
    let parse = |key: &str, value: &Value| {
        let text = value.as_str().ok_or(format!("{key} is {value}"))?;
        text.parse::<Pfid>().ok().ok_or(format!("{key} is {value}"))
    };
    let own = parse("account_id", object.get("account_id").unwrap_or(&object["id"]))?;
    let nullable =
        ["environment_id", "agent_deployment_id", "agent_id", "created_by_admin_user_id", "current_version_id"];
    for (key, value) in object.iter().filter(|(key, _)| *key == "id" || key.ends_with("_id")) {
        if value.is_null() && nullable.contains(&key.as_str()) {
            continue;
        }
        // A user may have been made in another account.
        let is_user = key == "created_by_admin_user_id" || kind == "admin_user" && key == "id";
        if parse(key, value)?.partition() != own.partition() && !is_user {
            return Err(format!("{key} is of another partition"));
        }
    }
    Ok(())
}

/// `YYYY-MM-DDTHH:MM:SSZ`
fn is_time(text: &str) -> bool {
    let form = b"0000-00-00T00:00:00Z";
    text.len() == form.len()
        && text.bytes().zip(form).all(|(byte, form)| if *form == b'0' { byte.is_ascii_digit() } else { byte == *form })
}

fn check_api_token(token: &Value, is_whole: bool, is_deleted: bool) -> Result<(), String> {
    let is_set = |key: &str| !token[key].is_null();
    let expected = match token["token_scope"].as_str() {
        Some("account") => [false, false, false],
        Some("environment") => [true, false, false],
        Some("agent_deployment") => [true, true, true],
        _ => return Err("token_scope".to_owned()),
    };
    if ["environment_id", "agent_id", "agent_deployment_id"].map(is_set) != expected {
        return Err("the ids are not those of the scope".to_owned());
    }
    let expected = match token["status"].as_str() {
        Some("active") => [false, false, true, true],
        Some("suspended") => [true, false, true, false],
        Some("revoked") => [false, true, false, false],
        _ => return Err("status".to_owned()),
    };
    if is_whole {
        let actions = token["available_actions"].as_object().ok_or("available_actions")?;
        same_keys(actions, &["activate", "delete", "revoke", "suspend"])?;
        let expected = if is_deleted { [false; 4] } else { expected };
        for (name, allowed) in ["activate", "delete", "revoke", "suspend"].into_iter().zip(expected) {
            if actions[name] != allowed {
                return Err(format!("{name} is {}", actions[name]));
            }
        }
    }
    Ok(())
}
