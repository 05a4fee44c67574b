//! The newest event, as it is told outside of the store.

use std::fmt;
use std::str::FromStr;

use countersign_token::digest::MacKey;
use countersign_token::feed::Revision;
use countersign_token::id::InstallationId;
use countersign_token::time::Timestamp;

use crate::error::Error;
use crate::store::Store;
use crate::tx::Head;

/// The mac of an event: it stands for the event and for all before it. Its text is 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChainMac([u8; 32]);

impl ChainMac {
    /// The mac with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ChainMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChainMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainMac({self})")
    }
}

/// A text is no mac of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a mac is 64 hexadecimal digits")]
pub struct ChainMacError;

impl FromStr for ChainMac {
    type Err = ChainMacError;

    fn from_str(text: &str) -> Result<Self, ChainMacError> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let pairs: &[[u8; 2]; 32] = pairs.try_into().map_err(|_| ChainMacError)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low).ok_or(ChainMacError)?;
        }
        if rest.is_empty() { Ok(Self(bytes)) } else { Err(ChainMacError) }
    }
}

/// Where the audit log ended at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// Whose log.
    pub installation: InstallationId,
    /// The place of the last event.
    pub seq: i64,
    /// Its mac.
    pub mac: ChainMac,
    /// The newest revision.
    pub revision: Revision,
    /// When that was so.
    pub at: Timestamp,
}

impl AuditHead {
    /// The mac of the head itself. Its key is made of the chain's by a text that is shorter than any event, so that nobody
    /// who has the server chain events of their choice learns it.
    fn seal(&self, key: &MacKey) -> ChainMac {
        let key = MacKey::from_bytes(key.mac(&[b"countersign audit head"]));
        let numbers = [self.seq, self.revision.get(), self.at.as_micros()].map(i64::to_be_bytes);
        ChainMac(key.mac(&[self.installation.to_string().as_bytes(), self.mac.as_bytes(), numbers.as_flattened()]))
    }
}

impl Store {
    /// Where the log ends now, by the clock of whoever asks; `None` before `init`.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn audit_head(&self, at: Timestamp) -> Result<Option<AuditHead>, Error> {
        let Some(installation) = self.installation().await? else { return Ok(None) };
        let Head { value, audit_seq, audit_mac, .. } = Head::read(&mut *self.reader().await?).await?;
        let mac = ChainMac(audit_mac.try_into().map_err(|_| Error::Inconsistent {
            table: "revision",
            column: "audit_mac".to_owned(),
            key: "1".to_owned(),
            problem: "it is no mac".to_owned(),
        })?);
        let revision = Revision::new(value);
        Ok(Some(AuditHead { installation: installation.id, seq: audit_seq, mac, revision, at }))
    }

    /// What shows later that this installation has told of a head.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn seal_audit_head(&self, head: &AuditHead) -> Result<ChainMac, Error> {
        Ok(head.seal(self.audit_keys(&mut *self.reader().await?).await?.newest()))
    }

    /// Which of these heads have their seal of this installation, in the same order.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn are_audit_heads_sealed(&self, heads: &[(AuditHead, ChainMac)]) -> Result<Vec<bool>, Error> {
        let keys = self.audit_keys(&mut *self.reader().await?).await?;
        Ok(heads.iter().map(|(head, seal)| keys.all().any(|key| head.seal(key) == *seal)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_read_as_they_are_written() {
        let mac = ChainMac(std::array::from_fn(|place| u8::try_from(place * 7).unwrap()));
        assert_eq!(mac.to_string().parse(), Ok(mac));
        let text = mac.to_string();
        for other in ["", &text[1..], &text[2..], &format!("{text}0"), &format!("{text}00"), &text.replace('0', "g")] {
            assert_eq!(other.parse::<ChainMac>(), Err(ChainMacError), "{other}");
        }
    }

    #[test]
    fn a_seal_covers_everything() {
        let key = MacKey::from_bytes([1; 32]);
        let head = AuditHead {
            installation: InstallationId::from_bytes([2; 16]),
            seq: 3,
            mac: ChainMac([4; 32]),
            revision: Revision::new(5),
            at: Timestamp::from_micros(6),
        };
        let others = [
            AuditHead { installation: InstallationId::from_bytes([3; 16]), ..head },
            AuditHead { seq: 4, ..head },
            AuditHead { mac: ChainMac([5; 32]), ..head },
            AuditHead { revision: Revision::new(6), ..head },
            AuditHead { at: Timestamp::from_micros(7), ..head },
        ];
        assert_eq!(head.seal(&key), head.seal(&key));
        assert_ne!(head.seal(&key), head.seal(&MacKey::from_bytes([2; 32])));
        for other in others {
            assert_ne!(other.seal(&key), head.seal(&key), "{other:?}");
        }
    }
}
