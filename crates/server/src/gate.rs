//! The gate: where reverse proxies ask whether a presented credential is good.
//!
//! Here are only the decision and its words. [`forward_auth`] is the HTTP surface, [`grpc`] Envoy's, [`listener`] their
//! sockets. Nothing in here knows the store: every answer comes from the index in memory.

use std::borrow::Cow;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use countersign_token::credential::{Credential, Presented};
use countersign_token::demand::{Demand, DemandError};
use countersign_token::entropy::Entropy;
use countersign_token::feed::Freshness;
use countersign_token::index::{Detail, Index};
use countersign_token::time::{Clock, Timestamp};
use countersign_token::verify::{self, Decision, Reason, Verified, verify};

use crate::assertion::{Assertions, Minting};
use crate::config::Stale;
use crate::proxy::TrustedProxies;
use crate::refusal::{Attempt, Refusals, Who};
use crate::visitor::Visitors;

mod answer;
pub(crate) mod brake;
pub mod forward_auth;
pub mod grpc;
pub mod listener;
mod plain;
mod tally;
#[cfg(test)]
mod tests;

use self::answer::Reply;
pub use self::answer::Response;
use self::brake::Brake;
pub use self::tally::Tallies;
use self::tally::Tally;

/// At most one warning in this time says that a proxy is configured wrongly.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// What every surface of the gate shares. Each thread has its own, which differs in where it counts.
#[derive(Debug)]
pub struct Gate {
    index: Arc<Index>,
    freshness: Arc<Freshness>,
    max_staleness: Duration,
    stale: Stale,
    clock: Clock,
    tallies: Tallies,
    tally: Arc<Tally>,
    warning: Arc<Warning>,
    refusals: Option<Refusals>,
    visitors: Option<Visitors>,
    brake: Option<Arc<Brake>>,
    proxies: Arc<TrustedProxies>,
    assertions: Option<Assertions>,
}

/// When it was said that a proxy is configured wrongly, and how often it was not said since.
#[derive(Debug)]
struct Warning {
    warned_at: AtomicI64,
    unwarned: AtomicU64,
}

/// What the gate answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The credential is good and meets the demand.
    Allow(Verified),
    /// It is not admitted.
    Refuse(Refusal),
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request carries no credential.
    Missing,
    /// It carries something that can't be read as one credential.
    Malformed,
    /// The credential is not good enough, for a reason of `token`'s.
    Credential(Reason),
    /// The proxy has not said what it demands, or not so that it can be understood.
    NoDemand,
    /// This node can't promise anything at the moment.
    Stale,
    /// The proxy demands an assertion, and none could be made in time.
    NoAssertion,
    /// The credential is unknown or wrong, like too many that came from the same address.
    Throttled {
        /// After how many seconds another failure would not be too many.
        wait_secs: u64,
        /// Whether the proxy passes on the status that says so.
        is_carried: bool,
    },
}

/// How far a surface has come with the assertion that a request may need.
#[derive(Debug)]
enum Awaited {
    /// It has not waited for any.
    Nothing,
    /// It has waited, and this has come of it.
    Over(Option<Arc<str>>),
}

impl Refusal {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Credential(reason) => reason.as_str(),
            Self::NoDemand => "no_demand",
            Self::Stale => "stale",
            Self::NoAssertion => "no_assertion",
            Self::Throttled { .. } => "throttled",
        }
    }
}

impl Gate {
    /// A gate over `index`. Without [`Stale::Serve`] it refuses everything once `freshness` is older than
    /// `max_staleness`. It counts in one of `tallies`.
    pub fn new(
        index: Arc<Index>,
        freshness: Arc<Freshness>,
        max_staleness: Duration,
        stale: Stale,
        clock: Clock,
        tallies: Tallies,
    ) -> Self {
        let warning = Arc::new(Warning { warned_at: AtomicI64::new(i64::MIN), unwarned: AtomicU64::new(0) });
        let tally = tallies.add();
        let proxies = Arc::default();
        Self {
            index,
            freshness,
            max_staleness,
            stale,
            clock,
            tallies,
            tally,
            warning,
            refusals: None,
            visitors: None,
            brake: None,
            proxies,
            assertions: None,
        }
    }

    /// The same gate, which leaves what it refuses with `refusals`.
    pub fn reporting_to(self, refusals: Refusals) -> Self {
        Self { refusals: Some(refusals), ..self }
    }

