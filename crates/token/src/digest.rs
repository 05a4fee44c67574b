//! What is kept of a secret: a keyed digest, bound to the identity it belongs to.

mod hash_mac;
mod keyring;

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::entropy::Entropy;
use crate::id::{ClientId, encode_hex};
use crate::secret::Secret;
use ::hmac::{Hmac, KeyInit as _, Mac as _};
use hash_mac::HashMac;
use sha2::Sha256;

pub use keyring::{Keyring, LiveKeys, NoKey};

/// Which of an installation's keys, one after the other in time. They are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u32);

impl KeyId {
    /// The key that an installation is made with.
    pub const FIRST: Self = Self(1);

    /// The id with this number; `None` for 0.
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// The id's number, from 1.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The keyed digest of a secret or bearer. It reveals neither without the installation key.
#[derive(Clone, Copy)]
pub struct Digest {
    bytes: [u8; 32],
    key: KeyId,
}

impl Digest {
    /// The digest with these bytes, made with the first key of an installation.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { bytes, key: KeyId::FIRST }
    }

    /// The same, made with another key.
    pub const fn under(self, key: KeyId) -> Self {
        Self { key, ..self }
    }

    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The key that it was made with.
    pub const fn key(&self) -> KeyId {
        self.key
    }

    /// Whether two digests are the same, in a time that doesn't depend on where they differ.
    pub fn matches(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&other.bytes).into()
    }

    /// The digest as four words.
    pub(crate) fn words(&self) -> [u64; 4] {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(self.bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        words
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// What a bearer is, as its digest binds it: a token of one kind never passes as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BearerKind {
    /// A management API token, `csat_…`.
    ManagementToken,
    /// An API token, a JWT.
    ApiToken,
    /// A user's global API key, 37 hexadecimal digits.
    GlobalKey,
}

/// How an installation key makes digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyForm {
    /// With itself, as the keys of earlier versions do: whoever can make digests can make every other key too.
    Whole,
    /// With a key that is derived for digests alone, and may be handed to whoever verifies.
    Derived,
}

/// The 32 bytes that every digest of an installation depends on. Losing them voids every secret.
pub struct InstallationKey {
    bytes: Zeroizing<[u8; 32]>,
    id: KeyId,
    form: KeyForm,
}

impl InstallationKey {
    /// A new random key.
    pub fn generate(entropy: &Entropy) -> Self {
        Self::from_bytes(Zeroizing::new(entropy.bytes()))
    }

    fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self { bytes, id: KeyId::FIRST, form: KeyForm::Derived }
    }

    /// The same key as that of the installation's with this id. Without this it is taken for the first.
    pub fn with_id(&self, id: KeyId) -> Self {
        Self { bytes: self.bytes.clone(), id, form: self.form }
    }

    /// The same key in another form. Without this it is taken for one of today's.
    pub fn with_form(&self, form: KeyForm) -> Self {
        Self { bytes: self.bytes.clone(), id: self.id, form }
    }

    /// Which of the installation's keys it is.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Parses the content of a key file: 64 hexadecimal digits, with white space around them.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse_hex(text: &str) -> Result<Self, InstallationKeyError> {
        let digits = Zeroizing::new(text.trim_ascii().to_ascii_lowercase());
        let bytes = crate::id::decode_hex(digits.as_bytes()).ok_or(InstallationKeyError)?;
        Ok(Self::from_bytes(Zeroizing::new(bytes)))
    }

    /// The content of a key file: 64 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> Secret {
        Secret::from(encode_hex(self.bytes.as_slice()))
    }

    /// The key that digests secrets.
    pub fn digest_key(&self) -> DigestKey {
        match self.verifier_key() {
            Some(key) => DigestKey::new(&key, self.id),
            None => DigestKey { mac: HashMac::new(&self.bytes), id: self.id },
        }
    }

    /// What whoever verifies needs to make digests, and can make no other key of the installation with; `None` if the key
    /// is of a form that has no such thing.
    pub fn verifier_key(&self) -> Option<MacKey> {
        match self.form {
            KeyForm::Whole => None,
            KeyForm::Derived => Some(self.derive(&[b"countersign digests"])),
        }
    }

    /// The key of the audit log's chain.
    pub fn audit_key(&self) -> MacKey {
        self.derive(&[b"countersign audit chain"])
    }

    /// Closes the audit key of an earlier installation key under this one, or opens it again: the same pad, which nobody
    /// makes without this key, is added both times. Whether it was opened rightly shows when an event is looked at with it.
    pub fn pad_audit_key(&self, earlier: KeyId, audit_key: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        let mut padded = Zeroizing::new(self.mac(&[b"countersign retired audit key\0", &earlier.get().to_be_bytes()]));
        for (byte, other) in padded.iter_mut().zip(audit_key) {
            *byte ^= other;
        }
        padded
    }

    /// The key that signs API tokens whose row names this key id.
    pub fn jwt_key(&self, key_id: &str) -> MacKey {
        self.derive(&[b"countersign api token signature\0", key_id.as_bytes()])
    }

    /// The key that marks the forms which this installation has handed out.
    pub fn form_key(&self) -> MacKey {
        self.derive(&[b"countersign form"])
    }

    /// The key that signs the links of invitations.
    pub fn invite_key(&self) -> MacKey {
        self.derive(&[b"countersign invite signature"])
    }

    /// The key that seals backups, by which a changed one is noticed.
    pub fn backup_key(&self) -> MacKey {
        self.derive(&[b"countersign backup"])
    }

    /// The key that stands for callers' idempotency keys where they are kept.
    pub fn idempotency_key(&self) -> MacKey {
        self.derive(&[b"countersign idempotency key"])
    }

    /// The key that seals an answer for the caller who sent `idempotency_key` and showed `credential`. Without either it
    /// can't be made again. The first must not hold U+0000: it marks where the second begins.
    pub fn answer_key(&self, idempotency_key: &str, credential: &Secret) -> MacKey {
        let (one, other) = (idempotency_key.as_bytes(), credential.expose().as_bytes());
        self.derive(&[b"countersign sealed answer\0", one, b"\0", other])
    }

    /// The key that closes the private keys which sign assertions, where they are kept.
    pub fn assertion_key(&self) -> MacKey {
        self.derive(&[b"countersign assertion keys"])
    }

    /// What the store keeps to notice a lost or foreign key, and to know the key's form. It reveals nothing of the key.
    pub fn check_value(&self) -> [u8; 32] {
        match self.form {
            KeyForm::Whole => self.mac(&[b"countersign check value"]),
            KeyForm::Derived => self.mac(&[b"countersign check value of a key that derives digests"]),
        }
    }

    /// The same key in the form that this check value was made with; `None` if it is another key's.
    pub fn known_by(&self, check_value: &[u8; 32]) -> Option<Self> {
        let forms = [KeyForm::Derived, KeyForm::Whole].map(|form| self.with_form(form));
        forms.into_iter().find(|key| key.check_value() == *check_value)
    }

    fn derive(&self, purpose: &[&[u8]]) -> MacKey {
        MacKey(Zeroizing::new(self.mac(purpose)))
    }

    // Digests hash a name and 32 bytes of hash; no purpose begins like a bearer's name, and a client id is random.
    fn mac(&self, purpose: &[&[u8]]) -> [u8; 32] {
        mac(&self.bytes, purpose)
    }
}

impl fmt::Debug for InstallationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstallationKey(..)")
    }
}

/// A text is no installation key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an installation key is 64 hexadecimal digits")]
pub struct InstallationKeyError;

/// A key for message authentication codes (HMAC-SHA-256).
#[derive(Clone)]
pub struct MacKey(Zeroizing<[u8; 32]>);

impl MacKey {
    /// The key with these bytes.
    pub fn from_bytes(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The code of the parts put together. Nothing marks where one part ends: the caller's format must.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        mac(&self.0, parts)
    }

    /// The same as 64 lower-case hexadecimal digits, for what travels as text.
    pub fn mac_hex(&self, parts: &[&[u8]]) -> String {
        encode_hex(&self.mac(parts))
    }

    /// Whether `text` is what [`MacKey::mac_hex`] gives, in a time that doesn't depend on where it differs.
    pub fn is_mac_hex(&self, parts: &[&[u8]], text: &str) -> bool {
        self.mac_hex(parts).as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(..)")
    }
}

/// The key that digests secrets, with its half of the work done once.
#[derive(Clone)]
pub struct DigestKey {
    mac: HashMac,
    id: KeyId,
}

impl DigestKey {
    /// The key that digests secrets, from [`InstallationKey::verifier_key`] and the id of that key.
    pub fn new(key: &MacKey, id: KeyId) -> Self {
        Self { mac: HashMac::new(key.as_bytes()), id }
    }

