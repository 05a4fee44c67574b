//! Which events are asked for, and reading them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use countersign_token::id::AccountId;
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;

use super::{RecordedEvent, columns, read};
use crate::error::Error;
use crate::row::Columns;
use crate::store::Store;
use crate::tx::built;

/// How many rows are read at once where not every one of them may be wanted.
const ROWS_AT_ONCE: u32 = 1000;

/// Which events to list. The default is all; an event must pass every condition.
///
/// An account, a subject and a span of time each have an index. Everything else is read through, from the end of the log
/// or from the beginning: name a span with it where the log is long.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only those that concern this account.
    pub account: Option<AccountId>,
    /// Only those done to the thing with this id.
    pub subject_id: Option<String>,
    /// Only those by this kind of actor.
    pub actor_kind: Option<String>,
    /// Only those by the actor with this id.
    pub actor_id: Option<String>,
    /// Only those with exactly this action; with `.*` at its end, those with any action that begins like it.
    pub action: Option<String>,
    /// Only those that took place then or later.
    pub since: Option<Timestamp>,
    /// Only those that took place earlier.
    pub until: Option<Timestamp>,
    /// Only those that came from an address in it.
    pub network: Option<Network>,
    /// Only those after this place in the log.
    pub after: i64,
}

/// An address, or a range of addresses: `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    length: u8,
}

impl Network {
    /// Whether an address is in it. An IPv4 address is the same in IPv6's clothes (`::ffff:192.0.2.1`).
    pub fn contains(&self, address: IpAddr) -> bool {
        let shift = |bits: u32| bits - u32::from(self.length).min(bits);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(shift(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(shift(128)).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({}/{})", self.address, self.length)
    }
}

/// A text is neither an address nor a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address is like 192.0.2.1 or 2001:db8::1, a range like 192.0.2.0/24 or 2001:db8::/32")]
pub struct NetworkError;

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length: u8 = match length {
            Some(length) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse().ok().filter(|length| *length <= bits).ok_or(NetworkError)?
            }
            Some(_) => return Err(NetworkError),
            None => bits,
        };
        match (address.to_canonical(), length.checked_sub(96)) {
            (address @ IpAddr::V4(_), Some(length)) if bits == 128 => Ok(Self { address, length }),
            _ => Ok(Self { address, length }),
        }
    }
}

/// A value that a condition compares with.
enum Operand {
    Text(String),
    Int(i64),
}

impl AuditFilter {
    /// The conditions that the database checks, with `?` for the value. Each is there or not, so that the index of one that
    /// is there serves the list.
    fn conditions(&self) -> Vec<(&'static str, Operand)> {
        let text = |condition, value: Option<String>| value.map(|value| (condition, Operand::Text(value)));
        let time = |condition, value: Option<Timestamp>| value.map(|at| (condition, Operand::Int(at.as_micros())));
        let action = self.action.as_ref().map(|action| match action.strip_suffix(".*") {
            Some(beginning) => ("action LIKE ? ESCAPE '\\'", Operand::Text(escaped(beginning) + ".%")),
            None => ("action = ?", Operand::Text(action.clone())),
        });
        let conditions = [
            text("account_id = ?", self.account.map(|account| account.to_string())),
            text("subject_id = ?", self.subject_id.clone()),
            text("actor_kind = ?", self.actor_kind.clone()),
            text("actor_id = ?", self.actor_id.clone()),
            action,
            time("at >= ?", self.since),
            time("at < ?", self.until),
        ];
        conditions.into_iter().flatten().collect()
    }

    fn lets_through(&self, event: &RecordedEvent) -> bool {
        let Some(network) = &self.network else { return true };
        event.address.as_deref().and_then(|address| address.parse().ok()).is_some_and(|ip| network.contains(ip))
    }

    /// The places between which everything lies that is asked for: after the first, up to the second.
    async fn span(&self, connection: &mut AnyConnection) -> Result<(i64, i64), Error> {
        if self.since.is_none() && self.until.is_none() {
            return Ok((self.after, i64::MAX));
        }
        // Adding 0 keeps PostgreSQL from walking the whole log in the order of `seq` until it meets the first.
        let row = sqlx::query("SELECT MIN(seq + 0), MAX(seq + 0) FROM audit_event WHERE at >= $1 AND at < $2")
            .bind(self.since.map_or(i64::MIN, |since| since.as_micros()))
            .bind(self.until.map_or(i64::MAX, |until| until.as_micros()))
            .fetch_one(connection)
            .await?;
        let mut columns = Columns::of("audit_event", &row);
        let (Some(first), Some(last)) = (columns.int_if_any()?, columns.int_if_any()?) else {
            return Ok((self.after, self.after));
        };
        Ok((self.after.max(first - 1), last))
    }
}