    /// The same gate, which notes with `visitors` who came with a secret.
    pub fn noting(self, visitors: Visitors) -> Self {
        Self { visitors: Some(visitors), ..self }
    }

    /// The same gate, which believes `proxies` about where a request came from.
    pub fn believing(self, proxies: TrustedProxies) -> Self {
        Self { proxies: Arc::new(proxies), ..self }
    }

    /// The same gate, which has `assertions` for the proxies that demand them. Without, it refuses those.
    pub fn asserting(self, assertions: Assertions) -> Self {
        Self { assertions: Some(assertions), ..self }
    }

    /// The same gate, which tells whoever fails more than `max` times a minute to wait. Without, it tells nobody.
    pub fn slowing(self, max: NonZeroU32, entropy: &Entropy) -> Self {
        Self { brake: Some(Arc::new(Brake::new(max, entropy))), ..self }
    }

    /// The same gate for another thread.
    pub fn for_thread(&self) -> Self {
        Self {
            index: Arc::clone(&self.index),
            freshness: Arc::clone(&self.freshness),
            max_staleness: self.max_staleness,
            stale: self.stale,
            clock: self.clock.clone(),
            tallies: self.tallies.clone(),
            tally: self.tallies.add(),
            warning: Arc::clone(&self.warning),
            refusals: self.refusals.clone(),
            visitors: self.visitors.clone(),
            brake: self.brake.clone(),
            proxies: Arc::clone(&self.proxies),
            assertions: self.assertions.clone(),
        }
    }

    /// The answer to a request with these headers, the same for every surface. It reads the clock once, counts, and marks an
    /// admitted credential as seen. `from` and `agent` say where the request came from and by what, where that is asked. If
    /// the demand asks for an assertion that is yet to be made, nothing is decided: the request is to be judged anew once
    /// that has come, or has not.
    fn answer<'h>(
        &self,
        demand: Result<(Demand, Option<Cow<'_, str>>), DemandError>,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
        from: impl Fn(&TrustedProxies) -> Option<IpAddr>,
        agent: impl FnOnce() -> Option<&'h [u8]>,
        request_id: impl FnOnce() -> Option<&'h str>,
        awaited: Awaited,
    ) -> Result<Reply, Minting> {
        let (demand, single_header) = match demand {
            Ok(demand) => demand,
            Err(error) => return Ok(answer::render(self, &self.refuse_without_demand(&error), None)),
        };
        let presented = Presented::from_headers(headers, single_header.as_deref());
        let mut answer = self.decide(&presented, &demand, &from, agent);
        let mut assertion = None;
        if let (Answer::Allow(verified), Some(audience)) = (&answer, demand.audience()) {
            assertion = self.assertion(verified, audience, awaited)?;
            if assertion.is_none() {
                answer = Answer::Refuse(Refusal::NoAssertion);
            }
        }
        self.tally.count(&answer);
        if let Answer::Refuse(refusal) = answer {
            // For operators who look for the one who is refused. Whoever does not costs a look at one flag.
            tracing::debug!(
                reason = refusal.as_str(),
                request.id = request_id(),
                address = from(&self.proxies).map(tracing::field::display),
                "refused"
            );
        }
        Ok(answer::render(self, &answer, assertion))
    }

    /// The assertion about an admitted token, made before or waited for. `None` if there can be none.
    #[inline(never)]
    fn assertion(&self, verified: &Verified, audience: &str, awaited: Awaited) -> Result<Option<Arc<str>>, Minting> {
        if let Awaited::Over(made) = awaited {
            return Ok(made);
        }
        let Some(assertions) = &self.assertions else { return Ok(None) };
        match self.index.describe(verified.handle) {
            Some(Detail::ServiceToken { id, client_id, .. }) => {
                assertions.find(id, client_id, audience, self.clock.now()).map(Some)
            }
            // Deleted since it was verified; no demand with an audience admits anything else.
            Some(_) | None => Ok(None),
        }
    }

    /// The answer where the proxy's demand is none.
    pub fn refuse_without_demand(&self, problem: &dyn std::fmt::Display) -> Answer {
        let answer = Answer::Refuse(Refusal::NoDemand);
        self.tally.count(&answer);
        self.warn(problem);
        answer
    }

    /// Whether this node may answer at all.
    pub fn is_ready(&self) -> bool {
        match self.stale {
            Stale::Refuse => self.freshness.is_fresh(self.clock.boot(), self.max_staleness_us()),
            Stale::Serve => true,
        }
    }

