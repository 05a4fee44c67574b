//! Where a key belongs in the table.

/// What an entry is found by: a client id, or the first half of a bearer's digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(pub(super) [u64; 2]);

impl Key {
    pub(crate) fn from_bytes(bytes: &[u8; 16]) -> Self {
        let mut words = [0; 2];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }

    pub(crate) fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *bytes = word.to_le_bytes();
        }
        bytes
    }
}

/// Multilinear hashing under a random seed: any two keys, chosen by whoever doesn't know the seed, share a hash with a
/// probability of 2^-64, and their places are as independent. So nobody can import client ids that crowd one place.
pub(crate) struct Hasher {
    seed: [u128; 3],
}

impl Hasher {
    pub(crate) fn new(seed: [u128; 3]) -> Self {
        Self { seed }
    }

    #[inline]
    pub(crate) fn hash(&self, key: Key) -> u64 {
        let [start, first_factor, second_factor] = self.seed;
        let [first, second] = key.0;
        let sum = start
            .wrapping_add(first_factor.wrapping_mul(u128::from(first)))
            .wrapping_add(second_factor.wrapping_mul(u128::from(second)));
        // The upper half of the sum has the independence.
        let [upper @ .., _, _, _, _, _, _, _, _] = sum.to_be_bytes();
        mix(u64::from_be_bytes(upper))
    }
}

/// Scatters numbers at equal distances, which keys at equal distances lead to. As one-to-one it takes no independence away.
#[inline]
fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number ^ number >> 32
}

/// Maps a hash evenly onto `0..length`, by its upper bits.
#[inline]
pub(crate) fn spread(hash: u64, length: usize) -> usize {
    let product = u128::from(hash) * u128::try_from(length).unwrap_or(u128::MAX >> 64);
    usize::try_from(product >> 64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Hasher, Key, spread};
    use crate::entropy::Entropy;

    fn seeded(seed: u64) -> Hasher {
        let entropy = Entropy::seeded(seed);
        Hasher::new([0; 3].map(|_: u128| u128::from_be_bytes(entropy.bytes())))
    }

    /// The length of the longest row of used slots, with four slots for every five keys used.
    fn longest_row(seed: u64, keys: impl Iterator<Item = [u64; 2]>) -> usize {
        let hasher = seeded(seed);
        let mut used = vec![false; 12_500];
        for key in keys.take(10_000) {
            let mut slot = spread(hasher.hash(Key(key)), used.len());
            while used[slot] {
                slot = (slot + 1) % used.len();
            }
            used[slot] = true;
        }
        used.chunk_by(|one, other| one == other).filter(|row| row[0]).map(<[bool]>::len).max().unwrap()
    }

    #[test]
    fn keys_in_a_pattern_do_not_crowd() {
        for seed in 0..20 {
            for rows in [
                longest_row(seed, (0..).map(|n| [n, 0])),
                longest_row(seed, (0..).map(|n| [0, n])),
                longest_row(seed, (0..).map(|n| [n << 48, n << 20])),
                longest_row(seed, (0..).map(|n: u64| [n.reverse_bits(), !n])),
                longest_row(seed, (0_u64..).map(|n| [n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n])),
            ] {
                assert!(rows < 600, "seed {seed}: {rows} slots in a row");
            }
        }
    }

    #[test]
    fn the_seed_decides() {
        let key = Key([1, 2]);
        assert_eq!(seeded(1).hash(key), seeded(1).hash(key));
        assert_ne!(seeded(1).hash(key), seeded(2).hash(key));
        assert_ne!(seeded(1).hash(key), seeded(1).hash(Key([2, 1])));
    }

    #[test]
    fn spreads_over_every_length() {
        for length in [1, 3, 16, 1_000_003] {
            assert_eq!(spread(0, length), 0);
            assert_eq!(spread(u64::MAX, length), length - 1);
        }
    }
}
