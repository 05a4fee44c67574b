//! The same of API tokens, whose creates carry keys: one whose answer never came is asked for again.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::Dice;
use crate::world::{Installation, Server, gate_says_to_bearer, request};

/// A token as it is known to be, by what was acknowledged.
struct Known {
    id: String,
    token: String,
    /// What its create was sent with.
    key: String,
    suspended: bool,
}

/// A change that was sent and whose answer never came.
enum Pending {
    Create(String),
    /// The place of a token that was suspended or activated.
    Turn(usize),
}

/// What is known after a round.
#[derive(Default)]
pub(super) struct Ledger {
    tokens: Vec<Known>,
    touched: Vec<usize>,
    pending: Option<Pending>,
    pub(super) acknowledged: u64,
}

pub(super) struct Api<'a> {
    management: &'a str,
    gate: &'a str,
    environment: &'a str,
    bearer: String,
}

impl<'a> Api<'a> {
    pub(super) fn new(server: &'a Server, first: &'a Installation) -> Self {
        let bearer = format!("Bearer {}", first.account_token());
        Self { management: &server.management, gate: &server.gate, environment: first.environment(), bearer }
    }

    /// The answer; `None` if it did not come whole.
    fn call(&self, method: &str, path: &str, body: &str) -> Option<Value> {
        let path = format!("/api/v1/api_token{path}");
        let answer = request(self.management, method, &path, &[("Authorization", &self.bearer)], Some(body)).ok()?;
        assert_eq!(answer.status, 200, "{answer:?}");
        Some(answer.json())
    }

    fn create(&self, key: &str) -> Option<Known> {
        let body = format!(
            r#"{{"details":{{"token_scope":"environment","environment_id":"{}"}},"idempotency_key":"{key}"}}"#,
            self.environment
        );
        let made = self.call("POST", "", &body)?;
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        let (id, token) = (text(&made["details"]["id"]), text(&made["token"]));
        Some(Known { id, token, key: key.to_owned(), suspended: false })
    }

    fn compare(&self, known: &Known) {
        let shown = self.call("GET", &format!("/{}", known.id), "").expect("the server runs");
        let expected = if known.suspended { "suspended" } else { "active" };
        assert_eq!(shown["details"]["status"], expected, "an acknowledged change is undone");
        let demand = format!("environment_id={}", self.environment);
        let said = gate_says_to_bearer(self.gate, &demand, &known.token);
        let expected = if known.suspended { (401, Some("disabled")) } else { (200, None) };
        assert_eq!((said.status, said.header("countersign-reason")), expected);
    }
}

impl Ledger {
    /// Makes one change after the other until the server is gone.
    pub(super) fn work(&mut self, api: &Api<'_>, dice: &mut Dice, done: &AtomicUsize) {
        loop {
            let sides = self.tokens.len().max(1) as u64;
            let place = usize::try_from(dice.roll(sides)).unwrap();
            if self.tokens.is_empty() || dice.roll(2) == 0 {
                let key = format!("create-{}", self.tokens.len());
                self.pending = Some(Pending::Create(key.clone()));
                let Some(known) = api.create(&key) else { return };
                self.touched.push(self.tokens.len());
                self.tokens.push(known);
            } else {
                self.pending = Some(Pending::Turn(place));
                let known = &mut self.tokens[place];
                let action = if known.suspended { "activate" } else { "suspend" };
                let Some(_) = api.call("POST", &format!("/{}/{action}", known.id), "") else { return };
                known.suspended = !known.suspended;
                self.touched.push(place);
            }
            self.pending = None;
            self.acknowledged += 1;
            done.fetch_add(1, Ordering::Release);
        }
    }

    /// Compares what is known with what the restarted server says, and takes over how the pending change turned out.
    pub(super) fn compare(&mut self, api: &Api<'_>) {
        match self.pending.take() {
            // Whether it was made or not: it is now, once, and its token is not lost.
            Some(Pending::Create(key)) => {
                self.touched.push(self.tokens.len());
                self.tokens.push(api.create(&key).expect("the server runs"));
            }
            Some(Pending::Turn(place)) => {
                let known = &mut self.tokens[place];
                let shown = api.call("GET", &format!("/{}", known.id), "").expect("the server runs");
                known.suspended = shown["details"]["status"] == "suspended";
                self.touched.push(place);
            }
            None => {}
        }
        for place in self.touched.drain(..) {
            let known = &self.tokens[place];
            api.compare(known);
            let again = api.create(&known.key).expect("the server runs");
            assert_eq!((&again.id, &again.token), (&known.id, &known.token), "a create was forgotten");
        }
    }

    /// Compares everything.
    pub(super) fn compare_all(&self, api: &Api<'_>) {
        self.tokens.iter().for_each(|known| api.compare(known));
        let list = api.call("GET", "?pagination[page_size]=1", "").expect("the server runs");
        let others = 1; // the account's first
        let expected = self.tokens.len() as u64 + others;
        assert_eq!(list["pagination"]["item_count"], expected, "nothing is there that nobody made");
    }
}
