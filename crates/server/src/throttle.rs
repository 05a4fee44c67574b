//! Counting attempts: whoever has made too many in a time waits for the rest of it.
//!
//! Those who guess are slowed by their address, and by the e-mail address that they try, each by itself. The secrets that
//! are asked for can't be guessed; this keeps the attempt from being cheap, and from filling the log. Callers are counted
//! by who they are.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_store::AuditActor;
use countersign_token::time::BootTime;

/// How many failures a person may have who types a key, and in which time.
const PERSON: (u32, Duration) = (5, Duration::from_secs(15 * 60));

/// How many windows are remembered. Beyond that, the oldest is forgotten: whoever has thousands of addresses to fail from
/// gains little by it, and by failing they must not be able to lock everybody else out.
const WINDOWS_MAX: usize = 4096;

/// Longer addresses can't be anybody's, so that nothing need be remembered of them.
const EMAIL_LEN_MAX: usize = 254;

/// The attempts of late.
#[derive(Debug)]
pub(crate) struct Throttle {
    max: u32,
    /// How long a window lasts, from its first attempt.
    length: Duration,
    windows: Mutex<HashMap<Whom, Window>>,
}

/// What suits people.
impl Default for Throttle {
    fn default() -> Self {
        let (max, length) = PERSON;
        Self::new(max, length)
    }
}

/// Those whom one attempt counts against.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    whom: Whom,
    email: Option<Whom>,
}

/// How long to wait before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(Duration);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Whom {
    /// `None` stands for all who have no address, behind a Unix socket.
    Network(Option<IpAddr>),
    Email(String),
    /// The kind and the id of a credential.
    Caller(&'static str, String),
}

#[derive(Clone, Copy, Debug)]
struct Window {
    since: BootTime,
    failures: u32,
}

impl Attempt {
    /// An attempt that comes from `address`, on no particular user.
    pub(crate) fn from(address: Option<IpAddr>) -> Self {
        Self { whom: Whom::Network(address.map(network)), email: None }
    }

    /// An attempt of this caller, wherever it comes from.
    pub(crate) fn by(caller: AuditActor) -> Self {
        Self { whom: Whom::Caller(caller.kind, caller.id), email: None }
    }

    /// The same on the user with this e-mail address.
    pub(crate) fn on(mut self, email: &str) -> Self {
        self.email = (email.len() <= EMAIL_LEN_MAX).then(|| Whom::Email(email.to_lowercase()));
        self
    }

    fn each(&self) -> impl Iterator<Item = &Whom> {
        std::iter::once(&self.whom).chain(&self.email)
    }
}

impl Wait {
    pub(crate) const NONE: Self = Self(Duration::ZERO);

    /// Whole seconds, at least one.
    pub(crate) fn secs(self) -> u64 {
        self.0.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1)
    }
}

impl Throttle {
    /// Lets `max` attempts pass in a window of this length.
    pub(crate) fn new(max: u32, length: Duration) -> Self {
        Self { max, length, windows: Mutex::default() }
    }

    /// Lets an attempt pass, or says how long to wait. It counts as failed until [`Throttle::succeed`] is told otherwise:
    /// many at once are no way around the count.
    pub(crate) fn begin(&self, attempt: &Attempt, now: BootTime) -> Result<(), Wait> {
        let mut windows = self.lock();
        let wait = attempt.each().filter_map(|whom| self.wait(windows.get(whom)?, now)).max();
        if let Some(wait) = wait {
            return Err(Wait(wait));
        }
        for whom in attempt.each() {
            let running = windows.get(whom).copied().filter(|window| self.rest(window, now).is_some());
            if running.is_none() && windows.len() >= WINDOWS_MAX {
                self.make_room(&mut windows, now);
            }
            let window = running.unwrap_or(Window { since: now, failures: 0 });
            windows.insert(whom.clone(), Window { failures: window.failures + 1, ..window });
        }
        Ok(())
    }

