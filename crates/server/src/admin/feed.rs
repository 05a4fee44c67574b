//! The feed for programs that verify by themselves.

mod cursor;
mod wire;

use std::time::Duration;

use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Error;
use super::answer;
use super::call::Call;
use crate::invalid::Invalid;
use crate::ops::feed::{Progress, Verifier};
use cursor::Cursors;
use wire::{Answer, FORMAT, Line};

/// How long an answer waits for something to tell, at most. A verifier asks again as soon as it is answered: that is its
/// heartbeat.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest cursor that is looked at, and the longest name.
const CURSOR_LEN_MAX: usize = 512;
const NAME_LEN_MAX: usize = 64;

/// Who has left the list.
#[derive(Serialize)]
struct Left {
    verifier: String,
}

/// Tells a verifier what it does not know yet.
pub(super) async fn follow(call: Call) -> Result<Response, Error> {
    let (token, accounts) = call.caller()?.follower().ok_or(Error::Forbidden)?;
    let body = call.body()?;
    let name = text(&body, "verifier", "/verifier", NAME_LEN_MAX)?.filter(|name| is_name(name)).ok_or_else(|| {
        invalid("verifier", "/verifier", "must be 1 to 64 characters of 0-9, A-Z, a-z, `.`, `_`, `-`")
    })?;
    let shown = text(&body, "cursor", "/cursor", CURSOR_LEN_MAX)?;
    let verifier = Verifier { token, name: name.to_owned(), accounts };
    let ops = &call.app.ops;
    let (installation, max_staleness) = ops.feed_promise().await?;
    let read = |verifier: &Verifier| -> Option<Progress> { Cursors::of(installation, &verifier.accounts).read(shown?) };
    let progress = read(&verifier);
    ops.note_verifier(&verifier, progress.as_ref()).await?;
    // A part of the staleness that is allowed at most: the verifier is as fresh as the time when it asked.
    ops.await_news(progress.as_ref(), PATIENCE.min(max_staleness / 4)).await;
    // Who may see what may have changed meanwhile.
    let (_, accounts) = call.caller_again()?.follower().ok_or(Error::Forbidden)?;
    let verifier = Verifier { accounts, ..verifier };
    let news = ops.read_feed(&verifier, read(&verifier)).await?;
    Ok(answer::success(&Answer {
        format: FORMAT,
        installation_id: installation.to_string(),
        reset: news.is_beginning,
        complete: matches!(news.progress, Progress::Following(_)),
        // The store was read after the verifier asked.
        age_us: 0,
        max_staleness_us: u64::try_from(max_staleness.as_micros()).unwrap_or(u64::MAX),
        keys: wire::keys(&news),
        changes: news.changes.iter().filter_map(Line::of).collect(),
        cursor: Cursors::of(installation, &verifier.accounts).write(&news.progress),
    }))
}

/// Takes a verifier off the list: it has stopped.
pub(super) async fn leave(call: Call) -> Result<Response, Error> {
    let (token, accounts) = call.caller()?.follower().ok_or(Error::Forbidden)?;
    let name = call.segment("verifier").filter(|name| is_name(name)).ok_or(Error::NotFound)?;
    let verifier = Verifier { token, name: name.to_owned(), accounts };
    call.app.ops.forget_verifier(&verifier).await?;
    Ok(answer::success(&Left { verifier: verifier.name }))
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(fits)
}

/// A member that is a text, if it is there.
fn text<'b>(
    body: &'b Map<String, Value>,
    name: &str,
    pointer: &'static str,
    len_max: usize,
) -> Result<Option<&'b str>, Error> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= len_max => Ok(Some(text)),
        Some(_) => Err(invalid(name, pointer, &format!("must be a string of at most {len_max} bytes"))),
    }
}

fn invalid(name: &str, pointer: &'static str, problem: &str) -> Error {
    Error::Invalid(Invalid { detail: format!("{name}: {problem}"), pointer: Some(pointer) })
}
