//! A whole installation in one process, and those who use it.

mod actor;
mod answer;
mod browser;
mod database;
mod gate;
pub(crate) mod prefactor;
mod secrets;
mod server;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use countersign_server::caller::Caller;
use countersign_server::ops::{NewInstallation, NewManagementToken};
use countersign_server::proxy::TrustedProxies;
use countersign_store::AuditFilter;
use countersign_token::digest::InstallationKey;
use countersign_token::entropy::Entropy;
use countersign_token::id::{AccountId, ZoneId};
use countersign_token::permission::Permission;
use countersign_token::secret::SecretFormat;
use countersign_token::time::{ManualClock, Timestamp};
use serde_json::{Value, json};

pub(crate) use self::actor::Actor;
pub(crate) use self::answer::Answer;
pub(crate) use self::browser::{Browser, Page};
use self::database::Place;
pub(crate) use self::gate::Verdict;
use self::secrets::Secrets;
use self::server::Server;

/// The time at which every world begins.
pub(crate) const START: &str = "2026-03-01T12:00:00Z";

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(crate) const YEAR: Duration = Duration::from_secs(8760 * 3600);

/// The address of the user who owns the installation.
pub(crate) const OWNER_EMAIL: &str = "owner@example.com";

/// An installation with two accounts, a server on it, and the credentials of those who call it.
///
/// Account A is the one that most tests are about; B is there to be kept apart from it.
pub(crate) struct World {
    place: Place,
    clock: ManualClock,
    entropy: Entropy,
    key: InstallationKey,
    secret_format: SecretFormat,
    pub(crate) account: AccountId,
    pub(crate) zone: ZoneId,
    /// Another zone of account A.
    pub(crate) second_zone: ZoneId,
    pub(crate) foreign_account: AccountId,
    pub(crate) foreign_zone: ZoneId,
    /// Account A as the dialect of API tokens knows it.
    pub(crate) account_pfid: String,
    /// The first environment of account A.
    pub(crate) environment: String,
    pub(crate) foreign_account_pfid: String,
    pub(crate) foreign_environment: String,
    credentials: Credentials,
    secrets: Secrets,
    server: Option<Server>,
    /// Whether writers stand still.
    stalled: Arc<AtomicBool>,
    /// Whom the server believes about where a request came from.
    pub(crate) proxies: TrustedProxies,
    max_staleness: Duration,
}

#[derive(Default)]
struct Credentials {
    owner_key: String,
    owner_token: String,
    api_token: String,
    writer: String,
    writer_id: String,
    reader: String,
    member_key: String,
    stranger: String,
    foreign_member_key: String,
    foreign_api_token: String,
}

/// Runs a test in a new world on SQLite, and in another on PostgreSQL where that is installed.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "a test is written where it is passed")]
pub(crate) fn on_both(test: impl AsyncFn(&mut World)) {
    on_both_with(SecretFormat::Scannable, &test);
}

/// As [`on_both`], with another form of secrets.
#[track_caller]
pub(crate) fn on_both_with(secret_format: SecretFormat, test: &impl AsyncFn(&mut World)) {
    for place in Place::all() {
        run(place, secret_format, test);
    }
}

/// Runs a test in a new world on SQLite only: for what does not depend on the database, many times over.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "a test is written where it is passed")]
pub(crate) fn on_sqlite(test: impl AsyncFn(&mut World)) {
    run(Place::sqlite(), SecretFormat::Scannable, &test);
}

/// Runs a test in a new world on PostgreSQL, where that is installed: for what takes several servers.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "a test is written where it is passed")]
pub(crate) fn on_postgres(test: impl AsyncFn(&mut World)) {
    for place in Place::all().filter(|place| matches!(place, Place::Postgres { .. })) {
        run(place, SecretFormat::Scannable, &test);
    }
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), waiting).await.is_ok(), "waited for: {what}");
}

