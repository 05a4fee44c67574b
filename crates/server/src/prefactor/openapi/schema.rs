//! The schemas of what is sent and answered. Objects that are answered have all of their members, always.

use serde_json::{Map, Value, json};

use super::super::idempotency;

/// A member of an object: its name and its schema.
type Member = (&'static str, Value);

/// The schema of this name among [`all`].
pub(super) fn named(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

pub(super) fn pfid() -> Value {
    named("Pfid")
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

/// An object that must have the members `required` and may have the others.
fn partial(required: &[&str], members: Vec<Member>) -> Value {
    let members: Map<String, Value> = members.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({"type": "object", "required": required, "properties": members})
}

fn key() -> Member {
    (idempotency::NAME, nullable(&json!({"type": "string", "minLength": 1, "maxLength": 64})))
}

fn text() -> Value {
    json!({"type": "string"})
}

fn name() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 350})
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
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

fn nullable(schema: &Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

fn purpose() -> Value {
    one_of(&["development", "staging", "testing", "production"])
}

fn token_scope() -> Value {
    one_of(&["account", "environment", "agent_deployment"])
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
            ("token_scope", token_scope()),
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

fn with(mut members: Vec<Member>, more: impl IntoIterator<Item = Member>) -> Value {
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
        ("Pfid", json!({"type": "string", "pattern": "^[0-7][0-9abcdefghjkmnpqrstvwxyz]{31}$"})),
        ("Error", partial(&["status", "code", "message"], error)),
        ("PaginationOutput", complete(pagination)),
        ("Sorting", complete(vec![("field", text()), ("direction", one_of(&["asc", "desc"]))])),
        ("Ping", complete(vec![("token_type", constant("api")), ("account_id", pfid())])),
        ("ApiToken_Summary", complete(api_token())),
        ("ApiToken_Details", with(api_token(), [("available_actions", complete(actions.into()))])),
        ("ApiToken_Created", success(vec![("details", named("ApiToken_Details")), ("token", text())])),
        ("Account", complete(account)),
        ("Environment", complete(object("environment", environment))),
        ("Agent", complete(timed("agent", vec![("name", name()), ("status", constant("active"))]))),
        ("AgentDeployment", complete(timed("agent_deployment", deployment))),
        ("AdminUser", complete(timed("admin_user", user))),
        ("AdminUserInvite_Summary", complete(invite())),
        ("AdminUserInvite_Details", with(invite(), [("token", text()), ("invite_url", text())])),
        ("Pfids_Generated", success(vec![("account_id", pfid()), ("pfids", list(&pfid()))])),
        (
            "Bulk_Outputs",
            success(vec![("outputs", json!({"type": "object", "additionalProperties": {"type": "object"}}))]),
        ),
    ]
}

fn of_calls() -> Vec<Member> {
    let scope = partial(
        &["token_scope"],
        vec![
            ("token_scope", token_scope()),
            ("account_id", nullable(&pfid())),
            ("environment_id", nullable(&pfid())),
            ("agent_id", nullable(&pfid())),
            ("expires_at", nullable(&time())),
        ],
    );
    let environment = || {
        vec![
            ("name", name()),
            ("description", nullable(&text())),
            ("purpose", nullable(&purpose())),
            ("external_identifier", nullable(&text())),
        ]
    };
    let ids = || [("id", nullable(&pfid())), ("account_id", nullable(&pfid()))];
    let mut new_environment = environment();
    new_environment.extend(ids());
    let mut new_agent = vec![("name", name())];
    new_agent.extend(ids());
    let mut new_deployment = vec![("agent_id", pfid()), ("environment_id", pfid())];
    new_deployment.extend(ids());
    let account = vec![("name", name()), ("organisation_name", nullable(&text())), ("purpose", text())];
    let user = vec![
        ("name", nullable(&text())),
        ("job_title", nullable(&text())),
        ("profile_completed_at", nullable(&time())),
    ];
    let item = partial(
        &["_type", idempotency::NAME],
        vec![
            ("_type", json!({"type": "string", "description": "The operationId of the call"})),
            (idempotency::NAME, json!({"type": "string", "minLength": 8, "maxLength": 64})),
        ],
    );
    let count = json!({"type": "integer", "minimum": 1, "maximum": 1000});
    let items = json!({"type": "array", "minItems": 1, "maxItems": 1000, "items": item});
    vec![
        ("ApiToken_ForCreate", scope),
        ("Account_ForUpdate", partial(&[], account)),
        ("Environment_ForCreate", partial(&["name"], new_environment)),
        ("Environment_ForUpdate", partial(&[], environment())),
        ("Agent_ForCreate", partial(&["name"], new_agent)),
        ("Agent_ForUpdate", partial(&[], vec![("name", name())])),
        ("AgentDeployment_ForCreate", partial(&["agent_id", "environment_id"], new_deployment)),
        ("AdminUser_ForUpdate", partial(&[], user)),
        ("AdminUserInvite_ForCreate", partial(&["email"], vec![("email", text()), ("account_id", nullable(&pfid()))])),
        ("Pfids_ForGenerate", partial(&["count"], vec![("count", count), ("account_id", nullable(&pfid())), key()])),
        ("Bulk", partial(&["items"], vec![("items", items)])),
    ]
}
