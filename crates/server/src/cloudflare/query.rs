//! A request's query, and the dialect's error where it is none.

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::Error;
use crate::query::Query;

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default())?)
    }
}
