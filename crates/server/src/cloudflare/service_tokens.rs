//! The seven operations on service tokens.

use axum::extract::State;
use axum::response::Response;
use countersign_token::duration::TokenDuration;
use countersign_token::secret::Secret;
use countersign_token::service_token::{Patch, ServiceToken, Update};
use http::StatusCode;
use serde::Serialize;

use super::Error;
use super::body::{Fields, Given, NAME, OptionalFields};
use super::envelope;
use super::idempotency::{Deed, Repeatable};
use super::path::TokenId;
use crate::caller::{Origin, Permit, Read, Write};
use crate::management::App;
use crate::ops::{Changed, CreateServiceToken, Issued, ListServiceTokens, Outcome, Reply};
use crate::query::Query;
use crate::repeat;

/// A service token as the dialect writes it. A field that has no value is left out: some clients fail on `null` or `""`.
#[derive(Serialize)]
struct Wire<'a> {
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    created_at: String,
    updated_at: String,
    expires_at: String,
    id: String,
    name: &'a str,
    duration: &'a str,
    client_secret_version: u32,
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_client_secret_expires_at: Option<String>,
}

impl<'a> Wire<'a> {
    fn new(token: &'a ServiceToken, secret: Option<&'a Secret>) -> Self {
        Self {
            client_id: token.client_id.to_string(),
            client_secret: secret.map(Secret::expose),
            created_at: token.created_at.to_string(),
            updated_at: token.updated_at.to_string(),
            expires_at: token.expires_at.to_string(),
            id: token.id.to_string(),
            name: token.name.as_str(),
            duration: token.duration.as_str(),
            client_secret_version: token.secret_version,
            enabled: token.enabled,
            last_seen_at: token.last_seen_at.map(|at| at.to_string()),
            previous_client_secret_expires_at: token.previous_expires_at.map(|at| at.to_string()),
        }
    }
}

pub(super) async fn list(State(app): State<App>, permit: Permit<Read>, query: Query) -> Result<Response, Error> {
    let paging = query.paging()?;
    let list = ListServiceTokens {
        name: query.filter("name")?.map(str::to_owned),
        search: query.filter("search")?.map(str::to_owned),
        page: paging.page,
        per_page: paging.per_page,
    };
    let page = app.ops.list_service_tokens(&permit, &list).await?;
    let tokens: Vec<Wire<'_>> = page.tokens.iter().map(|token| Wire::new(token, None)).collect();
    Ok(envelope::page(&tokens, page.total, &paging))
}

pub(super) async fn get(State(app): State<App>, permit: Permit<Read>, id: TokenId) -> Result<Response, Error> {
    let token = app.ops.find_service_token(&permit, &id.parse()?).await?;
    Ok(envelope::success(StatusCode::OK, &Wire::new(&token, None)))
}

pub(super) async fn create(
    State(app): State<App>,
    permit: Permit<Write>,
    repeatable: Repeatable,
    origin: Origin,
    fields: Fields,
) -> Result<Response, Error> {
    let new = CreateServiceToken {
        name: fields.name()?.ok_or_else(|| NAME.invalid("is required"))?,
        duration: fields.duration()?.unwrap_or_else(TokenDuration::default_year),
        enabled: fields.enabled()?.unwrap_or(true),
        secret_version: fields.secret_version()?.unwrap_or(1),
        previous_expires_at: fields.previous_expires_at()?.value(),
    };
    let intent = repeatable.intent(&permit, Deed::Create, &fields, issued);
    Ok(answer(StatusCode::CREATED, app.ops.create_service_token(&permit, new, intent, &origin).await?, issued))
}

pub(super) async fn update(
    State(app): State<App>,
    permit: Permit<Write>,
    repeatable: Repeatable,
    id: TokenId,
    origin: Origin,
    fields: Fields,
) -> Result<Response, Error> {
    let update = Update {
        name: fields.name()?,
        duration: fields.duration()?,
        enabled: fields.enabled()?,
        secret_version: fields.secret_version()?,
        previous_expires_at: match fields.previous_expires_at()? {
            Given::Absent => Patch::Keep,
            Given::Null => Patch::Clear,
            Given::Value(at) => Patch::Set(at),
        },
    };
    let id = id.parse()?;
    let intent = repeatable.intent(&permit, Deed::Update(id), &fields, changed);
    Ok(answer(StatusCode::OK, app.ops.update_service_token(&permit, &id, update, intent, &origin).await?, changed))
}

pub(super) async fn rotate(
    State(app): State<App>,
    permit: Permit<Write>,
    repeatable: Repeatable,
    id: TokenId,
    origin: Origin,
    OptionalFields(fields): OptionalFields,
) -> Result<Response, Error> {
    let previous = fields.previous_expires_at()?.value();
    let id = id.parse()?;
    let intent = repeatable.intent(&permit, Deed::Rotate(id), &fields, changed);
    Ok(answer(StatusCode::OK, app.ops.rotate_service_token(&permit, &id, previous, intent, &origin).await?, changed))
}

pub(super) async fn refresh(
    State(app): State<App>,
    permit: Permit<Write>,
    repeatable: Repeatable,
    id: TokenId,
    origin: Origin,
) -> Result<Response, Error> {
    let id = id.parse()?;
    let intent = repeatable.intent(&permit, Deed::Refresh(id), &Fields::none(), changed);
    Ok(answer(StatusCode::OK, app.ops.refresh_service_token(&permit, &id, intent, &origin).await?, changed))
}

pub(super) async fn delete(
    State(app): State<App>,
    permit: Permit<Write>,
    repeatable: Repeatable,
    id: TokenId,
    origin: Origin,
) -> Result<Response, Error> {
    let id = id.parse()?;
    let intent = repeatable.intent(&permit, Deed::Delete(id), &Fields::none(), changed);
    Ok(answer(StatusCode::OK, app.ops.delete_service_token(&permit, &id, intent, &origin).await?, changed))
}

fn issued(issued: &Issued) -> String {
    envelope::text(&Wire::new(&issued.token, Some(&issued.secret)))
}

fn changed(changed: &Changed) -> String {
    envelope::text(&Wire::new(&changed.token, changed.secret.as_deref()))
}

/// What was kept of an earlier answer is its whole text, so that the two don't differ by a byte.
fn answer<T>(status: StatusCode, reply: Reply<T>, text: fn(&T) -> String) -> Response {
    match reply.outcome {
        Outcome::Done(value) => envelope::changed(status, text(&value), reply.propagation),
        Outcome::Replayed(replay) => {
            let mut response = envelope::changed(status, replay.answer.expose().to_owned(), reply.propagation);
            repeat::tell_replayed(response.headers_mut());
            response
        }
    }
}
