//! Assertions: what the upstream gets to know of an admitted service token, signed, so that it can check it without the
//! proxy's word.
//!
//! The gate asks [`Assertions`]. What was made before is found in memory; everything else the [`Minter`] makes, off the
//! gate's threads, since a signature takes a hundred times as long as a verification. `key` has the keys, and
//! [`keeper`] sees that there always are some.

mod cache;
pub mod keeper;
pub(crate) mod key;
pub(crate) mod schedule;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use countersign_token::api_token::base64url;
use countersign_token::feed::{Change, Subject};
use countersign_token::id::{ClientId, ServiceTokenId};
use countersign_token::time::{Clock, Timestamp};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::cache::{Cache, Found};
use self::key::{KeySet, SigningKey};

/// The header that carries an assertion.
pub(crate) const HEADER: &str = "cf-access-jwt-assertion";

/// Where the keys are published, on both listeners.
pub(crate) const CERTS_PATH: &str = "/cdn-cgi/access/certs";

/// How many assertions may wait to be made. It takes about a second to make so many.
const ORDERS_MAX: usize = 4096;

/// How long a request may wait for its assertion.
const PATIENCE: Duration = Duration::from_secs(2);

/// An assertion is handed out until this part of its life is left.
const REST: i64 = 10;

/// What assertions say, whoever they are about.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Who asserts: the address below which the keys are found, without a slash at its end.
    pub name: String,
    /// How long an assertion is good, in whole seconds.
    pub lifetime: Duration,
}

/// The assertions of a node. Clones share them.
#[derive(Clone, Debug)]
pub struct Assertions(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    keys: ArcSwap<KeySet>,
    cache: Cache,
    orders: mpsc::Sender<Order>,
    minted: AtomicU64,
}

/// An assertion that is to be made.
#[derive(Debug)]
struct Order {
    token: ServiceTokenId,
    client_id: ClientId,
    audience: Box<str>,
    made: watch::Sender<Option<Arc<str>>>,
}

/// An assertion that is on its way.
#[derive(Debug)]
pub struct Minting(watch::Receiver<Option<Arc<str>>>);

impl Minting {
    /// The assertion; `None` if it can't be had within two seconds.
    pub(crate) async fn wait(self) -> Option<Arc<str>> {
        let Self(mut made) = self;
        let made = tokio::time::timeout(PATIENCE, made.wait_for(Option::is_some)).await.ok()?.ok()?;
        made.clone()
    }
}

impl Assertions {
    /// Assertions that `issuer` makes, and who makes them. Without keys there are none.
    pub fn new(issuer: &Issuer, clock: Clock) -> (Self, Minter) {
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        let shared =
            Shared { keys: ArcSwap::default(), cache: Cache::default(), orders: sender, minted: AtomicU64::new(0) };
        let assertions = Self(Arc::new(shared));
        let lifetime = i64::try_from(issuer.lifetime.as_secs()).unwrap_or(i64::MAX);
        let minter = Minter { assertions: assertions.clone(), orders, name: issuer.name.clone(), lifetime, clock };
        (assertions, minter)
    }

    /// An assertion about a token, made before or on its way.
    pub(crate) fn find(
        &self,
        token: ServiceTokenId,
        client_id: ClientId,
        audience: &str,
        now: Timestamp,
    ) -> Result<Arc<str>, Minting> {
        match self.0.cache.find(token, audience, now) {
            Found::Made(value) => Ok(value),
            Found::Ordered(made) => Err(Minting(made)),
            Found::Missing(made) => {
                let minting = Minting(made.subscribe());
                // With too many waiting the order is dropped, and whoever waits for it learns at once.
                let _ = self.0.orders.try_send(Order { token, client_id, audience: audience.into(), made });
                Err(minting)
            }
        }
    }

    /// Forgets what was asserted of a token that has changed.
    pub(crate) fn apply(&self, change: &Change) {
        if let Subject::ServiceToken { id, .. } = &change.subject {
            self.0.cache.forget(*id);
        }
    }

    /// Forgets everything that was asserted.
    pub(crate) fn forget_all(&self) {
        self.0.cache.forget_all();
    }

    /// The keys that sign, as far as this node knows.
    pub(crate) fn keys(&self) -> Arc<KeySet> {
        self.0.keys.load_full()
    }

    /// Takes over other keys. What the ones before have signed stays good: they are published until it has ended.
    pub(crate) fn set_keys(&self, keys: KeySet) {
        self.0.keys.store(Arc::new(keys));
    }

    /// How many were made.
    pub(crate) fn minted(&self) -> u64 {
        self.0.minted.load(Ordering::Relaxed)
    }

    /// The keys that whoever checks an assertion may need, as a JSON document.
    pub(crate) fn certs(&self, now: Timestamp) -> String {
        self.0.keys.load().certs(now)
    }
}

/// Makes assertions, one after the other: one a node.
#[derive(Debug)]
pub struct Minter {
    assertions: Assertions,
    orders: mpsc::Receiver<Order>,
    name: String,
    lifetime: i64,
    clock: Clock,
}

/// What an assertion says, as Cloudflare Access has it for a service token.
#[derive(Serialize)]
struct Claims<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    aud: [&'a str; 1],
    exp: i64,
    iss: &'a str,
    common_name: String,
    iat: i64,
    sub: &'static str,
}

impl Minter {
    /// Makes what is ordered, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let order = tokio::select! {
                () = stop.cancelled() => return,
                order = self.orders.recv() => order,
            };
            let Some(order) = order else { return };
            self.make(&order);
            // A signature takes a quarter of a millisecond, and others share this thread.
            tokio::task::yield_now().await;
        }
    }

    /// Makes an assertion for all who wait for it. Without a key they learn that there is none.
    fn make(&self, order: &Order) {
        let now = self.clock.now();
        let keys = self.assertions.keys();
        let Some(value) = keys.signing(now).and_then(|key| self.assertion(key, order, now)) else { return };
        self.assertions.0.minted.fetch_add(1, Ordering::Relaxed);
        let rest = self.lifetime / REST;
        let until = Timestamp::from_secs(now.as_secs().saturating_add(self.lifetime - rest));
        self.assertions.0.cache.keep(order.token, &order.audience, &order.made, value.clone(), until);
        order.made.send_replace(Some(value));
    }

    fn assertion(&self, key: &SigningKey, order: &Order, now: Timestamp) -> Option<Arc<str>> {
        let iat = now.as_secs();
        let claims = Claims {
            kind: "app",
            aud: [&order.audience],
            exp: iat.saturating_add(self.lifetime),
            iss: &self.name,
            common_name: order.client_id.to_string(),
            iat,
            sub: "",
        };
        let claims = serde_json::to_vec(&claims).ok()?;
        let mut text = format!("{}.{}", key.head(), base64url(&claims));
        let signature = key.sign(text.as_bytes())?;
        text.push('.');
        text.push_str(&base64url(&signature));
        Some(text.into())
    }
}
