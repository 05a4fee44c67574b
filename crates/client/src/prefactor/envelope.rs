//! What every answer of the dialect has around it, as it stands on the wire.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Error, FieldProblem, Refusal};
use crate::connection::Answer;

/// Whether it was done; what was asked for stands beside it.
#[derive(Deserialize)]
struct Success<T> {
    status: Option<String>,
    #[serde(flatten)]
    content: T,
}

/// A refusal, or what is wrong with one parameter. A parameter that is an object has its own inside.
#[derive(Deserialize)]
struct WireProblem {
    code: String,
    #[serde(default)]
    message: String,
    errors: Option<BTreeMap<String, WireProblem>>,
}

impl WireProblem {
    /// Adds the problems inside, each with the path that leads to it. Only the innermost say something.
    fn collect(self, path: &str, fields: &mut Vec<FieldProblem>) {
        match self.errors {
            Some(inner) if !inner.is_empty() => {
                for (name, problem) in inner {
                    let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                    problem.collect(&path, fields);
                }
            }
            Some(_) | None if path.is_empty() => {}
            Some(_) | None => {
                fields.push(FieldProblem { path: path.to_owned(), code: self.code, message: self.message });
            }
        }
    }
}

/// Reads an answer. Success is what the HTTP status says; the body can't differ on a server that keeps the contract.
pub(super) fn parse<T: DeserializeOwned>(answer: Answer) -> Result<T, Error> {
    if answer.is_success() {
        let success: Success<T> =
            serde_json::from_slice(&answer.body).map_err(|error| answer.unexpected(error.to_string()))?;
        if success.status.as_deref() != Some("success") {
            return Err(answer.unexpected("`status` is not `success`"));
        }
        return Ok(success.content);
    }
    let problem: WireProblem =
        serde_json::from_slice(&answer.body).map_err(|_foreign| answer.unexpected("the body is none of its errors"))?;
    let (code, message) = (problem.code.clone(), problem.message.clone());
    let mut fields = Vec::new();
    problem.collect("", &mut fields);
    Err(Error::Refused(Refusal { status: answer.status, code, message, fields, request_id: answer.request_id }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    fn check(status: u16, body: &str, expected: &str) {
        let shown = match parse::<Map<String, Value>>(Answer { status, request_id: None, body: body.into() }) {
            Ok(content) => Value::Object(content).to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected, "{body}");
    }

    #[test]
    fn answers() {
        check(200, r#"{"status":"success","details":{"id":"x"},"token":"t"}"#, r#"{"details":{"id":"x"},"token":"t"}"#);
        check(
            409,
            r#"{"status":"error","code":"invalid_action","message":"it is revoked"}"#,
            "it is revoked (code invalid_action) [HTTP 409]",
        );
        check(
            422,
            r#"{"status":"error","code":"validation_errors","message":"Validation failed","errors":{
                "details":{"status":"error","code":"validation_errors","message":"Validation failed","errors":{
                    "agent_id":{"status":"error","code":"required_value","message":"is missing"},
                    "expires_at":{"status":"error","code":"invalid_value","message":"is past"}}},
                "idempotency_key":{"status":"error","code":"invalid_value","message":"is too long"}}}"#,
            "Validation failed (code validation_errors): is missing (code required_value at details.agent_id); \
             is past (code invalid_value at details.expires_at); \
             is too long (code invalid_value at idempotency_key) [HTTP 422]",
        );
        for errors in ["{}", "null"] {
            check(
                422,
                &format!(r#"{{"status":"error","code":"validation_errors","message":"no","errors":{errors}}}"#),
                "no (code validation_errors) [HTTP 422]",
            );
        }
    }

    #[test]
    fn what_is_no_answer() {
        let foreign = "the server answered 502 with something that is not this API: the body is none of its errors";
        check(502, "<html>Bad gateway</html>", foreign);
        check(502, "", foreign);
        check(502, r#"{"success":false,"errors":[{"code":10000,"message":"no"}],"result":null}"#, foreign);
        check(
            200,
            r#"{"details":{"id":"x"}}"#,
            "the server answered 200 with something that is not this API: `status` is not `success`",
        );
        check(
            200,
            r#"{"status":"error","code":"unexpected","message":"no"}"#,
            "the server answered 200 with something that is not this API: `status` is not `success`",
        );
    }
}
