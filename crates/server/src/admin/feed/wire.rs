//! The feed as it travels. `docs/in-process.md` specifies it.
//!
//! Whoever reads it passes over members that it does not know, and must not go on with a kind that it does not know. So a
//! member that a decision depends on can't be added to a kind that there is: it needs another [`FORMAT`].

use std::fmt::Write as _;

use countersign_token::digest::Digest;
use countersign_token::feed::{Change, Subject};
use countersign_token::time::Timestamp;
use serde::Serialize;

use crate::ops::feed::News;

/// Which form of the feed this is.
pub(super) const FORMAT: u32 = 1;

/// One answer.
#[derive(Serialize)]
pub(super) struct Answer<'a> {
    pub(super) format: u32,
    pub(super) installation_id: String,
    /// The verifier forgets what it had before.
    pub(super) reset: bool,
    /// With these changes, the verifier knows everything up to the time when it asked, or what was `age_us` old then.
    pub(super) complete: bool,
    pub(super) age_us: u64,
    pub(super) max_staleness_us: u64,
    pub(super) keys: Vec<Key>,
    pub(super) changes: Vec<Line<'a>>,
    pub(super) cursor: String,
}

/// A key that digests are made with.
#[derive(Serialize)]
pub(super) struct Key {
    id: u32,
    key: String,
}

/// A change.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    revision: i64,
    #[serde(flatten)]
    subject: Wire<'a>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Wire<'a> {
    Account {
        id: String,
        pfid: String,
    },
    Zone {
        id: String,
        account_id: String,
    },
    Environment {
        id: String,
        account_id: String,
        deleted: bool,
    },
    ServiceToken {
        id: String,
        account_id: String,
        zone_id: Option<String>,
        client_id: String,
        name: &'a str,
        allow_from: Option<Vec<String>>,
        digest: String,
        secret_version: u32,
        previous: Option<Previous>,
        enabled: bool,
        expires_at_us: Option<i64>,
        last_seen_at_us: Option<i64>,
        deleted: bool,
    },
    ApiToken {
        id: String,
        account_id: String,
        environment_id: Option<String>,
        digest: String,
        replaced_digest: Option<String>,
        status: &'static str,
        expires_at_us: i64,
        last_used_at_us: Option<i64>,
        deleted: bool,
    },
}

#[derive(Debug, Serialize)]
struct Previous {
    digest: String,
    secret_version: Option<u32>,
    expires_at_us: i64,
}

impl<'a> Line<'a> {
    /// `None` for what no verifier is told of.
    pub(super) fn of(change: &'a Change) -> Option<Self> {
        let micros = |time: &Option<Timestamp>| time.map(Timestamp::as_micros);
        let subject = match &change.subject {
            Subject::Account { id, pfid } => Wire::Account { id: id.to_string(), pfid: pfid.to_string() },
            Subject::Zone { id, account } => Wire::Zone { id: id.to_string(), account_id: account.to_string() },
            Subject::Environment { id, account, deleted } => {
                Wire::Environment { id: id.to_string(), account_id: account.to_string(), deleted: *deleted }
            }
            Subject::ServiceToken {
                id,
                owner,
                client_id,
                name,
                allow_from,
                digest,
                secret_version,
                previous,
                previous_version,
                enabled,
                expires_at,
                last_seen_at,
                deleted,
            } => Wire::ServiceToken {
                id: id.to_string(),
                account_id: owner.account.to_string(),
                zone_id: owner.zone.map(|zone| zone.to_string()),
                client_id: client_id.to_string(),
                name,
                allow_from: allow_from.as_ref().map(|allow_from| allow_from.networks().collect()),
                digest: digits(digest),
                secret_version: *secret_version,
                previous: previous.as_ref().map(|(digest, end)| Previous {
                    digest: digits(digest),
                    secret_version: *previous_version,
                    expires_at_us: end.as_micros(),
                }),
                enabled: *enabled,
                expires_at_us: micros(expires_at),
                last_seen_at_us: micros(last_seen_at),
                deleted: *deleted,
            },
            Subject::ApiToken {
                id,
                account,
                environment,
                digest,
                replaced,
                status,
                expires_at,
                last_used_at,
                deleted,
            } => Wire::ApiToken {
                id: id.to_string(),
                account_id: account.to_string(),
                environment_id: environment.map(|environment| environment.to_string()),
                digest: digits(digest),
                replaced_digest: replaced.as_ref().map(digits),
                status: status.text(),
                expires_at_us: expires_at.as_micros(),
                last_used_at_us: micros(last_used_at),
                deleted: *deleted,
            },
            Subject::User { .. } | Subject::ManagementToken { .. } => return None,
        };
        Some(Self { revision: change.revision.get(), subject })
    }
}