    fn decide<'h>(
        &self,
        presented: &Presented<'_>,
        demand: &Demand,
        from: impl Fn(&TrustedProxies) -> Option<IpAddr>,
        agent: impl FnOnce() -> Option<&'h [u8]>,
    ) -> Answer {
        if !self.is_ready() {
            return Answer::Refuse(Refusal::Stale);
        }
        let credential = match presented {
            Presented::Credential(credential) => credential,
            Presented::Missing => return Answer::Refuse(Refusal::Missing),
            Presented::Malformed => return Answer::Refuse(Refusal::Malformed),
        };
        let now = self.clock.now();
        let known = || self.proxies.known(from(&self.proxies));
        let mut decision = verify(&self.index, credential, demand, now);
        if let Decision::Refuse(verify::Refusal { reason: Reason::AddressNotAllowed, .. }) = decision {
            // Where it came from is looked for only where that matters.
            decision = verify(&self.index, credential, &demand.clone().presented_from(known()), now);
        }
        match decision {
            Decision::Allow(verified) => {
                // Rarely more than once a second and secret is there anything to note.
                if let Some(secret) = self.index.mark_seen(&verified, now)
                    && let (Some(visitors), Credential::Pair { secret: presented, .. }) = (&self.visitors, credential)
                {
                    visitors.note(secret, from(&self.proxies), agent(), presented, now.floor_to_second());
                }
                Answer::Allow(verified)
            }
            Decision::Refuse(refusal) => {
                self.report(credential, refusal, &from, now);
                let wait_secs = if refusal.reason == Reason::Invalid { self.slow(known) } else { None };
                Answer::Refuse(match wait_secs {
                    Some(wait_secs) => Refusal::Throttled { wait_secs, is_carried: demand.carries_429() },
                    None => Refusal::Credential(refusal.reason),
                })
            }
        }
    }

    /// Leaves an attempt to be recorded. An unknown client id goes the same way as a known one.
    #[cold]
    fn report(
        &self,
        credential: &Credential<'_>,
        refusal: verify::Refusal,
        from: impl Fn(&TrustedProxies) -> Option<IpAddr>,
        at: Timestamp,
    ) {
        let Some(refusals) = &self.refusals else { return };
        let who = match (refusal.handle, credential) {
            (Some(handle), _) => Who::Proven(handle),
            (None, Credential::Pair { client_id, .. }) => Who::Claimed(*client_id),
            (None, Credential::UnknownPair { .. } | Credential::Bearer { .. }) => return,
        };
        let address = from(&self.proxies);
        refusals.add(Attempt { who, reason: refusal.reason, address, at });
    }

    /// Counts a wrong credential from an address, and says how long whoever fails there is to wait, if they are. Nobody
    /// knows who an unknown address is, so that nothing counts against it.
    #[cold]
    fn slow(&self, address: impl FnOnce() -> Option<IpAddr>) -> Option<u64> {
        self.brake.as_ref()?.fail(address()?, self.clock.boot())
    }

    /// Answers a request, and times that if its turn has come.
    fn timed<T>(&self, answer: impl FnOnce() -> T) -> T {
        if !self.tally.is_timed() {
            return answer();
        }
        let begun = self.clock.boot();
        let answered = answer();
        self.tally.time(self.clock.boot().duration_since(begun));
        answered
    }

    /// Says that a proxy asks without a demand. Clients may be able to provoke it, so that it is said rarely, and
    /// without a word of what the client sent.
    fn warn(&self, problem: &dyn std::fmt::Display) {
        let now = self.clock.boot().as_micros();
        let Warning { warned_at, unwarned } = self.warning.as_ref();
        let last = warned_at.load(Ordering::Relaxed);
        let every = i64::try_from(WARN_EVERY.as_micros()).unwrap_or(i64::MAX);
        let due = now.saturating_sub(last) >= every;
        if due && warned_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let unwarned = unwarned.swap(0, Ordering::Relaxed);
            tracing::warn!(
                problem = %problem,
                unwarned,
                "a proxy asked the gate without a usable demand and was refused; see its configuration"
            );
        } else {
            unwarned.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn max_staleness_us(&self) -> i64 {
        i64::try_from(self.max_staleness.as_micros()).unwrap_or(i64::MAX)
    }
}
