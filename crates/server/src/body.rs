//! Reading request bodies, all of them, before anything is refused.
//!
//! An answer that leaves before the body has arrived breaks the connection: what the client sends next is taken for the
//! rest of it, or meets a closed socket. Clients keep connections, and would see their next request fail.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderValue, Version, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

/// 1 MiB.
const LEN_MAX: usize = 1 << 20;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// A body as it arrived, in a request's extensions. A handler judges it when its turn comes.
#[derive(Clone, Debug)]
pub(crate) struct Arrived(pub(crate) Result<Bytes, Unread>);

/// Why a body is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It is longer than 1 MiB.
    TooLarge,
    /// It did not arrive in time.
    TooSlow,
    /// It ended before its announced length.
    CutShort,
}

/// Reads the body, and ends a connection whose body could not be read.
pub(crate) async fn arrive(request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let arrived = read(body).await;
    let closes = arrived.is_err() && parts.version < Version::HTTP_2;
    parts.extensions.insert(Arrived(arrived));
    let mut response = next.run(Request::from_parts(parts, Body::empty())).await;
    if closes {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn read(body: Body) -> Result<Bytes, Unread> {
    // A length that is announced and too large need not be waited for.
    if body.size_hint().lower() > LEN_MAX as u64 {
        return Err(Unread::TooLarge);
    }
    match tokio::time::timeout(PATIENCE, Limited::new(body, LEN_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Unread::TooLarge),
        Ok(Err(_)) => Err(Unread::CutShort),
        Err(_elapsed) => Err(Unread::TooSlow),
    }
}