/// `text`, so that `LIKE` finds only itself.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| if "\\%_".contains(c) { vec!['\\', c] } else { vec![c] }).collect()
}

/// The events that a filter lets through, part by part. What comes into the log meanwhile may be among them.
#[derive(Debug)]
pub struct AuditPages {
    store: Store,
    filter: AuditFilter,
    /// Nothing is left outside of these: after the first, up to the second.
    span: (i64, i64),
    newest_first: bool,
}

impl AuditPages {
    /// The next events, at most `limit`; none at the end.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn next(&mut self, limit: u32) -> Result<Vec<RecordedEvent>, Error> {
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let at_once = if self.filter.network.is_some() { ROWS_AT_ONCE } else { limit };
        let conditions = self.filter.conditions();
        let mut sql = String::from(concat!("SELECT ", columns!(), " FROM audit_event WHERE seq > $1 AND seq <= $2"));
        for ((condition, _), place) in conditions.iter().zip(4..) {
            sql.push_str(" AND ");
            sql.push_str(&condition.replace('?', &format!("${place}")));
        }
        sql.push_str(if self.newest_first { " ORDER BY seq DESC LIMIT $3" } else { " ORDER BY seq LIMIT $3" });
        let mut reader = self.store.reader().await?;
        let mut found = Vec::new();
        while found.len() < wanted && self.span.0 < self.span.1 {
            let mut query = built(sql.clone()).bind(self.span.0).bind(self.span.1).bind(i64::from(at_once));
            for (_, operand) in &conditions {
                query = match operand {
                    Operand::Text(text) => query.bind(text.clone()),
                    Operand::Int(int) => query.bind(*int),
                };
            }
            let rows = query.fetch_all(&mut *reader).await?;
            if rows.is_empty() {
                self.span.1 = self.span.0;
                break;
            }
            for row in &rows {
                let event = read(row)?;
                if found.len() == wanted {
                    break;
                }
                if self.newest_first {
                    self.span.1 = event.seq - 1;
                } else {
                    self.span.0 = event.seq;
                }
                if self.filter.lets_through(&event) {
                    found.push(event);
                }
            }
        }
        Ok(found)
    }
}

impl Store {
    /// The events that `filter` lets through, in the order of the log or, if `newest_first`, against it.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn audit_pages(&self, filter: &AuditFilter, newest_first: bool) -> Result<AuditPages, Error> {
        let span = filter.span(&mut *self.reader().await?).await?;
        Ok(AuditPages { store: self.clone(), filter: filter.clone(), span, newest_first })
    }

    /// Up to `limit` events in the order of the log, starting after `filter.after`.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_audit(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<RecordedEvent>, Error> {
        self.audit_pages(filter, false).await?.next(limit).await
    }

    /// The newest `limit` events that match, in the order of the log.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_newest_audit(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<RecordedEvent>, Error> {
        let mut events = self.audit_pages(filter, true).await?.next(limit).await?;
        events.reverse();
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_addresses() {
        fn check(network: &str, inside: &[&str], outside: &[&str]) {
            let parsed: Network = network.parse().unwrap();
            for (addresses, expected) in [(inside, true), (outside, false)] {
                for address in addresses {
                    assert_eq!(parsed.contains(address.parse().unwrap()), expected, "{address} in {network}");
                }
            }
        }
        check("192.0.2.1", &["192.0.2.1", "::ffff:192.0.2.1"], &["192.0.2.0", "::1", "::c000:201"]);
        check("192.0.2.128/25", &["192.0.2.128", "192.0.2.255"], &["192.0.2.127", "192.0.3.128"]);
        check("192.0.2.77/24", &["192.0.2.0", "192.0.2.255"], &["192.0.1.255"]);
        check("0.0.0.0/0", &["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"], &["::"]);
        check("::/0", &["::", "ffff::1"], &["1.2.3.4"]);
        check("2001:db8::/32", &["2001:db8::1", "2001:db8:ffff::"], &["2001:db9::", "1.2.3.4"]);
        check("2001:db8::1", &["2001:db8::1"], &["2001:db8::2"]);
        check("::ffff:192.0.2.0/120", &["192.0.2.9"], &["192.0.3.9"]);
        for text in
            ["", "/", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/-1", "1.2.3.4/+8", "::/129", "host", "1.2.3.4/8/8"]
        {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text}");
        }
    }

    #[test]
    fn a_beginning_is_taken_literally() {
        assert_eq!(escaped(r"service_token%\"), r"service\_token\%\\");
    }
}
