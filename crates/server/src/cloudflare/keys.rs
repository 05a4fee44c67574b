//! The keys that sign assertions, as an account sees them.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use super::Error;
use super::body::{Fields, ROTATION_INTERVAL};
use super::envelope;
use crate::caller::{Administer, Origin, Permit, Read};
use crate::management::App;
use crate::ops::AssertionKeys;

#[derive(Serialize)]
struct Wire {
    key_rotation_interval_days: u64,
    days_until_next_rotation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_key_rotation_at: Option<String>,
}

fn show(keys: &AssertionKeys) -> Response {
    let wire = Wire {
        key_rotation_interval_days: keys.days,
        days_until_next_rotation: keys.days_left,
        last_key_rotation_at: keys.rotated_at.map(|at| at.to_string()),
    };
    envelope::success(StatusCode::OK, &wire)
}

pub(super) async fn get(State(app): State<App>, permit: Permit<Read>) -> Result<Response, Error> {
    Ok(show(&app.ops.assertion_keys(&permit).await?))
}

pub(super) async fn update(
    State(app): State<App>,
    permit: Permit<Administer>,
    origin: Origin,
    fields: Fields,
) -> Result<Response, Error> {
    let days = fields.rotation_interval()?.ok_or_else(|| ROTATION_INTERVAL.invalid("is required"))?;
    Ok(show(&app.ops.set_assertion_key_days(&permit, days, &origin).await?))
}

pub(super) async fn rotate(
    State(app): State<App>,
    permit: Permit<Administer>,
    origin: Origin,
) -> Result<Response, Error> {
    Ok(show(&app.ops.rotate_assertion_keys(&permit, &origin).await?))
}
