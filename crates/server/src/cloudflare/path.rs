//! What a path names: an account or a zone, and a token.

use std::collections::HashMap;
use std::convert::Infallible;

use axum::RequestExt as _;
use axum::extract::{FromRequestParts, OriginalUri, Path, Request};
use countersign_token::id::ServiceTokenId;
use http::request::Parts;

use super::Error;
use crate::caller::{Caller, MalformedId, Permit, Place, Right};
use crate::management::{App, access};

/// The account or the zone that a path names, well-formed. Whether it exists is nobody's business who lacks the right.
#[derive(Debug)]
pub(super) struct Scope(pub(super) Place);

type Segments = Path<HashMap<String, String>>;

async fn place(parts: &mut Parts) -> Option<Place> {
    let Path(segments) = Segments::from_request_parts(parts, &()).await.ok()?;
    Place::named(|name| segments.get(name).map(String::as_str)).ok().flatten()
}

/// Whether the ids in a request's path are well-formed.
pub(super) async fn check_shape(mut request: Request) -> Result<(), ()> {
    let Ok(Path(segments)) = request.extract_parts::<Segments>().await else { return Err(()) };
    match Place::named(|name| segments.get(name).map(String::as_str)) {
        Ok(_) => Ok(()),
        Err(MalformedId) => Err(()),
    }
}

impl FromRequestParts<App> for Scope {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
        match place(parts).await {
            Some(place) => Ok(Self(place)),
            None => {
                let OriginalUri(uri) = original_uri(parts).await;
                Err(Error::NoRoute { path: uri.path().to_owned() })
            }
        }
    }
}

async fn original_uri(parts: &mut Parts) -> OriginalUri {
    match OriginalUri::from_request_parts(parts, &()).await {
        Ok(uri) => uri,
        Err::<_, Infallible>(never) => match never {},
    }
}

/// The path's shape, then the caller, then the right.
impl<R: Right> FromRequestParts<App> for Permit<R> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let Scope(place) = Scope::from_request_parts(parts, app).await?;
        let caller = Caller::from_request_parts(parts, app).await?;
        let permit = caller.permit::<R>(&app.index, place)?;
        access::note_account(&parts.extensions, permit.account());
        Ok(permit)
    }
}

/// The token's id as it stands in the path. It is judged last, after the body.
#[derive(Debug)]
pub(super) struct TokenId(String);

impl TokenId {
    /// No token has a malformed id, so it is not found.
    pub(super) fn parse(&self) -> Result<ServiceTokenId, Error> {
        match self.0.parse() {
            Ok(id) => Ok(id),
            Err(_) => Err(Error::NotFound),
        }
    }
}

impl FromRequestParts<App> for TokenId {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
        let segments = Segments::from_request_parts(parts, &()).await;
        Ok(Self(segments.ok().and_then(|Path(mut segments)| segments.remove("id")).unwrap_or_default()))
    }
}