    /// Which of the installation's keys it is.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The digest of a service token's secret, bound to its client id: `HMAC(key, client id ‖ SHA-256(secret))`.
    pub fn pair(&self, client_id: &ClientId, secret: &str) -> Digest {
        self.pair_from_sha256(client_id, &hash_mac::sha256(secret.as_bytes()))
    }

    /// The same from the SHA-256 of the secret, as other systems export it.
    pub fn pair_from_sha256(&self, client_id: &ClientId, sha256: &[u8; 32]) -> Digest {
        Digest { bytes: self.mac.mac(client_id.as_bytes(), sha256), key: self.id }
    }

    /// The digest of a bearer, bound to its kind: `HMAC(key, kind ‖ SHA-256(token))`.
    pub fn bearer(&self, kind: BearerKind, token: &str) -> Digest {
        let sha256 = hash_mac::sha256(token.as_bytes());
        // None of the names is as long as a client id: no pair's digest is ever a bearer's.
        let bytes = match kind {
            BearerKind::ManagementToken => self.mac.mac(b"management", &sha256),
            BearerKind::ApiToken => self.mac.mac(b"api token", &sha256),
            BearerKind::GlobalKey => self.mac.mac(b"global key", &sha256),
        };
        Digest { bytes, key: self.id }
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(..)")
    }
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut key_block = Zeroizing::new([0; 64]);
    for (place, byte) in key_block.iter_mut().zip(key) {
        *place = *byte;
    }
    let mut mac = Hmac::<Sha256>::new((&*key_block).into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::{BearerKind, Digest, DigestKey, InstallationKey, KeyForm, KeyId, MacKey, hash_mac};
    use crate::entropy::Entropy;
    use crate::id::{ClientId, encode_hex};
    use crate::secret::Secret;

    fn reference(key: &[u8], message: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    proptest! {
        #[test]
        fn digests_are_hmac_over_sha_256(key: [u8; 32], id: [u8; 16], secret in "[!-~]{0,130}") {
            let installation_key = InstallationKey::from_bytes(zeroize::Zeroizing::new(key));
            let derived = reference(&key, b"countersign digests");
            for (form, key) in [(KeyForm::Whole, key), (KeyForm::Derived, derived)] {
            let digest_key = installation_key.with_form(form).digest_key();
            let inner: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
            prop_assert_eq!(hash_mac::sha256(secret.as_bytes()), inner);
            let client_id = ClientId::from_bytes(id);
            let expected = reference(&key, &[id.as_slice(), &inner].concat());
            prop_assert_eq!(*digest_key.pair(&client_id, &secret).as_bytes(), expected);
            prop_assert_eq!(*digest_key.pair_from_sha256(&client_id, &inner).as_bytes(), expected);
            for (kind, name) in [
                (BearerKind::ManagementToken, "management"),
                (BearerKind::ApiToken, "api token"),
                (BearerKind::GlobalKey, "global key"),
            ] {
                let expected = reference(&key, &[name.as_bytes(), &inner].concat());
                prop_assert_eq!(*digest_key.bearer(kind, &secret).as_bytes(), expected);
            }
            }
        }

        #[test]
        fn a_mac_is_of_its_parts_together(key: [u8; 32], one: Vec<u8>, other: Vec<u8>) {
            let mac = MacKey::from_bytes(key).mac(&[&one, &other]);
            prop_assert_eq!(mac, reference(&key, &[one, other].concat()));
        }
    }

    #[test]
    fn a_mac_as_text_is_compared_whole() {
        let key = MacKey::from_bytes([1; 32]);
        let text = key.mac_hex(&[b"a", b"b"]);
        assert_eq!(text, encode_hex(&key.mac(&[b"ab"])));
        assert!(key.is_mac_hex(&[b"ab"], &text));
        for other in ["", &text[1..], &format!("{text}0"), &text.to_uppercase(), &key.mac_hex(&[b"abc"])] {
            assert!(!key.is_mac_hex(&[b"ab"], other), "{other}");
        }
    }

    #[test]
    fn digests_are_bound_to_identity_and_kind() {
        let entropy = Entropy::seeded(1);
        let key = InstallationKey::generate(&entropy).digest_key();
        let pair = |id: &ClientId| key.pair(id, "secret");
        let one = ClientId::generate(&entropy);
        assert!(pair(&one).matches(&pair(&one)));
        assert!(!pair(&one).matches(&pair(&ClientId::generate(&entropy))));
        let bearer = |kind| key.bearer(kind, "secret");
        assert!(!bearer(BearerKind::ApiToken).matches(&bearer(BearerKind::ManagementToken)));
        assert!(!bearer(BearerKind::ApiToken).matches(&bearer(BearerKind::GlobalKey)));
    }

    #[test]
    fn derived_keys_differ() {
        let key = InstallationKey::generate(&Entropy::seeded(2));
        let mac = |key: MacKey| key.mac(&[b"x"]);
        let all = [
            mac(key.audit_key()),
            mac(key.jwt_key("1")),
            mac(key.jwt_key("2")),
            mac(key.form_key()),
            mac(key.idempotency_key()),
            mac(key.answer_key("a", &Secret::from("bc".to_owned()))),
            mac(key.answer_key("ab", &Secret::from("c".to_owned()))),
            mac(key.backup_key()),
            mac(key.assertion_key()),
            mac(key.verifier_key().unwrap()),
            key.check_value(),
            key.with_form(KeyForm::Whole).check_value(),
            *key.pad_audit_key(KeyId::FIRST, &[0; 32]),
            *key.pad_audit_key(KeyId(2), &[0; 32]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one));
        }
    }

    #[test]
    fn an_audit_key_outlives_its_installation_key() {
        let key = |seed| InstallationKey::generate(&Entropy::seeded(seed));
        let (old, new) = (key(5), key(6).with_id(KeyId(2)));
        let closed = new.pad_audit_key(old.id(), old.audit_key().as_bytes());
        assert_ne!(*closed, *old.audit_key().as_bytes());
        assert_eq!(*new.pad_audit_key(old.id(), &closed), *old.audit_key().as_bytes());
        assert_ne!(*old.pad_audit_key(old.id(), &closed), *old.audit_key().as_bytes());
    }

    #[test]
    fn a_check_value_tells_the_form() {
        let key = InstallationKey::generate(&Entropy::seeded(8)).with_id(KeyId(2));
        for form in [KeyForm::Whole, KeyForm::Derived] {
            let known = key.known_by(&key.with_form(form).check_value()).unwrap();
            assert_eq!((known.form, known.id()), (form, KeyId(2)));
            let digest = |key: &InstallationKey| key.digest_key().bearer(BearerKind::ApiToken, "x");
            assert!(digest(&known).matches(&digest(&key.with_form(form))));
            assert_eq!(known.verifier_key().is_some(), form == KeyForm::Derived);
        }
        assert!(key.known_by(&InstallationKey::generate(&Entropy::seeded(9)).check_value()).is_none());
        // What is handed out makes the digests, and nothing else of the installation.
        let handed_out = DigestKey::new(&key.verifier_key().unwrap(), key.id());
        let digest = |key: &DigestKey| key.bearer(BearerKind::ApiToken, "x");
        assert!(digest(&handed_out).matches(&digest(&key.digest_key())));
        assert!(!digest(&handed_out).matches(&digest(&key.with_form(KeyForm::Whole).digest_key())));
    }

    #[test]
    fn a_digest_knows_its_key() {
        let key = InstallationKey::generate(&Entropy::seeded(7)).with_id(KeyId(9)).digest_key();
        assert_eq!(key.bearer(BearerKind::ApiToken, "x").key(), KeyId(9));
        assert_eq!(key.pair(&ClientId::from_bytes([0; 16]), "x").key(), KeyId(9));
        assert_eq!(Digest::from_bytes([1; 32]).key(), KeyId::FIRST);
        assert!(Digest::from_bytes([1; 32]).under(KeyId(3)).matches(&Digest::from_bytes([1; 32])));
    }

    #[test]
    fn key_files_hold_hex() {
        let key = InstallationKey::generate(&Entropy::seeded(3));
        let text = key.to_hex();
        let again = InstallationKey::parse_hex(&format!(" {}\r\n", text.expose().to_uppercase())).unwrap();
        assert_eq!(again.check_value(), key.check_value());
        for text in ["", "00", &"g".repeat(64), &"0".repeat(63), &"0".repeat(65), &"\u{e9}".repeat(32)] {
            assert!(InstallationKey::parse_hex(text).is_err(), "{text}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let key = InstallationKey::generate(&Entropy::seeded(4));
        let shown = format!("{:?} {:?} {:?} {:?}", key, key.digest_key(), key.audit_key(), Digest::from_bytes([7; 32]));
        assert_eq!(shown, "InstallationKey(..) DigestKey(..) MacKey(..) Digest(..)");
    }
}
