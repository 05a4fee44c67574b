//! What the audit log says of credentials that the gate refused.
//!
//! The gate only hands an attempt over, and never waits: what finds no room is counted and forgotten. Whose credential it
//! was is looked up here, for an unknown id and a known one alike after the answer. Attempts that are alike (the same
//! token, reason and address) become one event with their number: at once for the first, and then once an hour.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use countersign_store::{AuditActor, AuditEvent, Error, Store, Tx};
use countersign_token::id::{AccountId, ApiTokenId, ClientId, ServiceTokenId};
use countersign_token::index::{Detail, Handle, Index};
use countersign_token::time::{BootTime, Clock, Timestamp};
use countersign_token::verify::Reason;
use prometheus_client::metrics::counter::Counter;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::ticks::Ticks;

/// How many attempts may wait to be looked at.
const WAITING_MAX: usize = 4096;

/// How often those that wait are looked at. Nobody is woken for them in between, since that would cost each refusal a call
/// into the system.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long attempts that are alike are only counted once one event has told of them.
const TELL_AGAIN: Duration = Duration::from_secs(3600);

/// How many tokens, each with a reason, are told apart at once.
const CASES_MAX: usize = 256;

/// From how many addresses each; all others are one.
const ADDRESSES_MAX: usize = 8;

/// How many events are written by one job.
const BATCH: usize = 64;

/// An attempt that the gate has refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) who: Who,
    pub(crate) reason: Reason,
    /// Where the connection came from; `None` on a Unix socket.
    pub(crate) address: Option<IpAddr>,
    pub(crate) at: Timestamp,
}

/// Whose credential was presented.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    /// The client id was that of somebody, or of nobody; the secret was not right.
    Claimed(ClientId),
    /// The secret was right.
    Proven(Handle),
}

/// Where the gate leaves what it refused. Clones share it.
#[derive(Clone, Debug)]
pub struct Refusals {
    waiting: mpsc::Sender<Attempt>,
    unrecorded: Counter,
}

impl Refusals {
    /// Takes an attempt, or counts it where there is no room.
    pub(crate) fn add(&self, attempt: Attempt) {
        if self.waiting.try_send(attempt).is_err() {
            self.unrecorded.inc();
        }
    }
}

/// What carries refused attempts to the audit log.
#[derive(Debug)]
pub struct Recorder {
    waiting: mpsc::Receiver<Attempt>,
    unrecorded: Counter,
    store: Store,
    index: Arc<Index>,
    clock: Clock,
    cases: Cases,
}

/// The two ends: for the gate, and for who writes. `unrecorded` counts attempts that no event tells of.
pub fn recording(store: Store, index: Arc<Index>, clock: Clock, unrecorded: Counter) -> (Refusals, Recorder) {
    let (sender, waiting) = mpsc::channel(WAITING_MAX);
    let refusals = Refusals { waiting: sender, unrecorded: unrecorded.clone() };
    (refusals, Recorder { waiting, unrecorded, store, index, clock, cases: Cases::default() })
}

impl Recorder {
    /// Records until `stop`, and what is left once more then.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = Ticks::every(LOOK_EVERY, stop);
        while ticks.next().await {
            self.record().await;
        }
        self.look();
        self.write(true).await;
    }

    /// Looks at what waits, and writes what is due.
    pub async fn record(&mut self) {
        self.look();
        self.write(false).await;
    }

    fn look(&mut self) {
        while let Ok(attempt) = self.waiting.try_recv() {
            let detail = match attempt.who {
                Who::Claimed(client_id) => self.index.describe_client(&client_id),
                Who::Proven(handle) => self.index.describe(handle),
            };
            let Some(token) = detail.as_ref().and_then(Token::of) else { continue };
            if !self.cases.add(Case { token, reason: attempt.reason }, attempt.address, attempt.at) {
                self.unrecorded.inc();
            }
        }
    }

    /// Writes what is due, or everything. What can't be written is kept for the next time.
    async fn write(&mut self, everything: bool) {
        let now = self.clock.boot();
        loop {
            let due = self.cases.due(now, everything);
            if due.is_empty() {
                break;
            }
            let at = self.clock.now();
            let events: Vec<AuditEvent> = due.iter().map(|(place, count)| event(place, count, at)).collect();
            let written = self.store.write(move |tx: &mut Tx| {
                let events = events.clone();
                Box::pin(async move {
                    events.into_iter().for_each(|event| tx.record(event));
                    Ok::<_, Error>(())
                })
            });
            if let Err(error) = written.await {
                tracing::warn!(error = %error, "refused attempts could not be recorded; they are kept");
                return;
            }
            for (place, _) in &due {
                self.cases.told(place, now);
            }
        }
        self.cases.forget(now);
    }
}

