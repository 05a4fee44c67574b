//! The feed as it travels. The server's `docs/in-process.md` specifies it.

use std::str::FromStr;

use countersign_token::allow_from::AllowFrom;
use countersign_token::api_token::ApiTokenStatus;
use countersign_token::digest::{Digest, DigestKey, KeyId, MacKey};
use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::AccountId;
use countersign_token::service_token::Owner;
use countersign_token::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The form of the feed that is understood here.
const FORMAT: u32 = 1;

/// How long a cursor may be.
const CURSOR_LEN_MAX: usize = 512;

#[derive(Debug, Serialize)]
pub(super) struct Question<'a> {
    pub(super) verifier: &'a str,
    pub(super) cursor: Option<&'a str>,
}

/// An answer that is well-formed throughout. What of it is to be believed is for whoever reads it to say.
#[derive(Debug)]
pub(super) struct News {
    pub(super) reset: bool,
    pub(super) complete: bool,
    pub(super) age_micros: i64,
    pub(super) max_staleness_micros: i64,
    pub(super) current: DigestKey,
    pub(super) before: Option<DigestKey>,
    pub(super) changes: Vec<Change>,
    pub(super) cursor: String,
}

/// What an answer says besides its form, so that another form is named and not misread.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Deserialize)]
struct Answer {
    reset: bool,
    complete: bool,
    age_us: u64,
    max_staleness_us: u64,
    keys: Vec<Key>,
    changes: Vec<Line>,
    cursor: String,
}

#[derive(Deserialize)]
struct Key {
    id: u32,
    key: String,
}

#[derive(Deserialize)]
struct Line {
    revision: i64,
    #[serde(flatten)]
    subject: Wire,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Wire {
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
        name: String,
        // Left out, it would mean anywhere.
        #[serde(deserialize_with = "Option::deserialize")]
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
        status: String,
        expires_at_us: i64,
        last_used_at_us: Option<i64>,
        deleted: bool,
    },
}

#[derive(Deserialize)]
struct Previous {
    digest: String,
    secret_version: Option<u32>,
    expires_at_us: i64,
}

/// Reads an answer, all of it or nothing.
///
/// Whatever is not understood is an error: a verifier that went on without it would admit by less than there is to know.
pub(super) fn parse(body: &[u8]) -> Result<News, String> {
    let head: Head = serde_json::from_slice(body).map_err(|error| format!("not a feed: {error}"))?;
    if head.format != FORMAT {
        return Err(format!("the feed has form {}, and this program understands form {FORMAT}", head.format));
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|error| format!("not understood: {error}"))?;
    let [current, before @ ..] = answer.keys.as_slice() else {
        return Err("there is no key".to_owned());
    };
    let before = match before {
        [] => None,
        [before] => Some(before.read()?),
        _ => return Err("there are more than two keys".to_owned()),
    };
    if answer.cursor.is_empty() || answer.cursor.len() > CURSOR_LEN_MAX {
        return Err("the cursor is empty or too long".to_owned());
    }
    Ok(News {
        reset: answer.reset,
        complete: answer.complete,
        age_micros: i64::try_from(answer.age_us).map_err(|_large| "age_us is out of range")?,
        max_staleness_micros: i64::try_from(answer.max_staleness_us)
            .map_err(|_large| "max_staleness_us is out of range")?,
        current: current.read()?,
        before,
        changes: answer.changes.into_iter().map(Line::read).collect::<Result<_, _>>()?,
        cursor: answer.cursor,
    })
}

impl Key {
    fn read(&self) -> Result<DigestKey, String> {
        let id = KeyId::new(self.id).ok_or("a key has the number 0")?;
        Ok(DigestKey::new(&MacKey::from_bytes(bytes("key", &self.key)?), id))
    }
}

impl Line {
    fn read(self) -> Result<Change, String> {
        let subject = match self.subject {
            Wire::Account { id, pfid } => Subject::Account { id: typed("id", &id)?, pfid: typed("pfid", &pfid)? },
            Wire::Zone { id, account_id } => {
                Subject::Zone { id: typed("id", &id)?, account: typed("account_id", &account_id)? }
            }
            Wire::Environment { id, account_id, deleted } => {
                Subject::Environment { id: typed("id", &id)?, account: typed("account_id", &account_id)?, deleted }
            }
            Wire::ServiceToken {
                id,
                account_id,
                zone_id,
                client_id,
                name,
                allow_from,
                digest,
                secret_version,
                previous,
                enabled,
                expires_at_us,
                last_seen_at_us,
                deleted,
            } => {
                let account: AccountId = typed("account_id", &account_id)?;
                let zone = zone_id.map(|zone| typed("zone_id", &zone)).transpose()?;
                let allow_from = allow_from.map(|networks| AllowFrom::parse(networks.iter().map(String::as_str)));
                let allow_from = allow_from.transpose().map_err(|problem| format!("allow_from: {problem}"))?;
                let previous_version = previous.as_ref().and_then(|previous| previous.secret_version);
                let previous = previous.map(Previous::read).transpose()?;
                Subject::ServiceToken {
                    id: typed("id", &id)?,
                    owner: Owner { account, zone },
                    client_id: typed("client_id", &client_id)?,
                    name,
                    allow_from,
                    digest: read_digest(&digest)?,
                    secret_version,
                    previous,
                    previous_version,
                    enabled,
                    expires_at: expires_at_us.map(Timestamp::from_micros),
                    last_seen_at: last_seen_at_us.map(Timestamp::from_micros),
                    deleted,
                }
            }
            Wire::ApiToken {
                id,
                account_id,
                environment_id,
                digest,
                replaced_digest,
                status,
                expires_at_us,
                last_used_at_us,
                deleted,
            } => Subject::ApiToken {
                id: typed("id", &id)?,
                account: typed("account_id", &account_id)?,
                environment: environment_id.map(|id| typed("environment_id", &id)).transpose()?,
                digest: read_digest(&digest)?,
                replaced: replaced_digest.as_deref().map(read_digest).transpose()?,
                status: ApiTokenStatus::parse(&status).ok_or_else(|| format!("`{status}` is no status"))?,
                expires_at: Timestamp::from_micros(expires_at_us),
                last_used_at: last_used_at_us.map(Timestamp::from_micros),
                deleted,
            },
        };
        Ok(Change { revision: Revision::new(self.revision), subject })
    }
}

