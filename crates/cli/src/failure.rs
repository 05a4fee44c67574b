//! How a command fails: the exit status and the words.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// The command line does not say what it has to. Exit status 2, where everything else that fails is 1.
#[derive(Debug)]
pub(crate) struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// What was asked is not so yet; the output has said what is. Exit status 3.
#[derive(Debug)]
pub(crate) struct NotYet;

impl fmt::Display for NotYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not yet")
    }
}

impl std::error::Error for NotYet {}

/// The exit status of a command that ended with `error`, and what is to be said about it.
pub(crate) fn report(error: &anyhow::Error) -> (ExitCode, Option<String>) {
    // Whoever read our output has seen enough of it: `countersign audit export | head` is no failure.
    let closed = error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe));
    if closed {
        return (ExitCode::SUCCESS, None);
    }
    if error.is::<NotYet>() {
        return (ExitCode::from(3), None);
    }
    let status = if error.is::<Usage>() { 2 } else { 1 };
    (ExitCode::from(status), Some(format!("error: {}", redact(&format!("{error:#}")))))
}

/// `text` without the tail of anything that looks like one of our secrets, and without who logs in to a database: a
/// secret typed in the wrong place must not end up in a message that somebody copies into a ticket.
pub(crate) fn redact(text: &str) -> String {
    let text = redact_urls(text);
    let mut safe = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((at, prefix)) = next_secret(rest) {
        let (before, secret) = rest.split_at(at + prefix.len());
        safe.push_str(before);
        safe.push('…');
        rest = secret.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "_-.…".contains(c));
    }
    safe.push_str(rest);
    safe
}

/// `text` without the user and the password of its URLs, and without passwords in their parameters.
fn redact_urls(text: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || "\"'`<>".contains(c);
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) =
        [rest.find("://").map(|at| at + 3), rest.find("password=").map(|at| at + 9)].into_iter().flatten().min()
    {
        let (before, after) = rest.split_at(at);
        let (url, later) = after.split_at(after.find(is_end).unwrap_or(after.len()));
        safe.push_str(before);
        if before.ends_with("://") {
            match url.rsplit_once('@') {
                Some((_, host)) => {
                    safe.push_str("…@");
                    rest = &after[after.len() - host.len() - later.len()..];
                }
                None => rest = after,
            }
        } else {
            safe.push('…');
            rest = &after[url.find('&').unwrap_or(url.len())..];
        }
    }
    safe.push_str(rest);
    safe
}

/// How our secrets begin: management tokens, client secrets, and API tokens, which are JWTs.
const PREFIXES: [&str; 3] = ["csat_", "csec_", "eyJ"];

fn next_secret(text: &str) -> Option<(usize, &'static str)> {
    PREFIXES.iter().filter_map(|prefix| Some((text.find(prefix)?, *prefix))).min()
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    fn check(error: &anyhow::Error, code: ExitCode, said: Option<&str>) {
        let (status, text) = report(error);
        assert_eq!(format!("{status:?}"), format!("{code:?}"));
        assert_eq!(text.as_deref(), said);
    }

    #[test]
    fn statuses() {
        check(&anyhow!("inner").context("outer"), ExitCode::FAILURE, Some("error: outer: inner"));
        check(&Usage("say more".to_owned()).into(), ExitCode::from(2), Some("error: say more"));
        let pipe = Err::<(), _>(io::Error::from(io::ErrorKind::BrokenPipe)).context("writing").unwrap_err();
        check(&pipe, ExitCode::SUCCESS, None);
    }

    #[test]
    fn secrets_are_cut() {
        let check = |text: &str, expected: &str| assert_eq!(redact(text), expected);
        check("nothing here", "nothing here");
        check("value 'csat_abcDEF123' is wrong", "value 'csat_…' is wrong");
        check("csec_a and csat_b_c-d", "csec_… and csat_…");
        check("csat_", "csat_…");
        check("a token, csat_…", "a token, csat_…");
        check("database_url = \"postgres://u:p@ss@h:5432/d", "database_url = \"postgres://…@h:5432/d");
        check(
            "'postgres://h/d?password=p&x=1' and http://a:b@c is",
            "'postgres://h/d?password=…&x=1' and http://…@c is",
        );
        check("see https://example.com for a@b", "see https://example.com for a@b");
        check("'eyJhbGci.eyJpc3Mi.CSVKGF-YP_O' is wrong", "'eyJ…' is wrong");
    }
}
