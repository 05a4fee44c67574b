//! The schemas of what is sent and answered. Objects that are answered have all of their members, always.

use serde_json::{Map, Value, json};

use super::super::{OPERATIONS, bulk, idempotency};
use crate::management::openapi::{nullable, object as partial, ruled, with};

/// A member of an object: its name and its schema.
type Member = (&'static str, Value);

/// The schema of this name among [`all`].
pub(super) fn named(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

pub(super) fn pfid() -> Value {
    named("Pfid")
}

fn pfid_text() -> Value {
    json!({
        "type": "string",
        "pattern": "^[0-7][0-9abcdefghjkmnpqrstvwxyz]{31}$",
        "maxLength": 32,
        "examples": ["013xrzp12g3nqk8ngskn1wtxgka5b0nf"],
    })
}

/// The answer to a call that was served.
pub(super) fn success(mut members: Vec<Member>) -> Value {
    members.push(("status", constant("success")));
    complete(members)
}

/// The body of a call that takes no more than an idempotency key.
pub(super) fn key_alone() -> Value {
    partial(&[], vec![key()])
}

/// The body of a call that takes an object.
pub(super) fn with_details(name: &str) -> Value {
    partial(&["details"], vec![("details", named(name)), key()])
}

/// An object that has all of these members.
fn complete(members: Vec<Member>) -> Value {
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    partial(&required, members)
}

fn key() -> Member {
    (idempotency::NAME, nullable(&ruled(key_text(1), "is the same as the one in the header, if there is one")))
}

fn key_text(length_min: u32) -> Value {
    json!({"type": "string", "minLength": length_min, "maxLength": 64, "pattern": NO_NULL})
}

/// No database keeps U+0000.
const NO_NULL: &str = "^[^\\u0000]*$";

fn text() -> Value {
    json!({"type": "string"})
}

/// A text that somebody wants to be kept.
fn words() -> Value {
    json!({"type": "string", "maxLength": 4000, "pattern": NO_NULL})
}

fn name() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 350, "pattern": NO_NULL, "examples": ["billing"]})
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time", "examples": ["2099-01-01T00:00:00Z"]})
}

fn number() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn list(of: &Value) -> Value {
    json!({"type": "array", "items": of})
}

fn constant(value: &str) -> Value {
    json!({"const": value})
}

fn one_of(values: &[&str]) -> Value {
    json!({"type": "string", "enum": values})
}

fn purpose() -> Value {
    one_of(&["development", "staging", "testing", "production"])
}

/// A reference to an object of this kind. That it exists is not a matter of form: 404 says that it does not.
fn reference(kind: &str) -> Value {
    ruled(json!({"allOf": [pfid()]}), &format!("does not name an object of the account that is no {kind}"))
}

/// The account, for who wants to name it: there is only the caller's.
fn account_id() -> Member {
    ("account_id", nullable(&reference("account")))
}

/// A new id that the caller has chosen.
fn new_id() -> Member {
    ("id", nullable(&ruled(json!({"allOf": [pfid()]}), "is of the account's partition, and names nothing yet")))
}

/// An object of the account, as it is answered.
fn object(kind: &str, members: Vec<Member>) -> Vec<Member> {
    let mut object = vec![("type", constant(kind)), ("id", pfid()), ("account_id", pfid())];
    object.extend(members);
    object
}

/// The same, with the times that most objects have.
fn timed(kind: &str, members: Vec<Member>) -> Vec<Member> {
    let mut object = object(kind, members);
    object.extend([("inserted_at", time()), ("updated_at", time())]);
    object
}

fn api_token() -> Vec<Member> {
    timed(
        "api_token",
        vec![
            ("token_scope", one_of(&["account", "environment", "agent_deployment"])),
            ("environment_id", nullable(&pfid())),
            ("agent_deployment_id", nullable(&pfid())),
            ("agent_id", nullable(&pfid())),
            ("created_by_admin_user_id", nullable(&pfid())),
            ("status", one_of(&["active", "suspended", "revoked"])),
            ("expires_at", time()),
            ("last_used_at", nullable(&time())),
        ],
    )
}