impl Previous {
    fn read(self) -> Result<(Digest, Timestamp), String> {
        Ok((read_digest(&self.digest)?, Timestamp::from_micros(self.expires_at_us)))
    }
}

/// A value of its type. What was sent is not repeated in the error: it may be anything.
fn typed<T: FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().ok().ok_or_else(|| format!("{name} is not what it should be"))
}

fn read_digest(text: &str) -> Result<Digest, String> {
    Ok(Digest::from_bytes(bytes("digest", text)?))
}

/// 32 bytes from 64 hexadecimal digits.
fn bytes(name: &str, text: &str) -> Result<[u8; 32], String> {
    let wrong = || format!("{name} is not 64 hexadecimal digits");
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return Err(wrong());
    }
    let mut bytes = [0; 32];
    for (place, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = digit(*high).zip(digit(*low)).ok_or_else(wrong)?;
        *place = high << 4 | low;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use countersign_token::id::{ClientId, ZoneId};
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &str = include_str!("../../tests/data/feed.json");

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

    /// What a change says, its digests included, which show nothing of themselves.
    fn words(changes: &[Change]) -> Vec<String> {
        let digests = |subject: &Subject| match subject {
            Subject::ServiceToken { digest, previous, .. } => vec![Some(*digest), previous.map(|(digest, _)| digest)],
            Subject::ApiToken { digest, replaced, .. } => vec![Some(*digest), *replaced],
            _ => Vec::new(),
        };
        let bytes = |digest: &Option<Digest>| digest.map(|digest| *digest.as_bytes());
        let all = |change: &Change| {
            let digests: Vec<_> = digests(&change.subject).iter().map(bytes).collect();
            format!("{change:?} {digests:?}")
        };
        changes.iter().map(all).collect()
    }

    #[test]
    fn every_kind_is_read_as_it_is_specified() {
        let news = parse(SAMPLE.as_bytes()).unwrap();
        assert_eq!(words(&news.changes), words(&sample()));
        assert_eq!((news.reset, news.complete, news.cursor.as_str()), (true, false, "1.x.f.7"));
        assert_eq!((news.age_micros, news.max_staleness_micros), (0, 5_000_000));
        assert_eq!((news.current.id().get(), news.before.map(|key| key.id().get())), (2, Some(1)));
    }

    #[test]
    fn members_that_are_not_known_are_passed_over() {
        let more = SAMPLE.replace("\"deleted\"", "\"colour\": [1, {}], \"deleted\"").replacen('{', "{\"more\": {},", 1);
        assert_eq!(words(&parse(more.as_bytes()).unwrap().changes), words(&sample()));
    }

    #[test]
    fn what_is_not_understood_is_no_answer() {
        let check = |from: &str, to: &str| {
            assert!(SAMPLE.contains(from), "{from}");
            let problem = parse(SAMPLE.replacen(from, to, 1).as_bytes()).expect_err(to);
            assert!(!problem.is_empty());
            problem
        };
        assert!(check("\"format\": 1", "\"format\": 2, \"other\": 0").contains("form 2"));
        assert!(check("\"zone\"", "\"galaxy\"").contains("galaxy"));
        assert!(check("suspended", "asleep").contains("asleep"));
        assert!(check("\"allow_from\": null", "\"x\": null").contains("allow_from"), "left out, it would be anywhere");
        check("\"2001:db8::/32\"", "\"anywhere\"");
        check("[\"10.0.0.0/8\", \"2001:db8::/32\"]", "[]");
        check("\"keys\": [", "\"keys\": [], \"old\": [");
        check("\"keys\": [", "\"keys\": [{\"id\": 3, \"key\": \"\"},");
        check("\"id\": 2,", "\"id\": 0,");
        check("0202", "+202");
        check("0303", "03");
        check("0303", "030g");
        check("1.x.f.7", "");
        check("1.x.f.7", &"7".repeat(CURSOR_LEN_MAX + 1));
        check("\"age_us\": 0", "\"age_us\": -1");
        check("\"age_us\": 0", "\"age_us\": 9223372036854775808");
        check("5000000", "9223372036854775808");
        check("\"enabled\": true", "\"enabled\": 1");
        check("0a0a", "0A0a");
        check(".access", "");
        check("\"reset\": true", "\"reset\": null");
        check("\"revision\": 4", "\"revision\": 4.5");
        check("\"deleted\": true", "\"undeleted\": true");
        assert!(parse(b"").is_err());
        assert!(parse("[".repeat(1 << 20).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_not(at in 0..SAMPLE.len(), bytes: Vec<u8>, cut in 0..SAMPLE.len()) {
            let mut body = SAMPLE.as_bytes().to_vec();
            let end = body.len().min(at + bytes.len());
            body.splice(at..end, bytes.iter().copied());
            drop(parse(&body));
            prop_assert!(parse(&SAMPLE.as_bytes()[..cut]).is_err());
            drop(parse(&bytes));
        }
    }
}
