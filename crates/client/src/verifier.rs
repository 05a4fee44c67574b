//! Verification inside a program of your own: no proxy, no question to a server for each request.
//!
//! A [`Verifier`] keeps every credential of the accounts that it may see in memory, by following the server's feed of
//! changes. [`Verifier::check`] decides about one request as the gate does; [`VerifyLayer`] puts that before a
//! [`tower::Service`].
//!
//! A server waits for its verifiers as it does for other servers: when a call that revokes a token returns, no verifier admits
//! the token any more. A verifier that can't follow for longer than the installation's `max_staleness` refuses everything.

mod follower;
mod layer;
mod source;
mod wire;

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use countersign_token::credential::Presented;
use countersign_token::demand;
use countersign_token::digest::InstallationKey;
use countersign_token::entropy::Entropy;
use countersign_token::feed::Freshness;
use countersign_token::id::AccountId;
pub use countersign_token::index::Detail;
use countersign_token::index::Index;
use countersign_token::time::{BootTime, Clock};
use countersign_token::verify::{self, Reason, Verified, verify};
use http::{HeaderMap, StatusCode};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use self::layer::{Verify, VerifyLayer};
pub use countersign_token::demand::DemandError;
pub use countersign_token::verify::{Kind, SecretSlot};

use self::follower::Follower;
use self::source::Source;
use crate::credential::Credential;

/// Why a verifier can't be made, or can't follow.
pub type Error = crate::error::Error<Refused>;

/// The server refused to show its feed, and said why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server refused ({status} {code}): {detail}")]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The problem's code.
    pub code: String,
    /// The problem in words.
    pub detail: String,
}

/// Decides about requests by what a server's feed says. Clones are the same verifier; when the last one is dropped, it
/// stops.
#[derive(Clone, Debug)]
pub struct Verifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: DropGuard,
}

/// What the task that follows and those who ask have in common.
#[derive(Debug)]
struct Shared {
    clock: Clock,
    /// `None` before everything was read, and after the end.
    live: ArcSwapOption<Index>,
    freshness: Freshness,
    max_staleness_micros: AtomicI64,
    problem: Mutex<Option<String>>,
}

/// What a credential must belong to.
#[derive(Clone, Debug)]
pub struct Demand(Arc<str>);

/// Who is admitted; in a request's extensions behind a [`VerifyLayer`].
#[derive(Clone, Debug)]
pub struct Identity {
    /// What the credential is.
    pub kind: Kind,
    /// Which of its secrets was presented.
    pub slot_used: SecretSlot,
    /// What is known of it.
    pub detail: Detail,
}

/// Whether a request is admitted.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It is.
    Admit(Identity),
    /// It isn't.
    Refuse(Refusal),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// There is no credential in it.
    Missing,
    /// There is one that is incomplete, doubled or ill-formed.
    Malformed,
    /// There is one that is not good, or not good for this.
    Credential(Reason),
    /// The feed could not be followed for too long: nothing can be promised.
    Stale,
}

impl Verifier {
    /// Follows the feed of the server at `address` (its management API) with a management token that holds `Countersign:
    /// Verification Feed Read`, and returns when everything is read. Runs in the Tokio runtime that it is called in.
    ///
    /// # Errors
    /// When the server can't be reached, refuses, or says what this program does not understand.
    pub async fn connect(address: &str, credential: &Credential) -> Result<Self, Error> {
        Self::connect_with(address, credential, Clock::System, Entropy::System).await
    }

