//! The mark that every form carries: that it came from this installation, for what, and when.
//!
//! Nothing is stored when a form is handed out, and any node takes what another has handed out. That a form does its work
//! once is the operations' promise: its [key](Forms::check) is the key under which they remember what was done.

use std::time::Duration;

use countersign_token::digest::Keyring;
use countersign_token::entropy::Entropy;
use countersign_token::id::UserId;
use countersign_token::time::Timestamp;
use http::StatusCode;

use crate::ops::IdempotencyKey;

/// How long a form may be looked at before it is sent.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Marks forms, and knows its marks again.
#[derive(Clone, Debug)]
pub(super) struct Forms {
    keys: Keyring,
    entropy: Entropy,
}

/// Why a form does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It bears no mark of this installation, or one for something else.
    Foreign,
    /// It was handed out too long ago.
    Expired,
    /// It has done its work.
    Used,
}

impl Forms {
    pub(super) fn new(keys: Keyring, entropy: Entropy) -> Self {
        Self { keys, entropy }
    }

    /// The mark of a new form for `purpose`.
    pub(super) fn mark(&self, purpose: &str, now: Timestamp) -> String {
        let nonce: String = self.entropy.bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
        let marked = format!("{}.{nonce}", now.as_secs());
        let code = self.keys.current().form_key().mac_hex(&code_parts(&marked, purpose));
        format!("{marked}.{code}")
    }

    /// The key of a form for `purpose` that bears this mark: under it, what the form asks for is done once
    /// on an account.
    pub(super) fn check(&self, purpose: &str, mark: &str, now: Timestamp) -> Result<IdempotencyKey, Unfit> {
        let (marked, code) = mark.rsplit_once('.').ok_or(Unfit::Foreign)?;
        let keys = self.keys.all();
        if !keys.iter().any(|key| key.form_key().is_mac_hex(&code_parts(marked, purpose), code)) {
            return Err(Unfit::Foreign);
        }
        let (secs, nonce) = marked.split_once('.').ok_or(Unfit::Foreign)?;
        let secs = secs.parse::<i64>().map_err(|_not_ours| Unfit::Foreign)?;
        // Another node's clock may be ahead of this one's, or somebody has set it back.
        if now.as_secs().abs_diff(secs) >= LIFETIME.as_secs() {
            return Err(Unfit::Expired);
        }
        IdempotencyKey::parse(&format!("form-{nonce}")).ok_or(Unfit::Foreign)
    }

    /// What tells this form, sent by this user, from anything else that is done under the same key.
    pub(super) fn fingerprint(&self, key: &IdempotencyKey, user: Option<&UserId>) -> [u8; 32] {
        let user = user.map(UserId::to_string).unwrap_or_default();
        self.keys.current().form_key().mac(&[b"done\0", key.as_str().as_bytes(), b"\0", user.as_bytes()])
    }
}

/// A mark begins with digits and a purpose follows a zero byte, which no mark contains.
fn code_parts<'a>(marked: &'a str, purpose: &'a str) -> [&'a [u8]; 3] {
    [marked.as_bytes(), b"\0", purpose.as_bytes()]
}

impl Unfit {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Foreign => StatusCode::FORBIDDEN,
            Self::Expired | Self::Used => StatusCode::GONE,
        }
    }

    /// What to tell the person who has sent it.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Foreign => "This form did not come from here. Please fill it in again.",
            Self::Expired => "This form was open for too long. Please fill it in again.",
            Self::Used => {
                "This form was used already, and what it made was shown then. Fill it in again to make another one."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use countersign_token::digest::InstallationKey;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn forms() -> Forms {
        Forms::new(Keyring::new(InstallationKey::generate(&Entropy::seeded(1))), Entropy::seeded(1))
    }

    fn after(secs: i64) -> Timestamp {
        Timestamp::from_secs(NOW.as_secs() + secs)
    }

    #[test]
    fn a_mark_is_good_for_a_quarter_of_an_hour() {
        let forms = forms();
        let mark = forms.mark("log in", NOW);
        let check = |secs, expected| assert_eq!(forms.check("log in", &mark, after(secs)).err(), expected, "{secs}");
        check(0, None);
        check(899, None);
        check(900, Some(Unfit::Expired));
        // From a node whose clock is ahead.
        check(-899, None);
        check(-900, Some(Unfit::Expired));
    }

    #[test]
    fn a_mark_is_good_for_its_purpose_and_installation() {
        let forms = forms();
        let mark = forms.mark("log in", NOW);
        assert_eq!(forms.check("invite", &mark, NOW), Err(Unfit::Foreign));
        let others = Forms::new(Keyring::new(InstallationKey::generate(&Entropy::seeded(2))), Entropy::seeded(1));
        assert_eq!(others.check("log in", &mark, NOW), Err(Unfit::Foreign));
        for place in 0..mark.len() {
            let mut changed = mark.clone().into_bytes();
            changed[place] = if changed[place] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(forms.check("log in", &changed, NOW), Err(Unfit::Foreign), "{changed}");
        }
        let code = |marked: &str| {
            format!("{marked}.{}", forms.keys.current().form_key().mac_hex(&[marked.as_bytes(), b"\0log in"]))
        };
        for mark in ["", ".", "..", "\0", "1.2", &mark[1..], &format!("{mark}0"), &code("x.y"), &code("1800000000")] {
            assert_eq!(forms.check("log in", mark, NOW), Err(Unfit::Foreign), "{mark}");
        }
    }

    #[test]
    fn each_form_has_its_own_key() {
        let forms = forms();
        let key = |mark: &str| forms.check("log in", mark, NOW).unwrap();
        let (one, other) = (forms.mark("log in", NOW), forms.mark("log in", NOW));
        assert_eq!(key(&one), key(&one));
        assert_ne!(key(&one), key(&other));
        let users = [None, Some(UserId::from_bytes([1; 16])), Some(UserId::from_bytes([2; 16]))];
        let prints = users.map(|user| forms.fingerprint(&key(&one), user.as_ref()));
        assert!(prints[0] != prints[1] && prints[1] != prints[2]);
        assert_ne!(forms.fingerprint(&key(&other), None), prints[0]);
    }

    proptest! {
        #[test]
        fn no_mark_is_guessed_and_every_own_one_is_known(
            mark in crate::property::text(), purpose in crate::property::text(), secs in 0..1_i64 << 40,
        ) {
            let (forms, now) = (forms(), Timestamp::from_secs(secs));
            prop_assert_eq!(forms.check(&purpose, &mark, now), Err(Unfit::Foreign));
            prop_assert!(forms.check(&purpose, &forms.mark(&purpose, now), now).is_ok());
        }
    }
}
