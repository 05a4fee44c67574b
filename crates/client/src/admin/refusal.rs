//! How this API refuses: problems of RFC 9457.

use std::fmt;

use serde::Deserialize;

use super::Error;
use crate::connection::Answer;

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The word for it, such as `not_found`.
    pub code: String,
    /// What the server says.
    pub detail: String,
    /// JSON pointer to the member of the request that caused it.
    pub pointer: Option<String>,
    /// The `x-request-id` of the answer, to look for in the server's log.
    pub request_id: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {}) [HTTP {}]", self.detail, self.code, self.status)
    }
}

#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
    pointer: Option<String>,
}

/// The error of an answer that is no success.
pub(super) fn parse(answer: Answer) -> Error {
    match serde_json::from_slice::<Problem>(&answer.body) {
        Ok(Problem { code, detail, pointer }) => {
            Error::Refused(Refusal { status: answer.status, code, detail, pointer, request_id: answer.request_id })
        }
        Err(_foreign) => answer.unexpected("the body is no problem of RFC 9457"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems() {
        let check = |status: u16, body: &str, expected: &str| {
            let error = parse(Answer { status, request_id: None, body: body.into() });
            assert_eq!(error.to_string(), expected, "{body}");
        };
        check(
            404,
            r#"{"type":"about:blank","title":"Not Found","status":404,"code":"not_found","detail":"there is nothing of that id here"}"#,
            "there is nothing of that id here (code not_found) [HTTP 404]",
        );
        let foreign = "the server answered 404 with something that is not this API: the body is no problem of RFC 9457";
        check(404, "<html>", foreign);
        check(404, r#"{"success":false,"errors":[]}"#, foreign);
    }
}
