//! The store's tests. Each runs on SQLite and on PostgreSQL.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test may fail"
)]

mod answer;
mod api_token;
mod assertion_key;
mod audit;
mod backup;
mod crash;
mod entity;
mod feed;
mod inspect;
mod list;
mod migration;
mod object;
mod open;
mod outage;
mod postgres;
mod schema;
mod seen;
mod write;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use countersign_store::{
    Account, Agent, AgentDeployment, AuditActor, AuditEvent, Database, Environment, Error, Installation, Invite,
    InviteStatus, Options, Store, Tx, User, Written,
};
use countersign_token::api_token::{ApiToken, ApiTokenScope, ApiTokenStatus};
use countersign_token::digest::{BearerKind, Digest, InstallationKey};
use countersign_token::duration::TokenDuration;
use countersign_token::entropy::Entropy;
use countersign_token::id::{
    AccountId, AccountPfid, AgentDeploymentId, AgentId, ApiTokenId, ClientId, EnvironmentId, InstallationId, InviteId,
    Partition, Pfid, ServiceTokenId, UserId, UserPfid, ZoneId,
};
use countersign_token::service_token::{Name, NewServiceToken, Owner, ServiceToken};
use countersign_token::time::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

/// Makes two tests of each function named: one on SQLite, one on PostgreSQL.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[test] fn $test() { $crate::on_sqlite(super::$test); })*
        }
        mod on_postgres {
            $(#[test] fn $test() { $crate::on_postgres(super::$test); })*
        }
    };
}
pub(crate) use on_both;

/// A fresh database, and what opens it.
pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) key: InstallationKey,
    pub(crate) entropy: Entropy,
    directory: TempDir,
}

/// A store with its writer running.
pub(crate) struct Open {
    store: Store,
    writers: TaskTracker,
}

impl Deref for Open {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Open {
    /// Lets the writer finish, as a process does that stops in order.
    pub(crate) async fn close(self) {
        self.store.close().await;
        drop(self.store);
        self.writers.close();
        self.writers.wait().await;
    }
}

impl World {
    fn new(database: impl FnOnce(&Path) -> Database) -> Self {
        let directory = TempDir::new().expect("a directory");
        let entropy = Entropy::seeded(7);
        let key = InstallationKey::generate(&entropy);
        Self { database: database(directory.path()), key, entropy, directory }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The database's file, on SQLite.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        match &self.database {
            Database::Sqlite(path) => Some(path),
            Database::Postgres(_) => None,
        }
    }

    pub(crate) fn url(&self) -> String {
        match &self.database {
            Database::Sqlite(path) => format!("sqlite://{}?mode=rwc", path.display()),
            Database::Postgres(url) => url.clone(),
        }
    }

    pub(crate) async fn try_open(&self) -> Result<Open, Error> {
        self.try_open_at(self.database.clone(), &self.key).await
    }

    pub(crate) async fn try_open_at(&self, database: Database, key: &InstallationKey) -> Result<Open, Error> {
        let (store, writer) = Store::connect(Options { database, readers: 4 }, key).await?;
        let writers = TaskTracker::new();
        writers.spawn(writer.run());
        Ok(Open { store, writers })
    }

    pub(crate) async fn open(&self) -> Open {
        self.try_open().await.expect("a store")
    }

