//! Typed identifiers and their texts. Every text has one spelling: parsing is the inverse of printing, and of nothing else.

mod hex;
mod pfid;

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::entropy::Entropy;
use crate::time::Timestamp;

pub(crate) use hex::{decode as decode_hex, encode as encode_hex};
pub use pfid::{AccountPfid, ApiTokenId, EnvironmentId, Partition, Pfid, UserPfid};

/// Why a text or a number is no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 32 lower-case hexadecimal digits.
    #[error("must be 32 lower-case hexadecimal digits")]
    Hex,
    /// Not a UUID in its lower-case hyphenated form.
    #[error("must be a UUID in lower case with hyphens")]
    Uuid,
    /// Not a client id.
    #[error("must be 32 lower-case hexadecimal digits followed by .access")]
    ClientId,
    /// Not a PFID in lower case.
    #[error("must be a PFID: 32 characters of 0-9 and a-z without i, l, o, u, the first one 0 to 7")]
    Pfid,
    /// The two unused bits of a binary PFID are set.
    #[error("has bits set that no PFID has")]
    PfidPadding,
    /// A partition of more than 30 bits.
    #[error("must be a partition below 2^30")]
    Partition,
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The id's bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// A new random id.
            pub fn generate(entropy: &Entropy) -> Self {
                Self(entropy.bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(hex::encode_16(&self.0, &mut [0; 32]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                hex::decode(text.as_bytes()).map(Self).ok_or(IdError::Hex)
            }
        }
    };
}

hex_id! {
    /// Names an account. Text: 32 lower-case hexadecimal digits.
    AccountId
}
hex_id! {
    /// Names a zone of an account. Text: 32 lower-case hexadecimal digits.
    ZoneId
}
hex_id! {
    /// Names a user. Text: 32 lower-case hexadecimal digits.
    UserId
}
hex_id! {
    /// Names a management API token. Text: 32 lower-case hexadecimal digits.
    ManagementTokenId
}
hex_id! {
    /// Names an installation. Text: 32 lower-case hexadecimal digits.
    InstallationId
}

/// Names a service token. Text: a UUID in lower case with hyphens.
///
/// New ids are of version 7, so that they sort by the millisecond of their creation; parsing accepts any UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceTokenId([u8; 16]);

impl ServiceTokenId {
    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id's bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A new id. A time before the Unix epoch counts as the epoch.
    pub fn generate(now: Timestamp, entropy: &Entropy) -> Self {
        let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
        let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &entropy.bytes()).into_uuid();
        Self(uuid.into_bytes())
    }
}

impl fmt::Display for ServiceTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Uuid::from_bytes(self.0).hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

impl fmt::Debug for ServiceTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceTokenId({self})")
    }
}

impl FromStr for ServiceTokenId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        // The library also reads braces, URNs, upper case and bare digits: those are other spellings.
        let uuid = Uuid::try_parse_ascii(text.as_bytes()).ok().ok_or(IdError::Uuid)?;
        if uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) != text {
            return Err(IdError::Uuid);
        }
        Ok(Self(uuid.into_bytes()))
    }
}

/// The public half of a service token's pair. Text: 32 lower-case hexadecimal digits and `.access`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId([u8; 16]);

impl ClientId {
    const SUFFIX: &[u8; 7] = b".access";

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id's bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A new random id.
    pub fn generate(entropy: &Entropy) -> Self {
        Self(entropy.bytes())
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(hex::encode_16(&self.0, &mut [0; 32]))?;
        f.write_str(".access")
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientId({self})")
    }
}

impl FromStr for ClientId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.as_bytes().strip_suffix(Self::SUFFIX).and_then(hex::decode).map(Self).ok_or(IdError::ClientId)
    }
}