fn invite() -> Vec<Member> {
    timed("admin_user_invite", vec![("email", text()), ("status", one_of(&["pending", "used", "revoked"]))])
}

fn complete_with(mut members: Vec<Member>, more: impl IntoIterator<Item = Member>) -> Value {
    members.extend(more);
    complete(members)
}

/// The schemas that have a name.
pub(super) fn all() -> Map<String, Value> {
    let schemas = of_answers().into_iter().chain(of_calls());
    schemas.map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn of_answers() -> Vec<Member> {
    let flag = || json!({"type": "boolean"});
    let actions = ["activate", "delete", "revoke", "suspend"].map(|action| (action, flag()));
    let account = vec![
        ("type", constant("account")),
        ("id", pfid()),
        ("name", name()),
        ("organisation_name", nullable(&text())),
        ("purpose", text()),
    ];
    let environment = vec![
        ("name", name()),
        ("description", nullable(&text())),
        ("purpose", purpose()),
        ("external_identifier", nullable(&text())),
    ];
    let deployment =
        vec![("agent_id", pfid()), ("environment_id", pfid()), ("current_version_id", json!({"type": "null"}))];
    let user = vec![
        ("email", text()),
        ("name", nullable(&text())),
        ("job_title", nullable(&text())),
        ("last_active_at", nullable(&time())),
        ("profile_completed_at", nullable(&time())),
    ];
    let pagination = vec![
        ("item_count", number()),
        ("item_start", number()),
        ("item_end", number()),
        ("next_page_offset", nullable(&number())),
        ("page_count", number()),
        ("page_index", number()),
        ("page_offset", number()),
        ("page_size", number()),
        ("previous_page_offset", nullable(&number())),
    ];
    let code = one_of(&[
        "bad_authtoken",
        "bad_request",
        "idempotency_key_already_used",
        "invalid_action",
        "invalid_value",
        "not_authenticated",
        "not_found",
        "not_permitted",
        "required_value",
        "unexpected",
        "unexpected_ref_type",
        "validation_errors",
    ]);
    // By the names of the parameters; a parameter with parts has an error with errors in turn.
    let errors = json!({"type": "object", "additionalProperties": named("Error")});
    let error = vec![("status", constant("error")), ("code", code), ("message", text()), ("errors", errors)];
    vec![
        ("Pfid", pfid_text()),
        ("Error", partial(&["status", "code", "message"], error)),
        ("PaginationOutput", complete(pagination)),
        ("Sorting", complete(vec![("field", text()), ("direction", one_of(&["asc", "desc"]))])),
        ("Ping", complete(vec![("token_type", constant("api")), ("account_id", pfid())])),
        ("ApiToken_Summary", complete(api_token())),
        ("ApiToken_Details", complete_with(api_token(), [("available_actions", complete(actions.into()))])),
        ("ApiToken_Created", success(vec![("details", named("ApiToken_Details")), ("token", text())])),
        ("Account", complete(account)),
        ("Environment", complete(object("environment", environment))),
        ("Agent", complete(timed("agent", vec![("name", name()), ("status", constant("active"))]))),
        ("AgentDeployment", complete(timed("agent_deployment", deployment))),
        ("AdminUser", complete(timed("admin_user", user))),
        ("AdminUserInvite_Summary", complete(invite())),
        ("AdminUserInvite_Details", complete_with(invite(), [("token", text()), ("invite_url", text())])),
        ("Pfids_Generated", success(vec![("account_id", pfid()), ("pfids", list(&pfid()))])),
        (
            "Bulk_Outputs",
            success(vec![("outputs", json!({"type": "object", "additionalProperties": {"type": "object"}}))]),
        ),
    ]
}

/// What a new API token is for, with the ids that it needs and no others.
fn new_api_token() -> Value {
    let form = |scope: &str, ids: [Member; 2], needed: &[&str]| {
        let expires_at = nullable(&ruled(time(), "lies in the future"));
        let mut members = vec![("token_scope", constant(scope)), account_id(), ("expires_at", expires_at)];
        members.extend(ids);
        let required: Vec<&str> = std::iter::once("token_scope").chain(needed.iter().copied()).collect();
        partial(&required, members)
    };
    let none = || json!({"type": "null"});
    let (environment, agent) = (|| reference("environment"), || reference("agent"));
    json!({"oneOf": [
        form("account", [("environment_id", none()), ("agent_id", none())], &[]),
        form("environment", [("environment_id", environment()), ("agent_id", none())], &["environment_id"]),
        form(
            "agent_deployment",
            [("environment_id", environment()), ("agent_id", agent())],
            &["environment_id", "agent_id"],
        ),
    ]})
}

fn bulk_items() -> Value {
    let names: Vec<&str> =
        OPERATIONS.iter().map(|operation| operation.name).filter(|name| *name != bulk::NAME).collect();
    let operation = json!({"type": "string", "enum": names, "description": "The operationId of the call"});
    let key = ruled(key_text(8), "is another one for each item");
    let item = partial(&["_type", idempotency::NAME], [("_type", operation), (idempotency::NAME, key)]);
    let more =
        "Beside these two, what the call takes: the id of its path by its name, and the members of its body or query";
    let item = with(item, "description", more);
    json!({"type": "array", "minItems": 1, "maxItems": 1000, "items": item})
}

fn of_calls() -> Vec<Member> {
    let environment = |name: Value| {
        vec![
            ("name", name),
            ("description", nullable(&words())),
            ("purpose", nullable(&purpose())),
            ("external_identifier", nullable(&words())),
        ]
    };
    let mut new_environment = environment(name());
    new_environment.extend([new_id(), account_id()]);
    let new_agent = [("name", name()), new_id(), account_id()];
    let agent = || ruled(reference("agent"), "names an agent that is not yet deployed in the environment");
    let new_deployment = [("agent_id", agent()), ("environment_id", reference("environment")), new_id(), account_id()];
    let optional_name = || nullable(&name());
    let account = [("name", optional_name()), ("organisation_name", nullable(&words())), ("purpose", optional_name())];
    let user =
        [("name", nullable(&words())), ("job_title", nullable(&words())), ("profile_completed_at", nullable(&time()))];
    let email = json!({
        "type": "string",
        "pattern": "^[^@\\s\\u0000-\\u001f\\u007f-\\u009f]+@[^@\\s\\u0000-\\u001f\\u007f-\\u009f]+$",
        "maxLength": 254,
        "examples": ["ada@example.com"],
    });
    let email = ruled(email, "is that of nobody in the account yet, and not longer than 254 bytes");
    let count = json!({"type": "integer", "minimum": 1, "maximum": 1000});
    vec![
        ("ApiToken_ForCreate", new_api_token()),
        ("Account_ForUpdate", partial(&[], account)),
        ("Environment_ForCreate", partial(&["name"], new_environment)),
        ("Environment_ForUpdate", partial(&[], environment(optional_name()))),
        ("Agent_ForCreate", partial(&["name"], new_agent)),
        ("Agent_ForUpdate", partial(&[], [("name", optional_name())])),
        ("AgentDeployment_ForCreate", partial(&["agent_id", "environment_id"], new_deployment)),
        ("AdminUser_ForUpdate", partial(&[], user)),
        ("AdminUserInvite_ForCreate", partial(&["email"], [("email", email), account_id()])),
        ("Pfids_ForGenerate", partial(&["count"], [("count", count), account_id(), key()])),
        ("Bulk", partial(&["items"], [("items", bulk_items())])),
    ]
}