/// The keys of an answer.
pub(super) fn keys(news: &News) -> Vec<Key> {
    news.keys.iter().map(|(id, key)| Key { id: id.get(), key: hex(key.as_bytes()) }).collect()
}

fn digits(digest: &Digest) -> String {
    hex(digest.as_bytes())
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Nothing fails to be written to a string.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use countersign_token::api_token::ApiTokenStatus;
    use countersign_token::digest::{KeyId, MacKey};
    use countersign_token::feed::Revision;
    use countersign_token::id::{AccountId, ClientId, UserId, ZoneId};
    use countersign_token::service_token::Owner;
    use serde_json::Value;

    use super::*;
    use crate::ops::feed::Progress;

    /// The changes that `crates/client/tests/data/feed.json` tells of: both sides of the wire are held against that file.
    fn sample() -> Vec<Change> {
        let (account, zone) = (AccountId::from_bytes([10; 16]), ZoneId::from_bytes([11; 16]));
        let pfid = "01m80ph6add8cqrkh0hxq2b42xzrs6re";
        let digest = |byte| Digest::from_bytes([byte; 32]);
        let at = |second: i64, micros: i64| Timestamp::from_micros(1_795_319_900_000_000 + second * 1_000_000 + micros);
        let subjects = [
            Subject::Account { id: account, pfid: pfid.parse().unwrap() },
            Subject::Zone { id: zone, account },
            Subject::Environment { id: pfid.parse().unwrap(), account, deleted: true },
            Subject::ServiceToken {
                id: "0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b".parse().unwrap(),
                owner: Owner { account, zone: None },
                client_id: ClientId::from_bytes([12; 16]),
                name: "dépl\"oy".to_owned(),
                allow_from: Some("10.0.0.0/8,2001:db8::/32".parse().unwrap()),
                digest: digest(3),
                secret_version: 7,
                previous: Some((digest(4), at(86, 1))),
                previous_version: Some(6),
                enabled: true,
                expires_at: None,
                last_seen_at: Some(at(85, 0)),
                deleted: false,
            },
            Subject::ServiceToken {
                id: "0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5c".parse().unwrap(),
                owner: Owner { account, zone: Some(zone) },
                client_id: ClientId::from_bytes([13; 16]),
                name: "x".to_owned(),
                allow_from: None,
                digest: digest(0),
                secret_version: 1,
                previous: None,
                previous_version: None,
                enabled: false,
                expires_at: Some(at(86, 2)),
                last_seen_at: None,
                deleted: true,
            },
            Subject::ApiToken {
                id: pfid.parse().unwrap(),
                account,
                environment: Some(pfid.parse().unwrap()),
                digest: digest(5),
                replaced: Some(digest(6)),
                status: ApiTokenStatus::Suspended,
                expires_at: at(86, 3),
                last_used_at: Some(at(84, 0)),
                deleted: false,
            },
            Subject::ApiToken {
                id: pfid.parse().unwrap(),
                account,
                environment: None,
                digest: digest(5),
                replaced: None,
                status: ApiTokenStatus::Active,
                expires_at: at(86, 3),
                last_used_at: None,
                deleted: true,
            },
        ];
        let change = |(subject, revision)| Change { revision: Revision::new(revision), subject };
        subjects.into_iter().zip(1..).map(change).collect()
    }

    #[test]
    fn every_kind_is_written_as_it_is_specified() {
        let news = News {
            is_beginning: true,
            keys: [2, 1].map(|id| (KeyId::new(id.into()).unwrap(), MacKey::from_bytes([id; 32]))).to_vec(),
            changes: sample(),
            progress: Progress::Read(Revision::new(7)),
        };
        let answer = Answer {
            format: FORMAT,
            installation_id: "05".repeat(16),
            reset: true,
            complete: false,
            age_us: 0,
            max_staleness_us: 5_000_000,
            keys: keys(&news),
            changes: news.changes.iter().filter_map(Line::of).collect(),
            cursor: "1.x.f.7".to_owned(),
        };
        let expected: Value = serde_json::from_str(include_str!("../../../../client/tests/data/feed.json")).unwrap();
        assert_eq!(serde_json::to_value(&answer).unwrap(), expected);
    }

    #[test]
    fn nobody_is_told_of_those_who_manage() {
        let user = Subject::User {
            id: UserId::from_bytes([1; 16]),
            email: "a@example.com".to_owned(),
            key_digest: Digest::from_bytes([1; 32]),
            installation_owner: true,
            accounts: Vec::new(),
        };
        assert!(Line::of(&Change { revision: Revision::new(1), subject: user }).is_none());
    }
}
