//! Secrets in plaintext: how they are made, and how they are kept from lingering or being printed.

use std::fmt;

use zeroize::Zeroizing;

use crate::entropy::Entropy;
use crate::id::encode_hex;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_LENGTH: usize = 40;
const CHECKSUM_LENGTH: usize = 6;
const SERVICE_TOKEN_PREFIX: &str = "csec_";
const MANAGEMENT_TOKEN_PREFIX: &str = "csat_";

/// A plaintext secret. Its memory is overwritten when it is dropped, and its `Debug` shows nothing.
pub struct Secret(Zeroizing<String>);

/// The form of a new service token's secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretFormat {
    /// `csec_`, 40 random characters and 6 of checksum: leak scanners recognise it.
    #[default]
    Scannable,
    /// 64 lower-case hexadecimal digits.
    Hex,
}

impl Secret {
    /// A new secret of a service token: 238 random bits in 51 characters, or 256 in 64.
    pub fn service_token(format: SecretFormat, entropy: &Entropy) -> Self {
        match format {
            SecretFormat::Scannable => scannable(SERVICE_TOKEN_PREFIX, entropy),
            SecretFormat::Hex => {
                let random = Zeroizing::new(entropy.bytes::<32>());
                Self::from(encode_hex(random.as_slice()))
            }
        }
    }

    /// A new management API token: `csat_`, 40 random characters and 6 of checksum.
    pub fn management_token(entropy: &Entropy) -> Self {
        scannable(MANAGEMENT_TOKEN_PREFIX, entropy)
    }

    /// A new global API key: 37 lower-case hexadecimal digits.
    pub fn global_key(entropy: &Entropy) -> Self {
        let random = Zeroizing::new(entropy.bytes::<19>());
        let mut key = encode_hex(random.as_slice());
        key.truncate(37);
        Self::from(key)
    }

    /// The plaintext: for the one answer that carries it, and for digesting.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(plaintext: String) -> Self {
        Self(Zeroizing::new(plaintext))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Whether a text has a scannable form (`csec_…` or `csat_…`, 51 characters) with the right checksum.
///
/// It tells a leak from a look-alike. It says nothing about whether anybody issued the secret.
pub fn checksum_matches(text: &str) -> bool {
    let prefixed = [SERVICE_TOKEN_PREFIX, MANAGEMENT_TOKEN_PREFIX].iter().any(|prefix| text.starts_with(prefix));
    let length = SERVICE_TOKEN_PREFIX.len() + RANDOM_LENGTH;
    let Some((protected, checksum)) = text.split_at_checked(length) else {
        return false;
    };
    let base62 = protected.bytes().skip(SERVICE_TOKEN_PREFIX.len()).all(|byte| byte.is_ascii_alphanumeric());
    prefixed && base62 && checksum.bytes().eq(checksum_of(protected.as_bytes()))
}

fn scannable(prefix: &str, entropy: &Entropy) -> Secret {
    // The capacity is exact: a string that grew would leave a copy of itself behind.
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + RANDOM_LENGTH + CHECKSUM_LENGTH));
    text.push_str(prefix);
    while text.len() < prefix.len() + RANDOM_LENGTH {
        let random = Zeroizing::new(entropy.bytes::<64>());
        // 248 is the largest multiple of 62 in a byte: beyond it, some characters would be likelier than others.
        let characters = random.iter().filter(|byte| **byte < 248).map(|byte| base62(u32::from(*byte)));
        let missing = prefix.len() + RANDOM_LENGTH - text.len();
        text.extend(characters.take(missing).map(char::from));
    }
    let checksum = checksum_of(text.as_bytes());
    text.extend(checksum.map(char::from));
    Secret(text)
}

fn base62(number: u32) -> u8 {
    let digit = usize::try_from(number % 62).unwrap_or_default();
    BASE62.get(digit).copied().unwrap_or_default()
}

/// CRC-32/ISO-HDLC in base 62, most significant first.
fn checksum_of(bytes: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let mut rest = crc32(bytes);
    let mut digits = [0; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = base62(rest);
        rest /= 62;
    }
    digits
}

fn crc32(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            let polynomial = if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
            crc >> 1 ^ polynomial
        })
    });
    !crc
}

#[cfg(test)]
mod tests {
    use super::{Secret, SecretFormat, checksum_matches, checksum_of, crc32};
    use crate::entropy::Entropy;

    #[test]
    fn crc_is_iso_hdlc() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn checksums_are_padded_to_six_digits() {
        // 0 for no bytes; the greatest CRC, 2^32 - 1, is 4gfFC3 in base 62.
        assert_eq!(&checksum_of(b""), b"000000");
        assert_eq!(&checksum_of(&[0xff; 4]), b"4gfFC3");
    }

    #[test]
    fn every_form_is_as_announced() {
        let entropy = Entropy::seeded(5);
        for _ in 0..200 {
            let service_token = Secret::service_token(SecretFormat::Scannable, &entropy);
            let management_token = Secret::management_token(&entropy);
            for (secret, prefix) in [(service_token, "csec_"), (management_token, "csat_")] {
                let text = secret.expose();
                assert_eq!(text.len(), 51, "{text}");
                assert!(text.strip_prefix(prefix).unwrap().bytes().all(|byte| byte.is_ascii_alphanumeric()), "{text}");
                assert!(checksum_matches(text), "{text}");
            }
            let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let hex = Secret::service_token(SecretFormat::Hex, &entropy);
            assert!(hex.expose().len() == 64 && is_hex(hex.expose()));
            let key = Secret::global_key(&entropy);
            assert!(key.expose().len() == 37 && is_hex(key.expose()));
        }
    }

    #[test]
    fn characters_are_equally_likely() {
        let entropy = Entropy::seeded(6);
        let mut counts = [0_u32; 128];
        for _ in 0..1_550 {
            let secret = Secret::service_token(SecretFormat::Scannable, &entropy);
            for byte in secret.expose().bytes().skip(5).take(40) {
                counts[usize::from(byte)] += 1;
            }
        }
        // 62 000 draws, 1 000 each, with a deviation of 32.
        let counts: Vec<_> = counts.into_iter().filter(|count| *count > 0).collect();
        assert_eq!(counts.len(), 62);
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_changed_character_breaks_the_checksum() {
        let secret = Secret::management_token(&Entropy::seeded(1));
        let text = secret.expose();
        for place in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[place] = if changed[place] == b'x' { b'y' } else { b'x' };
            assert!(!checksum_matches(str::from_utf8(&changed).unwrap()), "{place}");
        }
        for text in ["", "csat_", &text[1..], &format!("{text}0"), &"\u{e9}".repeat(30)] {
            assert!(!checksum_matches(text), "{text}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::from("hush".to_owned())), "Secret(..)");
    }
}
