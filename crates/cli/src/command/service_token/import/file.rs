//! The file of an import: CSV with a header, or JSON objects, one a line. No problem quotes what stands in the file: that
//! may be a secret, in whatever column it has slipped.

use std::collections::HashMap;
use std::fmt;

use countersign_server::ops::{ImportedSecret, ImportedServiceToken};
use countersign_server::token::duration::TokenDuration;
use countersign_server::token::id::ClientId;
use countersign_server::token::secret::Secret;
use countersign_server::token::service_token::Name;
use countersign_server::token::time::Timestamp;
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::csv::{RECORD_MAX, Records};

/// The longest secret that the gate takes.
const SECRET_MAX: usize = 512;

/// Something that is wrong in a file, and where.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    /// The line, from 1, on which the record begins.
    pub(super) line: usize,
    /// What is wrong.
    pub(super) problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// The tokens of all records that are in order.
    pub(super) tokens: Vec<ImportedServiceToken>,
    /// On which line each client id stands.
    pub(super) lines: HashMap<ClientId, usize>,
    /// Everything that is wrong, by lines.
    pub(super) problems: Vec<Problem>,
}

impl Tokens {
    fn note(&mut self, line: usize, problem: impl Into<String>) {
        self.problems.push(Problem { line, problem: problem.into() });
    }

    fn take(&mut self, line: usize, fields: &Fields) {
        match fields.token() {
            Ok(token) => match self.lines.get(&token.client_id) {
                Some(first) => {
                    let problem = format!("client_id: stands on line {first} already");
                    self.note(line, problem);
                }
                None => {
                    self.lines.insert(token.client_id, line);
                    self.tokens.push(token);
                }
            },
            Err(problems) => problems.into_iter().for_each(|problem| self.note(line, problem)),
        }
    }
}

/// The fields of a record, by their names.
#[derive(Debug, Default)]
struct Fields(HashMap<Field, String>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Field {
    Name,
    ClientId,
    ClientSecret,
    ClientSecretSha256,
    ExpiresAt,
    Duration,
    Enabled,
}

impl Field {
    const ALL: [Self; 7] = [
        Self::Name,
        Self::ClientId,
        Self::ClientSecret,
        Self::ClientSecretSha256,
        Self::ExpiresAt,
        Self::Duration,
        Self::Enabled,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::ClientId => "client_id",
            Self::ClientSecret => "client_secret",
            Self::ClientSecretSha256 => "client_secret_sha256",
            Self::ExpiresAt => "expires_at",
            Self::Duration => "duration",
            Self::Enabled => "enabled",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// What is said where a column or a member has another name.
fn known() -> String {
    format!("known are {}", Field::ALL.map(Field::name).join(", "))
}

impl Fields {
    fn get(&self, field: Field) -> Option<&str> {
        self.0.get(&field).map(String::as_str)
    }

    /// A field's value; a problem goes to the list, so that all of a record's come together.
    fn parsed<T>(
        &self,
        field: Field,
        problems: &mut Vec<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(self.get(field)?) {
            Ok(value) => Some(value),
            Err(problem) => {
                problems.push(format!("{}: {problem}", field.name()));
                None
            }
        }
    }

    fn token(&self) -> Result<ImportedServiceToken, Vec<String>> {
        let mut problems = Vec::new();
        for field in [Field::Name, Field::ClientId] {
            if self.get(field).is_none() {
                problems.push(format!("{}: is required", field.name()));
            }
        }
        let one_secret = [Field::ClientSecret, Field::ClientSecretSha256].map(|field| self.get(field).is_some());
        if one_secret == [true, true] {
            problems.push("client_secret and client_secret_sha256: one of them is enough".to_owned());
        }
        if one_secret == [false, false] {
            problems.push("client_secret or client_secret_sha256: is required".to_owned());
        }
        let name = self.parsed(Field::Name, &mut problems, |text| Name::parse(text).map_err(|error| error.to_string()));
        let client_id = self
            .parsed(Field::ClientId, &mut problems, |text| text.parse::<ClientId>().map_err(|error| error.to_string()));
        let plain = self.parsed(Field::ClientSecret, &mut problems, secret).map(ImportedSecret::Plain);
        let sha256 = self.parsed(Field::ClientSecretSha256, &mut problems, sha256).map(ImportedSecret::Sha256);
        let expires_at = self.parsed(Field::ExpiresAt, &mut problems, |text| {
            Timestamp::parse_rfc3339(text).map_err(|error| error.to_string())
        });
        let duration = self.parsed(Field::Duration, &mut problems, |text| {
            TokenDuration::parse(text).map_err(|error| error.to_string())
        });
        let enabled = self.parsed(Field::Enabled, &mut problems, |text| {
            text.parse::<bool>().map_err(|_other| "must be true or false".to_owned())
        });
        match (name, client_id, plain.or(sha256)) {
            (Some(name), Some(client_id), Some(secret)) if problems.is_empty() => Ok(ImportedServiceToken {
                name,
                client_id,
                secret,
                duration: duration.unwrap_or_else(TokenDuration::default_year),
                expires_at,
                enabled: enabled.unwrap_or(true),
            }),
            _ => Err(problems),
        }
    }
}

fn secret(text: &str) -> Result<Secret, String> {
    // Whatever else it is, no request could present it.
    let fits = text.len() <= SECRET_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| Secret::from(text.to_owned())).ok_or_else(|| "must be 1 to 512 characters of visible ASCII".to_owned())
}

fn sha256(text: &str) -> Result<[u8; 32], String> {
    let problem = || "must be 64 hexadecimal digits".to_owned();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(problem()) };
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or_else(problem)
}

/// Reads a file. Everything that is wrong with it comes back, not only what is wrong first.
pub(super) fn read(bytes: &[u8]) -> Tokens {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut tokens = Tokens::default();
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let line = bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count() + 1;
            tokens.note(line, "is not UTF-8");
            return tokens;
        }
    };
    if text.trim_start().starts_with('{') {
        read_json(text, &mut tokens);
    } else {
        read_csv(text, &mut tokens);
    }
    if tokens.tokens.is_empty() && tokens.problems.is_empty() {
        tokens.note(1, "holds no tokens");
    }
    tokens
}

