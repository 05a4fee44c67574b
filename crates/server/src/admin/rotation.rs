//! The rotation of a service token's secret: who still comes with the one before, and when that ends.

use axum::response::Response;
use countersign_store::SecretUse;
use countersign_token::duration::TokenDuration;
use countersign_token::service_token::ServiceToken;
use countersign_token::time::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::Error;
use super::answer;
use super::call::Call;
use crate::caller::{Read, Write};
use crate::invalid::Invalid;
use crate::ops::{Rotation, SecretUses};

const WISH: &str = "finish_when_quiet";

/// The secret that was made last.
#[derive(Serialize)]
pub(super) struct CurrentSecret {
    version: u32,
    #[serde(flatten)]
    last_use: LastUse,
}

/// The secret before, while it is good.
#[derive(Serialize)]
pub(super) struct PreviousSecret {
    version: Option<u32>,
    expires_at: String,
    #[serde(flatten)]
    last_use: LastUse,
}

/// When a secret was last used, and the last visitor that is known.
#[derive(Serialize)]
struct LastUse {
    last_seen_at: Option<String>,
    visited_at: Option<String>,
    address: Option<String>,
    user_agent: Option<String>,
}

/// How far a rotation has come. Every member is always there.
#[derive(Serialize)]
struct Wire {
    service_token_id: String,
    rotated_at: Option<String>,
    current_secret: CurrentSecret,
    previous_secret: Option<PreviousSecret>,
    quiet_since: Option<String>,
    finish_when_quiet: Option<WishWire>,
    verifiers: usize,
    as_of: String,
}

#[derive(Serialize)]
struct WishWire {
    quiet: String,
    asked_at: String,
    due_at: String,
}

impl LastUse {
    fn of(seen: Option<&SecretUse>) -> Self {
        let visitor = seen.and_then(|seen| seen.visitor.as_ref());
        Self {
            last_seen_at: seen.map(|seen| seen.last_seen_at.to_string()),
            visited_at: visitor.map(|visitor| visitor.at.to_string()),
            address: visitor.and_then(|visitor| visitor.address).map(|address| address.to_string()),
            user_agent: visitor.and_then(|visitor| visitor.user_agent.as_deref()).map(str::to_owned),
        }
    }
}

impl CurrentSecret {
    pub(super) fn new(token: &ServiceToken, uses: &SecretUses) -> Self {
        Self { version: token.secret_version, last_use: LastUse::of(uses.current(token)) }
    }
}

impl PreviousSecret {
    /// The secret before, which ends at `end`.
    pub(super) fn new(token: &ServiceToken, uses: &SecretUses, end: Timestamp) -> Self {
        Self {
            version: token.previous_version,
            expires_at: end.to_string(),
            last_use: LastUse::of(uses.previous(token)),
        }
    }
}

impl Wire {
    fn new(rotation: &Rotation) -> Self {
        let Rotation { token, uses, quiet_since, wish, verifiers, at } = rotation;
        Self {
            service_token_id: token.id.to_string(),
            rotated_at: token.rotated_at.map(|at| at.to_string()),
            current_secret: CurrentSecret::new(token, uses),
            previous_secret: rotation.ends_at().map(|end| PreviousSecret::new(token, uses, end)),
            quiet_since: quiet_since.map(|at| at.to_string()),
            finish_when_quiet: wish.as_ref().map(|wish| WishWire {
                quiet: wish.quiet.to_string(),
                asked_at: wish.asked_at.to_string(),
                due_at: wish.due_at.to_string(),
            }),
            verifiers: *verifiers,
            as_of: at.to_string(),
        }
    }
}

pub(super) async fn get(call: Call) -> Result<Response, Error> {
    let permit = call.permit::<Read>()?;
    let rotation = call.app.ops.find_rotation(&permit, &call.token_id()?).await?;
    Ok(answer::success(&Wire::new(&rotation)))
}

pub(super) async fn update(call: Call) -> Result<Response, Error> {
    let permit = call.permit::<Write>()?;
    let refuse = |problem: &str| Invalid { detail: format!("{WISH}: {problem}"), pointer: Some("/finish_when_quiet") };
    let quiet = match call.body()?.get(WISH) {
        None => return Err(refuse("is missing; null takes it back").into()),
        Some(Value::Null) => None,
        Some(Value::String(text)) => Some(TokenDuration::parse(text).map_err(|error| refuse(&error.to_string()))?),
        Some(_) => return Err(refuse("must be a duration such as \"24h\", or null").into()),
    };
    let rotation = call.app.ops.finish_rotation_when_quiet(&permit, &call.token_id()?, quiet, &call.origin()).await?;
    Ok(answer::success(&Wire::new(&rotation)))
}