    /// Runs statements behind the store's back.
    pub(crate) async fn sql(&self, sql: &str) -> Vec<AnyRow> {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&self.url()).await.expect("a connection");
        let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.expect(sql);
        connection.close().await.expect("to close");
        rows
    }

    pub(crate) fn account(&self, name: &str) -> Account {
        let now = at(1);
        Account {
            id: AccountId::generate(&self.entropy),
            pfid: AccountPfid::from(Pfid::generate_root(now, &self.entropy)),
            name: name.to_owned(),
            organisation_name: None,
            purpose: Account::PURPOSE.to_owned(),
            created_at: now,
            updated_at: now,
        }
    }

    pub(crate) fn environment(&self, account: AccountId) -> Environment {
        Environment {
            id: EnvironmentId::generate(at(1), PARTITION, &self.entropy),
            account,
            name: "development".to_owned(),
            description: None,
            purpose: "development".to_owned(),
            external_identifier: None,
            inserted_at: at(1),
            updated_at: at(1),
        }
    }

    pub(crate) fn agent(&self, account: AccountId) -> Agent {
        let id = AgentId::generate(at(1), PARTITION, &self.entropy);
        Agent { id, account, name: "agent".to_owned(), inserted_at: at(1), updated_at: at(1) }
    }

    pub(crate) fn deployment(&self, agent: &Agent, environment: &Environment) -> AgentDeployment {
        AgentDeployment {
            id: AgentDeploymentId::generate(at(1), PARTITION, &self.entropy),
            account: agent.account,
            agent: agent.id,
            environment: environment.id,
            inserted_at: at(1),
            updated_at: at(1),
        }
    }

    pub(crate) fn invite(&self, account: AccountId, email: &str) -> Invite {
        let id = InviteId::generate(at(1), PARTITION, &self.entropy);
        let status = InviteStatus::Pending;
        Invite { id, account, email: email.to_owned(), status, inserted_at: at(1), updated_at: at(1) }
    }

    pub(crate) fn user(&self, email: &str) -> User {
        User {
            id: UserId::generate(&self.entropy),
            pfid: UserPfid::generate(at(1), PARTITION, &self.entropy),
            email: email.to_owned(),
            key_digest: self.digest(email),
            installation_owner: email.starts_with("owner"),
            name: None,
            job_title: None,
            profile_completed_at: None,
            last_active_at: None,
            created_at: at(1),
            updated_at: at(1),
        }
    }

    /// A token whose string is the text of its id.
    pub(crate) fn api_token(&self, account: AccountId, scope: ApiTokenScope) -> ApiToken {
        let id = ApiTokenId::generate(at(1), PARTITION, &self.entropy);
        ApiToken {
            id,
            account,
            scope,
            status: ApiTokenStatus::Active,
            digest: self.key.digest_key().bearer(BearerKind::ApiToken, &id.to_string()),
            key_id: "1".to_owned(),
            issued_at: at(1),
            expires_at: at(1000),
            created_by: Some(UserPfid::generate(at(1), PARTITION, &self.entropy)),
            last_used_at: None,
            inserted_at: at(1),
            updated_at: at(1),
        }
    }

    pub(crate) fn installation(&self) -> Installation {
        Installation {
            id: InstallationId::generate(&self.entropy),
            created_at: at(1),
            max_staleness: Installation::MAX_STALENESS,
        }
    }

    pub(crate) fn owner(&self) -> Owner {
        Owner { account: AccountId::generate(&self.entropy), zone: None }
    }

    pub(crate) fn zone_owner(&self) -> Owner {
        Owner { zone: Some(ZoneId::generate(&self.entropy)), ..self.owner() }
    }

    /// A token that was made at second `second`.
    pub(crate) fn token(&self, owner: Owner, name: &str, second: i64) -> ServiceToken {
        let client_id = ClientId::generate(&self.entropy);
        let new = NewServiceToken {
            id: ServiceTokenId::generate(at(second), &self.entropy),
            owner,
            client_id,
            name: Name::parse(name).expect("a name"),
            duration: TokenDuration::default_year(),
            enabled: true,
            secret_version: 1,
            digest: self.key.digest_key().pair(&client_id, name),
            previous_expires_at: None,
        };
        ServiceToken::create(new, at(second))
    }

    pub(crate) fn digest(&self, text: &str) -> Digest {
        self.key.digest_key().bearer(BearerKind::ManagementToken, text)
    }
}

/// The partition of what the tests make. Which one it is makes no difference to the store.
const PARTITION: Partition = Partition::MAX;

/// A moment: so many seconds after the start of 2026.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(1_767_225_600 + second)
}

/// An event that says no more than what was done.
pub(crate) fn event(action: &'static str, subject_id: &(impl ToString + ?Sized)) -> AuditEvent {
    AuditEvent {
        actor: AuditActor { kind: "user", id: "0".repeat(32) },
        action,
        subject_kind: "service_token",
        subject_id: subject_id.to_string(),
        account: None,
        at: at(0),
        address: None,
        request_id: None,
        detail: "{}".to_owned(),
    }
}

/// Adds a service token, with its event.
pub(crate) async fn insert(store: &Store, token: &ServiceToken) -> Written<()> {
    try_insert(store, token).await.expect("to insert a token")
}

pub(crate) async fn try_insert(store: &Store, token: &ServiceToken) -> Result<Written<()>, Error> {
    let token = token.clone();
    store
        .write(move |tx: &mut Tx| {
            let token = token.clone();
            Box::pin(async move {
                tx.insert_service_token(&token).await?;
                tx.record(event("service_token.create", &token.id));
                Ok(())
            })
        })
        .await
}

/// Queues a job whose captures are cloned for each run.
#[macro_export]
macro_rules! write {
    ($store:expr, [$($captured:ident),* $(,)?], |$tx:ident| $body:block) => {
        $store.write(move |$tx: &mut countersign_store::Tx| {
            $(let $captured = $captured.clone();)*
            Box::pin(async move { $body })
        })
    };
}

/// Runs one change, with an event.
macro_rules! change {
    ($store:expr, [$($captured:ident),* $(,)?], |$tx:ident| $change:expr) => {
        $crate::write!($store, [$($captured),*], |$tx| {
            $tx.record($crate::event("change", "it"));
            $change.await
        })
        .await
        .map(|written| written.value)
    };
}
pub(crate) use change;

fn run<F: Future<Output = ()>>(test: impl FnOnce(World) -> F, world: World) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(Box::pin(test(world)));
}

pub(crate) fn on_sqlite<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    run(test, World::new(|directory| Database::Sqlite(directory.join("countersign.db"))));
}

pub(crate) fn on_postgres<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    let Some(cluster) = cluster() else { return };
    run(test, World::new(|_| Database::Postgres(cluster.database())));
}

/// The one cluster of this process.
pub(crate) fn cluster() -> Option<&'static postgres::Cluster> {
    static CLUSTER: OnceLock<Option<postgres::Cluster>> = OnceLock::new();
    CLUSTER.get_or_init(|| postgres::Cluster::start(migrate)).as_ref()
}

fn migrate(url: &str) {
    let key = InstallationKey::generate(&Entropy::seeded(0));
    let options = Options { database: Database::Postgres(url.to_owned()), readers: 1 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (store, writer) = Store::connect(options, &key).await.expect("to migrate the template");
        store.close().await;
        drop(store);
        writer.run().await;
    });
}