    /// Takes an attempt back that has succeeded. Its client's address begins anew. The user's does not: others may be
    /// guessing at the same time.
    pub(crate) fn succeed(&self, attempt: &Attempt) {
        let mut windows = self.lock();
        windows.remove(&attempt.whom);
        if let Some(email) = &attempt.email
            && let Some(window) = windows.get_mut(email)
        {
            window.failures = window.failures.saturating_sub(1);
            if window.failures == 0 {
                windows.remove(email);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Whom, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is left of a window; `None` if it is over.
    fn rest(&self, window: &Window, now: BootTime) -> Option<Duration> {
        self.length.checked_sub(now.duration_since(window.since)).filter(|rest| !rest.is_zero())
    }

    /// How long a window's subject must wait; `None` if they need not.
    fn wait(&self, window: &Window, now: BootTime) -> Option<Duration> {
        self.rest(window, now).filter(|_| window.failures >= self.max)
    }

    /// Forgets the windows that are over, and the oldest if none is.
    fn make_room(&self, windows: &mut HashMap<Whom, Window>, now: BootTime) {
        windows.retain(|_, window| self.rest(window, now).is_some());
        if windows.len() >= WINDOWS_MAX {
            let oldest = windows.iter().min_by_key(|(_, window)| window.since).map(|(whom, _)| whom.clone());
            if let Some(oldest) = oldest {
                windows.remove(&oldest);
            }
        }
    }
}

/// What one client can choose among: of an IPv6 address, the network of 64 bits that even a telephone is given whole.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        IpAddr::V4(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> BootTime {
        BootTime::from_micros(secs * 1_000_000)
    }

    fn from(address: &str) -> Attempt {
        Attempt::from(Some(address.parse().unwrap()))
    }

    fn fail(throttle: &Throttle, attempt: &Attempt, times: u32, secs: i64) {
        for _ in 0..times {
            throttle.begin(attempt, at(secs)).unwrap();
        }
    }

    fn wait(throttle: &Throttle, attempt: &Attempt, secs: i64) -> Option<u64> {
        throttle.begin(attempt, at(secs)).err().map(Wait::secs)
    }

    #[test]
    fn after_five_failures_the_rest_of_the_window_is_waited() {
        let throttle = Throttle::default();
        let attempt = from("192.0.2.1");
        fail(&throttle, &attempt, 1, 100);
        fail(&throttle, &attempt, 4, 500);
        assert_eq!(wait(&throttle, &attempt, 500), Some(500));
        // What is refused is not counted, so that waiting ends.
        assert_eq!(wait(&throttle, &attempt, 999), Some(1));
        assert_eq!(throttle.begin(&attempt, BootTime::from_micros(999_999_999)).map_err(Wait::secs), Err(1));
        fail(&throttle, &attempt, 5, 1000);
        assert_eq!(wait(&throttle, &attempt, 1000), Some(900));
    }

    #[test]
    fn failures_of_another_window_do_not_count() {
        let throttle = Throttle::default();
        let attempt = from("192.0.2.1");
        fail(&throttle, &attempt, 4, 0);
        fail(&throttle, &attempt, 5, 900);
        assert_eq!(wait(&throttle, &attempt, 900), Some(900));
    }

    #[test]
    fn callers_count_by_themselves_and_as_often_as_is_said() {
        let throttle = Throttle::new(2, Duration::from_secs(300));
        let caller = |kind, id: &str| Attempt::by(AuditActor { kind, id: id.to_owned() });
        let one = caller("user", "1");
        fail(&throttle, &one, 2, 0);
        assert_eq!(wait(&throttle, &one, 10), Some(290));
        assert_eq!(wait(&throttle, &caller("user", "2"), 10), None);
        assert_eq!(wait(&throttle, &caller("api_token", "1"), 10), None);
        assert_eq!(wait(&throttle, &one, 300), None);
    }

    #[test]
    fn each_network_counts_by_itself() {
        let check = |one: &Attempt, other: &Attempt, same: bool| {
            let throttle = Throttle::default();
            fail(&throttle, one, 5, 0);
            assert_eq!(wait(&throttle, other, 0).is_some(), same, "{one:?} {other:?}");
        };
        check(&from("192.0.2.1"), &from("192.0.2.2"), false);
        check(&from("192.0.2.1"), &from("::ffff:192.0.2.1"), true);
        check(&from("2001:db8:0:1::1"), &from("2001:db8:0:1:ffff::2"), true);
        check(&from("2001:db8:0:1::1"), &from("2001:db8:0:2::1"), false);
        check(&Attempt::from(None), &Attempt::from(None), true);
        check(&Attempt::from(None), &from("192.0.2.1"), false);
    }

    #[test]
    fn a_user_counts_wherever_the_attempts_come_from() {
        let throttle = Throttle::default();
        for number in 0..5 {
            fail(&throttle, &from(&format!("192.0.2.{number}")).on("a@example.com"), 1, 0);
        }
        assert_eq!(wait(&throttle, &from("192.0.2.9").on("A@Example.com"), 0), Some(900));
        assert_eq!(wait(&throttle, &from("192.0.2.9").on("b@example.com"), 0), None);
        // Who waits for one of the two has not failed for the other.
        fail(&throttle, &from("192.0.2.9"), 4, 0);
        assert_eq!(wait(&throttle, &from("192.0.2.9"), 0), Some(900));
    }

    #[test]
    fn a_success_clears_the_network_and_takes_one_from_the_user() {
        let throttle = Throttle::default();
        let attempt = from("192.0.2.1").on("a@example.com");
        fail(&throttle, &attempt, 4, 0);
        throttle.begin(&attempt, at(1)).unwrap();
        throttle.succeed(&attempt);
        fail(&throttle, &from("192.0.2.1"), 5, 2);
        fail(&throttle, &from("192.0.2.2").on("a@example.com"), 1, 2);
        assert_eq!(wait(&throttle, &from("192.0.2.3").on("a@example.com"), 2), Some(898));
        let alone = from("192.0.2.4").on("b@example.com");
        throttle.begin(&alone, at(3)).unwrap();
        throttle.succeed(&alone);
        assert!(!throttle.lock().keys().any(|whom| alone.each().any(|own| own == whom)), "nothing is left of it");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let throttle = Throttle::default();
        let first = from("198.51.100.1");
        fail(&throttle, &first, 5, 0);
        let last = from("198.51.100.2");
        fail(&throttle, &last, 5, 1);
        let others = u32::try_from(WINDOWS_MAX).unwrap() - 1;
        for number in 0..others {
            let address = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
            throttle.begin(&Attempt::from(Some(address)), at(2)).unwrap();
        }
        assert_eq!(throttle.lock().len(), WINDOWS_MAX);
        // The oldest is forgotten, and no other.
        assert_eq!(wait(&throttle, &last, 2), Some(899));
        assert_eq!(wait(&throttle, &first, 2), None);
        // Windows that are over make room for all.
        fail(&throttle, &from("203.0.113.1"), 1, 902);
        assert_eq!(throttle.lock().len(), 1);
        // An address that is too long to be anybody's is not kept.
        fail(&throttle, &from("203.0.113.1").on(&"x".repeat(EMAIL_LEN_MAX + 1)), 1, 902);
        assert_eq!(throttle.lock().len(), 1);
    }
}
