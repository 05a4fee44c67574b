//! Service tokens: everything that is known of them, but for their secrets.

use axum::response::Response;
use countersign_token::service_token::ServiceToken;
use countersign_token::time::Timestamp;
use serde::Serialize;

use super::Error;
use super::allow_from;
use super::answer;
use super::call::Call;
use super::rotation::{CurrentSecret, PreviousSecret};
use crate::caller::Read;
use crate::ops::{ListServiceTokens, SecretUses};

/// A service token. Every member is always there.
#[derive(Serialize)]
struct Wire<'a> {
    id: String,
    account_id: String,
    zone_id: Option<String>,
    client_id: String,
    name: &'a str,
    state: &'static str,
    enabled: bool,
    allow_from: Option<Vec<String>>,
    duration: &'a str,
    created_at: String,
    updated_at: String,
    expires_at: Option<String>,
    last_seen_at: Option<String>,
    current_secret: CurrentSecret,
    previous_secret: Option<PreviousSecret>,
}

#[derive(Serialize)]
struct Page<'a> {
    service_tokens: Vec<Wire<'a>>,
    page: u64,
    per_page: u32,
    total_count: u64,
}

impl<'a> Wire<'a> {
    fn new(token: &'a ServiceToken, uses: &SecretUses, now: Timestamp) -> Self {
        let has_ended = token.ends_at().is_some_and(|end| end <= now);
        let previous = token.previous().map(|(_, end)| end).filter(|end| *end > now && !has_ended);
        Self {
            id: token.id.to_string(),
            account_id: token.owner.account.to_string(),
            zone_id: token.owner.zone.map(|zone| zone.to_string()),
            client_id: token.client_id.to_string(),
            name: token.name.as_str(),
            // In the order in which the gate looks at them.
            state: match (token.enabled, has_ended) {
                (false, _) => "disabled",
                (true, true) => "expired",
                (true, false) => "active",
            },
            enabled: token.enabled,
            allow_from: allow_from::networks(token),
            duration: token.duration.as_str(),
            created_at: token.created_at.to_string(),
            updated_at: token.updated_at.to_string(),
            expires_at: token.ends_at().map(|at| at.to_string()),
            last_seen_at: token.last_seen_at.map(|at| at.to_string()),
            current_secret: CurrentSecret::new(token, uses),
            previous_secret: previous.map(|end| PreviousSecret::new(token, uses, end)),
        }
    }
}

pub(super) async fn list(call: Call) -> Result<Response, Error> {
    let permit = call.permit::<Read>()?;
    let query = call.query()?;
    let paging = query.paging()?;
    let list = ListServiceTokens {
        name: query.filter("name")?.map(str::to_owned),
        search: query.filter("search")?.map(str::to_owned),
        page: paging.page,
        per_page: paging.per_page,
    };
    let found = call.app.ops.list_service_tokens(&permit, &list).await?;
    let uses = call.app.ops.list_secret_uses(&permit, &found.tokens).await?;
    let now = call.app.clock.now();
    Ok(answer::success(&Page {
        service_tokens: found.tokens.iter().zip(&uses).map(|(token, uses)| Wire::new(token, uses, now)).collect(),
        page: paging.page,
        per_page: paging.per_page,
        total_count: found.total,
    }))
}

pub(super) async fn get(call: Call) -> Result<Response, Error> {
    let permit = call.permit::<Read>()?;
    let token = call.app.ops.find_service_token(&permit, &call.token_id()?).await?;
    let uses = call.app.ops.list_secret_uses(&permit, std::slice::from_ref(&token)).await?;
    let uses = uses.first().cloned().unwrap_or_default();
    Ok(answer::success(&Wire::new(&token, &uses, call.app.clock.now())))
}