/// A token that was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Token {
    Service(ServiceTokenId, AccountId),
    Api(ApiTokenId, AccountId),
}

impl Token {
    fn of(detail: &Detail) -> Option<Self> {
        match detail {
            Detail::ServiceToken { id, owner, .. } => Some(Self::Service(*id, owner.account)),
            Detail::ApiToken { id, account, .. } => Some(Self::Api(*id, *account)),
            // Neither is ever presented to the gate with success.
            Detail::ManagementToken { .. } | Detail::User { .. } => None,
        }
    }
}

/// What was refused, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Case {
    token: Token,
    reason: Reason,
}

/// Where from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    Address(IpAddr),
    Socket,
    /// From more addresses than are told apart.
    Elsewhere,
}

type Place = (Case, Source);

#[derive(Clone, Copy, Debug)]
struct Count {
    /// Since it was last told of.
    count: u64,
    first_at: Timestamp,
    last_at: Timestamp,
    told_at: Option<BootTime>,
}

/// Refused attempts, put together where they are alike. Their number is bounded, whatever anybody does.
#[derive(Debug, Default)]
struct Cases(HashMap<Case, HashMap<Source, Count>>);

impl Cases {
    /// `false` where there is no room.
    fn add(&mut self, case: Case, address: Option<IpAddr>, at: Timestamp) -> bool {
        if self.0.len() >= CASES_MAX && !self.0.contains_key(&case) {
            return false;
        }
        let places = self.0.entry(case).or_default();
        let from = address.map_or(Source::Socket, |address| Source::Address(address.to_canonical()));
        let is_known = places.contains_key(&from) || places.len() < ADDRESSES_MAX;
        let from = if is_known { from } else { Source::Elsewhere };
        let count = places.entry(from).or_insert(Count { count: 0, first_at: at, last_at: at, told_at: None });
        if count.count == 0 {
            count.first_at = at;
        }
        count.count += 1;
        count.last_at = count.last_at.max(at);
        true
    }

    /// Some of those that are to be told of now.
    fn due(&self, now: BootTime, everything: bool) -> Vec<(Place, Count)> {
        let all = self.0.iter().flat_map(|(case, places)| places.iter().map(|(from, count)| ((*case, *from), *count)));
        all.filter(|(_, count)| count.count > 0 && (everything || count.may_be_told(now))).take(BATCH).collect()
    }

    fn told(&mut self, (case, from): &Place, now: BootTime) {
        if let Some(count) = self.0.get_mut(case).and_then(|places| places.get_mut(from)) {
            count.count = 0;
            count.told_at = Some(now);
        }
    }

    /// Makes room of what was told of long ago and has not come again.
    fn forget(&mut self, now: BootTime) {
        for places in self.0.values_mut() {
            places.retain(|_, count| count.count > 0 || !count.may_be_told(now));
        }
        self.0.retain(|_, places| !places.is_empty());
    }
}

impl Count {
    fn may_be_told(&self, now: BootTime) -> bool {
        self.told_at.is_none_or(|told_at| now.duration_since(told_at) >= TELL_AGAIN)
    }
}

