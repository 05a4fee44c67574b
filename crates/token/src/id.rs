//! Typed identifiers and their texts. Every text has one spelling: parsing is the inverse of printing, and of nothing else.

mod hex;
mod pfid;

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::entropy::Entropy;
use crate::time::Timestamp;

pub(crate) use hex::{decode as decode_hex, encode as encode_hex};
pub use pfid::{
    AccountPfid, AgentDeploymentId, AgentId, ApiTokenId, EnvironmentId, InviteId, Partition, Pfid, UserPfid,
};

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

#[cfg(test)]
mod tests {
    use super::{AccountId, ClientId, IdError, ServiceTokenId};
    use crate::entropy::Entropy;
    use crate::time::Timestamp;

    fn check<T>(text: &str, expected: Result<(), IdError>)
    where
        T: std::str::FromStr<Err = IdError> + std::fmt::Display,
    {
        let parsed = text.parse::<T>();
        assert_eq!(parsed.as_ref().map(|_| ()).map_err(|error| *error), expected, "{text:?}");
        if let Ok(id) = parsed {
            assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn hex_ids_have_one_spelling() {
        check::<AccountId>("00112233445566778899aabbccddeeff", Ok(()));
        for text in [
            "",
            "00112233445566778899aabbccddeef",
            "00112233445566778899aabbccddeefff",
            "00112233445566778899AABBCCDDEEFF",
            "00112233445566778899aabbccddeefg",
            "00112233-4455-6677-8899-aabbccddeeff",
            " 0112233445566778899aabbccddeeff",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            check::<AccountId>(text, Err(IdError::Hex));
        }
    }

    #[test]
    fn client_ids_end_in_access() {
        check::<ClientId>("88bf3b6d86161464f6509f7219099e57.access", Ok(()));
        for text in [
            "88bf3b6d86161464f6509f7219099e57",
            ".access",
            "88bf3b6d86161464f6509f7219099e57.Access",
            "88BF3B6D86161464F6509F7219099E57.access",
            "88bf3b6d86161464f6509f7219099e57.access.example.com",
            "88bf3b6d86161464f6509f7219099e57.access.access",
        ] {
            check::<ClientId>(text, Err(IdError::ClientId));
        }
    }

    #[test]
    fn service_token_ids_are_uuids_in_lower_case_with_hyphens() {
        check::<ServiceTokenId>("3537a672-e4d8-4d89-aab9-26cb622918a1", Ok(()));
        check::<ServiceTokenId>("00000000-0000-0000-0000-000000000000", Ok(()));
        for text in [
            "",
            "not-a-uuid",
            "3537a672e4d84d89aab926cb622918a1",
            "3537A672-E4D8-4D89-AAB9-26CB622918A1",
            "{3537a672-e4d8-4d89-aab9-26cb622918a1}",
            "urn:uuid:3537a672-e4d8-4d89-aab9-26cb622918a1",
            "3537a672-e4d8-4d89-aab9-26cb622918a1 ",
        ] {
            check::<ServiceTokenId>(text, Err(IdError::Uuid));
        }
    }

    #[test]
    fn new_service_token_ids_sort_by_time() {
        let entropy = Entropy::seeded(1);
        let ids: Vec<_> = [-5, 0, 1_000, 1_767_225_600_000_000, i64::MAX]
            .map(|micros| ServiceTokenId::generate(Timestamp::from_micros(micros), &entropy))
            .into();
        assert!(ids[1..].is_sorted(), "{ids:?}");
        assert!(ids.iter().all(|id| id.to_string().as_bytes()[14] == b'7'), "{ids:?}");
        for id in ids {
            check::<ServiceTokenId>(&id.to_string(), Ok(()));
        }
    }

    #[test]
    fn debug_names_the_kind() {
        let id = AccountId::from_bytes([0xab; 16]);
        assert_eq!(format!("{id:?}"), "AccountId(abababababababababababababababab)");
    }
}
