//! A store with many tokens in one account, kept below `target` from run to run: filling it takes minutes.

use std::path::Path;
use std::sync::Arc;

use countersign_server::config::Settings;
use countersign_server::lifecycle::open_store;
use countersign_store::{AuditActor, AuditEvent, BoxFuture, Error, Sighting, Store, Tx};
use countersign_token::api_token::{ApiToken, ApiTokenScope, ApiTokenStatus};
use countersign_token::digest::Digest;
use countersign_token::duration::TokenDuration;
use countersign_token::entropy::Entropy;
use countersign_token::id::{AccountId, ApiTokenId, ClientId, Partition, ServiceTokenId};
use countersign_token::index::{SeenMark, SeenSubject};
use countersign_token::service_token::{Name, NewServiceToken, Owner, ServiceToken};
use countersign_token::time::{Clock, Timestamp};

use crate::setup;

/// How many tokens one write makes.
const TOKENS_AT_ONCE: u64 = 10_000;

/// How many service tokens there are for each API token.
const SERVICE_TOKENS_EACH: u64 = 10;

/// A file of the data directory: on three lines the account, a management token, and an API token of the account. It is
/// written when all else is there.
pub(crate) const CREDENTIALS: &str = "credentials";

/// A store that is filled.
pub(crate) struct Filled {
    pub(crate) settings: Settings,
    pub(crate) service_tokens: u64,
    pub(crate) api_tokens: u64,
}

impl Filled {
    /// Reads `--tokens N` (1 million without it), and makes the store if it isn't there. The program's other arguments are
    /// cargo's.
    pub(crate) async fn open(bench: &str) -> Self {
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        let service_tokens = match arguments.next().as_deref() {
            None => 1_000_000,
            Some("--tokens") => {
                arguments.next().and_then(|number| number.parse().ok()).expect("--tokens takes a number")
            }
            Some(other) => {
                println!("unknown argument {other}; usage: {bench} [--tokens N]");
                std::process::exit(2)
            }
        };
        let directory = setup::scratch(&format!("filled-{service_tokens}"));
        let settings = setup::settings(&directory, None);
        setup::tell_machine(&settings);
        let credentials = settings.data_dir.join(CREDENTIALS);
        if !credentials.exists() {
            drop(std::fs::remove_dir_all(&directory));
            std::fs::create_dir_all(&directory).unwrap();
            println!("filling {} with {service_tokens} service tokens; later runs find them", directory.display());
            fill(&settings, service_tokens, &credentials).await;
        }
        Self { settings, service_tokens, api_tokens: service_tokens / SERVICE_TOKENS_EACH }
    }
}

async fn fill(settings: &Settings, service_tokens: u64, credentials: &Path) {
    let made = setup::initialise(settings).await;
    let (opened, _) = open_store(settings).await.unwrap();
    let (store, entropy, start) = (opened.store, Entropy::seeded(1), Clock::System.now());
    let (account, partition) = (made.account.id, made.account.pfid.as_pfid().partition());
    let filling = async move {
        for begin in (0..service_tokens).step_by(TOKENS_AT_ONCE as usize) {
            let numbers = begin..service_tokens.min(begin + TOKENS_AT_ONCE);
            let tokens: Vec<_> = numbers.map(|number| service_token(account, number, start, &entropy)).collect();
            let marks =
                tokens.iter().filter_map(|token| mark(SeenSubject::ServiceToken(token.id), 1, token.last_seen_at));
            let marks: Vec<_> = marks.collect();
            insert(&store, tokens, |tx, token| Box::pin(tx.insert_service_token(token))).await;
            store.record_seen(&marks).await.unwrap();
        }
        // The first is there since the installation was made.
        for begin in (1..service_tokens / SERVICE_TOKENS_EACH).step_by(TOKENS_AT_ONCE as usize) {
            let numbers = begin..(service_tokens / SERVICE_TOKENS_EACH).min(begin + TOKENS_AT_ONCE);
            let tokens: Vec<_> = numbers.map(|number| api_token(account, partition, number, start, &entropy)).collect();
            let marks = tokens.iter().filter_map(|token| mark(SeenSubject::ApiToken(token.id), 0, token.last_used_at));
            let marks: Vec<_> = marks.collect();
            insert(&store, tokens, |tx, token| Box::pin(tx.insert_api_token(token))).await;
            store.record_seen(&marks).await.unwrap();
        }
    };
    tokio::join!(filling, opened.writer.run());
    let secrets = [made.api_token.expose(), made.account_token.expose()];
    std::fs::write(credentials, format!("{account}\n{}\n", secrets.join("\n"))).unwrap();
}

/// Inserts tokens by one write.
async fn insert<T: Send + Sync + 'static>(
    store: &Store,
    tokens: Vec<T>,
    insert: for<'t> fn(&'t mut Tx, &'t T) -> BoxFuture<'t, Result<(), Error>>,
) {
    let tokens = Arc::new(tokens);
    let write = store.write(move |tx: &mut Tx| {
        let tokens = Arc::clone(&tokens);
        Box::pin(async move {
            for token in tokens.iter() {
                insert(tx, token).await?;
            }
            tx.record(event());
            Ok::<_, Error>(())
        })
    });
    write.await.unwrap();
}

fn service_token(account: AccountId, number: u64, start: Timestamp, entropy: &Entropy) -> ServiceToken {
    let now = at(start, number);
    let new = NewServiceToken {
        id: ServiceTokenId::generate(now, entropy),
        owner: Owner { account, zone: None },
        client_id: ClientId::generate(entropy),
        name: Name::parse(&format!("service token {number}")).unwrap(),
        duration: TokenDuration::default_year(),
        enabled: true,
        secret_version: 1,
        digest: Digest::from_bytes(entropy.bytes()),
        previous_expires_at: None,
    };
    ServiceToken { last_seen_at: used_at(number, start, entropy), ..ServiceToken::create(new, now) }
}

fn api_token(account: AccountId, partition: Partition, number: u64, start: Timestamp, entropy: &Entropy) -> ApiToken {
    let now = at(start, number);
    ApiToken {
        id: ApiTokenId::generate(now, partition, entropy),
        account,
        scope: ApiTokenScope::Account,
        status: ApiTokenStatus::Active,
        digest: Digest::from_bytes(entropy.bytes()),
        key_id: "1".to_owned(),
        issued_at: now,
        // In no order.
        expires_at: at(start, 100_000_000 + u64::from_le_bytes(entropy.bytes()) % 1_000_000_000),
        created_by: None,
        last_used_at: used_at(number, start, entropy),
        inserted_at: now,
        updated_at: now,
    }
}

/// When a token was last used: three of four ever were, in no order.
fn used_at(number: u64, start: Timestamp, entropy: &Entropy) -> Option<Timestamp> {
    (!number.is_multiple_of(4)).then(|| at(start, u64::from_le_bytes(entropy.bytes()) % 1_000_000_000))
}

fn mark(subject: SeenSubject, version: u32, at: Option<Timestamp>) -> Option<Sighting> {
    at.map(|at| SeenMark { subject, version, at }.into())
}

/// So many milliseconds after `start`.
fn at(start: Timestamp, milliseconds: u64) -> Timestamp {
    start.saturating_add_micros(i64::try_from(milliseconds).unwrap() * 1000)
}

fn event() -> AuditEvent {
    AuditEvent {
        actor: AuditActor { kind: "operator", id: "bench".to_owned() },
        action: "bench.fill",
        subject_kind: "installation",
        subject_id: "bench".to_owned(),
        account: None,
        at: Clock::System.now(),
        address: None,
        request_id: None,
        detail: "{}".to_owned(),
    }
}
