//! Requests in the plain form that nearly all have: HTTP/1.1, no body, whole when they are first seen. They are answered
//! straight from their bytes, which takes half as long as to make a request and a response of them. All else, and all that
//! comes after it on the same connection, is left to hyper.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use countersign_token::time::Timestamp;
use httparse::Status;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::answer::{self, Reply};
use super::forward_auth::{self, Head};
use super::{Awaited, Gate, Refusal};
use crate::assertion::Minting;
use crate::lifecycle::stop::Stop;

/// How many bytes are read at once; a longer request is not plain.
const READ_MAX: usize = 8 * 1024;

/// How many header fields a plain request has at most.
const FIELDS_MAX: usize = 64;

/// The path that is worth it.
const PATH: &str = "/verify";

/// How a connection has ended.
pub(super) enum End {
    /// There is nothing more to do.
    Closed,
    /// With these bytes, which are not answered.
    Other(Vec<u8>),
}

/// Answers plain requests until there is something else to do.
pub(super) async fn serve<I>(gate: &Gate, peer: Option<IpAddr>, io: &mut I, stop: &Stop) -> io::Result<End>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = vec![0; READ_MAX];
    let mut date = Date::default();
    let mut answers = Vec::new();
    let mut stopped = pin!(stop.requested());
    let mut asked = false;
    loop {
        let read = poll_fn(|cx| {
            let mut buffer = ReadBuf::new(&mut buffer);
            if let Poll::Ready(outcome) = Pin::new(&mut *io).poll_read(cx, &mut buffer) {
                return Poll::Ready(outcome.map(|()| buffer.filled().len()));
            }
            stop.poll_requested(stopped.as_mut(), &mut asked, cx).map(|()| Ok(0))
        })
        .await?;
        if read == 0 {
            return Ok(End::Closed);
        }
        let mut rest = buffer.get(..read).unwrap_or_default();
        // Whoever stops says so to those who are still answered, which is hyper's to do.
        while !stop.is_requested()
            && let Some((length, outcome)) = answer(gate, peer, rest, Awaited::Nothing)
        {
            let reply = match outcome {
                Ok(reply) => reply,
                Err(minting) => answer_after(minting, gate, peer, rest).await,
            };
            write(&reply, date.at(gate.clock.now()), &mut answers);
            rest = rest.get(length..).unwrap_or_default();
        }
        if !answers.is_empty() {
            // First whoever else has asked meanwhile: answers that go out together wake who waits for them once, where
            // each by itself would interrupt another core.
            tokio::task::yield_now().await;
            io.write_all(&answers).await?;
            answers.clear();
        }
        if !rest.is_empty() {
            return Ok(End::Other(rest.to_vec()));
        }
    }
}

/// The answer to the plain request that `input` begins with, and its length.
fn answer(
    gate: &Gate,
    peer: Option<IpAddr>,
    input: &[u8],
    awaited: Awaited,
) -> Option<(usize, Result<Reply, Minting>)> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let Ok(Status::Complete(length)) = request.parse_with_uninit_headers(input, &mut fields) else { return None };
    let plain = Plain::of(&request)?;
    Some((length, forward_auth::respond(gate, peer, &plain, awaited)))
}

/// The same once its assertion has come, or has not come in time.
async fn answer_after(minting: Minting, gate: &Gate, peer: Option<IpAddr>, input: &[u8]) -> Reply {
    let made = minting.wait().await;
    match answer(gate, peer, input, Awaited::Over(made)) {
        Some((_, Ok(reply))) => reply,
        // One wait is enough for everybody.
        Some((_, Err(_))) | None => answer::refused(Refusal::NoAssertion),
    }
}

/// A request of which nothing but its head matters.
struct Plain<'r> {
    query: &'r str,
    fields: &'r [httparse::Header<'r>],
}

impl<'r> Plain<'r> {
    fn of(request: &'r httparse::Request<'_, '_>) -> Option<Self> {
        let query = request.path?.strip_prefix(PATH)?.strip_prefix('?')?;
        let is_plain = request.version == Some(1)
            // The one has an answer of its own form, the other a target that is no path.
            && !matches!(request.method, Some("HEAD" | "CONNECT") | None)
            && query.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte))
            && request.headers.iter().all(is_plain);
        is_plain.then_some(Self { query, fields: request.headers })
    }
}

/// Whether a field says nothing of the connection, and of no body.
fn is_plain(field: &httparse::Header<'_>) -> bool {
    let is = |name: &str| field.name.eq_ignore_ascii_case(name);
    match field.name.len() {
        6 => !is("expect"),
        7 => !is("upgrade"),
        10 => !is("connection") || field.value.eq_ignore_ascii_case(b"keep-alive"),
        14 => !is("content-length") || field.value == b"0",
        17 => !is("transfer-encoding"),
        _ => true,
    }
}

impl Head for Plain<'_> {
    fn path(&self) -> &str {
        PATH
    }

    fn query(&self) -> &str {
        self.query
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| (field.name, field.value))
    }

    fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }
}

/// Puts an answer to [`PATH`] as hyper does. None of them has a body.
fn write(reply: &Reply, date: &str, bytes: &mut Vec<u8>) {
    let status = reply.status();
    let reason = status.canonical_reason().unwrap_or_default();
    for part in
        ["HTTP/1.1 ", status.as_str(), " ", reason, reply.lines(), "\r\ncontent-length: 0\r\ndate: ", date, "\r\n\r\n"]
    {
        bytes.extend_from_slice(part.as_bytes());
    }
}

/// The second that it is, as HTTP writes it; made anew when it is another.
#[derive(Default)]
struct Date {
    micros: Range<i64>,
    text: String,
}

impl Date {
    fn at(&mut self, now: Timestamp) -> &str {
        if !self.micros.contains(&now.as_micros()) {
            let begin = now.floor_to_second().as_micros();
            self.micros = begin..begin.saturating_add(1_000_000);
            // Before 1970 nothing of this was there.
            let since = Duration::from_micros(u64::try_from(begin).unwrap_or_default());
            self.text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since);
        }
        &self.text
    }
}
