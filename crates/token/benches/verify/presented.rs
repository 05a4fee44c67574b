//! Credentials as requests present them, and the index that knows them.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::{Duration, Instant};

use countersign_token::credential::Credential;
use countersign_token::demand::Demand;
use countersign_token::digest::DigestKey;
use countersign_token::entropy::Entropy;
use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::{ApiTokenId, ClientId, ServiceTokenId};
use countersign_token::index::Index;
use countersign_token::secret::{Secret, SecretFormat};
use countersign_token::service_token::Owner;
use countersign_token::time::Timestamp;
use countersign_token::verify::{Decision, verify};

use crate::{ACCOUNT, NOW};

/// Short batches, of which most run undisturbed even where a machine is shared.
pub(crate) const BATCH: usize = 1_000;
const SECRET_LENGTH: usize = 51;
/// Bearers are long: of a larger index only so many are presented, which is more than any cache holds.
const BEARERS_MAX: usize = 1_000_000;

/// Credentials as requests present them, in an order that has nothing to do with where they are kept.
pub(crate) struct Presented<I> {
    pub(crate) ids: Vec<I>,
    /// All texts, of the same length, one after the other.
    texts: String,
    pub(crate) length: usize,
    next: usize,
}

impl Presented<ClientId> {
    pub(crate) fn pairs(tokens: usize, entropy: &Entropy) -> Self {
        let mut texts = String::with_capacity(tokens * SECRET_LENGTH);
        let ids = (0..tokens)
            .map(|_| {
                texts.push_str(Secret::service_token(SecretFormat::Scannable, entropy).expose());
                ClientId::generate(entropy)
            })
            .collect();
        Self { ids, texts, length: SECRET_LENGTH, next: 0 }
    }
}

impl Presented<ApiTokenId> {
    pub(crate) fn bearers(ids: &[ApiTokenId], mint: impl Fn(ApiTokenId) -> Secret) -> Self {
        let ids = ids.get(..ids.len().min(BEARERS_MAX)).unwrap().to_vec();
        let length = mint(*ids.first().unwrap()).expose().len();
        let mut texts = String::with_capacity(ids.len() * length);
        for id in &ids {
            texts.push_str(mint(*id).expose());
        }
        Self { ids, texts, length, next: 0 }
    }
}

impl<I> Presented<I> {
    pub(crate) fn text(&self, token: usize) -> &str {
        self.texts.get(token * self.length..(token + 1) * self.length).unwrap()
    }

    /// Does something with the next credentials, and returns how long each took.
    pub(crate) fn time(&mut self, mut each: impl FnMut(&I, &str)) -> f64 {
        let started = Instant::now();
        let mut token = self.next;
        for _ in 0..BATCH {
            each(self.ids.get(token).unwrap(), self.text(token));
            token = if token + 1 == self.ids.len() { 0 } else { token + 1 };
        }
        let nanos = per_item(started.elapsed());
        self.next = token;
        nanos
    }
}

fn per_item(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * 1e9 / BATCH as f64
}

pub(crate) fn change(presented: &Presented<ClientId>, token: usize, key: &DigestKey, revision: i64) -> Change {
    let client_id = *presented.ids.get(token).unwrap();
    let subject = Subject::ServiceToken {
        id: ServiceTokenId::from_bytes(*client_id.as_bytes()),
        owner: Owner { account: ACCOUNT, zone: None },
        client_id,
        name: "a service token".to_owned(),
        allow_from: None,
        digest: key.pair(&client_id, presented.text(token)),
        secret_version: 1,
        previous: None,
        previous_version: None,
        enabled: true,
        expires_at: Some(Timestamp::MAX),
        last_seen_at: None,
        deleted: false,
    };
    Change { revision: Revision::new(revision), subject }
}

pub(crate) fn fill(presented: &Presented<ClientId>, key: &DigestKey, entropy: &Entropy) -> Index {
    let tokens = presented.ids.len();
    let index = Index::with_capacity(key.clone(), entropy, tokens);
    for (revision, token) in (1..).zip(scattered(tokens)) {
        index.apply(&change(presented, token, key, revision));
    }
    index
}

/// Another order than that of the requests: what is asked for in turn must not lie side by side.
pub(crate) fn scattered(tokens: usize) -> impl Iterator<Item = usize> {
    let stride = (tokens / 2 + 1..).find(|stride| gcd(*stride, tokens) == 1).unwrap();
    (1..=tokens).scan(0, move |token, _| {
        *token = (*token + stride) % tokens;
        Some(*token)
    })
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

pub(crate) fn allow(index: &Index, demand: &Demand, client_id: &ClientId, secret: &str) {
    let credential = Credential::Pair { client_id: *client_id, secret: Cow::Borrowed(secret) };
    let Decision::Allow(verified) = verify(index, &credential, demand, NOW) else {
        panic!("a good credential was refused");
    };
    black_box(verified);
}
