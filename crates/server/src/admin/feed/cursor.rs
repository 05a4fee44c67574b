//! How far a verifier has come, as a text that it keeps and shows again.
//!
//! It is bound to the installation and to the accounts that the verifier saw: shown where either is another, it is as good as
//! none. It is no secret, and needs no seal: whoever makes one up is shown less, or the same again.

use countersign_store::{LivingKind, LivingPlace};
use countersign_token::feed::Revision;
use countersign_token::id::{AccountId, InstallationId};
use sha2::{Digest as _, Sha256};

use super::wire::hex;
use crate::ops::feed::Progress;

const FORM: &str = "1";

/// How many hexadecimal digits stand for what a verifier sees.
const VIEW_LEN: usize = 32;

/// Reads and writes the cursors of one view.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cursors {
    view: String,
}

impl Cursors {
    pub(super) fn of(installation: InstallationId, accounts: &[AccountId]) -> Self {
        let mut hash = Sha256::new();
        hash.update(installation.to_string());
        for account in accounts {
            hash.update(account.to_string());
        }
        let mut view = hex(&hash.finalize());
        view.truncate(VIEW_LEN);
        Self { view }
    }

    pub(super) fn write(&self, progress: &Progress) -> String {
        let (kind, revision, rest) = match progress {
            Progress::Following(revision) => ("f", revision, String::new()),
            Progress::Read(since) => ("r", since, String::new()),
            Progress::Reading { since, account, place } => {
                ("l", since, format!(".{account}.{}.{}.{}", letter(place.kind), place.zone, place.id))
            }
        };
        format!("{FORM}.{}.{kind}.{}{rest}", self.view, revision.get())
    }

    /// `None` if it is not of this view, or was never written here.
    pub(super) fn read(&self, text: &str) -> Option<Progress> {
        let mut parts = text.split('.');
        if parts.next()? != FORM || parts.next()? != self.view {
            return None;
        }
        let kind = parts.next()?;
        let revision = Revision::new(parts.next()?.parse().ok().filter(|revision| *revision >= 0)?);
        let progress = match kind {
            "f" => Progress::Following(revision),
            "r" => Progress::Read(revision),
            "l" => {
                let account = parts.next()?.parse().ok()?;
                let kind = kind_of(parts.next()?)?;
                let mut id = || parts.next().filter(|id| is_id(id)).map(str::to_owned);
                let place = LivingPlace { kind, zone: id()?, id: id()? };
                Progress::Reading { since: revision, account, place }
            }
            _ => return None,
        };
        if parts.next().is_some() { None } else { Some(progress) }
    }
}

fn is_id(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn letter(kind: LivingKind) -> &'static str {
    match kind {
        LivingKind::Account => "a",
        LivingKind::Zone => "z",
        LivingKind::Environment => "e",
        LivingKind::ServiceToken => "s",
        LivingKind::ApiToken => "t",
    }
}

fn kind_of(letter: &str) -> Option<LivingKind> {
    Some(match letter {
        "a" => LivingKind::Account,
        "z" => LivingKind::Zone,
        "e" => LivingKind::Environment,
        "s" => LivingKind::ServiceToken,
        "t" => LivingKind::ApiToken,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use countersign_token::entropy::Entropy;
    use proptest::prelude::*;

    use super::*;

    fn cursors(seed: u64, accounts: usize) -> Cursors {
        let entropy = Entropy::seeded(seed);
        let accounts: Vec<_> = (0..accounts).map(|_| AccountId::generate(&entropy)).collect();
        Cursors::of(InstallationId::generate(&Entropy::seeded(seed)), &accounts)
    }

    #[test]
    fn what_is_written_is_read_again_by_the_same_view_only() {
        let account = AccountId::generate(&Entropy::seeded(1));
        let place = |kind, zone: &str, id: &str| LivingPlace { kind, zone: zone.to_owned(), id: id.to_owned() };
        let since = Revision::new(7);
        let mut all = vec![Progress::Following(Revision::new(i64::MAX)), Progress::Read(since)];
        for kind in ["a", "z", "e", "s", "t"].map(|letter| kind_of(letter).unwrap()) {
            for place in [place(kind, "", ""), place(kind, "0f", "pf_1"), place(kind, "", "a-b")] {
                all.push(Progress::Reading { since, account, place });
            }
        }
        let mine = cursors(1, 2);
        for progress in all {
            let text = mine.write(&progress);
            assert_eq!(mine.read(&text), Some(progress), "{text}");
            assert_eq!(cursors(2, 2).read(&text), None, "another installation's");
            assert_eq!(cursors(1, 1).read(&text), None, "fewer accounts");
            assert_eq!(cursors(1, 3).read(&text), None, "more accounts");
            assert_eq!(mine.read(&format!("{text}.")), None);
            assert_eq!(mine.read(&format!("2{}", &text[1..])), None, "another form");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(text in "[1-2.a-z0-9-]{0,80}", bytes: String, rest in "[flr][.]-?[0-9]{1,20}([.][0-9a-z]{0,33}){0,5}") {
            let mine = cursors(1, 1);
            let like = format!("{FORM}.{}.{rest}", mine.view);
            for text in [text, bytes, like] {
                if let Some(progress) = mine.read(&text) {
                    prop_assert_eq!(mine.read(&mine.write(&progress)), Some(progress));
                }
            }
        }
    }
}
