//! What a decision costs, beside what it can't cost less than: its own digest.
//!
//! Both sides run in turn within one run, and the ratio of the medians is what counts. `--tokens N` sets the size.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![expect(clippy::cast_possible_truncation, reason = "figures are small")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark may stop at the first surprise"
)]

use std::borrow::Cow;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use countersign_token::api_token::{ApiTokenStatus, Claims, FIRST_KEY_ID, LIFETIME_DEFAULT_SECS, ScopeKind, mint};
use countersign_token::credential::Credential;
use countersign_token::demand::Demand;
use countersign_token::digest::{BearerKind, Digest, DigestKey, InstallationKey};
use countersign_token::entropy::Entropy;
use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::{AccountId, AccountPfid, ApiTokenId, ClientId, InstallationId, Partition, ServiceTokenId};
use countersign_token::index::Index;
use countersign_token::secret::{Secret, SecretFormat};
use countersign_token::service_token::Owner;
use countersign_token::time::Timestamp;
use countersign_token::verify::{Decision, verify};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Short batches, of which most run undisturbed even where a machine is shared.
const BATCH: usize = 1_000;
const ROUNDS: usize = 2_000;
const SECRET_LENGTH: usize = 51;
/// Bearers are long: of a larger index only so many are presented, which is more than any cache holds.
const BEARERS_MAX: usize = 1_000_000;
const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const ACCOUNT: AccountId = AccountId::from_bytes([1; 16]);

/// Credentials as requests present them, in an order that has nothing to do with where they are kept.
struct Presented<I> {
    ids: Vec<I>,
    /// All texts, of the same length, one after the other.
    texts: String,
    length: usize,
    next: usize,
}

