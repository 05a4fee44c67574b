//! Slowing those who try wrong credentials at the gate.
//!
//! Only failures count, and only those who fail are told to wait: a good credential is verified before anything is looked at
//! here. There is a fixed number of places to count at, each a number that any thread moves: however many addresses there
//! are, it costs the same, and nobody waits for anybody. Two addresses that share a place are slowed together.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicI64, Ordering};

use countersign_token::entropy::Entropy;
use countersign_token::time::BootTime;

use crate::throttle::network;

/// How many places there are. One address of those that fail meets another one by this chance.
const PLACES: usize = 4096;

const MINUTE_US: i64 = 60_000_000;

/// Failures of late, by where they came from.
#[derive(Debug)]
pub(crate) struct Brake {
    /// How long one failure counts.
    each_us: i64,
    /// So that nobody can choose whom they meet.
    seed: [u8; 16],
    /// When the failures that came from a place would be forgotten, at the rate that is allowed.
    until: Box<[AtomicI64]>,
}

impl Brake {
    /// Lets `max` failures in a minute pass from each address, together or one after the other.
    pub(crate) fn new(max: NonZeroU32, entropy: &Entropy) -> Self {
        Self {
            each_us: MINUTE_US / i64::from(max.get()),
            seed: entropy.bytes(),
            until: (0..PLACES).map(|_| AtomicI64::new(i64::MIN)).collect(),
        }
    }

    /// Counts a failure from an address, and says how many seconds whoever fails there is to wait, if they are. What is
    /// refused for that doesn't count, so that waiting ends.
    pub(crate) fn fail(&self, address: IpAddr, now: BootTime) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        (self.seed, network(address)).hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % (PLACES as u64)).ok().and_then(|place| self.until.get(place))?;
        let now = now.as_micros();
        let counted = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |until| {
            let after = until.max(now).saturating_add(self.each_us);
            (after.saturating_sub(now) <= MINUTE_US).then_some(after)
        });
        let until = counted.err()?;
        let wait = until.saturating_add(self.each_us).saturating_sub(now).saturating_sub(MINUTE_US);
        Some(u64::try_from(wait).unwrap_or(0).div_ceil(1_000_000).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brake(max: u32) -> Brake {
        Brake::new(NonZeroU32::new(max).unwrap(), &Entropy::seeded(1))
    }

    fn at(millis: i64) -> BootTime {
        BootTime::from_micros(millis * 1000)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn so_many_a_minute_pass_together_or_one_after_the_other() {
        let brake = brake(60);
        let here = ip("192.0.2.1");
        for number in 0..60 {
            assert_eq!(brake.fail(here, at(100)), None, "{number}");
        }
        assert_eq!(brake.fail(here, at(100)), Some(1));
        assert_eq!(brake.fail(here, at(1099)), Some(1), "what is refused does not count");
        assert_eq!(brake.fail(here, at(1100)), None, "one more a second");
        assert_eq!(brake.fail(here, at(1100)), Some(1));
        // After a minute of peace all is as at the beginning.
        for number in 0..60 {
            assert_eq!(brake.fail(here, at(61_100)), None, "{number}");
        }
        assert_eq!(brake.fail(here, at(61_100)), Some(1));
        for second in 0..600 {
            assert_eq!(brake.fail(ip("192.0.2.2"), at(1000 * second)), None, "{second}");
        }
    }

    #[test]
    fn who_may_fail_once_waits_for_a_minute() {
        let brake = brake(1);
        assert_eq!(brake.fail(ip("192.0.2.1"), at(0)), None);
        assert_eq!(brake.fail(ip("192.0.2.1"), at(1)), Some(60));
        assert_eq!(brake.fail(ip("192.0.2.1"), at(59_999)), Some(1));
        assert_eq!(brake.fail(ip("192.0.2.1"), at(60_000)), None);
    }

    #[test]
    fn one_client_is_one_address() {
        let check = |one: &str, other: &str, together: bool| {
            let brake = brake(1);
            assert_eq!(brake.fail(ip(one), at(0)), None);
            assert_eq!(brake.fail(ip(other), at(0)).is_some(), together, "{one} {other}");
        };
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "::ffff:192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("2001:db8::1", "2001:db8::ffff:1", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
    }

    /// Few meet, and who meets whom is another thing for every server.
    #[test]
    fn addresses_are_spread() {
        let slowed = |seed: u64| {
            let brake = Brake::new(NonZeroU32::MIN, &Entropy::seeded(seed));
            let addresses = (0..=255).map(|last| IpAddr::from([192, 0, 2, last]));
            addresses.filter(|address| brake.fail(*address, at(0)).is_some()).collect::<Vec<_>>()
        };
        let (one, other) = (slowed(1), slowed(2));
        assert!(one.len() < 30 && other.len() < 30, "{} {}", one.len(), other.len());
        assert_ne!(one, other);
    }

    #[test]
    fn threads_count_together() {
        let brake = brake(1000);
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| brake.fail(ip("192.0.2.1"), at(0)).is_none()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 1000);
    }
}
