//! What the store keeps closed: answers that hold a secret, and the private keys of assertions.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use countersign_token::digest::MacKey;
use countersign_token::entropy::Entropy;
use countersign_token::secret::Secret;

use super::{Error, unreadable};

/// What closes and opens a text: AES-256-GCM.
pub(super) struct Seal {
    key: MacKey,
    nonce: [u8; NONCE_LEN],
    /// The table and the column that the text is kept in.
    place: (&'static str, &'static str),
}

impl Seal {
    /// A seal for the answer to one request, under `key`, which nobody can make but who sends the request. The nonce is
    /// drawn anew for each request: a key that is sent again after a day seals another answer.
    pub(super) fn new(key: &MacKey, entropy: &Entropy) -> Self {
        Self { key: key.clone(), nonce: entropy.bytes(), place: ("idempotent_answer", "answer") }
    }

    /// A seal for the private key with this id. It is the same each time, since a write may be done twice: an id stands
    /// for one private key for ever, so that a nonce that is made of it never serves for two texts.
    pub(super) fn of_assertion_key(key: &MacKey, id: &str) -> Self {
        let mac = key.mac(&[b"nonce", id.as_bytes()]);
        let nonce = mac.first_chunk().copied().unwrap_or_default();
        Self { key: key.clone(), nonce, place: ("assertion_key", "closed") }
    }

    /// A fingerprint that is the same only under the same seal. It says nothing of the request to who can't make the seal.
    pub(super) fn bind(&self, fingerprint: &[u8; 32]) -> [u8; 32] {
        self.key.mac(&[b"fingerprint", fingerprint])
    }

    /// The text as it is kept under `name`: the nonce and the ciphertext, in hexadecimal digits.
    pub(super) fn close(&self, text: String, name: &str) -> Result<String, Error> {
        let mut bytes = text.into_bytes();
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let sealed = self.cipher().and_then(|cipher| {
            cipher
                .seal_in_place_append_tag(nonce, Aad::from(name), &mut bytes)
                .map_err(|_unspecified| "can't be sealed")
        });
        sealed.map_err(|problem| self.broken(name, problem))?;
        Ok(self.nonce.iter().chain(&bytes).map(|byte| format!("{byte:02x}")).collect())
    }

    /// What was closed under the same key and name.
    pub(super) fn open(&self, kept: &str, name: &str) -> Result<Secret, Error> {
        self.opened(kept, name).map(Secret::from).map_err(|problem| self.broken(name, problem))
    }

    fn opened(&self, kept: &str, name: &str) -> Result<String, &'static str> {
        let bytes = unhex(kept).ok_or("is not hexadecimal")?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>().ok_or("is too short")?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.cipher()?.open_in_place(nonce, Aad::from(name), &mut sealed);
        let length = opened.map_err(|_unspecified| "can't be opened")?.len();
        sealed.truncate(length);
        String::from_utf8(sealed).map_err(|_invalid| "is no text")
    }

    fn cipher(&self) -> Result<LessSafeKey, &'static str> {
        let key = UnboundKey::new(&AES_256_GCM, &self.key.mac(&[b"cipher"]));
        key.map(LessSafeKey::new).map_err(|_unspecified| "has no key")
    }

    fn broken(&self, name: &str, problem: &str) -> Error {
        let (table, column) = self.place;
        unreadable(table, column, name, &problem)
    }
}

/// The bytes that hexadecimal digits stand for.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use countersign_token::digest::InstallationKey;

    use super::*;

    fn seal(idempotency_key: &str, credential: &str, entropy: &Entropy) -> Seal {
        let key = InstallationKey::generate(&Entropy::seeded(1));
        Seal::new(&key.answer_key(idempotency_key, &Secret::from(credential.to_owned())), entropy)
    }

    #[test]
    fn what_is_closed_opens_again() {
        let entropy = Entropy::seeded(2);
        for answer in ["", "x", "{\"client_secret\":\"hush\"}", &"\u{1f511}".repeat(10_000)] {
            let kept = seal("k", "c", &entropy).close(answer.to_owned(), "name").unwrap();
            assert_eq!(seal("k", "c", &entropy).open(&kept, "name").unwrap().expose(), answer);
        }
    }

    #[test]
    fn nobody_else_opens_it() {
        let entropy = Entropy::seeded(3);
        let mine = seal("k", "c", &entropy);
        let kept = mine.close("hush".to_owned(), "name").unwrap();
        assert!(seal("l", "c", &entropy).open(&kept, "name").is_err());
        assert!(seal("k", "d", &entropy).open(&kept, "name").is_err());
        assert!(mine.open(&kept, "other").is_err());
        for place in 0..kept.len() {
            let digit = if kept.as_bytes()[place] == b'0' { "1" } else { "0" };
            let mut changed = kept.clone();
            changed.replace_range(place..=place, digit);
            assert!(mine.open(&changed, "name").is_err(), "{place}");
        }
        for text in ["", "0", "zz", "+1", &kept[..20], &kept[2..], &format!("{kept}00"), "\u{e4}\u{e4}"] {
            assert!(mine.open(text, "name").is_err(), "{text}");
        }
    }

    /// Two answers under one key must not be sealed with one nonce.
    #[test]
    fn the_same_answer_is_never_kept_alike() {
        let entropy = Entropy::seeded(4);
        let close = || seal("k", "c", &entropy).close("hush".to_owned(), "name").unwrap();
        assert_ne!(close()[..24], close()[..24]);
    }

    #[test]
    fn a_private_key_is_closed_alike_each_time_and_like_no_other() {
        let key = |seed| InstallationKey::generate(&Entropy::seeded(seed)).assertion_key();
        let close = |seed, id| Seal::of_assertion_key(&key(seed), id).close("hush".to_owned(), id).unwrap();
        let kept = close(6, "a");
        assert_eq!(kept, close(6, "a"));
        assert_ne!(kept[..24], close(6, "b")[..24]);
        assert_eq!(Seal::of_assertion_key(&key(6), "a").open(&kept, "a").unwrap().expose(), "hush");
        assert!(Seal::of_assertion_key(&key(7), "a").open(&kept, "a").is_err());
        assert!(Seal::of_assertion_key(&key(6), "b").open(&kept, "b").is_err());
    }

    #[test]
    fn a_fingerprint_is_bound_to_the_seal() {
        let entropy = Entropy::seeded(5);
        let bound = |key, credential| seal(key, credential, &entropy).bind(&[7; 32]);
        assert_eq!(bound("k", "c"), bound("k", "c"));
        assert_ne!(bound("k", "c"), bound("k", "d"));
        assert_ne!(bound("k", "c"), bound("l", "c"));
    }
}
