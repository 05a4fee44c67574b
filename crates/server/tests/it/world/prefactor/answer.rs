//! What an answer of the dialect must be like, whatever was asked.

use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::super::secrets::Secrets;
use super::object;

/// The codes of whole answers, with the statuses that they come with.
const CODES: [(&str, &[u16]); 10] = [
    ("bad_request", &[400, 405, 413]),
    ("bad_authtoken", &[401]),
    ("not_authenticated", &[401]),
    ("not_permitted", &[403]),
    ("not_found", &[404]),
    ("invalid_action", &[409]),
    ("idempotency_key_already_used", &[409]),
    ("validation_errors", &[422]),
    ("unknown", &[429]),
    ("unexpected", &[500, 503]),
];

/// The codes of single fields.
const FIELD_CODES: [&str; 3] = ["required_value", "invalid_value", "unexpected_ref_type"];

/// An answer of the dialect, which has already passed every check that all answers must pass.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
    pub(crate) text: String,
    request: String,
}

impl Answer {
    /// Checks an answer to `method` on `path` for everything that all answers have in common.
    pub(super) fn new(
        method: &Method,
        path: &str,
        (status, headers, body): (StatusCode, HeaderMap, Vec<u8>),
        secrets: &Secrets,
    ) -> Self {
        let request = format!("{method} {path}");
        let text = String::from_utf8(body).expect("an answer is UTF-8");
        assert!(!text.is_empty(), "{request} {status}: the body is empty");
        let json: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{request} {status}: {error}: {text}"));
        assert!(json.is_object(), "{request} {status}: no object: {text}");
        let answer = Self { status, headers, json, text, request };
        let path = path.split('?').next().unwrap_or_default();
        answer.check_headers(method);
        if answer.status.is_success() {
            answer.check_success(method, path);
        } else {
            answer.check_error();
        }
        answer.check_secrets(method, path, secrets);
        answer
    }

    fn check_headers(&self, method: &Method) {
        let header = |name: &str| {
            let mut values = self.headers.get_all(name).iter();
            let value = values.next().unwrap_or_else(|| panic!("{self}: no {name}"));
            assert!(values.next().is_none(), "{self}: {name} twice");
            value.to_str().unwrap().to_owned()
        };
        assert_eq!(header("content-type"), "application/json; charset=utf-8", "{self}");
        assert_eq!(header("cache-control"), "no-store", "{self}");
        let id = header("x-request-id");
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        assert!((1..=128).contains(&id.len()) && id.bytes().all(is_id), "{self}: request id {id:?}");
        assert!(!self.headers.contains_key("set-cookie"), "{self}");
        assert_eq!(self.headers.contains_key("retry-after"), self.status == 503, "{self}: retry-after");
        assert_eq!(self.headers.contains_key("www-authenticate"), self.status == 401, "{self}: www-authenticate");
        if self.status == 401 {
            assert_eq!(header("www-authenticate"), "Bearer", "{self}");
        }
        assert_eq!(self.headers.contains_key("allow"), self.status == 405, "{self}: allow");
        if self.headers.contains_key("idempotency-replayed") {
            assert_eq!(header("idempotency-replayed"), "true", "{self}");
            assert!(*method != Method::GET, "{self}: a read is no replay");
            assert_eq!(self.status, StatusCode::OK, "{self}: only a success is kept");
        }
        if self.headers.contains_key("countersign-propagation") {
            assert!(header("countersign-propagation").starts_with("complete; nodes="), "{self}");
        }
    }

    fn check_success(&self, method: &Method, path: &str) {
        assert_eq!(self.status, StatusCode::OK, "{self}");
        assert_eq!(self.json["status"], "success", "{self}");
        for key in ["code", "message", "errors"] {
            assert_eq!(self.json.get(key), None, "{self}: {key} on success");
        }
        object::check_body(&self.json, method, path).unwrap_or_else(|problem| panic!("{self}: {problem}"));
    }

    fn check_error(&self) {
        assert!(!self.status.is_informational() && !self.status.is_redirection(), "{self}");
        assert_ne!(self.status, StatusCode::NOT_IMPLEMENTED, "{self}: is retried by both clients");
        assert_eq!(self.json["status"], "error", "{self}");
        let code = self.json["code"].as_str().unwrap_or_else(|| panic!("{self}: code"));
        let known = CODES.iter().find(|(known, _)| *known == code).unwrap_or_else(|| panic!("{self}: code {code}"));
        assert!(known.1.contains(&self.status.as_u16()), "{self}: {code} with this status");
        let message = self.json["message"].as_str().unwrap_or_else(|| panic!("{self}: message"));
        assert!(!message.is_empty() && message.len() < 500, "{self}: message");
        let keys: Vec<&str> = self.json.as_object().unwrap().keys().map(String::as_str).collect();
        if code == "validation_errors" {
            check_field_errors(&self.json["errors"]).unwrap_or_else(|problem| panic!("{self}: {problem}"));
        } else {
            assert_eq!(self.json.get("errors"), None, "{self}: errors without validation");
        }
        for key in keys {
            assert!(["status", "code", "message", "errors"].contains(&key), "{self}: {key} in an error");
        }
        assert!(self.text.len() < 4000, "{self}: what was sent is not repeated");
    }

