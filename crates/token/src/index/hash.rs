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
}

/// SipHash-1-3 of keys, under a seed of this index: whoever can choose client ids can't choose where they collide.
pub(crate) struct Hasher {
    seed: [u64; 2],
}

impl Hasher {
    pub(crate) fn new(seed: [u64; 2]) -> Self {
        Self { seed }
    }

    #[inline]
    pub(crate) fn hash(&self, key: Key) -> u64 {
        const LENGTH: u64 = 16 << 56;
        let [k0, k1] = self.seed;
        let mut state = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        let [first, second] = key.0;
        for word in [first, second, LENGTH] {
            state[3] ^= word;
            state = round(state);
            state[0] ^= word;
        }
        state[2] ^= 0xff;
        let [v0, v1, v2, v3] = round(round(round(state)));
        v0 ^ v1 ^ v2 ^ v3
    }
}

#[inline]
fn round([mut v0, mut v1, mut v2, mut v3]: [u64; 4]) -> [u64; 4] {
    v0 = v0.wrapping_add(v1);
    v1 = v1.rotate_left(13) ^ v0;
    v0 = v0.rotate_left(32);
    v2 = v2.wrapping_add(v3);
    v3 = v3.rotate_left(16) ^ v2;
    v0 = v0.wrapping_add(v3);
    v3 = v3.rotate_left(21) ^ v0;
    v2 = v2.wrapping_add(v1);
    v1 = v1.rotate_left(17) ^ v2;
    v2 = v2.rotate_left(32);
    [v0, v1, v2, v3]
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

    fn check(seed: [u64; 2], bytes: [u8; 16], expected: u64) {
        assert_eq!(Hasher::new(seed).hash(Key::from_bytes(&bytes)), expected);
    }

    #[test]
    fn is_siphash_1_3() {
        use std::hash::{DefaultHasher, Hasher as _};
        let bytes = *b"0123456789abcdef";
        // The standard library's default hasher is SipHash-1-3 under a seed of zeros.
        let mut standard = DefaultHasher::new();
        standard.write(&bytes);
        check([0, 0], bytes, standard.finish());
    }

    #[test]
    fn spreads_over_every_length() {
        for length in [1, 3, 16, 1_000_003] {
            assert_eq!(spread(0, length), 0);
            assert_eq!(spread(u64::MAX, length), length - 1);
        }
    }
}
