//! What the server must say to each credential, now and after each call.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use countersign_server::token::time::{Clock, Timestamp};

use crate::wire::Answer;

/// How long another node may take to learn of something new. What is taken away has no such time.
const SPREAD_MICROS: i64 = 6_000_000;
/// Times in answers have whole seconds.
const SECOND_MICROS: i64 = 1_000_000;
/// For how many deleted credentials it is remembered that they must be refused.
const BURIED: usize = 4_096;

/// What the gate says to a credential on behalf of its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admit,
    Refuse(&'static str),
}

/// A credential, and what is due to it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// The id of its token.
    pub(crate) id: String,
    /// The lines of a request's head.
    pub(crate) headers: String,
    pub(crate) now: Verdict,
    /// When that changes by itself, and to what.
    pub(crate) later: Option<(Timestamp, Verdict)>,
}

#[derive(Clone, Debug)]
pub(crate) struct ServiceToken {
    /// Of the collection it is in.
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) client_id: String,
    pub(crate) secret: String,
    pub(crate) previous: Option<(String, Timestamp)>,
    /// One that was good once.
    pub(crate) dead: Option<String>,
    pub(crate) version: u64,
    pub(crate) enabled: bool,
    pub(crate) expires_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    Suspended,
    Revoked,
}

#[derive(Clone, Debug)]
pub(crate) struct ApiToken {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) status: Status,
}

#[derive(Clone, Debug)]
pub(crate) enum Token {
    Service(ServiceToken),
    Api(ApiToken),
}

impl ServiceToken {
    fn held(&self, secret: &str, now: Verdict, later: Option<(Timestamp, Verdict)>) -> Held {
        let headers = format!("cf-access-client-id: {}\r\ncf-access-client-secret: {secret}\r\n", self.client_id);
        Held { id: self.id.clone(), headers, now, later }
    }
}

impl Token {
    /// Every credential of the token, present and past.
    pub(crate) fn held(&self) -> Vec<Held> {
        const INVALID: Verdict = Verdict::Refuse("invalid");
        match self {
            Self::Service(token) => {
                let now = if token.enabled { Verdict::Admit } else { Verdict::Refuse("disabled") };
                let expired = token.enabled.then_some((token.expires_at, Verdict::Refuse("expired")));
                let mut held = vec![token.held(&token.secret, now, expired)];
                held.extend(
                    token.previous.iter().map(|(secret, until)| token.held(secret, now, Some((*until, INVALID)))),
                );
                held.extend(token.dead.iter().map(|secret| token.held(secret, INVALID, None)));
                held
            }
            Self::Api(token) => {
                let now = match token.status {
                    Status::Active => Verdict::Admit,
                    Status::Suspended => Verdict::Refuse("disabled"),
                    Status::Revoked => Verdict::Refuse("revoked"),
                };
                let headers = format!("authorization: Bearer {}\r\n", token.token);
                vec![Held { id: token.id.clone(), headers, now, later: None }]
            }
        }
    }

    /// The same credentials once the token is deleted.
    pub(crate) fn buried(&self) -> Vec<Held> {
        let gone = |held| Held { now: Verdict::Refuse("invalid"), later: None, ..held };
        self.held().into_iter().map(gone).collect()
    }
}

/// Where one token lives after the other: the population stays of one size.
#[derive(Default)]
pub(crate) struct Place(Mutex<Content>);

#[derive(Default)]
struct Content {
    token: Option<Token>,
    /// Odd while a call that changes the token is under way.
    changes: u64,
    last: Option<(usize, Timestamp)>,
}

/// What was known of a place when somebody asked.
pub(crate) struct Known {
    changes: u64,
    last: Option<(usize, Timestamp)>,
}

impl Place {
    fn with<T>(&self, look: impl FnOnce(&mut Content) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn token(&self) -> Option<Token> {
        self.with(|content| content.token.clone())
    }

    /// To be called before a call goes out that changes the token.
    pub(crate) fn begin(&self) {
        self.with(|content| content.changes += 1);
    }

    /// To be called once the call to a node has returned: from now on, only this is right.
    pub(crate) fn end(&self, token: Option<Token>, node: usize) {
        self.with(|content| {
            content.changes += 1;
            content.token = token;
            content.last = Some((node, Clock::System.now()));
        });
    }

    pub(crate) fn known(&self) -> (Known, Vec<Held>) {
        self.with(|content| {
            let held = content.token.as_ref().map(Token::held).unwrap_or_default();
            (Known { changes: content.changes, last: content.last }, held)
        })
    }

    /// Whether a call changed the token, or may have, since that was known.
    pub(crate) fn has_moved(&self, known: &Known) -> bool {
        known.changes % 2 == 1 || self.with(|content| content.changes != known.changes)
    }
}

impl Known {
    /// Whether a node may not have heard yet of what another one has granted.
    pub(crate) fn may_be_late(&self, node: usize, at: Timestamp) -> bool {
        self.last.is_some_and(|(other, returned)| other != node && at < returned.saturating_add_micros(SPREAD_MICROS))
    }
}

/// What is due at a time; `None` around the moment at which it changes by itself.
pub(crate) fn due(held: &Held, answer: &Answer) -> Option<Verdict> {
    match held.later {
        Some((at, then)) if answer.asked_at > at.saturating_add_micros(SECOND_MICROS) => Some(then),
        Some((at, _)) if answer.answered_at > at.saturating_add_micros(-SECOND_MICROS) => None,
        _ => Some(held.now),
    }
}

/// Credentials of deleted tokens. They are refused for ever.
#[derive(Default)]
pub(crate) struct Graveyard(Mutex<VecDeque<Held>>);

impl Graveyard {
    pub(crate) fn bury(&self, held: Vec<Held>) {
        let mut graves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        graves.extend(held);
        let surplus = graves.len().saturating_sub(BURIED);
        graves.drain(..surplus);
    }

    pub(crate) fn pick(&self, number: usize) -> Option<Held> {
        let graves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        graves.get(number % graves.len().max(1)).cloned()
    }
}
