//! A service token as contract sections 4 and 5 tell it, with every secret that it ever had, and no care for speed.

use countersign_token::time::Timestamp;
use serde_json::Value;

const HOUR: i128 = 3_600_000_000_000;

/// Times are nanoseconds since the epoch.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) id: String,
    pub(super) client_id: String,
    name: String,
    duration: String,
    enabled: bool,
    version: u64,
    created_at: i128,
    updated_at: i128,
    expires_at: i128,
    previous_expires_at: Option<i128>,
    /// All secrets so far, the newest last.
    secrets: Vec<String>,
    /// Whether the secret before the newest may still be good.
    has_previous: bool,
}

fn nanos(at: Timestamp) -> i128 {
    i128::from(at.as_micros()) * 1000
}

fn length(duration: &str) -> Option<i128> {
    Some(match duration {
        "1h" | "60m" => HOUR,
        "+2h" => 2 * HOUR,
        "8760h" => 8760 * HOUR,
        "17520h" => 17520 * HOUR,
        "1.5s" => 1_500_000_000,
        "1ns" => 1,
        "forever" => return None,
        other => panic!("the model does not know {other}"),
    })
}

fn end(duration: &str, from: i128) -> i128 {
    // The store keeps microseconds, rounded up.
    let end = from + length(duration).unwrap_or(876_000 * HOUR);
    (end + 999) / 1000 * 1000
}

fn whole_seconds(at: i128) -> i128 {
    at.div_euclid(1_000_000_000) * 1_000_000_000
}

fn time(value: &Value) -> Option<i128> {
    value.as_str().map(|text| nanos(Timestamp::parse_rfc3339(text).unwrap()))
}

impl Model {
    pub(super) fn create(body: &Value, created: &Value, now: Timestamp) -> Self {
        let text = |key: &str| created[key].as_str().unwrap().to_owned();
        let now = nanos(now);
        let duration = body["duration"].as_str().unwrap_or("8760h").to_owned();
        Self {
            id: text("id"),
            client_id: text("client_id"),
            name: body["name"].as_str().unwrap().to_owned(),
            expires_at: end(&duration, now),
            duration,
            enabled: body["enabled"].as_bool().unwrap_or(true),
            version: body["client_secret_version"].as_u64().filter(|version| *version > 0).unwrap_or(1),
            created_at: now,
            updated_at: now,
            previous_expires_at: time(&body["previous_client_secret_expires_at"]),
            secrets: vec![text("client_secret")],
            has_previous: false,
        }
    }

    fn is_forever(&self) -> bool {
        self.duration == "forever"
    }

    fn has_expired(&self, now: i128) -> bool {
        !self.is_forever() && now >= self.expires_at
    }

    /// A secret before the newest that has ended by itself is gone for good.
    fn lapse(&mut self, now: i128) {
        if self.previous_expires_at.is_none_or(|end| end <= now) {
            self.has_previous = false;
        }
    }

    /// A new life is one of the newest secret only, if the old life was over.
    fn live_until(&mut self, end: i128, now: i128) {
        if self.has_expired(now) {
            self.has_previous = false;
        }
        self.expires_at = end;
    }

    fn replace_secret(&mut self, answer: &Value, version: u64, previous_expires_at: Option<i128>) {
        self.secrets.push(answer["client_secret"].as_str().expect("a new secret").to_owned());
        self.version = version;
        self.has_previous = previous_expires_at.is_some();
        self.previous_expires_at = previous_expires_at.map(whole_seconds);
    }

    pub(super) fn update(&mut self, body: &Value, answer: &Value, now: Timestamp) {
        let now = nanos(now);
        let before = self.shown();
        self.lapse(now);
        if let Some(name) = body["name"].as_str() {
            self.name = name.to_owned();
        }
        if let Some(enabled) = body["enabled"].as_bool() {
            self.enabled = enabled;
        }
        if let Some(duration) = body["duration"].as_str().filter(|duration| *duration != self.duration) {
            self.live_until(end(duration, now), now);
            self.duration = duration.to_owned();
        }
        let previous = body.get("previous_client_secret_expires_at");
        match body["client_secret_version"].as_u64().filter(|version| *version > self.version) {
            Some(version) => {
                let end = previous.map_or(Some(now), time);
                self.replace_secret(answer, version, end);
                self.lapse(now);
                self.updated_at = now;
            }
            None => {
                assert_eq!(answer.get("client_secret"), None, "nothing was rotated");
                if let Some(previous) = previous {
                    self.previous_expires_at = time(previous);
                    self.lapse(now);
                }
            }
        }
        if self.shown() != before {
            self.updated_at = now;
        }
    }

    pub(super) fn rotate(&mut self, body: &Value, answer: &Value, now: Timestamp) {
        let now = nanos(now);
        let end = time(&body["previous_client_secret_expires_at"]).unwrap_or(now);
        self.replace_secret(answer, self.version + 1, Some(end));
        self.lapse(now);
        self.updated_at = now;
    }

    pub(super) fn refresh(&mut self, now: Timestamp) {
        let now = nanos(now);
        self.lapse(now);
        if !self.is_forever() && now + 8760 * HOUR > self.expires_at {
            self.live_until(now + 8760 * HOUR, now);
            self.updated_at = now;
        }
    }

    /// Every secret that the token ever had.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(String::as_str)
    }

    pub(super) fn admits(&self, secret: &str, now: Timestamp) -> Result<(), &'static str> {
        let now = nanos(now);
        let place = self.secrets.iter().rev().position(|known| known == secret).unwrap();
        let in_grace = self.has_previous && self.previous_expires_at.is_some_and(|end| now < end);
        match place {
            0 => {}
            1 if in_grace => {}
            _ => return Err("invalid"),
        }
        if !self.enabled {
            Err("disabled")
        } else if self.has_expired(now) {
            Err("expired")
        } else {
            Ok(())
        }
    }

    fn shown(&self) -> (String, String, bool, u64, i128, Option<i128>) {
        let Self { name, duration, enabled, version, expires_at, previous_expires_at, .. } = self;
        (name.clone(), duration.clone(), *enabled, *version, *expires_at, *previous_expires_at)
    }

    /// Asserts that an answer shows the token as it is.
    pub(super) fn assert_shown(&self, token: &Value) {
        let text = |at: i128| {
            let micros = i64::try_from(at.div_euclid(1000)).unwrap();
            Timestamp::from_micros(micros).to_string()
        };
        assert_eq!(token["id"], self.id);
        assert_eq!(token["client_id"], self.client_id);
        assert_eq!(token["name"], self.name);
        assert_eq!(token["duration"], self.duration);
        assert_eq!(token["enabled"], self.enabled);
        assert_eq!(token["client_secret_version"], self.version);
        assert_eq!(token["created_at"], text(self.created_at));
        assert_eq!(token["updated_at"], text(self.updated_at), "{self:?}");
        assert_eq!(token["expires_at"], text(self.expires_at), "{self:?}");
        let previous = self.previous_expires_at.map(text);
        assert_eq!(
            token.get("previous_client_secret_expires_at").and_then(Value::as_str),
            previous.as_deref(),
            "{self:?}"
        );
    }
}