    /// The same with a clock and a source of randomness of your own, for tests.
    ///
    /// # Errors
    /// As [`Verifier::connect`].
    pub async fn connect_with(
        address: &str,
        credential: &Credential,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Self, Error> {
        // Another one each time: a name that is used twice at once would make one of the two be waited for no more.
        let name = AccountId::generate(&entropy).to_string();
        let source = Source::new(address, credential, name)?;
        let shared = Arc::new(Shared {
            clock,
            live: ArcSwapOption::empty(),
            freshness: Freshness::new(BootTime::from_micros(i64::MIN)),
            max_staleness_micros: AtomicI64::new(0),
            problem: Mutex::default(),
        });
        let mut follower = Follower::new(source, Arc::clone(&shared), entropy);
        follower.load().await?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(follower.run(stop.clone()));
        tasks.close();
        Ok(Self(Arc::new(Inner { shared, tasks, stop: stop.drop_guard() })))
    }

    /// Decides about a request with these headers. It reads memory only. A token that may only come from some networks is
    /// refused: see [`Verifier::check_from`].
    pub fn check(&self, headers: &HeaderMap, demand: &Demand) -> Decision {
        self.check_from(None, headers, demand)
    }

    /// The same of a request that comes from `address`; `None` where that isn't known. Whoever asks says whom to believe: the
    /// address of the connection may be a proxy's, and a header may be anybody's.
    pub fn check_from(&self, address: Option<IpAddr>, headers: &HeaderMap, demand: &Demand) -> Decision {
        self.0.shared.check(address, headers, demand).unwrap_or_else(Decision::Refuse)
    }

    /// Whether the feed was followed recently enough to decide: what a readiness probe asks.
    pub fn is_fresh(&self) -> bool {
        self.0.shared.live().is_ok()
    }

    /// Why the feed can't be followed at the moment; `None` if it can.
    pub fn problem(&self) -> Option<String> {
        self.0.shared.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of credentials that are known.
    pub fn len(&self) -> usize {
        self.0.shared.live.load().as_ref().map_or(0, |index| index.len())
    }

    /// Whether no credential is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Admits nobody from here on, and tells the server, so that it waits for this verifier no more.
    pub async fn stop(&self) {
        self.0.shared.close();
        self.0.stop.token().cancel();
        self.0.tasks.wait().await;
    }
}

impl Shared {
    fn check(&self, address: Option<IpAddr>, headers: &HeaderMap, demand: &Demand) -> Result<Decision, Refusal> {
        let index = self.live()?;
        // It was parsed before, without the ids of this index.
        let (demand, single_header) =
            demand::Demand::parse(&demand.0, &index).map_err(|_nobody| Refusal::Credential(Reason::NotPermitted))?;
        let demand = demand.presented_from(address);
        let fields = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let credential = match Presented::from_headers(fields, single_header.as_deref()) {
            Presented::Credential(credential) => credential,
            Presented::Missing => return Err(Refusal::Missing),
            Presented::Malformed => return Err(Refusal::Malformed),
        };
        let now = self.clock.now();
        match verify(&index, &credential, &demand, now) {
            verify::Decision::Allow(verified) => {
                let Verified { handle, kind, slot_used, .. } = verified;
                // Deleted since it was verified.
                let detail = index.describe(handle).ok_or(Refusal::Credential(Reason::Invalid))?;
                Ok(Decision::Admit(Identity { kind, slot_used, detail }))
            }
            verify::Decision::Refuse(refusal) => Err(Refusal::Credential(refusal.reason)),
        }
    }

    /// The index, while it may decide.
    fn live(&self) -> Result<Arc<Index>, Refusal> {
        let max_staleness_micros = self.max_staleness_micros.load(Ordering::Acquire);
        if !self.freshness.is_fresh(self.clock.boot(), max_staleness_micros) {
            return Err(Refusal::Stale);
        }
        self.live.load_full().ok_or(Refusal::Stale)
    }

    fn close(&self) {
        self.live.store(None);
    }

    fn note(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

impl Demand {
    /// A demand in the words of the gate's URL: `account_id=…`, `zone_id=…`, `environment_id=…`, `service_token_id=…`,
    /// `header=…`, joined by `&`.
    ///
    /// # Errors
    /// When it is malformed, or demands neither account, zone nor environment. No program can be asked for an assertion
    /// (`aud`), which only the gate makes.
    pub fn parse(query: &str) -> Result<Self, DemandError> {
        let nobody = Index::new(InstallationKey::generate(&Entropy::System).digest_key(), &Entropy::System);
        match demand::Demand::parse(query, &nobody)? {
            (demand, _) if demand.audience().is_some() => Err(DemandError::Unknown),
            _ => Ok(Self(query.into())),
        }
    }

    /// Demands that the credential belongs to an account, or to a zone or environment of it.
    pub fn account(id: &AccountId) -> Self {
        Self(format!("account_id={id}").into())
    }
}

impl Refusal {
    /// The word on the wire, as the gate says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Credential(reason) => reason.as_str(),
            Self::Stale => "stale",
        }
    }

    /// The HTTP status, as the gate answers.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Missing | Self::Malformed => StatusCode::UNAUTHORIZED,
            Self::Credential(Reason::AddressNotAllowed | Reason::NotPermitted) => StatusCode::FORBIDDEN,
            Self::Credential(Reason::Invalid | Reason::Expired | Reason::Disabled | Reason::Revoked) => {
                StatusCode::UNAUTHORIZED
            }
            Self::Stale => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
