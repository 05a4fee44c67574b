//! What a client needs to find its ids: accounts, zones, the user, and whether a token is good.

use axum::extract::State;
use axum::response::Response;
use countersign_store::{Account, Zone};
use countersign_token::feed::TokenOwner;
use countersign_token::id::AccountId;
use countersign_token::index::Detail;
use http::StatusCode;
use serde::Serialize;

use super::Error;
use super::authentication::VerifiedBearer;
use super::envelope::{self, Message};
use super::path::Scope;
use crate::caller::{Caller, Place};
use crate::invalid::Invalid;
use crate::management::App;
use crate::query::Query;

#[derive(Serialize)]
struct AccountWire<'a> {
    id: String,
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    created_on: String,
}

impl<'a> AccountWire<'a> {
    fn new(account: &'a Account) -> Self {
        Self {
            id: account.id.to_string(),
            name: &account.name,
            kind: "standard",
            created_on: account.created_at.to_string(),
        }
    }
}

#[derive(Serialize)]
struct ZoneWire<'a> {
    id: String,
    name: &'a str,
    status: &'static str,
    account: ZoneAccountWire<'a>,
}

#[derive(Serialize)]
struct ZoneAccountWire<'a> {
    id: String,
    name: &'a str,
}

impl<'a> ZoneWire<'a> {
    fn new(zone: &'a Zone, account: &'a Account) -> Self {
        Self {
            id: zone.id.to_string(),
            name: &zone.name,
            status: "active",
            account: ZoneAccountWire { id: account.id.to_string(), name: &account.name },
        }
    }
}

#[derive(Serialize)]
struct UserWire<'a> {
    id: String,
    email: &'a str,
}

#[derive(Serialize)]
struct TokenWire {
    id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_on: Option<String>,
}

pub(super) async fn list_accounts(State(app): State<App>, caller: Caller, query: Query) -> Result<Response, Error> {
    let paging = query.paging()?;
    let name = query.filter("name")?;
    let (accounts, total) = app.ops.list_accounts(&caller, name, paging.part()).await?;
    let wire: Vec<_> = accounts.iter().map(AccountWire::new).collect();
    Ok(envelope::page(&wire, total, &paging))
}

pub(super) async fn get_account(
    State(app): State<App>,
    Scope(place): Scope,
    caller: Caller,
) -> Result<Response, Error> {
    let Place::Account(id) = place else { return Err(Error::Internal) };
    let account = app.ops.find_account(&caller, &id).await.map_err(hidden)?;
    Ok(envelope::success(StatusCode::OK, &AccountWire::new(&account)))
}

pub(super) async fn list_zones(State(app): State<App>, caller: Caller, query: Query) -> Result<Response, Error> {
    let paging = query.paging()?;
    let account = match query.filter("account.id")?.map(str::parse::<AccountId>) {
        None => None,
        Some(Ok(account)) => Some(account),
        Some(Err(problem)) => {
            return Err(Invalid { detail: format!("account.id: {problem}"), pointer: None }.into());
        }
    };
    let name = query.filter("name")?;
    let (zones, total) = app.ops.list_zones(&caller, account.as_ref(), name, paging.part()).await?;
    let wire: Vec<_> = zones.iter().map(|(zone, account)| ZoneWire::new(zone, account)).collect();
    Ok(envelope::page(&wire, total, &paging))
}

pub(super) async fn get_zone(State(app): State<App>, Scope(place): Scope, caller: Caller) -> Result<Response, Error> {
    let Place::Zone(id) = place else { return Err(Error::Internal) };
    let (zone, account) = app.ops.find_zone(&caller, &id).await.map_err(hidden)?;
    Ok(envelope::success(StatusCode::OK, &ZoneWire::new(&zone, &account)))
}

/// An account or a zone that does not exist must answer like one that is another's.
fn hidden(error: crate::ops::Error) -> Error {
    match error {
        crate::ops::Error::NotFound => Error::Forbidden,
        other => other.into(),
    }
}

pub(super) async fn get_user(State(app): State<App>, caller: Caller) -> Result<Response, Error> {
    let id = caller.user().ok_or(Error::NotAUser)?;
    let user = app.ops.find_user(&id).await?.ok_or(Error::NotAUser)?;
    Ok(envelope::success(StatusCode::OK, &UserWire { id: user.id.to_string(), email: &user.email }))
}

pub(super) async fn verify_user_token(VerifiedBearer(caller): VerifiedBearer) -> Result<Response, Error> {
    verified(&caller, |owner| matches!(owner, TokenOwner::User(_)))
}

pub(super) async fn verify_account_token(
    Scope(place): Scope,
    VerifiedBearer(caller): VerifiedBearer,
) -> Result<Response, Error> {
    verified(&caller, |owner| match (owner, place) {
        (TokenOwner::Account(owner), Place::Account(account)) => *owner == account,
        (TokenOwner::Account(_), Place::Zone(_)) | (TokenOwner::User(_), _) => false,
    })
}

fn verified(caller: &Caller, belongs: impl FnOnce(&TokenOwner) -> bool) -> Result<Response, Error> {
    let Caller::Holder(detail) = caller else { return Err(Error::InvalidToken) };
    let Detail::ManagementToken { id, owner, expires_at, .. } = detail.as_ref() else {
        return Err(Error::InvalidToken);
    };
    if !belongs(owner) {
        return Err(Error::InvalidToken);
    }
    let wire = TokenWire { id: id.to_string(), status: "active", expires_on: expires_at.map(|at| at.to_string()) };
    let message = Message { code: 10000, message: "This API Token is valid and active", kind: None };
    Ok(envelope::success_with_message(&wire, message))
}
