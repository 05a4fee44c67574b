//! The dialect's envelope, as it stands on the wire.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Error, Problem, Refusal};
use crate::connection::Answer;

/// One answer, success or not. Everything is optional, so that a foreign answer is judged here and not by the decoder.
#[derive(Deserialize)]
struct Envelope<T> {
    success: Option<bool>,
    errors: Option<Vec<WireProblem>>,
    result: Option<T>,
    result_info: Option<ResultInfo>,
}

/// Where in a list a page stands.
#[derive(Clone, Copy, Deserialize)]
pub(super) struct ResultInfo {
    pub(super) total_pages: Option<u64>,
}

#[derive(Deserialize)]
struct WireProblem {
    code: i64,
    #[serde(default)]
    message: String,
    source: Option<WireSource>,
    #[serde(default)]
    error_chain: Vec<WireProblem>,
}

#[derive(Deserialize)]
struct WireSource {
    pointer: Option<String>,
}

impl From<WireProblem> for Problem {
    fn from(wire: WireProblem) -> Self {
        Self {
            code: wire.code,
            message: wire.message,
            pointer: wire.source.and_then(|source| source.pointer),
            chain: wire.error_chain.into_iter().map(Self::from).collect(),
        }
    }
}

/// Reads an answer. Success is what the status says; the two can't differ on a server that keeps the contract.
pub(super) fn parse<T: DeserializeOwned>(answer: Answer) -> Result<(T, Option<ResultInfo>), Error> {
    if answer.is_success() {
        let envelope: Envelope<T> =
            serde_json::from_slice(&answer.body).map_err(|error| answer.unexpected(error.to_string()))?;
        if envelope.success != Some(true) {
            return Err(answer.unexpected("`success` is not true"));
        }
        let result = envelope.result.ok_or_else(|| answer.unexpected("`result` is missing"))?;
        return Ok((result, envelope.result_info));
    }
    // The result of a failure is null; whatever it may be, it is not wanted.
    let envelope: Envelope<serde::de::IgnoredAny> = serde_json::from_slice(&answer.body)
        .map_err(|_foreign| answer.unexpected("the body is not an error envelope"))?;
    let problems: Vec<Problem> = envelope.errors.unwrap_or_default().into_iter().map(Problem::from).collect();
    if problems.is_empty() {
        return Err(answer.unexpected("the error envelope names no error"));
    }
    Err(Error::Refused(Refusal { status: answer.status, problems, request_id: answer.request_id }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, expected: &str) {
        let shown = match parse::<serde_json::Value>(Answer { status, request_id: None, body: body.into() }) {
            Ok((result, _)) => result.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected, "{body}");
    }

    #[test]
    fn answers() {
        check(200, r#"{"success":true,"errors":[],"messages":[],"result":{"id":"x"}}"#, r#"{"id":"x"}"#);
        check(201, r#"{"success":true,"errors":null,"messages":null,"result":[]}"#, "[]");
        check(
            404,
            r#"{"success":false,"errors":[{"code":12135,"message":"access.api.error.not_found"}],"messages":[],"result":null}"#,
            "access.api.error.not_found (code 12135) [HTTP 404]",
        );
        check(
            400,
            r#"{"success":false,"errors":[{"code":12130,"message":"bad","source":{"pointer":"/duration"}}],"messages":[],"result":null}"#,
            "bad (code 12130 at /duration) [HTTP 400]",
        );
        check(
            400,
            r#"{"success":false,"errors":[{"code":6003,"message":"Invalid request headers","error_chain":[{"code":6111,"message":"Invalid format for Authorization header"}]}],"messages":[],"result":null}"#,
            "Invalid request headers (code 6003): Invalid format for Authorization header (code 6111) [HTTP 400]",
        );
    }

    #[test]
    fn what_is_no_answer() {
        let foreign = "the server answered 502 with something that is not this API: the body is not an error envelope";
        check(502, "<html>Bad gateway</html>", foreign);
        check(502, "", foreign);
        check(
            502,
            r#"{"success":false,"errors":[],"result":null}"#,
            "the server answered 502 with something that is not this API: the error envelope names no error",
        );
        check(
            200,
            r#"{"success":false,"errors":[],"result":{}}"#,
            "the server answered 200 with something that is not this API: `success` is not true",
        );
        check(
            200,
            r#"{"success":true,"errors":[],"result":null}"#,
            "the server answered 200 with something that is not this API: `result` is missing",
        );
        check(
            302,
            "",
            "the server answered 302 with something that is not this API: the body is not an error envelope",
        );
    }
}
