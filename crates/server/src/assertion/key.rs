//! The keys that sign assertions, open in memory.

use std::fmt;

use anyhow::{Context as _, anyhow};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use countersign_token::api_token::base64url;
use countersign_token::time::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, PKCS_RSA_SHA256, SerialNumber};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::schedule::{Schedule, Times};

/// How long the certificates are good in which keys are told of, in seconds: longer than any key.
const CERTIFICATE_SECS: u64 = 10 * 365 * 24 * 3600;

/// A key that signs assertions.
pub(crate) struct SigningKey {
    id: String,
    times: Times,
    pair: RsaKeyPair,
    /// The first part of everything that it signs.
    head: String,
    modulus: String,
    exponent: String,
    certificate: String,
}

/// A private key, made just now, and what is kept beside it.
pub(crate) struct NewKey {
    /// The id by which a signature names it: 64 hexadecimal digits.
    pub(crate) id: String,
    /// The private key in PKCS #8.
    pub(crate) private: Vec<u8>,
    /// The public key in a certificate, in PEM.
    pub(crate) certificate: String,
}

impl NewKey {
    /// A new RSA key of 2048 bits. It takes a tenth of a second or more. (The library draws from the system's source of
    /// randomness; it takes no other.)
    pub(crate) fn generate(now: Timestamp) -> anyhow::Result<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_unspecified| anyhow!("cannot make an RSA key"))?;
        let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_unspecified| anyhow!("cannot write an RSA key"))?;
        let private = private.as_ref().to_vec();
        let digest: [u8; 32] = Sha256::digest(pair.public_key().as_ref()).into();
        let id: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let certificate = certify(&private, &digest, now).context("cannot make a certificate")?;
        Ok(Self { id, private, certificate })
    }
}

fn certify(private: &[u8], digest: &[u8; 32], now: Timestamp) -> Result<String, rcgen::Error> {
    let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(private), &PKCS_RSA_SHA256)?;
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Countersign");
    name.push(DnType::CommonName, "assertions");
    params.distinguished_name = name;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = u64::try_from(now.as_secs()).unwrap_or_default();
    params.not_before = epoch + std::time::Duration::from_secs(now);
    params.not_after = params.not_before + std::time::Duration::from_secs(CERTIFICATE_SECS);
    let (serial, _) = digest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    params.serial_number = Some(SerialNumber::from_slice(serial));
    Ok(params.self_signed(&pair)?.pem())
}

impl SigningKey {
    /// A key that was kept.
    pub(crate) fn open(id: String, times: Times, private: &[u8], certificate: String) -> anyhow::Result<Self> {
        let pair = RsaKeyPair::from_pkcs8(private).map_err(|rejected| anyhow!("it is no RSA key: {rejected}"))?;
        let public = pair.public_key().as_ref();
        let (modulus, exponent) = numbers(public).context("its public half can't be read")?;
        let (modulus, exponent) = (base64url(modulus), base64url(exponent));
        let head = base64url(format!("{{\"alg\":\"RS256\",\"kid\":\"{id}\",\"typ\":\"JWT\"}}").as_bytes());
        Ok(Self { id, times, pair, head, modulus, exponent, certificate })
    }

    /// The head of a JWT of this key, encoded.
    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    /// The signature of a text, by RS256; `None` if the library refuses.
    pub(crate) fn sign(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        // This kind of signature draws nothing.
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).ok()?;
        Some(signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {:?})", self.id, self.times)
    }
}

/// Modulus and exponent of a public key in DER: `SEQUENCE { INTEGER, INTEGER }`, without the zeros before them.
fn numbers(public: &[u8]) -> Option<(&[u8], &[u8])> {
    let (inner, _) = value(public, 0x30)?;
    let (modulus, rest) = value(inner, 0x02)?;
    let (exponent, _) = value(rest, 0x02)?;
    let trimmed = |number: &'_ [u8]| number.iter().position(|byte| *byte != 0).map_or(0, |first| first);
    Some((modulus.get(trimmed(modulus)..)?, exponent.get(trimmed(exponent)..)?))
}

/// The value with this tag that `der` begins with, and what follows it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..0x80 => (usize::from(*length), rest),
        more => {
            let (digits, rest) = rest.split_at_checked(usize::from(more & 0x7f))?;
            (
                digits
                    .iter()
                    .try_fold(0_usize, |length, digit| length.checked_mul(256)?.checked_add((*digit).into()))?,
                rest,
            )
        }
    };
    if *first == tag { rest.split_at_checked(length) } else { None }
}

/// The keys of an installation, in the order in which they sign.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Vec<SigningKey>,
    schedule: Schedule,
}

impl Default for KeySet {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

/// What is published.
#[derive(Serialize)]
struct Certs<'a> {
    keys: Vec<Jwk<'a>>,
    public_cert: Option<Cert<'a>>,
    public_certs: Vec<Cert<'a>>,
}

#[derive(Serialize)]
struct Jwk<'a> {
    kid: &'a str,
    kty: &'static str,
    alg: &'static str,
    #[serde(rename = "use")]
    purpose: &'static str,
    e: &'a str,
    n: &'a str,
}

#[derive(Serialize)]
struct Cert<'a> {
    kid: &'a str,
    cert: &'a str,
}

impl<'a> From<&'a SigningKey> for Jwk<'a> {
    fn from(key: &'a SigningKey) -> Self {
        Self { kid: &key.id, kty: "RSA", alg: "RS256", purpose: "sig", e: &key.exponent, n: &key.modulus }
    }
}

impl<'a> From<&'a SigningKey> for Cert<'a> {
    fn from(key: &'a SigningKey) -> Self {
        Self { kid: &key.id, cert: &key.certificate }
    }
}

impl KeySet {
    /// Keys in the order in which they sign.
    pub(crate) fn new(keys: Vec<SigningKey>) -> Self {
        let schedule = Schedule(keys.iter().map(|key| key.times).collect());
        Self { keys, schedule }
    }

    /// The key that signs at `now`.
    pub(crate) fn signing(&self, now: Timestamp) -> Option<&SigningKey> {
        self.keys.get(self.schedule.signing(now)?)
    }

    /// Whether these are the keys with these ids and times.
    pub(crate) fn is_of(&self, keys: &[(&str, Times)]) -> bool {
        let own = self.keys.iter().map(|key| (key.id.as_str(), key.times));
        own.eq(keys.iter().copied())
    }

    /// How many of them are published at `now`.
    pub(crate) fn published(&self, now: Timestamp) -> usize {
        (0..self.keys.len()).filter(|key| self.schedule.is_published(*key, now)).count()
    }

    /// What whoever checks an assertion may need at `now`. The key that signs is the second, as in Cloudflare's document.
    pub(crate) fn certs(&self, now: Timestamp) -> String {
        let signing = self.schedule.signing(now);
        let mut published: Vec<(usize, &SigningKey)> =
            self.keys.iter().enumerate().filter(|(place, _)| self.schedule.is_published(*place, now)).collect();
        // The newest other one, the one that signs, and whatever else there is.
        published.reverse();
        if let Some(place) = published.iter().position(|(place, _)| Some(*place) == signing) {
            let one = published.remove(place);
            published.insert(published.len().min(1), one);
        }
        let certs = Certs {
            keys: published.iter().map(|(_, key)| Jwk::from(*key)).collect(),
            public_cert: self.signing(now).map(Cert::from),
            public_certs: published.iter().map(|(_, key)| Cert::from(*key)).collect(),
        };
        serde_json::to_string(&certs).unwrap_or_default()
    }
}