    /// A new token is in the answer that made it, once, and in its replays. Anything else holds no secret.
    fn check_secrets(&self, method: &Method, path: &str, secrets: &Secrets) {
        for value in self.headers.values() {
            secrets.assert_absent_from(&String::from_utf8_lossy(value.as_bytes()), "a header");
        }
        let mut rest = self.text.clone();
        let mut show = |token: &Value, is_replay: Option<bool>| {
            let token = token.as_str().unwrap_or_else(|| panic!("{self}: token"));
            assert_eq!(self.text.matches(token).count(), 1, "{self}: the token more than once");
            match is_replay {
                Some(true) => secrets.replayed(token),
                Some(false) => secrets.issued(token),
                // The answer does not say.
                None if secrets.is_issued(token) => secrets.replayed(token),
                None => secrets.issued(token),
            }
            rest = rest.replace(token, "");
        };
        let creates = *method == Method::POST && path == "/api_token" && self.status.is_success();
        assert_eq!(self.json.get("token").is_some(), creates, "{self}: token");
        if creates {
            show(&self.json["token"], Some(self.is_replay()));
        }
        for output in self.json["outputs"].as_object().into_iter().flat_map(serde_json::Map::values) {
            if let Some(token) = output.get("token") {
                show(token, None);
            }
        }
        secrets.assert_absent_from(&rest, &self.request);
        let details = self.json.get("details").filter(|details| details["type"] == "admin_user_invite");
        if let Some(invite) = details {
            secrets.derived(invite["token"].as_str().unwrap());
        }
    }

    /// Whether the answer is one that was given before.
    pub(crate) fn is_replay(&self) -> bool {
        self.headers.contains_key("idempotency-replayed")
    }

    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{self}");
        self.json
    }

    /// The body of a success that was given before.
    #[track_caller]
    pub(crate) fn replayed(self) -> Value {
        assert!(self.is_replay(), "{self}: no replay");
        self.ok()
    }

    /// The one object of a success.
    #[track_caller]
    pub(crate) fn details(self) -> Value {
        let mut body = self.ok();
        assert!(body["details"].is_object(), "{body}");
        body["details"].take()
    }

    /// The rows of a list.
    #[track_caller]
    pub(crate) fn summaries(self) -> Vec<Value> {
        let mut body = self.ok();
        let Value::Array(summaries) = body["summaries"].take() else { panic!("no list: {body}") };
        summaries
    }

    /// The ids of a list, in its order.
    #[track_caller]
    pub(crate) fn ids(self) -> Vec<String> {
        self.summaries().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Asserts a refusal by its status and its code, and returns the message.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> &str {
        assert_eq!((self.status.as_u16(), self.code()), (status, Some(code)), "{self}");
        self.json["message"].as_str().unwrap()
    }

    /// Asserts that what was wrong is the field at `path`, as `details.environment_id`, and only that.
    #[track_caller]
    pub(crate) fn invalid(&self, path: &str, code: &str) {
        self.refused(422, "validation_errors");
        let mut errors = &self.json["errors"];
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            let names: Vec<&String> = errors.as_object().unwrap_or_else(|| panic!("{self}: {part}")).keys().collect();
            assert_eq!(names, [part], "{self}");
            let error = &errors[part];
            if parts.peek().is_none() {
                assert_eq!(error["code"], code, "{self}");
                assert_eq!(error.get("errors"), None, "{self}");
            } else {
                errors = &error["errors"];
            }
        }
    }

    /// Asserts that what was wrong is the parameter `name`, whatever was wrong with it.
    #[track_caller]
    pub(crate) fn invalid_parameter(&self, name: &str) {
        self.refused(422, "validation_errors");
        let names: Vec<&String> = self.json["errors"].as_object().unwrap().keys().collect();
        assert_eq!(names, [name], "{self}");
    }

    /// The code of a refusal.
    pub(crate) fn code(&self) -> Option<&str> {
        self.json["code"].as_str()
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Errors of fields: by name, each with status, code and message, and those of its own fields below it.
fn check_field_errors(errors: &Value) -> Result<(), String> {
    let errors = errors.as_object().ok_or("errors is no object")?;
    if errors.is_empty() {
        return Err("errors names no field".to_owned());
    }
    for (name, error) in errors {
        let keys: Vec<&str> =
            error.as_object().ok_or(format!("{name} is no object"))?.keys().map(String::as_str).collect();
        if error["status"] != "error" || error["message"].as_str().is_none_or(str::is_empty) {
            return Err(format!("{name} lacks status or message"));
        }
        let code = error["code"].as_str().ok_or(format!("{name} has no code"))?;
        if code == "validation_errors" {
            check_field_errors(&error["errors"])?;
        } else if !FIELD_CODES.contains(&code) || keys.contains(&"errors") {
            return Err(format!("{name} has code {code}"));
        }
        if keys.iter().any(|key| !["status", "code", "message", "errors"].contains(key)) {
            return Err(format!("{name} has {keys:?}"));
        }
    }
    Ok(())
}

/// For the messages of failed assertions: what was asked and what came, cut short.
impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.text.chars().take(700).collect();
        let request: String = self.request.chars().take(300).collect();
        write!(f, "{request} -> {} {text}", self.status.as_u16())
    }
}
