//! `kill -9` at any moment: what was acknowledged is there, nothing is half there, and the audit chain holds.

mod api_token;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use crate::world::{Installation, Server, World, gate_says, request};

const ROUNDS: u64 = 20;
const WORKERS: u64 = 3;

/// At most so many changes are acknowledged in a round before the kill.
const ACKNOWLEDGED_MAX: u64 = 40;

/// A small generator of numbers that look random: the same seed gives the same run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// A token as it is known to be, by what was acknowledged.
#[derive(Clone, Debug)]
struct Known {
    client_id: String,
    secret: String,
    version: u64,
    /// Name and duration carry the same number: an update that is half there would tell.
    number: u64,
    deleted: bool,
}

/// A change that was sent and whose answer never came: it may be there or not.
#[derive(Clone, Debug)]
enum Pending {
    Create(u64),
    Update(String, u64),
    Rotate(String),
    Delete(String),
}

/// What one worker knows after a round. Its tokens are its own, so that their history has an order.
#[derive(Default)]
struct Ledger {
    tokens: HashMap<String, Known>,
    touched: Vec<String>,
    pending: Option<Pending>,
    acknowledged: u64,
}

struct Api<'a> {
    management: &'a str,
    gate: &'a str,
    tokens: String,
    bearer: String,
    account: &'a str,
}

impl<'a> Api<'a> {
    fn new(server: &'a Server, first: &'a Installation) -> Self {
        let account = first.account();
        Self {
            management: &server.management,
            gate: &server.gate,
            tokens: format!("/client/v4/accounts/{account}/access/service_tokens"),
            bearer: format!("Bearer {}", first.api_token()),
            account,
        }
    }

    /// The answer's status and result; `None` if it did not come whole.
    fn call(&self, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
        let path = format!("{}{path}", self.tokens);
        let headers = [("Authorization", self.bearer.as_str())];
        let answer = request(self.management, method, &path, &headers, Some(body)).ok()?;
        let mut envelope = answer.json();
        Some((answer.status, envelope["result"].take()))
    }

    fn admits(&self, known: &Known) -> bool {
        gate_says(self.gate, self.account, &known.client_id, &known.secret).0 == 200
    }
}

