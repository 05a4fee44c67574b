//! From where a service token may be presented.

use axum::response::Response;
use countersign_token::allow_from::AllowFrom;
use countersign_token::service_token::ServiceToken;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Error;
use super::answer;
use super::call::Call;
use crate::caller::{Read, Write};
use crate::invalid::Invalid;
use crate::ops::Outcome;

/// The networks, or `null` for anywhere. No networks would be nowhere: a token that is to be admitted nowhere is disabled.
#[derive(Serialize)]
struct Wire {
    networks: Option<Vec<String>>,
}

impl Wire {
    fn new(token: &ServiceToken) -> Self {
        Self { networks: networks(token) }
    }
}

/// The networks as answers show them.
pub(super) fn networks(token: &ServiceToken) -> Option<Vec<String>> {
    token.allow_from.as_ref().map(|allow_from| allow_from.networks().collect())
}

pub(super) async fn get(call: Call) -> Result<Response, Error> {
    let permit = call.permit::<Read>()?;
    let token = call.app.ops.find_service_token(&permit, &call.token_id()?).await?;
    Ok(answer::success(&Wire::new(&token)))
}

pub(super) async fn update(call: Call) -> Result<Response, Error> {
    let permit = call.permit::<Write>()?;
    let allow_from = parse(&call.body()?)?;
    let id = call.token_id()?;
    let reply = call.app.ops.allow_service_token_from(&permit, &id, allow_from, &call.origin()).await?;
    match reply.outcome {
        Outcome::Done(changed) => Ok(answer::changed(&Wire::new(&changed.token), reply.propagation)),
        // Nothing is kept of this.
        Outcome::Replayed(_) => Err(Error::Internal),
    }
}

/// A member that is forgotten must not let everybody in: `null` has to be said.
fn parse(body: &Map<String, Value>) -> Result<Option<AllowFrom>, Invalid> {
    let invalid = |problem: &str| Invalid { detail: format!("networks: {problem}"), pointer: Some("/networks") };
    let networks = match body.get("networks") {
        Some(Value::Null) => return Ok(None),
        Some(Value::Array(networks)) => networks,
        Some(_) => return Err(invalid("must be an array of networks, or null for anywhere")),
        None => return Err(invalid("is required; null is anywhere")),
    };
    let texts: Option<Vec<&str>> = networks.iter().map(Value::as_str).collect();
    let texts = texts.ok_or_else(|| invalid("must be an array of strings"))?;
    AllowFrom::parse(texts).map(Some).map_err(|problem| invalid(&problem.to_string()))
}
