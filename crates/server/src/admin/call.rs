//! A request as its handler sees it.

use std::collections::HashMap;

use axum::RequestExt as _;
use axum::extract::{FromRequest, Path, Request};
use countersign_token::id::ServiceTokenId;
use http::request::Parts;
use serde_json::{Map, Value};

use super::Error;
use crate::authentication::Presented;
use crate::body;
use crate::caller::{Caller, Origin, Permit, Place, Right};
use crate::management::{App, access};
use crate::query::Query;

/// A request with well-formed ids of accounts and zones in its path.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) app: App,
    parts: Parts,
    place: Option<Place>,
    segments: HashMap<String, String>,
}

impl FromRequest<App> for Call {
    type Rejection = Error;

    async fn from_request(mut request: Request, app: &App) -> Result<Self, Error> {
        // A path that is not UTF-8 leads nowhere.
        let Ok(Path(segments)) = request.extract_parts::<Path<HashMap<String, String>>>().await else {
            return Err(Error::NoRoute);
        };
        let Ok(place) = Place::named(|name| segments.get(name).map(String::as_str)) else {
            return Err(Error::NoRoute);
        };
        let (parts, _) = request.into_parts();
        Ok(Self { app: app.clone(), parts, place, segments })
    }
}

impl Call {
    /// Who calls.
    pub(super) fn caller(&self) -> Result<Caller, Error> {
        Ok(Presented::from_headers(&self.parts.headers)?.authenticate(&self.app, &self.parts)?)
    }

    /// Who calls, looked at again after a while. This does not count as another request.
    pub(super) fn caller_again(&self) -> Result<Caller, Error> {
        Ok(Presented::from_headers(&self.parts.headers)?.authenticate_again(&self.app)?)
    }

    /// The right `R` on the account or zone that the path names.
    pub(super) fn permit<R: Right>(&self) -> Result<Permit<R>, Error> {
        let caller = self.caller()?;
        let permit = caller.permit(&self.app.index, self.place.ok_or(Error::NoRoute)?)?;
        access::note_account(&self.parts.extensions, permit.account());
        Ok(permit)
    }

    /// The query.
    pub(super) fn query(&self) -> Result<Query, Error> {
        Ok(Query::parse(self.parts.uri.query().unwrap_or_default())?)
    }

    /// The body, which must be a JSON object.
    pub(super) fn body(&self) -> Result<Map<String, Value>, Error> {
        Ok(body::object(body::arrived(&self.parts)?)?)
    }

    /// The token that the path names. None has a malformed id.
    pub(super) fn token_id(&self) -> Result<ServiceTokenId, Error> {
        self.segments.get("id").and_then(|id| id.parse().ok()).ok_or(Error::NotFound)
    }

    /// What the path has at this place.
    pub(super) fn segment(&self, name: &str) -> Option<&str> {
        self.segments.get(name).map(String::as_str)
    }

    /// Where the request came from, for the audit log.
    pub(super) fn origin(&self) -> Origin {
        Origin::of(&self.parts)
    }
}
