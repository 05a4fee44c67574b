//! The document against the code: every operation is in it, and every object has the members that it names.

use std::collections::BTreeSet;

use axum::response::IntoResponse as _;
use countersign_store::{Account, Agent, AgentDeployment, Environment, Invite, InviteStatus, User};
use countersign_token::api_token::{ApiToken, ApiTokenScope, ApiTokenStatus};
use countersign_token::digest::{BearerKind, InstallationKey};
use countersign_token::entropy::Entropy;
use countersign_token::id::{AccountId, AccountPfid, UserId};
use countersign_token::time::Timestamp;

use super::super::object::Object;
use super::super::pagination::Pagination;
use super::super::sorting::{OTHER, Sorting};
use super::*;

#[test]
fn every_operation_is_described() {
    let mut expected: BTreeSet<(String, String, String)> = OPERATIONS
        .iter()
        .map(|operation| {
            let path = format!("/api/v1{}", operation.path);
            (path, operation.method.as_str().to_lowercase(), operation.name.to_owned())
        })
        .collect();
    expected.insert(("/api/v1/openapi".to_owned(), "get".to_owned(), "openapi/show".to_owned()));
    let described: BTreeSet<(String, String, String)> = DOCUMENT["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().iter().map(|(method, operation)| {
                (path.clone(), method.clone(), operation["operationId"].as_str().unwrap().to_owned())
            })
        })
        .collect();
    assert_eq!(described, expected);
}

#[test]
fn names_of_operations_are_their_own() {
    let names: BTreeSet<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    assert_eq!(names.len(), OPERATIONS.len());
}

#[test]
fn errors_stand_under_their_status() {
    for (status, _, errors) in errors() {
        for error in errors {
            let words = format!("{error:?}");
            assert_eq!(error.into_response().status().as_u16(), status, "{words}");
        }
    }
}

fn names(members: &Map<String, Value>) -> BTreeSet<&str> {
    members.keys().map(String::as_str).collect()
}

fn check(schema: &str, found: &Map<String, Value>) {
    let schema = &DOCUMENT["components"]["schemas"][schema];
    assert_eq!(names(found), names(schema["properties"].as_object().unwrap()), "{schema}");
    let required: BTreeSet<&str> = schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(names(found), required, "{schema}");
}

/// An object as a call shows it.
fn check_object<T: Object>(summary: &str, details: &str, object: &T) {
    for (schema, mut shown) in [(summary, object.summary()), (details, object.details())] {
        if T::IN_ACCOUNT {
            shown.insert("account_id".to_owned(), Value::Null);
        }
        check(schema, &shown);
    }
}

#[test]
fn objects_have_the_members_that_their_schemas_name() {
    let entropy = Entropy::seeded(1);
    let at = Timestamp::from_secs(1);
    let account = AccountId::generate(&entropy);
    let pfid = AccountPfid::from(countersign_token::id::Pfid::generate_root(at, &entropy));
    let part = pfid.as_pfid().partition();
    let digest = InstallationKey::generate(&entropy).digest_key().bearer(BearerKind::ApiToken, "t");
    let (inserted_at, updated_at) = (at, at);
    let id = || countersign_token::id::Pfid::generate_related(at, part, &entropy);
    let token = ApiToken {
        id: id().into(),
        account,
        scope: ApiTokenScope::Account,
        status: ApiTokenStatus::Active,
        digest,
        key_id: "1".to_owned(),
        issued_at: at,
        expires_at: at,
        created_by: None,
        last_used_at: None,
        inserted_at,
        updated_at,
    };
    check_object("ApiToken_Summary", "ApiToken_Details", &token);
    let actions = &DOCUMENT["components"]["schemas"]["ApiToken_Details"]["properties"]["available_actions"];
    assert_eq!(
        names(token.details()["available_actions"].as_object().unwrap()),
        names(actions["properties"].as_object().unwrap())
    );
    let name = || "n".to_owned();
    let row = Account {
        id: account,
        pfid,
        name: name(),
        organisation_name: None,
        purpose: name(),
        created_at: at,
        updated_at,
    };
    check_object("Account", "Account", &row);
    let environment = Environment {
        id: id().into(),
        account,
        name: name(),
        description: None,
        purpose: name(),
        external_identifier: None,
        inserted_at,
        updated_at,
    };
    check_object("Environment", "Environment", &environment);
    let agent = Agent { id: id().into(), account, name: name(), inserted_at, updated_at };
    check_object("Agent", "Agent", &agent);
    let deployment = AgentDeployment {
        id: id().into(),
        account,
        agent: id().into(),
        environment: id().into(),
        inserted_at,
        updated_at,
    };
    check_object("AgentDeployment", "AgentDeployment", &deployment);
    let user = User {
        id: UserId::generate(&entropy),
        pfid: id().into(),
        email: name(),
        key_digest: digest,
        installation_owner: false,
        name: None,
        job_title: None,
        profile_completed_at: None,
        last_active_at: None,
        created_at: at,
        updated_at,
    };
    check_object("AdminUser", "AdminUser", &user);
    let status = InviteStatus::Pending;
    let invite = Invite { id: id().into(), account, email: name(), status, inserted_at, updated_at };
    check_object("AdminUserInvite_Summary", "AdminUserInvite_Summary", &invite);
}

#[test]
fn what_lists_say_has_the_members_that_their_schemas_name() {
    check("PaginationOutput", Pagination::default().render(3).as_object().unwrap());
    check("Sorting", Sorting::parse(&Value::Null, OTHER).unwrap().render().as_object().unwrap());
}