fn run(place: Place, secret_format: SecretFormat, test: &impl AsyncFn(&mut World)) {
    secrets::listen();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = Box::pin(World::new(place, secret_format)).await;
        Box::pin(test(&mut world)).await;
        Box::pin(world.end()).await;
    });
}

impl World {
    async fn new(place: Place, secret_format: SecretFormat) -> Self {
        let clock = ManualClock::new(Timestamp::parse_rfc3339(START).unwrap());
        let entropy = Entropy::seeded(1);
        let key = InstallationKey::generate(&entropy);
        let mut world = Self {
            place,
            clock,
            entropy,
            key,
            secret_format,
            account: AccountId::from_bytes([0; 16]),
            zone: ZoneId::from_bytes([0; 16]),
            second_zone: ZoneId::from_bytes([0; 16]),
            foreign_account: AccountId::from_bytes([0; 16]),
            foreign_zone: ZoneId::from_bytes([0; 16]),
            account_pfid: String::new(),
            environment: String::new(),
            foreign_account_pfid: String::new(),
            foreign_environment: String::new(),
            credentials: Credentials::default(),
            secrets: Secrets::default(),
            server: None,
            stalled: Arc::default(),
            proxies: TrustedProxies::default(),
            // Tests move the clock by years at once, and few are about staleness.
            max_staleness: Duration::from_secs(1 << 40),
        };
        // `init` and the administrator's commands come before the first start, as they do in real life.
        let outside = world.open_outside().await;
        Box::pin(world.populate(&outside)).await;
        outside.close().await;
        world.start().await;
        world
    }

    async fn populate(&mut self, outside: &server::Outside) {
        let ops = &outside.ops;
        let operator = Caller::Operator;
        let new = NewInstallation { email: OWNER_EMAIL.to_owned(), zone_name: "example.com".to_owned() };
        let first = ops.initialise(&new).await.unwrap();
        (self.account, self.zone) = (first.account.id, first.zone.id);
        (self.account_pfid, self.environment) = (first.account.pfid.to_string(), first.environment.id.to_string());
        self.second_zone = ops.create_zone(&operator, &self.account, "example.net").await.unwrap().id;
        let second = ops.create_account(&operator, "Other").await.unwrap();
        self.foreign_account = second.account.id;
        self.foreign_account_pfid = second.account.pfid.to_string();
        self.foreign_environment = second.environment.id.to_string();
        self.foreign_zone = ops.create_zone(&operator, &self.foreign_account, "example.org").await.unwrap().id;
        let (_, member_key) = ops.create_user(&operator, "member@example.com", &self.account).await.unwrap();
        let (_, foreign_member_key) =
            ops.create_user(&operator, "foreign@example.com", &self.foreign_account).await.unwrap();
        let token = async |account, permission| {
            let new = NewManagementToken {
                account,
                name: "test".to_owned(),
                permissions: vec![permission],
                user_email: None,
            };
            let (token, secret) = ops.create_management_token(&operator, new).await.unwrap();
            (token.id.to_string(), secret.expose().to_owned())
        };
        let (writer_id, writer) = token(self.account, Permission::ServiceTokensWrite).await;
        let (_, reader) = token(self.account, Permission::ServiceTokensRead).await;
        let (_, stranger) = token(self.foreign_account, Permission::Everything).await;
        self.credentials = Credentials {
            owner_key: first.api_key.expose().to_owned(),
            owner_token: first.api_token.expose().to_owned(),
            api_token: first.account_token.expose().to_owned(),
            writer,
            writer_id,
            reader,
            member_key: member_key.expose().to_owned(),
            stranger,
            foreign_member_key: foreign_member_key.expose().to_owned(),
            foreign_api_token: second.account_token.expose().to_owned(),
        };
        let issued = &self.credentials;
        for secret in [
            &issued.owner_key,
            &issued.owner_token,
            &issued.api_token,
            &issued.writer,
            &issued.reader,
            &issued.member_key,
            &issued.stranger,
            &issued.foreign_member_key,
            &issued.foreign_api_token,
        ] {
            self.secrets.issued(secret);
        }
    }