fn body(worker: u64, number: u64) -> String {
    format!(r#"{{"name":"w{worker}-{number}","duration":"{}h"}}"#, 1000 + number)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

/// Makes one change after the other until the server is gone.
fn work(api: &Api<'_>, worker: u64, dice: &mut Dice, ledger: &mut Ledger, next: &mut u64, done: &AtomicUsize) {
    loop {
        *next += 1;
        let number = *next;
        let mut ids: Vec<String> =
            ledger.tokens.iter().filter(|(_, known)| !known.deleted).map(|(id, _)| id.clone()).collect();
        ids.sort();
        let kind = if ids.is_empty() { 0 } else { dice.roll(10) };
        let id = ids.get(usize::try_from(dice.roll(ids.len().max(1) as u64)).unwrap()).cloned().unwrap_or_default();
        ledger.pending = Some(match kind {
            0..4 => Pending::Create(number),
            4..7 => Pending::Update(id.clone(), number),
            7..9 => Pending::Rotate(id.clone()),
            _ => Pending::Delete(id.clone()),
        });
        let answer = match kind {
            0..4 => api.call("POST", "", &body(worker, number)),
            4..7 => api.call("PUT", &format!("/{id}"), &body(worker, number)),
            7..9 => api.call("POST", &format!("/{id}/rotate"), ""),
            _ => api.call("DELETE", &format!("/{id}"), ""),
        };
        let Some((status, result)) = answer else { return };
        assert!(status == 200 || status == 201, "{kind}: {status} {result}");
        ledger.pending = None;
        let id = if kind < 4 { text(&result["id"]) } else { id };
        match kind {
            0..4 => {
                let known = Known {
                    client_id: text(&result["client_id"]),
                    secret: text(&result["client_secret"]),
                    version: 1,
                    number,
                    deleted: false,
                };
                ledger.tokens.insert(id.clone(), known);
            }
            4..7 => ledger.tokens.get_mut(&id).unwrap().number = number,
            7..9 => {
                let known = ledger.tokens.get_mut(&id).unwrap();
                known.secret = text(&result["client_secret"]);
                known.version += 1;
            }
            _ => ledger.tokens.get_mut(&id).unwrap().deleted = true,
        }
        ledger.touched.push(id);
        ledger.acknowledged += 1;
        done.fetch_add(1, Ordering::Release);
    }
}

/// Compares what a worker knows with what the restarted server says, and takes over how its pending change turned out.
fn compare(api: &Api<'_>, worker: u64, ledger: &mut Ledger) {
    let pending = ledger.pending.take();
    let unsure = match &pending {
        Some(Pending::Update(id, _) | Pending::Rotate(id) | Pending::Delete(id)) => Some(id.clone()),
        Some(Pending::Create(_)) | None => None,
    };
    let mut ids: Vec<String> = ledger.touched.drain(..).chain(unsure).collect();
    ids.sort();
    ids.dedup();
    for id in ids {
        let known = ledger.tokens.get_mut(&id).unwrap();
        let (status, token) = api.call("GET", &format!("/{id}"), "").expect("the server runs");
        if status == 404 {
            let allowed = known.deleted || matches!(&pending, Some(Pending::Delete(other)) if *other == id);
            assert!(allowed, "an acknowledged token is gone: {id} {known:?}");
            known.deleted = true;
            assert!(!api.admits(known), "deleted and admitted: {id}");
            continue;
        }
        assert_eq!(status, 200, "{token}");
        assert!(!known.deleted, "an acknowledged deletion is undone: {id}");
        if let Some(Pending::Update(other, number)) = &pending
            && *other == id
            && token["name"] == format!("w{worker}-{number}")
        {
            known.number = *number;
        }
        assert_eq!(token["name"], format!("w{worker}-{}", known.number), "{id}");
        assert_eq!(token["duration"], format!("{}h", 1000 + known.number), "half an update: {token}");
        let version = token["client_secret_version"].as_u64().unwrap();
        let rotating = matches!(&pending, Some(Pending::Rotate(other)) if *other == id);
        if rotating && version == known.version + 1 {
            // The new secret was lost with the answer; the old one must have ended with the same change.
            assert!(!api.admits(known), "half a rotation: {token}");
            known.version = version;
            let (status, rotated) = api.call("POST", &format!("/{id}/rotate"), "").expect("the server runs");
            assert_eq!(status, 200, "{rotated}");
            known.secret = text(&rotated["client_secret"]);
            known.version += 1;
        }
        let (_, token) = api.call("GET", &format!("/{id}"), "").expect("the server runs");
        assert_eq!(token["client_secret_version"].as_u64().unwrap(), known.version, "{token}");
        assert!(api.admits(known), "an acknowledged secret is refused: {id}");
    }
    if let Some(Pending::Create(number)) = pending {
        let (_, found) = api.call("GET", &format!("?name=w{worker}-{number}"), "").expect("the server runs");
        // Nobody has its secret: it goes.
        for token in found.as_array().unwrap() {
            assert_eq!(token["duration"], format!("{}h", 1000 + number), "half a create: {token}");
            let (status, _) = api.call("DELETE", &format!("/{}", text(&token["id"])), "").expect("the server runs");
            assert_eq!(status, 200);
        }
    }
}

#[test]
fn what_is_acknowledged_survives() {
    let world = World::new();
    let first = world.init();
    let mut dice = Dice(0x5eed_c0de);
    let mut ledgers: Vec<Ledger> = (0..WORKERS).map(|_| Ledger::default()).collect();
    let mut numbers = vec![0; usize::try_from(WORKERS).unwrap()];
    let mut api_tokens = api_token::Ledger::default();
    let mut server = world.serve();
    for round in 0..ROUNDS {
        let enough = usize::try_from(dice.roll(ACKNOWLEDGED_MAX)).unwrap();
        let done = AtomicUsize::new(0);
        let seeds: Vec<u64> = (0..WORKERS).map(|_| dice.roll(u64::MAX) | 1).collect();
        let victim = server.process();
        let api = Api::new(&server, &first);
        let other_api = api_token::Api::new(&server, &first);
        let mut other_dice = Dice(dice.roll(u64::MAX) | 1);
        thread::scope(|scope| {
            let (api, done) = (&api, &done);
            scope.spawn(|| api_tokens.work(&other_api, &mut other_dice, done));
            for (worker, ((ledger, next), seed)) in (0..).zip(ledgers.iter_mut().zip(&mut numbers).zip(seeds)) {
                scope.spawn(move || work(api, worker, &mut Dice(seed), ledger, next, done));
            }
            while done.load(Ordering::Acquire) < enough {
                thread::yield_now();
            }
            victim.kill();
        });
        server.kill();
        server = world.serve();
        let api = Api::new(&server, &first);
        for (worker, ledger) in (0..).zip(&mut ledgers) {
            compare(&api, worker, ledger);
        }
        api_tokens.compare(&api_token::Api::new(&server, &first));
        let verdict = world.run(&["audit", "verify", "--json"]).json();
        let acknowledged: u64 = ledgers.iter().map(|ledger| ledger.acknowledged).sum();
        let acknowledged = acknowledged + api_tokens.acknowledged;
        assert!(verdict["events"].as_u64().unwrap() > acknowledged, "round {round}: {verdict} {acknowledged}");
    }

    let alive: usize = ledgers.iter().flat_map(|ledger| ledger.tokens.values()).filter(|known| !known.deleted).count();
    let api = Api::new(&server, &first);
    let (_, all) = api.call("GET", "?per_page=1000", "").expect("the server runs");
    assert_eq!(all.as_array().unwrap().len(), alive, "nothing is there that nobody made");
    for ledger in &ledgers {
        for known in ledger.tokens.values() {
            assert_eq!(api.admits(known), !known.deleted, "{known:?}");
        }
    }
    api_tokens.compare_all(&api_token::Api::new(&server, &first));
}