impl Presented<ClientId> {
    fn pairs(tokens: usize, entropy: &Entropy) -> Self {
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
    fn bearers(ids: &[ApiTokenId], mint: impl Fn(ApiTokenId) -> Secret) -> Self {
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
    fn text(&self, token: usize) -> &str {
        self.texts.get(token * self.length..(token + 1) * self.length).unwrap()
    }

    /// Does something with the next credentials, and returns how long each took.
    fn time(&mut self, mut each: impl FnMut(&I, &str)) -> f64 {
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

struct Row {
    digest: Digest,
    account: AccountId,
    enabled: bool,
    expires_at: Timestamp,
}

type Map = RwLock<Arc<HashMap<ClientId, Row>>>;

fn change(presented: &Presented<ClientId>, token: usize, key: &DigestKey, revision: i64) -> Change {
    let client_id = *presented.ids.get(token).unwrap();
    let subject = Subject::ServiceToken {
        id: ServiceTokenId::from_bytes(*client_id.as_bytes()),
        owner: Owner { account: ACCOUNT, zone: None },
        client_id,
        name: "a service token".to_owned(),
        digest: key.pair(&client_id, presented.text(token)),
        previous: None,
        enabled: true,
        expires_at: Some(Timestamp::MAX),
        last_seen_at: None,
        deleted: false,
    };
    Change { revision: Revision::new(revision), subject }
}

fn fill(presented: &Presented<ClientId>, key: &DigestKey, entropy: &Entropy) -> Index {
    let tokens = presented.ids.len();
    let index = Index::with_capacity(key.clone(), entropy, tokens);
    for (revision, token) in (1..).zip(scattered(tokens)) {
        index.apply(&change(presented, token, key, revision));
    }
    index
}

fn fill_map(presented: &Presented<ClientId>, key: &DigestKey) -> Map {
    let tokens = presented.ids.len();
    let mut map = HashMap::with_capacity(tokens);
    for token in scattered(tokens) {
        let client_id = *presented.ids.get(token).unwrap();
        let digest = key.pair(&client_id, presented.text(token));
        map.insert(client_id, Row { digest, account: ACCOUNT, enabled: true, expires_at: Timestamp::MAX });
    }
    RwLock::new(Arc::new(map))
}

/// Another order than that of the requests: what is asked for in turn must not lie side by side.
fn scattered(tokens: usize) -> impl Iterator<Item = usize> {
    let stride = (tokens / 2 + 1..).find(|stride| gcd(*stride, tokens) == 1).unwrap();
    (1..=tokens).scan(0, move |token, _| {
        *token = (*token + stride) % tokens;
        Some(*token)
    })
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn allow(index: &Index, demand: &Demand, client_id: &ClientId, secret: &str) {
    let credential = Credential::Pair { client_id: *client_id, secret: Cow::Borrowed(secret) };
    let Decision::Allow(verified) = verify(index, &credential, demand, NOW) else {
        panic!("a good credential was refused");
    };
    black_box(verified);
}

/// The figure below which a share of all figures lies.
fn quantile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (share * sorted.len() as f64) as usize;
    sorted.get(place).copied().unwrap()
}

fn median(figures: &[f64]) -> f64 {
    quantile(figures, 0.5)
}

/// What one thing costs beside another, in turns: medians, and lower deciles, which a busy machine disturbs less.
fn compare<I>(
    what: &str,
    presented: &mut Presented<I>,
    mut one: impl FnMut(&I, &str),
    mut other: impl FnMut(&I, &str),
) {
    let (one, other): (Vec<_>, Vec<_>) =
        (0..ROUNDS).map(|_| (presented.time(&mut one), presented.time(&mut other))).unzip();
    let [median, decile] = [0.5, 0.1].map(|share| {
        let (one, other) = (quantile(&one, share), quantile(&other, share));
        format!("{one:6.1} ns, {other:6.1} ns: {:.2} x", one / other)
    });
    println!("  {what:<30} median {median}   decile {decile}");
}

fn run(tokens: usize) {
    let entropy = Entropy::seeded(1);
    let key = InstallationKey::generate(&entropy).digest_key();
    let mut presented = Presented::pairs(tokens, &entropy);
    let resident_before = memory("Rss:");
    let index = fill(&presented, &key, &entropy);
    let resident = memory("Rss:").saturating_sub(resident_before);
    let huge = memory("AnonHugePages:");
    let map = fill_map(&presented, &key);
    let demand = Demand::default().with_account(&index, &ACCOUNT);

    let admitted = |client_id: &ClientId, secret: &str| allow(&index, &demand, client_id, secret);
    let digested = |client_id: &ClientId, secret: &str| {
        black_box(key.pair(client_id, secret));
    };
    let mapped = |client_id: &ClientId, secret: &str| {
        let map = Arc::clone(&map.read().unwrap());
        let presented = key.pair(client_id, secret);
        let row = map.get(client_id).unwrap();
        let good = row.digest.matches(&presented) && row.enabled && NOW < row.expires_at && row.account == ACCOUNT;
        assert!(black_box(good));
    };
    let wrong = |client_id: &ClientId, secret: &str| {
        refuse(&index, &demand, client_id, secret.get(1..).unwrap());
    };
    let unknown = |client_id: &ClientId, secret: &str| {
        let mut bytes = *client_id.as_bytes();
        bytes.reverse();
        refuse(&index, &demand, &ClientId::from_bytes(bytes), secret.get(1..).unwrap());
    };
    let garbage = |_: &ClientId, secret: &str| {
        let credential = Credential::UnknownPair { secret: Cow::Borrowed(secret.get(1..).unwrap()) };
        assert!(matches!(black_box(verify(&index, &credential, &demand, NOW)), Decision::Refuse(_)));
    };
    println!("{tokens} service tokens, by pair");
    let each = |bytes: usize| bytes as f64 / tokens as f64;
    println!(
        "  bytes a token: tables {:.1}, with records {:.1}, resident {:.1}; {} MiB of the process in huge pages",
        each(index.table_size()),
        each(index.size()),
        each(resident),
        huge >> 20,
    );
    compare("admitted, its digest alone", &mut presented, admitted, digested);
    compare("admitted, a std map", &mut presented, admitted, mapped);
    compare("wrong secret, admitted", &mut presented, wrong, admitted);
    compare("unknown id, admitted", &mut presented, unknown, admitted);
    compare("garbage, admitted", &mut presented, garbage, admitted);
    compare("unknown id, wrong secret", &mut presented, unknown, wrong);
}

fn refuse(index: &Index, demand: &Demand, client_id: &ClientId, secret: &str) {
    let credential = Credential::Pair { client_id: *client_id, secret: Cow::Borrowed(secret) };
    assert!(matches!(black_box(verify(index, &credential, demand, NOW)), Decision::Refuse(_)));
}

/// The same by bearer: API tokens as they are minted.
fn run_bearers(tokens: usize) {
    let entropy = Entropy::seeded(3);
    let installation_key = InstallationKey::generate(&entropy);
    let (key, jwt_key) = (installation_key.digest_key(), installation_key.jwt_key(FIRST_KEY_ID));
    let partition = Partition::MAX;
    let claims = Claims {
        installation: InstallationId::generate(&entropy),
        id: ApiTokenId::generate(NOW, partition, &entropy),
        account: AccountPfid::generate(NOW, partition, &entropy),
        scope: ScopeKind::Account,
        issued_at: NOW,
        expires_at: Timestamp::from_secs(NOW.as_secs() + LIFETIME_DEFAULT_SECS),
    };
    let minted = |id: ApiTokenId| mint(&jwt_key, &Claims { id, ..claims });
    let ids: Vec<_> = (0..tokens).map(|_| ApiTokenId::generate(NOW, partition, &entropy)).collect();
    let index = Index::with_capacity(key.clone(), &entropy, tokens);
    for (revision, token) in (1..).zip(scattered(tokens)) {
        let id = *ids.get(token).unwrap();
        let subject = Subject::ApiToken {
            id,
            account: ACCOUNT,
            environment: None,
            digest: key.bearer(BearerKind::ApiToken, minted(id).expose()),
            replaced: None,
            status: if is_revoked(token) { ApiTokenStatus::Revoked } else { ApiTokenStatus::Active },
            expires_at: claims.expires_at,
            last_used_at: None,
            deleted: false,
        };
        index.apply(&Change { revision: Revision::new(revision), subject });
    }
    let mut presented = Presented::bearers(&ids, minted);
    let demand = Demand::default().with_account(&index, &ACCOUNT);

    let admitted = |_: &ApiTokenId, token: &str| {
        let credential = Credential::Bearer { kind: BearerKind::ApiToken, token };
        let Decision::Allow(verified) = verify(&index, &credential, &demand, NOW) else {
            panic!("a good credential was refused");
        };
        black_box(verified);
    };
    let digested = |_: &ApiTokenId, token: &str| {
        black_box(key.bearer(BearerKind::ApiToken, token));
    };
    let revoked = |_: &ApiTokenId, token: &str| {
        let credential = Credential::Bearer { kind: BearerKind::ApiToken, token };
        assert!(matches!(black_box(verify(&index, &credential, &demand, NOW)), Decision::Refuse(_)));
    };
    let unknown = |_: &ApiTokenId, token: &str| {
        let credential = Credential::Bearer { kind: BearerKind::ApiToken, token: token.get(1..).unwrap() };
        assert!(matches!(black_box(verify(&index, &credential, &demand, NOW)), Decision::Refuse(_)));
    };
    println!("{tokens} API tokens of {} characters, by bearer", presented.length);
    compare("admitted, its digest alone", &mut presented, admitted, digested);
    // From here on, every first batch is of revoked ones.
    presented.next = BATCH;
    compare("unknown, admitted", &mut presented, unknown, admitted);
    compare("revoked, admitted", &mut presented, revoked, admitted);
}

/// Batches take turns: one of good bearers, one of revoked ones.
fn is_revoked(token: usize) -> bool {
    token / BATCH % 2 == 1
}

/// Two threads beside one, and both while a thousand writes a second go in.
fn run_threads(tokens: usize) {
    let entropy = Entropy::seeded(2);
    let key = InstallationKey::generate(&entropy).digest_key();
    let presented = Presented::pairs(tokens, &entropy);
    let index = fill(&presented, &key, &entropy);
    let demand = Demand::default().with_account(&index, &ACCOUNT);
    let checks = 2_000_000;
    let rate = |threads: usize| {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (presented, index, demand) = (&presented, &index, &demand);
                scope.spawn(move || {
                    let mut token = thread * tokens / threads;
                    for _ in 0..checks {
                        allow(index, demand, presented.ids.get(token).unwrap(), presented.text(token));
                        token = if token + 1 == tokens { 0 } else { token + 1 };
                    }
                });
            }
        });
        (threads * checks) as f64 / started.elapsed().as_secs_f64() / 1e6
    };
    let rates = |turns: usize| {
        let figures: Vec<_> = (0..turns).map(|_| (rate(1), rate(2))).collect();
        let (one, two): (Vec<_>, Vec<_>) = figures.into_iter().unzip();
        (median(&one), median(&two))
    };
    let (one, two) = rates(5);
    println!("{tokens} tokens, {one:.2} M checks/s on one thread, {two:.2} M on two: {:.2} x", two / one);
    let (stop, written) = (AtomicBool::new(false), Instant::now());
    let (writes, (one_of, two_of)) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut revision = i64::try_from(tokens).unwrap();
            let mut writes: u32 = 0;
            for token in scattered(tokens).take_while(|_| !stop.load(Ordering::Relaxed)) {
                revision += 1;
                index.apply(&change(&presented, token, &key, revision));
                writes += 1;
                std::thread::sleep(
                    (written + writes * Duration::from_millis(1)).saturating_duration_since(Instant::now()),
                );
            }
            writes
        });
        let rates = rates(5);
        stop.store(true, Ordering::Relaxed);
        (writer.join().unwrap(), rates)
    });
    println!(
        "  and {:.0} writes/s: {one_of:.2} M on one thread, {two_of:.2} M on two: {:.2} x; to no writes {:.2} x, {:.2} x",
        f64::from(writes) / written.elapsed().as_secs_f64(),
        two_of / one_of,
        one_of / one,
        two_of / two,
    );
}

/// A figure of this process's memory, in bytes; 0 where the system doesn't tell.
fn memory(name: &str) -> usize {
    let all = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = all.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.trim_end_matches("kB").trim().parse::<usize>().ok());
    kibibytes.unwrap_or_default() * 1_024
}

fn machine() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown")
        .trim_matches([' ', '\t', ':']);
    let sha = if cpu.contains("sha_ni") || cpu.contains("sha2") { "with" } else { "without" };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned();
    println!("{model}, {cores} cores, {sha} SHA instructions, load {load}");
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let sizes = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => vec![10_000, 1_000_000],
        ["--tokens", tokens] => vec![tokens.parse().expect("a number of tokens")],
        _ => panic!("the only option is --tokens N"),
    };
    machine();
    assert!(sizes.iter().all(|tokens| tokens % (2 * BATCH) == 0), "batches take turns");
    for tokens in &sizes {
        run(*tokens);
        run_bearers(*tokens);
    }
    run_threads(sizes.last().copied().unwrap());
}
