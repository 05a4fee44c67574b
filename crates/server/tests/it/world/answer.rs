//! What a management answer must be like, whatever was asked.

use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::secrets::Secrets;

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
    pub(crate) fn new(
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
        let answer = Self { status, headers, json, text, request };
        answer.check_headers();
        answer.check_envelope();
        answer.check_secrets(method, path, secrets);
        answer
    }

    fn check_headers(&self) {
        let header = |name: &str| {
            let mut values = self.headers.get_all(name).iter();
            let value = values.next().unwrap_or_else(|| panic!("{self}: no {name}"));
            assert!(values.next().is_none(), "{self}: {name} twice");
            value.to_str().unwrap().to_owned()
        };
        assert_eq!(header("content-type"), "application/json", "{self}");
        assert_eq!(header("cache-control"), "no-store", "{self}");
        let id = header("x-request-id");
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        assert!((1..=128).contains(&id.len()) && id.bytes().all(is_id), "{self}: request id {id:?}");
        assert_eq!(header("cf-ray"), id, "{self}");
        assert!(!self.headers.contains_key("set-cookie"), "{self}");
        if let Some(replayed) = self.headers.get("idempotency-replayed") {
            assert_eq!((replayed.to_str().unwrap(), self.status.is_success()), ("true", true), "{self}");
        }
        assert_eq!(self.headers.contains_key("retry-after"), self.status == 503, "{self}: retry-after");
        if let Some(propagation) = self.headers.get("countersign-propagation") {
            let propagation = propagation.to_str().unwrap();
            assert!(propagation.starts_with("complete; nodes="), "{self}: {propagation}");
        }
    }

    fn check_envelope(&self) {
        let envelope = self.json.as_object().unwrap_or_else(|| panic!("{self}: not an object"));
        for key in envelope.keys() {
            let known = ["success", "errors", "messages", "result", "result_info"];
            assert!(known.contains(&key.as_str()), "{self}: {key} in the envelope");
        }
        let errors = envelope["errors"].as_array().unwrap_or_else(|| panic!("{self}: errors"));
        let messages = envelope["messages"].as_array().unwrap_or_else(|| panic!("{self}: messages"));
        let result = envelope.get("result").unwrap_or_else(|| panic!("{self}: no result"));
        // Clients tell by the status, wrangler by `success`.
        assert_eq!(envelope["success"], self.status.is_success(), "{self}: success");
        assert_ne!(self.status, StatusCode::NO_CONTENT, "{self}");
        assert!(!self.status.is_informational() && !self.status.is_redirection(), "{self}");
        // SDKs would repeat the call for minutes.
        assert!(![409, 425, 429].contains(&self.status.as_u16()), "{self}: is retried by the SDKs");
        if self.status.is_success() {
            assert!(errors.is_empty(), "{self}: errors on success");
            assert!(!result.is_null(), "{self}: no result");
            // Older Go clients decode these as strings.
            assert!(messages.is_empty() || self.request.ends_with("/tokens/verify"), "{self}: messages on success");
        } else {
            assert!(result.is_null(), "{self}: a result on failure");
            assert!(!errors.is_empty(), "{self}: no error");
            assert!(!envelope.contains_key("result_info"), "{self}");
            errors.iter().for_each(|error| self.check_error(error));
        }
        let is_list = result.is_array();
        assert_eq!(envelope.contains_key("result_info"), is_list, "{self}: result_info");
        if is_list {
            self.check_result_info(result.as_array().unwrap().len());
        }
    }

    fn check_error(&self, error: &Value) {
        let code = error["code"].as_u64().unwrap_or_else(|| panic!("{self}: a code is no integer"));
        assert!(code >= 1000, "{self}: code {code}");
        assert!(!error["message"].as_str().unwrap_or_else(|| panic!("{self}: message")).is_empty(), "{self}: message");
        if let Some(source) = error.get("source") {
            assert!(source["pointer"].as_str().is_some_and(|pointer| pointer.starts_with('/')), "{self}: pointer");
        }
        if let Some(chain) = error.get("error_chain") {
            let chain = chain.as_array().unwrap_or_else(|| panic!("{self}: error_chain"));
            assert!(!chain.is_empty(), "{self}: error_chain");
            chain.iter().for_each(|cause| self.check_error(cause));
        }
    }

    fn check_result_info(&self, count: usize) {
        let info = self.json["result_info"].as_object().unwrap();
        let mut keys: Vec<&str> = info.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["count", "page", "per_page", "total_count", "total_pages"], "{self}");
        let number = |key: &str| info[key].as_u64().unwrap_or_else(|| panic!("{self}: {key} is no integer"));
        assert_eq!(number("count"), u64::try_from(count).unwrap(), "{self}: count");
        assert!((1..=1000).contains(&number("per_page")), "{self}: per_page");
        assert!(number("page") >= 1, "{self}: page");
        assert!(number("total_count") >= number("count"), "{self}: total_count");
        assert_eq!(
            number("total_pages"),
            number("total_count").div_ceil(number("per_page")).max(1),
            "{self}: total_pages"
        );
        assert!(self.text.len() < 16 << 20, "{self}: an answer of {} bytes", self.text.len());
    }

    /// A new secret is in the answer that made it, once. Anything else holds no secret.
    fn check_secrets(&self, method: &Method, path: &str, secrets: &Secrets) {
        for value in self.headers.values() {
            secrets.assert_absent_from(&String::from_utf8_lossy(value.as_bytes()), "a header");
        }
        let path = path.split('?').next().unwrap_or_default();
        let creates = *method == Method::POST && path.ends_with("/access/service_tokens");
        let rotates = *method == Method::POST && path.ends_with("/rotate") && !path.ends_with("/access/keys/rotate");
        let updates = *method == Method::PUT;
        match self.json["result"].get("client_secret") {
            Some(secret) => {
                assert!(creates || rotates || updates, "{self}: a secret in the answer");
                let secret = secret.as_str().expect("client_secret is a string, or absent");
                assert_eq!(self.text.matches(secret).count(), 1, "{self}: the secret more than once");
                if self.is_replay() {
                    secrets.replayed(secret);
                } else {
                    secrets.issued(secret);
                }
                let rest = self.text.replace(secret, "");
                assert_eq!(rest.matches("secret\"").count(), 1, "{self}: another secret");
                secrets.assert_absent_from(&rest, &self.request);
            }
            None => {
                assert!(!((creates || rotates) && self.status.is_success()), "{self}: no secret");
                assert!(!self.text.contains("client_secret\""), "{self}: client_secret");
                secrets.assert_absent_from(&self.text, &self.request);
            }
        }
    }

    /// The result of a success with status 200.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{self}");
        self.into_result()
    }

    /// The result of a creation.
    #[track_caller]
    pub(crate) fn created(self) -> Value {
        assert_eq!(self.status, StatusCode::CREATED, "{self}");
        self.into_result()
    }

    fn into_result(mut self) -> Value {
        self.json["result"].take()
    }

    /// Whether this is what an earlier request was answered.
    pub(crate) fn is_replay(&self) -> bool {
        self.headers.contains_key("idempotency-replayed")
    }

    /// Asserts a refusal by its status and its first code, and returns the first message.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: u64) -> &str {
        assert_eq!((self.status.as_u16(), self.code()), (status, Some(code)), "{self}");
        self.message()
    }

    /// Asserts what every invalid request gets, and that the message is about `field` and names it as the source.
    #[track_caller]
    pub(crate) fn invalid_field(&self, field: &str) {
        let message = self.refused(400, 12130);
        assert!(message.starts_with(&format!("access.api.error.invalid_request: {field}: ")), "{self}");
        assert_eq!(self.json["errors"][0]["source"]["pointer"], format!("/{field}"), "{self}");
    }

    /// The first error's code.
    pub(crate) fn code(&self) -> Option<u64> {
        self.json["errors"][0]["code"].as_u64()
    }

    /// The first error's message.
    pub(crate) fn message(&self) -> &str {
        self.json["errors"][0]["message"].as_str().unwrap_or_default()
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// For the messages of failed assertions: what was asked and what came, cut short.
impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.text.chars().take(500).collect();
        let request: String = self.request.chars().take(300).collect();
        write!(f, "{request} -> {} {text}", self.status.as_u16())
    }
}
