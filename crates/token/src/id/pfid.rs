//! PFIDs: time-ordered ids that carry the partition of the account they belong to.

use std::fmt;
use std::str::FromStr;

use super::IdError;
use crate::entropy::Entropy;
use crate::time::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TIMESTAMP_MAX: u64 = (1 << 48) - 1;

/// Thirty bits that an account and everything in it share. Two accounts may have the same: it authorises nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u32);

impl Partition {
    /// The largest partition.
    pub const MAX: Self = Self((1 << 30) - 1);

    /// The partition with this number.
    ///
    /// # Errors
    /// When the number has more than 30 bits.
    pub const fn new(number: u32) -> Result<Self, IdError> {
        if number <= Self::MAX.0 { Ok(Self(number)) } else { Err(IdError::Partition) }
    }

    /// The partition's number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// As the partition stands in the text of a PFID: its characters 11 to 16.
impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_base32(f, &[(self.0.into(), 6)])
    }
}

/// A 158-bit id: 48 bits of milliseconds since the Unix epoch, 30 bits of partition, 80 random bits.
///
/// Text: 32 characters of lower-case Crockford base 32, in the order of time. It doesn't say what kind of thing it names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pfid([u8; 20]);

impl Pfid {
    /// The id with this binary form: six bytes of time, four of partition, ten of randomness.
    ///
    /// # Errors
    /// When one of the two bits above the partition is set: the text couldn't say so.
    pub const fn from_bytes(bytes: [u8; 20]) -> Result<Self, IdError> {
        let [_, _, _, _, _, _, padded, ..] = bytes;
        if padded >> 6 == 0 { Ok(Self(bytes)) } else { Err(IdError::PfidPadding) }
    }

    /// The id's binary form.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// A new id in a new, random partition: for an account. A time outside 48 bits counts as the nearest inside.
    pub fn generate_root(now: Timestamp, entropy: &Entropy) -> Self {
        let partition = Partition(u32::from_be_bytes(entropy.bytes()) & Partition::MAX.0);
        Self::generate_related(now, partition, entropy)
    }

    /// A new id in a given partition: for whatever belongs to an account.
    pub fn generate_related(now: Timestamp, partition: Partition, entropy: &Entropy) -> Self {
        let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0).min(TIMESTAMP_MAX);
        Self::from_parts(millis, partition, entropy.bytes())
    }

    fn from_parts(millis: u64, partition: Partition, random: [u8; 10]) -> Self {
        let [_, _, time @ ..] = millis.to_be_bytes();
        let mut bytes = [0; 20];
        let parts = time.into_iter().chain(partition.0.to_be_bytes()).chain(random);
        for (byte, part) in bytes.iter_mut().zip(parts) {
            *byte = part;
        }
        Self(bytes)
    }

    /// The partition that the id was made in.
    pub const fn partition(&self) -> Partition {
        let [_, _, _, _, _, _, a, b, c, d, ..] = self.0;
        Partition(u32::from_be_bytes([a, b, c, d]))
    }

    /// Milliseconds since the Unix epoch at which the id was made.
    pub const fn timestamp_ms(&self) -> u64 {
        let [a, b, c, d, e, f, ..] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    fn random(&self) -> u128 {
        let [_, _, _, _, _, _, _, _, _, _, random @ ..] = self.0;
        random.into_iter().fold(0, |value, byte| value << 8 | u128::from(byte))
    }
}

impl fmt::Display for Pfid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each part is a whole number of characters: 10 of time, 6 of partition, 16 of randomness.
        let time = (self.timestamp_ms().into(), 10);
        let partition = (self.partition().get().into(), 6);
        write_base32(f, &[time, partition, (self.random(), 16)])
    }
}

/// Writes numbers, each in so many characters; all together at most 32.
fn write_base32(f: &mut fmt::Formatter<'_>, parts: &[(u128, u32)]) -> fmt::Result {
    let mut text = [0; 32];
    let characters =
        parts.iter().flat_map(|(value, length)| (0..*length).rev().map(move |place| (value >> (5 * place)) & 31));
    let mut written = 0;
    for (character, value) in text.iter_mut().zip(characters) {
        let index = usize::try_from(value).unwrap_or_default();
        *character = ALPHABET.get(index).copied().unwrap_or_default();
        written += 1;
    }
    f.write_str(text.get(..written).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default())
}

impl fmt::Debug for Pfid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pfid({self})")
    }
}

