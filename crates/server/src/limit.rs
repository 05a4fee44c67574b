//! How much one caller, and one address that guesses, may ask of the management API.
//!
//! Only failures count against an address: a good credential is always admitted, whatever else comes from behind the same
//! proxy. What a caller asks counts against the caller, wherever it comes from.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use countersign_token::time::BootTime;
use http::{HeaderMap, HeaderValue, header};

use crate::caller::Caller;
use crate::throttle::{Attempt, Throttle, Wait};

/// The time in which a caller's requests are counted, as in the dialect's documents.
const REQUESTS_WINDOW: Duration = Duration::from_secs(300);

/// The time in which an address's failures are counted. Nobody who mends their configuration waits for long.
const FAILURES_WINDOW: Duration = Duration::from_secs(60);

/// What the status 429 means, for descriptions.
pub(crate) const MEANING: &str =
    "The caller has sent too many requests, or too many wrong credentials have come from its address";

/// Such an answer, for descriptions.
pub(crate) const EXAMPLE: Exceeded = Exceeded::Requests(NonZeroU32::MIN.saturating_add(1199), Wait::NONE);

/// The limits of one server.
#[derive(Debug, Default)]
pub struct Limits {
    requests: Option<(NonZeroU32, Throttle)>,
    failures: Option<Throttle>,
}

/// Why a request is not served now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// The caller has sent this many requests, and waits.
    Requests(NonZeroU32, Wait),
    /// Too many wrong credentials have come from the address.
    Failures(Wait),
}

impl Limits {
    /// `requests` of one caller in five minutes, and `failures` of one address in a minute; `None` for no limit.
    pub fn new(requests: Option<NonZeroU32>, failures: Option<NonZeroU32>) -> Self {
        Self {
            requests: requests.map(|max| (max, Throttle::new(max.get(), REQUESTS_WINDOW))),
            failures: failures.map(|max| Throttle::new(max.get(), FAILURES_WINDOW)),
        }
    }

    /// Counts a request of `caller`.
    pub(crate) fn admit(&self, caller: &Caller, now: BootTime) -> Result<(), Exceeded> {
        let Some((max, requests)) = &self.requests else { return Ok(()) };
        // A verifier that had to wait would go stale, and asks no more often than there are changes.
        if caller.only_follows() {
            return Ok(());
        }
        requests.begin(&Attempt::by(caller.actor()), now).map_err(|wait| Exceeded::Requests(*max, wait))
    }

    /// Counts a wrong credential from `address`. Whoever has no address is not counted.
    pub(crate) fn fail(&self, address: Option<IpAddr>, now: BootTime) -> Result<(), Exceeded> {
        let (Some(failures), Some(_)) = (&self.failures, address) else { return Ok(()) };
        failures.begin(&Attempt::from(address), now).map_err(Exceeded::Failures)
    }
}

impl Exceeded {
    /// Says in an answer's headers how long to wait.
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        let wait = match self {
            Self::Requests(max, wait) => {
                let (secs, window) = (wait.secs(), REQUESTS_WINDOW.as_secs());
                set(headers, "ratelimit", &format!("\"default\";r=0;t={secs}"));
                set(headers, "ratelimit-policy", &format!("\"default\";q={max};w={window}"));
                wait
            }
            Self::Failures(wait) => {
                // SDKs send a 429 again; what is wrong stays wrong.
                set(headers, "x-should-retry", "false");
                wait
            }
        };
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.secs()));
    }

    /// The words for whoever is refused.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Requests(max, _) => {
                let window = REQUESTS_WINDOW.as_secs();
                format!(
                    "More than {max} requests per {window} seconds reached. Please wait and consider throttling your \
                     request speed"
                )
            }
            Self::Failures(_) => "Too many wrong credentials have come from this address. Please wait".to_owned(),
        }
    }
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}
