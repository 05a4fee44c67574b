//! The audit log: one row an event, chained by macs.
//!
//! Whoever can write the database can't forge an event, change one, or take one out of the middle without the
//! installation key. The counter's row holds the last event's number and mac, so that an end which is cut off by accident
//! is seen. Whoever puts that row back too, or the whole database, is found out by [`AuditHead`]s kept elsewhere.

mod anchor;
mod filter;
mod head;
mod key;
mod verify;

use std::sync::LazyLock;

use countersign_token::digest::MacKey;
use countersign_token::id::AccountId;
use countersign_token::time::Timestamp;
use sqlx::any::AnyRow;

use crate::bulk::{Binding, Bulk};
use crate::error::Error;
use crate::row::Columns;
use crate::tx::Head;

pub use self::filter::{AuditFilter, AuditPages, Network, NetworkError};
pub use self::head::{AuditHead, ChainMac, ChainMacError};
pub use self::verify::{AuditChain, AuditMark, ChainBreak, ChainProblem, MarkBreak, MarkProblem};

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuditActor {
    /// What kind of caller, such as `user` or `management_token`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
}

/// An event as it is recorded, by [`Tx::record`](crate::Tx::record).
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// Who did it.
    pub actor: AuditActor,
    /// What was done, such as `service_token.rotate`.
    pub action: &'static str,
    /// The kind of thing that it was done to, such as `service_token`.
    pub subject_kind: &'static str,
    /// The id of that thing.
    pub subject_id: String,
    /// The account that it concerns; `None` for the installation as a whole.
    pub account: Option<AccountId>,
    /// When.
    pub at: Timestamp,
    /// The network address that the request came from.
    pub address: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
    /// A JSON object with what else is worth knowing. Never a secret.
    pub detail: String,
}

/// An event as it is read from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Its place in the log. The first event has 1, and none is left out.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// What kind of caller did it.
    pub actor_kind: String,
    /// The caller's id.
    pub actor_id: String,
    /// What was done.
    pub action: String,
    /// The kind of thing that it was done to.
    pub subject_kind: String,
    /// The id of that thing.
    pub subject_id: String,
    /// The account that it concerns.
    pub account: Option<AccountId>,
    /// The network address that the request came from.
    pub address: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
    /// A JSON object.
    pub detail: String,
    /// The mac of this event and all before it.
    pub mac: ChainMac,
}

macro_rules! columns {
    () => {
        "seq, at, actor_kind, actor_id, action, subject_kind, subject_id, account_id, address, request_id, detail, mac"
    };
}

use columns;

/// Adds events to the log.
pub(crate) static INSERT: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::new(concat!("INSERT INTO audit_event (", columns!(), ") VALUES"), 12, ""));

/// Binds an event that comes after `head`, and moves that.
pub(crate) fn bind(query: Binding, event: &AuditEvent, key: &MacKey, head: &mut Head) -> Binding {
    head.audit_seq += 1;
    let account = event.account.map(|account| account.to_string());
    let mac = Canonical {
        seq: head.audit_seq,
        at: event.at.as_micros(),
        texts: [event.actor.kind, &event.actor.id, event.action, event.subject_kind, &event.subject_id],
        options: [account.as_deref(), event.address.as_deref(), event.request_id.as_deref()],
        detail: &event.detail,
    }
    .mac(key, &head.audit_mac);
    head.audit_mac = mac.to_vec();
    query
        .bind(head.audit_seq)
        .bind(event.at.as_micros())
        .bind(event.actor.kind)
        .bind(event.actor.id.clone())
        .bind(event.action)
        .bind(event.subject_kind)
        .bind(event.subject_id.clone())
        .bind(account)
        .bind(event.address.clone())
        .bind(event.request_id.clone())
        .bind(event.detail.clone())
        .bind(mac.to_vec())
}

/// The bytes of an event under its mac: every field with its length, in this order, for ever.
struct Canonical<'e> {
    seq: i64,
    at: i64,
    texts: [&'e str; 5],
    options: [Option<&'e str>; 3],
    detail: &'e str,
}

impl<'e> Canonical<'e> {
    const VERSION: u8 = 1;

    fn of(event: &'e RecordedEvent, account: Option<&'e str>) -> Self {
        Self {
            seq: event.seq,
            at: event.at.as_micros(),
            texts: [&event.actor_kind, &event.actor_id, &event.action, &event.subject_kind, &event.subject_id],
            options: [account, event.address.as_deref(), event.request_id.as_deref()],
            detail: &event.detail,
        }
    }

    fn mac(&self, key: &MacKey, before: &[u8]) -> [u8; 32] {
        let mut bytes = vec![Self::VERSION];
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.at.to_be_bytes());
        let texts = self.texts.into_iter().map(Some).chain(self.options).chain([Some(self.detail)]);
        for text in texts {
            bytes.push(u8::from(text.is_some()));
            let text = text.unwrap_or_default();
            bytes.extend(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        key.mac(&[before, &bytes])
    }
}

fn read(row: &AnyRow) -> Result<RecordedEvent, Error> {
    let mut columns = Columns::of("audit_event", row);
    Ok(RecordedEvent {
        seq: columns.int()?,
        at: columns.time()?,
        actor_kind: columns.text()?.to_owned(),
        actor_id: columns.text()?.to_owned(),
        action: columns.text()?.to_owned(),
        subject_kind: columns.text()?.to_owned(),
        subject_id: columns.text()?.to_owned(),
        account: columns.parse_if_any()?,
        address: columns.text_if_any()?.map(str::to_owned),
        request_id: columns.text_if_any()?.map(str::to_owned),
        detail: columns.text()?.to_owned(),
        mac: columns.chain_mac()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_covers_every_field_and_where_it_ends() {
        let key = MacKey::from_bytes([7; 32]);
        let event = RecordedEvent {
            seq: 1,
            at: Timestamp::from_micros(2),
            actor_kind: "user".to_owned(),
            actor_id: "u".to_owned(),
            action: "service_token.create".to_owned(),
            subject_kind: "service_token".to_owned(),
            subject_id: "s".to_owned(),
            account: None,
            address: Some("::1".to_owned()),
            request_id: Some("r".to_owned()),
            detail: "{}".to_owned(),
            mac: ChainMac::from_bytes([0; 32]),
        };
        let mac = |event: &RecordedEvent| {
            let account = event.account.map(|account| account.to_string());
            Canonical::of(event, account.as_deref()).mac(&key, b"before")
        };
        let original = mac(&event);
        let differs = |change: &dyn Fn(&mut RecordedEvent)| {
            let mut changed = event.clone();
            change(&mut changed);
            assert_ne!(mac(&changed), original, "{changed:?}");
        };
        differs(&|event| event.seq = 2);
        differs(&|event| event.at = Timestamp::from_micros(3));
        differs(&|event| event.actor_kind = "users".to_owned());
        differs(&|event| event.actor_id = String::new());
        differs(&|event| event.action = "service_token.delete".to_owned());
        differs(&|event| event.subject_kind = "zone".to_owned());
        differs(&|event| event.subject_id = "t".to_owned());
        differs(&|event| event.account = Some(AccountId::from_bytes([0; 16])));
        differs(&|event| event.address = None);
        differs(&|event| event.request_id = Some(String::new()));
        differs(&|event| event.detail = "{ }".to_owned());
        differs(&|event| {
            event.actor_kind = "use".to_owned();
            event.actor_id = "ru".to_owned();
        });
    }
}