/// A JSON object with its members in the order in which they come, so that one that comes twice is noticed.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

fn read_json(text: &str, tokens: &mut Tokens) {
    for (line, record) in (1..).zip(text.split('\n')) {
        if record.trim().is_empty() {
            continue;
        }
        if record.len() > RECORD_MAX {
            tokens.note(line, "is longer than 64 KiB");
            continue;
        }
        // The parser's own words may quote a value.
        let Ok(Members(members)) = serde_json::from_str(record) else {
            tokens.note(line, "is not a JSON object");
            continue;
        };
        match json_fields(members) {
            Ok(fields) => tokens.take(line, &fields),
            Err(problem) => tokens.note(line, problem),
        }
    }
}

fn json_fields(members: Vec<(String, Value)>) -> Result<Fields, String> {
    let mut fields = Fields::default();
    for (name, value) in members {
        let field = Field::parse(&name).ok_or_else(|| format!("has a member that is not known: {}", known()))?;
        let text = match (field, value) {
            (_, Value::Null) => continue,
            (Field::Enabled, Value::Bool(enabled)) => enabled.to_string(),
            (Field::Enabled, _) => return Err("enabled: must be true or false".to_owned()),
            (_, Value::String(text)) => text,
            (field, _) => return Err(format!("{}: must be a string", field.name())),
        };
        if fields.0.insert(field, text).is_some() {
            return Err(format!("{}: is given twice", field.name()));
        }
    }
    Ok(fields)
}

fn read_csv(text: &str, tokens: &mut Tokens) {
    let mut records = Records::of(text);
    let Some((line, header)) = records.next() else { return };
    let columns = match header.map_err(str::to_owned).and_then(|header| columns(&header)) {
        Ok(columns) => columns,
        Err(problem) => return tokens.note(line, problem),
    };
    for (line, record) in records {
        let values = match record {
            Ok(values) => values,
            Err(problem) => {
                tokens.note(line, problem);
                continue;
            }
        };
        if values.len() != columns.len() {
            tokens.note(line, format!("has {} fields, and the header {}", values.len(), columns.len()));
            continue;
        }
        let given = columns.iter().copied().zip(values).filter(|(_, value)| !value.is_empty());
        tokens.take(line, &Fields(given.collect()));
    }
}

