//! Who calls, and the dialect's errors where nobody is known to.

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::Error;
use crate::authentication::{Presented, Refused};
use crate::caller::Caller;
use crate::management::App;

impl FromRequestParts<App> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        Ok(Presented::from_headers(&parts.headers)?.authenticate(app, parts)?)
    }
}

/// The bearer of a verify call. Here an unknown token is an answer about the token, not about the caller.
#[derive(Debug)]
pub(super) struct VerifiedBearer(pub(super) Caller);

impl FromRequestParts<App> for VerifiedBearer {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        match Presented::from_headers(&parts.headers)? {
            Presented::Key { .. } => Err(Error::NoAuthorization),
            bearer @ Presented::Bearer { .. } => match bearer.authenticate(app, parts) {
                Ok(caller) => Ok(Self(caller)),
                Err(Refused::UnknownBearer) => Err(Error::InvalidToken),
                Err(refused) => Err(refused.into()),
            },
        }
    }
}