fn event(place: &Place, count: &Count, at: Timestamp) -> AuditEvent {
    let (Case { token, reason }, from) = place;
    let (action, kind, id, account) = match token {
        Token::Service(id, account) => ("service_token.refused", "service_token", id.to_string(), *account),
        Token::Api(id, account) => ("api_token.refused", "api_token", id.to_string(), *account),
    };
    // Who has the right secret is the token; who has not may be anybody.
    let actor = match reason {
        Reason::Invalid => AuditActor { kind: "unknown", id: String::new() },
        Reason::Expired | Reason::Disabled | Reason::Revoked | Reason::AddressNotAllowed | Reason::NotPermitted => {
            AuditActor { kind, id: id.clone() }
        }
    };
    let mut detail = json!({
        "reason": reason.as_str(),
        "count": count.count,
        "first_at": count.first_at.to_string(),
        "last_at": count.last_at.to_string(),
    });
    let address = match from {
        Source::Address(address) => Some(address.to_string()),
        Source::Socket => None,
        Source::Elsewhere => {
            if let Some(detail) = detail.as_object_mut() {
                detail.insert("addresses".to_owned(), json!("several"));
            }
            None
        }
    };
    AuditEvent {
        actor,
        action,
        subject_kind: kind,
        subject_id: id,
        account: Some(account),
        at,
        address,
        request_id: None,
        detail: detail.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use countersign_token::entropy::Entropy;
    use countersign_token::time::ManualClock;

    use super::*;

    fn case(entropy: &Entropy) -> Case {
        let id = ServiceTokenId::generate(Timestamp::from_secs(1), entropy);
        Case { token: Token::Service(id, AccountId::from_bytes([1; 16])), reason: Reason::Invalid }
    }

    fn address(number: u8) -> Option<IpAddr> {
        Some([192, 0, 2, number].into())
    }

    /// The numbers that are due, told of at once.
    fn tell(cases: &mut Cases, now: BootTime) -> Vec<u64> {
        let due = cases.due(now, false);
        due.iter().for_each(|(place, _)| cases.told(place, now));
        cases.forget(now);
        due.iter().map(|(_, count)| count.count).collect()
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_after_an_hour() {
        let clock = ManualClock::new(Timestamp::from_secs(1_000));
        let time = Clock::Manual(clock.clone());
        let mut cases = Cases::default();
        let case = case(&Entropy::seeded(1));
        assert!(cases.add(case, address(1), time.now()));
        assert_eq!(tell(&mut cases, time.boot()), [1]);
        for _ in 0..100 {
            clock.advance(Duration::from_secs(30));
            assert!(cases.add(case, address(1), time.now()));
            assert!(tell(&mut cases, time.boot()).is_empty());
        }
        assert_eq!(cases.due(time.boot(), true).len(), 1, "a stop tells of everything");
        clock.advance(Duration::from_secs(600));
        assert_eq!(tell(&mut cases, time.boot()), [100]);
        // Nothing for an hour: it is forgotten, and the next one is told at once.
        clock.advance(TELL_AGAIN);
        assert!(tell(&mut cases, time.boot()).is_empty());
        assert!(cases.0.is_empty());
        assert!(cases.add(case, address(1), time.now()));
        assert_eq!(tell(&mut cases, time.boot()), [1]);
    }

    #[test]
    fn a_flood_takes_bounded_room() {
        let entropy = Entropy::seeded(2);
        let clock = Clock::Manual(ManualClock::new(Timestamp::from_secs(1_000)));
        let mut cases = Cases::default();
        let first = case(&entropy);
        for number in 0..=255 {
            assert!(cases.add(first, address(number), clock.now()));
        }
        assert_eq!(cases.0[&first].len(), ADDRESSES_MAX + 1, "and the one that stands for all others");
        assert_eq!(cases.0[&first][&Source::Elsewhere].count, 256 - u64::try_from(ADDRESSES_MAX).unwrap());
        for _ in 1..CASES_MAX {
            assert!(cases.add(case(&entropy), None, clock.now()));
        }
        assert!(!cases.add(case(&entropy), None, clock.now()));
        assert!(cases.add(first, address(7), clock.now()), "what is known goes on being counted");
        assert_eq!(cases.due(clock.boot(), false).len(), BATCH);
    }

    #[test]
    fn the_gate_never_waits_for_room() {
        let (waiting, _receiver) = mpsc::channel(2);
        let refusals = Refusals { waiting, unrecorded: Counter::default() };
        let who = Who::Claimed(ClientId::from_bytes([1; 16]));
        let attempt = Attempt { who, reason: Reason::Invalid, address: None, at: Timestamp::from_secs(1) };
        for _ in 0..5 {
            refusals.add(attempt);
        }
        assert_eq!(refusals.unrecorded.get(), 3);
    }

    #[test]
    fn an_event_says_what_is_known() {
        let clock = Clock::Manual(ManualClock::new(Timestamp::from_secs(1_000)));
        let case = case(&Entropy::seeded(3));
        let Token::Service(id, account) = case.token else { panic!("a service token") };
        let (first_at, last_at) = (Timestamp::from_secs(1), Timestamp::from_secs(2));
        let count = Count { count: 3, first_at, last_at, told_at: None };
        let told = event(&(case, Source::Address([192, 0, 2, 1].into())), &count, clock.now());
        assert_eq!(
            (told.action, told.subject_kind, told.subject_id),
            ("service_token.refused", "service_token", id.to_string())
        );
        assert_eq!((told.account, told.at, told.address.as_deref()), (Some(account), clock.now(), Some("192.0.2.1")));
        assert_eq!((told.actor.kind, told.actor.id.as_str()), ("unknown", ""));
        let expected = json!({
            "reason": "invalid", "count": 3, "first_at": "1970-01-01T00:00:01Z", "last_at": "1970-01-01T00:00:02Z",
        });
        assert_eq!(told.detail, expected.to_string());
        let disabled = Case { reason: Reason::Disabled, ..case };
        let told = event(&(disabled, Source::Elsewhere), &count, clock.now());
        assert_eq!((told.actor.kind, told.actor.id, told.address), ("service_token", id.to_string(), None));
        assert!(told.detail.contains(r#""addresses":"several""#), "{}", told.detail);
    }
}