    /// What must hold at the end of every test: the audit log is in order and holds no secret, nor does the log, nor the
    /// database's file; and the server ends in order.
    async fn end(mut self) {
        if self.server.is_some() {
            let chain = self.ops().verify_audit(&Caller::Operator, &mut |_| {}).await.unwrap();
            assert_eq!(chain.broken, None, "the audit chain");
            for event in self.audit(0).await {
                self.secrets.assert_absent_from(&format!("{event:?}"), "the audit log");
                self.secrets.assert_not_kept_in(&format!("{event:?}"), "the audit log");
            }
            self.stop().await;
        }
        self.secrets.assert_never_logged();
        self.secrets.assert_replays_were_issued();
        self.place.each_file(|name, bytes| self.secrets.assert_absent_from_bytes(bytes, name));
    }

    // === Who calls

    /// The user who owns the installation, with address and global key.
    pub(crate) fn owner_key(&self) -> Actor<'_> {
        Actor::key(self, "owner_key", OWNER_EMAIL, &self.credentials.owner_key)
    }

    /// The same user with the management token of `init`.
    pub(crate) fn owner_token(&self) -> Actor<'_> {
        Actor::bearer(self, "owner_token", &self.credentials.owner_token)
    }

    /// The API token of account A that `init` made.
    pub(crate) fn api_token(&self) -> Actor<'_> {
        Actor::bearer(self, "api_token", &self.credentials.api_token)
    }

    /// A token of account A with the permission to write.
    pub(crate) fn writer(&self) -> Actor<'_> {
        Actor::bearer(self, "writer", &self.credentials.writer)
    }

    /// The id of the writer's token.
    pub(crate) fn writer_id(&self) -> &str {
        &self.credentials.writer_id
    }

    /// A token of account A with the permission to read.
    pub(crate) fn reader(&self) -> Actor<'_> {
        Actor::bearer(self, "reader", &self.credentials.reader)
    }

    /// A user with rights on account A, who does not own the installation.
    pub(crate) fn member(&self) -> Actor<'_> {
        Actor::key(self, "member", "member@example.com", &self.credentials.member_key)
    }

    /// A token of account B with every permission there.
    pub(crate) fn stranger(&self) -> Actor<'_> {
        Actor::bearer(self, "stranger", &self.credentials.stranger)
    }

    /// Everybody who has rights on account B alone.
    pub(crate) fn strangers(&self) -> [Actor<'_>; 3] {
        let credentials = &self.credentials;
        [
            self.stranger(),
            Actor::key(self, "foreign_member", "foreign@example.com", &credentials.foreign_member_key),
            Actor::bearer(self, "foreign_api_token", &credentials.foreign_api_token),
        ]
    }

    /// Everybody who may change the tokens of account A.
    pub(crate) fn writers(&self) -> [Actor<'_>; 5] {
        [self.writer(), self.owner_key(), self.owner_token(), self.member(), self.api_token()]
    }

    /// Nobody in particular; give them headers with [`Actor::with`].
    pub(crate) fn anonymous(&self) -> Actor<'_> {
        Actor::anonymous(self)
    }

    /// The writer's bearer token itself, for headers made by hand.
    pub(crate) fn writer_bearer(&self) -> &str {
        &self.credentials.writer
    }

    /// The owner's global key itself, for headers made by hand.
    pub(crate) fn owner_global_key(&self) -> &str {
        &self.credentials.owner_key
    }

    /// Makes sure, at the end, that neither the log nor the database's file holds this.
    pub(crate) fn must_not_keep(&self, text: &str) {
        self.secrets.derived(text);
    }

    /// An endpoint that is not of the dialect.
    pub(crate) async fn plain(&self, path: &str) -> (u16, String) {
        let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        let (status, _, body) = self.anonymous().at_root().send_raw(request).await;
        let text = String::from_utf8(body).unwrap();
        self.secrets.assert_absent_from(&text, path);
        (status.as_u16(), text)
    }

    // === Where

    /// The path of account A's service tokens.
    pub(crate) fn tokens(&self) -> String {
        format!("/accounts/{}/access/service_tokens", self.account)
    }

    /// The path of the service tokens of A's zone.
    pub(crate) fn zone_tokens(&self) -> String {
        format!("/zones/{}/access/service_tokens", self.zone)
    }

    /// Both: what holds for accounts holds for zones.
    pub(crate) fn scopes(&self) -> [String; 2] {
        [self.tokens(), self.zone_tokens()]
    }

    /// The path of account B's service tokens.
    pub(crate) fn foreign_tokens(&self) -> String {
        format!("/accounts/{}/access/service_tokens", self.foreign_account)
    }

    // === What there is

    /// Creates a token at `path` as the writer.
    #[track_caller]
    pub(crate) fn issue<'w>(&'w self, path: &str, json: Value) -> impl Future<Output = Issued> + use<'w> {
        let path = path.to_owned();
        async move {
            let result = self.writer().post(&path, &json).await.created();
            Issued::new(&path, result)
        }
    }

    /// Creates a token of account A with a name and defaults.
    pub(crate) async fn issue_default(&self) -> Issued {
        self.issue(&self.tokens(), json!({"name": "x"})).await
    }

    /// Creates tokens with these bodies at `path`, a millisecond apart, all at once.
    pub(crate) async fn issue_many(&self, path: &str, bodies: impl IntoIterator<Item = Value>) -> Vec<Issued> {
        let writer = self.writer();
        let mut waiting = Vec::new();
        for body in bodies {
            self.advance(Duration::from_millis(1));
            let writer = &writer;
            let mut create = Box::pin(async move { writer.post(path, &body).await.created() });
            // The first poll reads the clock and queues the write.
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(create.as_mut().poll(cx)));
            match tokio::task::coop::unconstrained(polled).await {
                std::task::Poll::Ready(result) => waiting.push(Ok(result)),
                std::task::Poll::Pending => waiting.push(Err(create)),
            }
        }
        let mut issued = Vec::new();
        for created in waiting {
            let result = match created {
                Ok(result) => result,
                Err(create) => create.await,
            };
            issued.push(Issued::new(path, result));
        }
        issued
    }

    /// The audit log after its entry number `after`.
    pub(crate) async fn audit(&self, after: i64) -> Vec<countersign_store::RecordedEvent> {
        let filter = AuditFilter { after, ..AuditFilter::default() };
        self.ops().list_audit(&Caller::Operator, &filter, 100_000).await.unwrap()
    }

    /// The number of the audit log's last entry.
    pub(crate) async fn audit_end(&self) -> i64 {
        self.audit(0).await.last().map_or(0, |event| event.seq)
    }

    // === Time

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Sets the time of day, as somebody does who corrects a clock.
    pub(crate) fn set_clock(&self, to: &str) {
        self.clock.set(Timestamp::parse_rfc3339(to).unwrap());
    }

    /// The time as answers write it, `later` from now.
    pub(crate) fn after(&self, later: Duration) -> String {
        let micros = i64::try_from(later.as_micros()).unwrap();
        self.now().saturating_add_micros(micros).to_string()
    }

    pub(crate) fn now(&self) -> Timestamp {
        countersign_token::time::Clock::Manual(self.clock.clone()).now()
    }
}

/// A token as the answer that made it said.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) id: String,
    pub(crate) client_id: String,
    pub(crate) secret: String,
    /// Its path in the management API.
    pub(crate) path: String,
    /// The whole result.
    pub(crate) result: Value,
}

impl Issued {
    fn new(tokens: &str, result: Value) -> Self {
        let text = |key: &str| result[key].as_str().unwrap_or_else(|| panic!("{key} in {result}")).to_owned();
        let id = text("id");
        Self { path: format!("{tokens}/{id}"), id, client_id: text("client_id"), secret: text("client_secret"), result }
    }
}
