//! An event as it is shown.

use countersign_server::store::RecordedEvent;
use countersign_server::token::id::AccountId;
use serde::Serialize;
use serde_json::Value;

/// One event as JSON. `mac` is that of the chain, so that what was exported can be held against the log later.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    seq: i64,
    at: String,
    actor: ActorDocument<'a>,
    action: &'a str,
    subject: SubjectDocument<'a>,
    account_id: Option<String>,
    address: Option<&'a str>,
    request_id: Option<&'a str>,
    detail: Value,
    mac: String,
}

#[derive(Serialize)]
struct ActorDocument<'a> {
    kind: &'a str,
    id: Option<&'a str>,
}

#[derive(Serialize)]
struct SubjectDocument<'a> {
    kind: &'a str,
    id: &'a str,
}

/// What a table of events says.
pub(super) const HEADING: [&str; 7] = ["no", "at", "action", "subject", "actor", "address", "request"];

impl<'a> Document<'a> {
    pub(super) fn new(event: &'a RecordedEvent) -> serde_json::Result<Self> {
        Ok(Self {
            seq: event.seq,
            at: event.at.to_string(),
            actor: ActorDocument {
                kind: &event.actor_kind,
                id: Some(event.actor_id.as_str()).filter(|id| !id.is_empty()),
            },
            action: &event.action,
            subject: SubjectDocument { kind: &event.subject_kind, id: &event.subject_id },
            account_id: event.account.as_ref().map(AccountId::to_string),
            address: event.address.as_deref(),
            request_id: event.request_id.as_deref(),
            detail: serde_json::from_str(&event.detail)?,
            mac: event.mac.to_string(),
        })
    }

    /// The same for a table.
    pub(super) fn row(&self) -> [String; 7] {
        [
            self.seq.to_string(),
            self.at.clone(),
            self.action.to_owned(),
            self.subject.id.to_owned(),
            [self.actor.kind, self.actor.id.unwrap_or_default()].join(" ").trim_end().to_owned(),
            self.address.unwrap_or_default().to_owned(),
            self.request_id.unwrap_or_default().to_owned(),
        ]
    }
}
