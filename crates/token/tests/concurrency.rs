//! Readers while a writer writes: no answer that no state justifies, and no lost mark.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread;

use countersign_token::credential::Credential;
use countersign_token::demand::Demand;
use countersign_token::digest::{DigestKey, InstallationKey};
use countersign_token::entropy::Entropy;
use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::{AccountId, ClientId, ServiceTokenId, ZoneId};
use countersign_token::index::{Index, SeenSubject};
use countersign_token::service_token::Owner;
use countersign_token::time::Timestamp;
use countersign_token::verify::{Decision, Reason, SecretSlot, verify};

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const ACCOUNT: AccountId = AccountId::from_bytes([1; 16]);
const ZONE: ZoneId = ZoneId::from_bytes([2; 16]);

fn world() -> (DigestKey, Index) {
    let entropy = Entropy::seeded(4);
    let key = InstallationKey::generate(&entropy).digest_key();
    let index = Index::new(key.clone(), &entropy);
    index.apply(&Change { revision: Revision::new(1), subject: Subject::Zone { id: ZONE, account: ACCOUNT } });
    (key, index)
}

fn token(key: &DigestKey, client_id: ClientId, secret: &str, previous: Option<&str>, enabled: bool) -> Subject {
    Subject::ServiceToken {
        id: ServiceTokenId::from_bytes(*client_id.as_bytes()),
        owner: Owner { account: ACCOUNT, zone: Some(ZONE) },
        client_id,
        name: "x".to_owned(),
        allow_from: None,
        digest: key.pair(&client_id, secret),
        secret_version: 2,
        previous: previous.map(|previous| (key.pair(&client_id, previous), Timestamp::MAX)),
        previous_version: Some(1),
        enabled,
        expires_at: None,
        last_seen_at: None,
        deleted: false,
    }
}

/// State `n` has secret `n` and the one before; every third is disabled.
fn is_enabled(state: i64) -> bool {
    state % 3 != 0
}

fn justifies(state: i64, presented: i64, decision: Decision) -> bool {
    let slot = match state - presented {
        0 => Some(SecretSlot::Current),
        1 => Some(SecretSlot::Previous),
        _ => None,
    };
    match (slot, decision) {
        (None, Decision::Refuse(refusal)) => refusal.reason == Reason::Invalid,
        (Some(_), Decision::Refuse(refusal)) => refusal.reason == Reason::Disabled && !is_enabled(state),
        (Some(slot), Decision::Allow(verified)) => verified.slot_used == slot && is_enabled(state),
        (None, Decision::Allow(_)) => false,
    }
}

#[test]
fn every_answer_is_justified_by_a_state_of_its_time() {
    const STATES: i64 = 6_000;
    let (key, index) = world();
    let client_id = ClientId::from_bytes([7; 16]);
    let change = |state: i64| Change {
        revision: Revision::new(state + 10),
        subject: token(&key, client_id, &state.to_string(), Some(&(state - 1).to_string()), is_enabled(state)),
    };
    index.apply(&change(1));
    let demand = Demand::default().with_account(&index, &ACCOUNT).with_zone(&index, &ZONE);
    let (begun, done, stop) = (AtomicI64::new(1), AtomicI64::new(1), AtomicBool::new(false));
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|reader| {
                let (index, demand, begun, done, stop) = (&index, &demand, &begun, &done, &stop);
                scope.spawn(move || {
                    let mut answers = 0_u32;
                    let mut allowed = 0_u32;
                    while !stop.load(Ordering::Relaxed) {
                        let earliest = done.load(Ordering::SeqCst);
                        let presented = earliest + i64::from((answers + reader) % 4) - 2;
                        let secret = presented.to_string();
                        let credential = Credential::Pair { client_id, secret: Cow::Borrowed(&secret) };
                        let decision = verify(index, &credential, demand, NOW);
                        let latest = begun.load(Ordering::SeqCst);
                        let justified = (earliest..=latest).any(|state| justifies(state, presented, decision));
                        assert!(justified, "{presented} in states {earliest} to {latest}: {decision:?}");
                        answers += 1;
                        if let Decision::Allow(verified) = decision {
                            allowed += 1;
                            assert!(index.describe(verified.handle).is_some());
                        }
                    }
                    (answers, allowed)
                })
            })
            .collect();
        // Another writer lets the tables grow under the readers.
        let crowd = scope.spawn(|| {
            let entropy = Entropy::seeded(5);
            for number in 0..8_000 {
                let subject = token(&key, ClientId::generate(&entropy), "crowd", None, true);
                index.apply(&Change { revision: Revision::new(100_000 + number), subject });
            }
        });
        for state in 2..STATES {
            begun.store(state, Ordering::SeqCst);
            index.apply(&change(state));
            done.store(state, Ordering::SeqCst);
        }
        crowd.join().unwrap();
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            let (answers, allowed) = reader.join().unwrap();
            assert!(answers > 0 && allowed > 0, "{answers} answers, {allowed} of them good");
        }
    });
    assert_eq!(index.len(), 8_001);
}

