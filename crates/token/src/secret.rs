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