impl FromStr for Pfid {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let text: &[u8; 32] = text.as_bytes().try_into().ok().ok_or(IdError::Pfid)?;
        let (time, rest) = text.split_at(10);
        let (partition, random) = rest.split_at(6);
        let millis =
            u64::try_from(number(time)?).ok().filter(|millis| *millis <= TIMESTAMP_MAX).ok_or(IdError::Pfid)?;
        let partition = u32::try_from(number(partition)?).ok().ok_or(IdError::Pfid)?;
        let [_, _, _, _, _, _, random @ ..] = number(random)?.to_be_bytes();
        Ok(Self::from_parts(millis, Partition(partition), random))
    }
}

fn number(characters: &[u8]) -> Result<u128, IdError> {
    characters.iter().try_fold(0, |value: u128, character| {
        let digit = ALPHABET.iter().position(|known| known == character).ok_or(IdError::Pfid)?;
        Ok(value << 5 | u128::try_from(digit).unwrap_or_default())
    })
}

macro_rules! pfid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Pfid);

        impl $name {
            /// A new id in its account's partition.
            pub fn generate(now: Timestamp, partition: Partition, entropy: &Entropy) -> Self {
                Self(Pfid::generate_related(now, partition, entropy))
            }

            /// The id without its kind.
            pub const fn as_pfid(&self) -> &Pfid {
                &self.0
            }
        }

        impl From<Pfid> for $name {
            fn from(pfid: Pfid) -> Self {
                Self(pfid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.parse().map(Self)
            }
        }
    };
}

pfid! {
    /// The PFID of an account; [`Pfid::generate_root`] makes one in a partition of its own.
    AccountPfid
}
pfid! {
    /// The PFID of a user.
    UserPfid
}
pfid! {
    /// Names an environment of an account.
    EnvironmentId
}
pfid! {
    /// Names an API token of an account.
    ApiTokenId
}
pfid! {
    /// Names an agent of an account.
    AgentId
}
pfid! {
    /// Names the deployment of an agent in an environment.
    AgentDeploymentId
}
pfid! {
    /// Names an invitation to an account.
    InviteId
}

#[cfg(test)]
mod tests {
    use super::{Partition, Pfid};
    use crate::entropy::Entropy;
    use crate::id::IdError;
    use crate::time::Timestamp;

    #[test]
    fn related_ids_share_a_partition() {
        let entropy = Entropy::seeded(3);
        let now = Timestamp::from_secs(1_767_225_600);
        let root = Pfid::generate_root(now, &entropy);
        let related = Pfid::generate_related(now, root.partition(), &entropy);
        assert_eq!(root.partition(), related.partition());
        assert_eq!(related.timestamp_ms(), 1_767_225_600_000);
        assert_ne!(root, related);
        assert_ne!(root.partition(), Pfid::generate_root(now, &entropy).partition());
    }

    #[test]
    fn times_outside_48_bits_count_as_the_nearest() {
        let at = |micros| Pfid::generate_root(Timestamp::from_micros(micros), &Entropy::seeded(1)).timestamp_ms();
        assert_eq!(at(-1), 0);
        assert_eq!(at(i64::MAX), (1 << 48) - 1);
    }

    #[test]
    fn padding_bits_are_refused() {
        let mut bytes = [0; 20];
        bytes[6] = 0b0011_1111;
        assert!(Pfid::from_bytes(bytes).is_ok());
        for padding in [0b0100_0000, 0b1000_0000] {
            bytes[6] = padding;
            assert_eq!(Pfid::from_bytes(bytes), Err(IdError::PfidPadding));
        }
    }

    #[test]
    fn a_partition_reads_as_in_the_text() {
        let entropy = Entropy::seeded(4);
        for _ in 0..100 {
            let pfid = Pfid::generate_root(Timestamp::from_secs(1_767_225_600), &entropy);
            assert_eq!(pfid.to_string()[10..16], pfid.partition().to_string());
        }
        assert_eq!(Partition::new(0).unwrap().to_string(), "000000");
        assert_eq!(Partition::MAX.to_string(), "zzzzzz");
    }

    #[test]
    fn partitions_have_30_bits() {
        assert_eq!(Partition::new(Partition::MAX.get()), Ok(Partition::MAX));
        assert_eq!(Partition::new(Partition::MAX.get() + 1), Err(IdError::Partition));
    }
}