#[test]
fn no_mark_is_lost_while_tables_grow() {
    let (key, index) = world();
    let entropy = Entropy::seeded(6);
    let clients: Vec<_> = (0..64).map(|_| ClientId::generate(&entropy)).collect();
    for (number, client_id) in (2..).zip(&clients) {
        index.apply(&Change { revision: Revision::new(number), subject: token(&key, *client_id, "x", None, true) });
    }
    let demand = Demand::default().with_account(&index, &ACCOUNT);
    let stop = AtomicBool::new(false);
    let mut drained: HashMap<ServiceTokenId, Timestamp> = HashMap::new();
    let mut keep = |index: &Index| {
        index.drain_seen(&mut |mark| {
            let SeenSubject::ServiceToken(id) = mark.subject else { panic!("{mark:?}") };
            let known = drained.entry(id).or_insert(mark.at);
            *known = mark.at.max(*known);
        });
    };
    let marked = thread::scope(|scope| {
        let markers: Vec<_> = clients
            .chunks(32)
            .map(|clients| {
                let (index, demand, stop) = (&index, &demand, &stop);
                scope.spawn(move || {
                    let mut second = NOW.as_secs();
                    while !stop.load(Ordering::Relaxed) {
                        second += 1;
                        let now = Timestamp::from_secs(second);
                        for client_id in clients {
                            let credential = Credential::Pair { client_id: *client_id, secret: Cow::Borrowed("x") };
                            let Decision::Allow(verified) = verify(index, &credential, demand, now) else {
                                panic!("refused");
                            };
                            index.mark_seen(&verified, now);
                        }
                    }
                    Timestamp::from_secs(second)
                })
            })
            .collect();
        let entropy = Entropy::seeded(8);
        for number in 0..30_000 {
            let subject = token(&key, ClientId::generate(&entropy), "crowd", None, true);
            index.apply(&Change { revision: Revision::new(1_000 + number), subject });
            if number % 1_000 == 0 {
                keep(&index);
            }
        }
        stop.store(true, Ordering::Relaxed);
        markers.into_iter().map(|marker| marker.join().unwrap()).collect::<Vec<_>>()
    });
    keep(&index);
    for (clients, last) in clients.chunks(32).zip(marked) {
        assert!(last > NOW);
        for client_id in clients {
            let id = ServiceTokenId::from_bytes(*client_id.as_bytes());
            assert_eq!(index.last_seen(client_id), Some(last));
            assert_eq!(drained.get(&id), Some(&last));
        }
    }
    index.drain_seen(&mut |mark| panic!("{mark:?} was handed out already"));
}

#[test]
fn whoever_is_known_is_found_at_once_while_tables_grow() {
    const TOKENS: usize = 12_000;
    // Two of them: what a thread keeps of one is nothing to the other.
    let worlds = [world(), world()];
    let entropy = Entropy::seeded(9);
    let clients: Vec<_> = (0..TOKENS).map(|_| ClientId::generate(&entropy)).collect();
    let known = AtomicUsize::new(0);
    let (clients, worlds, known) = (&clients, &worlds, &known);
    let is_admitted = |index: &Index, token: usize| {
        let credential = Credential::Pair { client_id: clients[token], secret: Cow::Borrowed("x") };
        let demand = Demand::default().with_account(index, &ACCOUNT);
        matches!(verify(index, &credential, &demand, NOW), Decision::Allow(_))
    };
    thread::scope(|scope| {
        for reader in 0..3 {
            scope.spawn(move || {
                let mut turn: usize = reader;
                loop {
                    let now_known = known.load(Ordering::SeqCst);
                    // The newest, and any other.
                    let tokens = [now_known.checked_sub(1), (turn * 7_919).checked_rem(now_known)];
                    for token in tokens.into_iter().flatten() {
                        let (_, index) = &worlds[turn / 100 % 2];
                        assert!(is_admitted(index, token), "{token} of {now_known}");
                    }
                    if now_known == TOKENS {
                        return;
                    }
                    turn += 1;
                }
            });
        }
        for (number, client_id) in clients.iter().enumerate() {
            for (key, index) in worlds {
                let revision = Revision::new(i64::try_from(number).unwrap() + 10);
                index.apply(&Change { revision, subject: token(key, *client_id, "x", None, true) });
            }
            known.store(number + 1, Ordering::SeqCst);
        }
    });
}
