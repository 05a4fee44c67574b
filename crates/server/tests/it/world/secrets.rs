//! Every secret that a world has issued, and where they may turn up: in the one answer that made them.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

/// No secret is shorter: a global key has 37 characters.
const SECRET_LEN_MIN: usize = 37;

/// The secrets of one world.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    known: Mutex<HashSet<String>>,
    /// Those that a replay has shown, perhaps before the answer that it repeats was looked at.
    replayed: Mutex<HashSet<String>>,
    issued: Mutex<HashSet<String>>,
    /// Those that answers may show again, but which nothing keeps.
    derived: Mutex<HashSet<String>>,
}

fn lock(set: &Mutex<HashSet<String>>) -> std::sync::MutexGuard<'_, HashSet<String>> {
    set.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Secrets {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        lock(&self.known)
    }

    /// Takes note of a secret that was just issued; it must be a new one.
    pub(crate) fn issued(&self, secret: &str) {
        assert!(secret.len() >= SECRET_LEN_MIN, "too short for a secret");
        assert!(lock(&self.issued).insert(secret.to_owned()), "a secret was issued twice");
        self.lock().insert(secret.to_owned());
    }

    /// Whether an answer has issued this secret.
    pub(crate) fn is_issued(&self, secret: &str) -> bool {
        lock(&self.issued).contains(secret)
    }

    /// Takes note of a secret that the replay of its creation has shown again.
    pub(crate) fn replayed(&self, secret: &str) {
        lock(&self.replayed).insert(secret.to_owned());
        self.lock().insert(secret.to_owned());
    }

    /// Asserts that replays showed nothing that had not been issued.
    pub(crate) fn assert_replays_were_issued(&self) {
        assert!(
            lock(&self.replayed).is_subset(&lock(&self.issued)),
            "a replay has shown a secret that nobody was given"
        );
    }

    /// Takes note of a secret that is worked out whenever it is shown.
    pub(crate) fn derived(&self, secret: &str) {
        assert!(secret.len() >= SECRET_LEN_MIN, "too short for a secret");
        lock(&self.derived).insert(secret.to_owned());
    }

    /// Asserts that none of the secrets that nothing keeps is part of `text`.
    pub(crate) fn assert_not_kept_in(&self, text: &str, place: &str) {
        for word in words(text.as_bytes()) {
            assert!(!lock(&self.derived).iter().any(|secret| word.contains(secret.as_str())), "a secret is in {place}");
        }
    }

    /// Asserts that no secret of this world is part of `text`.
    pub(crate) fn assert_absent_from(&self, text: &str, place: &str) {
        let secrets = self.lock();
        for word in words(text.as_bytes()) {
            // A word that begins like a secret is one, also when this world has not issued it.
            for prefix in ["csec_", "csat_", "eyJ"] {
                assert!(!word.contains(prefix), "something like a secret is in {place}");
            }
            assert!(!secrets.iter().any(|secret| word.contains(secret.as_str())), "a secret is in {place}");
        }
    }

    /// As [`Self::assert_absent_from`] for bytes that are not text, and only for secrets of this world.
    pub(crate) fn assert_absent_from_bytes(&self, bytes: &[u8], place: &str) {
        let secrets = self.lock();
        let derived = lock(&self.derived);
        for word in words(bytes) {
            assert!(!derived.iter().any(|secret| word.contains(secret.as_str())), "a secret is in {place}");
            assert!(!secrets.iter().any(|secret| word.contains(secret.as_str())), "a secret is in {place}");
        }
    }

    /// Asserts that nothing in this process has logged a secret of this world so far, at any level.
    pub(crate) fn assert_never_logged(&self) {
        assert!(LINES.load(Ordering::Relaxed) > 0, "nothing was logged at all, so nothing was checked");
        let logged = logged();
        let secrets = self.lock();
        let derived = lock(&self.derived);
        for word in logged.iter().flatten() {
            assert!(!derived.iter().any(|secret| word.contains(secret.as_str())), "a secret was logged");
            assert!(!secrets.iter().any(|secret| word.contains(secret.as_str())), "a secret was logged");
        }
    }
}

/// The words of a text that are long enough to hold a secret.
fn words(text: &[u8]) -> impl Iterator<Item = &str> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    text.split(move |byte| !is_part(byte))
        .filter(|word| word.len() >= SECRET_LEN_MIN)
        .filter_map(|word| std::str::from_utf8(word).ok())
}

/// The long words of everything that this process has logged at any level: whatever is not among them is no secret.
static LOGGED: Mutex<Option<HashSet<String>>> = Mutex::new(None);
static LINES: AtomicUsize = AtomicUsize::new(0);
static LISTENING: Once = Once::new();

/// Listens to every level of every crate, for all worlds of this process.
pub(crate) fn listen() {
    LISTENING.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::NEW | FmtSpan::CLOSE)
            .with_ansi(false)
            .with_writer(Ear)
            .init();
    });
}

fn logged() -> std::sync::MutexGuard<'static, Option<HashSet<String>>> {
    LOGGED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[derive(Clone, Copy)]
struct Ear;

impl io::Write for Ear {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LINES.fetch_add(1, Ordering::Relaxed);
        for word in words(line) {
            let mut logged = logged();
            let logged = logged.get_or_insert_default();
            if !logged.contains(word) {
                logged.insert(word.to_owned());
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Ear {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

#[test]
fn a_logged_secret_is_noticed() {
    listen();
    let secrets = Secrets::default();
    let secret = "0123456789abcdefghij0123456789abcdefghij-only-of-this-test";
    secrets.issued(secret);
    tracing::info!("something else");
    secrets.assert_never_logged();
    tracing::trace!(field = secret, "a slip");
    let noticed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| secrets.assert_never_logged()));
    noticed.expect_err("the slip must be noticed");
}

#[test]
fn a_secret_in_an_answer_is_noticed() {
    let secrets = Secrets::default();
    secrets.issued("0123456789abcdef0123456789abcdef01234");
    let found = |text: &str| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| secrets.assert_absent_from(text, "a text"))).is_err()
    };
    assert!(found(r#"{"key":"0123456789abcdef0123456789abcdef01234"}"#));
    assert!(found(r#"{"key":"x0123456789abcdef0123456789abcdef01234x"}"#));
    assert!(found("csec_0123456789012345678901234567890123456789abcdef"));
    assert!(!found(
        r#"{"id":"3537a672-e4d8-4d89-aab9-26cb622918a1","client_id":"88bf3b6d86161464f6509f7219099e57.access"}"#
    ));
}