fn columns(header: &[String]) -> Result<Vec<Field>, String> {
    let mut columns = Vec::with_capacity(header.len());
    for name in header {
        let field = Field::parse(name.trim()).ok_or_else(|| format!("has a column that is not known: {}", known()))?;
        if columns.contains(&field) {
            return Err(format!("{}: stands twice in the header", field.name()));
        }
        columns.push(field);
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "88bf3b6d86161464f6509f7219099e57.access";
    const B: &str = "0123456789abcdef0123456789abcdef.access";

    /// What a file comes to: `name client_id duration expires_at enabled` of each token, then the problems.
    fn check(file: impl AsRef<[u8]>, expected: &[&str]) {
        let file = file.as_ref();
        let read = read(file);
        let tokens = read.tokens.iter().map(|token| {
            let secret = match &token.secret {
                ImportedSecret::Plain(secret) => secret.expose().to_owned(),
                ImportedSecret::Sha256(sha256) => format!("{sha256:02x?}").chars().take(7).collect(),
            };
            let expires_at = token.expires_at.map(|at| at.to_string()).unwrap_or_default();
            format!("{:?} {secret} {} {expires_at} {}", token.name.as_str(), token.duration, token.enabled)
        });
        let problems = read.problems.iter().map(ToString::to_string);
        let found: Vec<String> = tokens.chain(problems).collect();
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(file).chars().take(300).collect::<String>());
    }

    #[test]
    fn csv() {
        check(format!("name,client_id,client_secret\nx,{A},s\n"), &["\"x\" s 8760h  true"]);
        check(
            format!(
                "\u{feff}client_secret, client_id ,name,enabled\r\ns,{A},\"x, \"\"y\"\"\r\nz\",false\r\n\r\nt,{B},w,"
            ),
            &["\"x, \\\"y\\\"\\r\\nz\" s 8760h  false", "\"w\" t 8760h  true"],
        );
        check(
            format!(
                "name,client_id,client_secret_sha256,expires_at,duration\nx,{A},{},2027-01-31T12:00:00Z,forever",
                "aB".repeat(32)
            ),
            &["\"x\" [ab, ab forever 2027-01-31T12:00:00Z true"],
        );
    }

    #[test]
    fn json_lines() {
        check(
            format!(
                "{{\"name\":\"x\",\"client_id\":\"{A}\",\"client_secret\":\"s\"}}\r\n\n{{\"duration\":\"1h\",\"name\":\"\u{1f511}\",\"client_id\":\"{B}\",\"client_secret_sha256\":null,\"client_secret\":\"t\",\"enabled\":false}}"
            ),
            &["\"x\" s 8760h  true", "\"\u{1f511}\" t 1h  false"],
        );
    }

    #[test]
    fn every_problem_of_every_line_is_named() {
        check(
            format!(
                "name,client_id,client_secret,client_secret_sha256,expires_at,duration,enabled\n,nobody,a b,xyz,tomorrow,1 year,yes\nx,{A},,,,,\ny,{A},s,,,,\nz,{A},t,,,,\n1,2\n"
            ),
            &[
                "\"y\" s 8760h  true",
                "line 2: name: is required",
                "line 2: client_secret and client_secret_sha256: one of them is enough",
                "line 2: client_id: must be 32 lower-case hexadecimal digits followed by .access",
                "line 2: client_secret: must be 1 to 512 characters of visible ASCII",
                "line 2: client_secret_sha256: must be 64 hexadecimal digits",
                &format!("line 2: expires_at: {}", Timestamp::parse_rfc3339("tomorrow").unwrap_err()),
                &format!("line 2: duration: {}", TokenDuration::parse("1 year").unwrap_err()),
                "line 2: enabled: must be true or false",
                "line 3: client_secret or client_secret_sha256: is required",
                "line 5: client_id: stands on line 4 already",
                "line 6: has 2 fields, and the header 7",
            ],
        );
        let known = known();
        check(
            format!(
                "{{\"name\":5}}\n{{\"hush\":\"csec\"}}\n{{\"name\":\"a\",\"name\":\"b\"}}\n{{\"enabled\":\"yes\"}}\n[1]\n{{\"name\":\n5}}\n{{\"name\":\"x\\u0000\",\"client_id\":\"{A}\",\"client_secret\":\"s\\u0000\"}}"
            ),
            &[
                "line 1: name: must be a string",
                &format!("line 2: has a member that is not known: {known}"),
                "line 3: name: is given twice",
                "line 4: enabled: must be true or false",
                "line 5: is not a JSON object",
                "line 6: is not a JSON object",
                "line 7: is not a JSON object",
                "line 8: name: must not contain U+0000",
                "line 8: client_secret: must be 1 to 512 characters of visible ASCII",
            ],
        );
    }

    #[test]
    fn files_that_are_none() {
        let known = known();
        let header = "name,client_id,client_secret";
        check("", &["line 1: holds no tokens"]);
        check("\u{feff}\n\r\n", &["line 1: holds no tokens"]);
        check(format!("{header}\n"), &["line 1: holds no tokens"]);
        check(b"name,client_id\nx\xff,y", &["line 2: is not UTF-8"]);
        check(format!("name,secret\nx,{A}"), &[&format!("line 1: has a column that is not known: {known}")]);
        check("name,name\n", &["line 1: name: stands twice in the header"]);
        check(format!("{header}\nx\0,{A},s"), &["line 2: name: must not contain U+0000"]);
        check(
            format!("{header}\n\"x,{A},s\ny,{A},s\n"),
            &["\"y\" s 8760h  true", "line 2: has a quote that is not closed"],
        );
        check(format!("{header}\nx\"y,{A},s"), &["line 2: has a quote within a field that does not begin with one"]);
        check(format!("{header}\n\"x\"y,{A},s"), &["line 2: has something between a closing quote and the next comma"]);
        let long = "x".repeat(10_000_000);
        check(format!("{header}\n{long}\nx,{A},s"), &["\"x\" s 8760h  true", "line 2: is longer than 64 KiB"]);
        check(format!("{{\"name\":\"{long}\"}}"), &["line 1: is longer than 64 KiB"]);
        check(&long, &["line 1: is longer than 64 KiB"]);
        check(format!("{header}\n\"{long}\nx,{A},s"), &["\"x\" s 8760h  true", "line 2: is longer than 64 KiB"]);
    }
}
