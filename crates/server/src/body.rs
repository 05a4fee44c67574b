//! Reading request bodies, all of them, before anything is refused.
//!
//! An answer that leaves before the body has arrived breaks the connection: what the client sends next is taken for the
//! rest of it, or meets a closed socket. Clients keep connections, and would see their next request fail.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, Version, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Map, Value};

use crate::invalid::Invalid;

/// 1 MiB.
const LEN_MAX: usize = 1 << 20;

/// How much of a body that is too large is read all the same. Many clients look for an answer only after they have sent
/// everything: to them, a closed connection would be all that they learn.
const DISCARDED_MAX: usize = 16 << 20;

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

/// Why nothing can be made of a body.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// It is longer than 1 MiB.
    TooLarge,
    /// It did not arrive in time.
    TooSlow,
    /// It is not what it should be.
    Invalid(Invalid),
    /// Nobody has read it, which is a bug.
    Unread,
}

impl From<Invalid> for Unusable {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

/// A request's body.
pub(crate) fn arrived(parts: &Parts) -> Result<&[u8], Unusable> {
    match parts.extensions.get::<Arrived>() {
        Some(Arrived(Ok(body))) => Ok(body),
        Some(Arrived(Err(Unread::TooLarge))) => Err(Unusable::TooLarge),
        Some(Arrived(Err(Unread::TooSlow))) => Err(Unusable::TooSlow),
        Some(Arrived(Err(Unread::CutShort))) => Err(Invalid::new("the body ended before its announced length").into()),
        // The listener's layer puts it there.
        None => Err(Unusable::Unread),
    }
}

/// A body that must be a JSON object. The content type is not asked for: some clients send none.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, Invalid> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Invalid::new("the body must be a JSON object")),
        // The parser's words name a line and a column, and never quote the body.
        Err(error) => Err(Invalid::new(format!("the body is not JSON: {error}"))),
    }
}

/// Reads the body, and ends a connection whose body could not be read.
pub(crate) async fn arrive(request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let awaited = parts.headers.contains_key(header::EXPECT);
    let arrived = read(body, awaited, PATIENCE).await;
    let closes = arrived.is_err() && parts.version < Version::HTTP_2;
    parts.extensions.insert(Arrived(arrived));
    let mut response = next.run(Request::from_parts(parts, Body::empty())).await;
    if closes {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// `awaited` is whether the client waits to be asked for the body.
async fn read(mut body: Body, awaited: bool, patience: Duration) -> Result<Bytes, Unread> {
    let announced = body.size_hint().lower();
    if announced > LEN_MAX as u64 {
        if !awaited && announced <= DISCARDED_MAX as u64 {
            discard(&mut body, patience).await;
        }
        return Err(Unread::TooLarge);
    }
    match tokio::time::timeout(patience, Limited::new(&mut body, LEN_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            discard(&mut body, patience).await;
            Err(Unread::TooLarge)
        }
        Ok(Err(_)) => Err(Unread::CutShort),
        Err(_elapsed) => Err(Unread::TooSlow),
    }
}

/// Reads what is left of a body that is not wanted, as far as that is bearable.
async fn discard(body: &mut Body, patience: Duration) {
    let reading = async {
        let mut left = DISCARDED_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Out of patience or not, the answer is the same.
    let _ = tokio::time::timeout(patience, reading).await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};

    use http_body_util::BodyExt as _;
    use hyper::body::{Frame, SizeHint};

    use super::*;

    const PIECE: usize = 64 << 10;

    /// A body of zeros that arrives in pieces, and then ends or comes to a halt.
    struct Pieces {
        announced: Option<u64>,
        number: usize,
        halts: bool,
        taken: Arc<AtomicUsize>,
    }

    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.taken.load(Ordering::Relaxed) == self.number {
                return if self.halts { Poll::Pending } else { Poll::Ready(None) };
            }
            self.taken.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; PIECE])))))
        }

        fn size_hint(&self) -> SizeHint {
            self.announced.map(SizeHint::with_exact).unwrap_or_default()
        }
    }

    /// What is read of a body, and how many of its pieces were taken.
    async fn read_pieces(
        number: usize,
        is_announced: bool,
        halts: bool,
        awaited: bool,
    ) -> (Result<usize, Unread>, usize) {
        let taken = Arc::new(AtomicUsize::new(0));
        let announced = is_announced.then(|| (number * PIECE) as u64);
        let body = Body::new(Pieces { announced, number, halts, taken: Arc::clone(&taken) }.boxed());
        let read = read(body, awaited, Duration::from_millis(20)).await;
        (read.map(|bytes| bytes.len()), taken.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn what_is_too_large_is_taken_before_it_is_refused() {
        for is_announced in [true, false] {
            assert_eq!(read_pieces(16, is_announced, false, false).await, (Ok(LEN_MAX), 16));
            assert_eq!(read_pieces(17, is_announced, false, false).await, (Err(Unread::TooLarge), 17));
            assert_eq!(read_pieces(256, is_announced, false, false).await, (Err(Unread::TooLarge), 256));
        }
    }

    #[tokio::test]
    async fn not_everything_is_taken() {
        assert_eq!(read_pieces(257, true, false, false).await, (Err(Unread::TooLarge), 0));
        let (read, taken) = read_pieces(10_000, false, false, false).await;
        assert_eq!(read, Err(Unread::TooLarge));
        assert!((257..300).contains(&taken), "{taken}");
        // Who waits to be asked for it is told at once.
        assert_eq!(read_pieces(17, true, false, true).await, (Err(Unread::TooLarge), 0));
        assert_eq!(read_pieces(16, true, false, true).await, (Ok(LEN_MAX), 16));
    }

    #[tokio::test]
    async fn patience_ends() {
        for is_announced in [true, false] {
            assert_eq!(read_pieces(16, is_announced, true, false).await, (Err(Unread::TooSlow), 16));
            assert_eq!(read_pieces(17, is_announced, true, false).await, (Err(Unread::TooLarge), 17));
        }
    }
}
