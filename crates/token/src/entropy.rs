//! Random bytes, and the only place that reads the system's random source.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

/// Where randomness comes from: the system, or a test.
#[derive(Clone, Debug)]
pub enum Entropy {
    /// The system's random source.
    System,
    /// A fixed sequence, for tests: never for secrets that anybody relies on.
    Seeded(SeededEntropy),
}

impl Entropy {
    /// The same sequence for the same seed, on every machine. Clones continue one shared sequence.
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(SeededEntropy { seed, next_block: Arc::new(AtomicU64::new(0)) })
    }

    /// The next `N` random bytes.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: nothing that is made without it would be a secret.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match self {
            Self::System => fill_from_system(&mut bytes),
            Self::Seeded(sequence) => sequence.fill(&mut bytes),
        }
        bytes
    }
}

/// A fixed sequence of bytes: SHA-256 over a seed and a counter.
#[derive(Clone)]
pub struct SeededEntropy {
    seed: u64,
    next_block: Arc<AtomicU64>,
}

impl SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let block = self.next_block.fetch_add(1, Ordering::SeqCst);
            let random =
                Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(block.to_be_bytes()).finalize();
            for (byte, random) in chunk.iter_mut().zip(random) {
                *byte = random;
            }
        }
    }
}

impl fmt::Debug for SeededEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeededEntropy(..)")
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's random source")]
#[expect(clippy::panic, reason = "a caller that went on without randomness would issue guessable secrets")]
fn fill_from_system(bytes: &mut [u8]) {
    if let Err(error) = getrandom::fill(bytes) {
        panic!("the system's random source failed: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::Entropy;

    #[test]
    fn a_seed_gives_one_sequence() {
        let (one, other) = (Entropy::seeded(7), Entropy::seeded(7));
        assert_eq!(one.bytes::<40>(), other.bytes::<40>());
        let next = one.bytes::<8>();
        assert_eq!(next, other.clone().bytes::<8>());
        assert_ne!(next, one.bytes::<8>());
        assert_ne!(Entropy::seeded(8).bytes::<8>(), Entropy::seeded(7).bytes::<8>());
        assert_eq!(other.bytes::<0>(), []);
    }

    #[test]
    fn the_system_has_randomness() {
        assert_ne!(Entropy::System.bytes::<16>(), Entropy::System.bytes::<16>());
    }

    #[test]
    fn debug_shows_no_seed() {
        assert_eq!(format!("{:?}", Entropy::seeded(7)), "Seeded(SeededEntropy(..))");
    }
}
