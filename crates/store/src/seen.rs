//! Last-seen marks: when a credential was last used, and of a service token's secrets by whom. They take no revision and no
//! audit event. Those of tokens have tables of their own, since all of them may be written every few seconds.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use countersign_token::id::ServiceTokenId;
use countersign_token::index::{SecretVersion, SeenMark, SeenSubject};
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;

use crate::bulk::{Binding, Bulk};
use crate::error::Error;
use crate::row::Columns;
use crate::service_token::read_version;
use crate::store::Store;
use crate::tx::{Tx, built};

/// When a row of `service_token` was last seen, in a statement that reads these.
macro_rules! last_seen_at {
    () => {
        "(SELECT MAX(last_seen_at) FROM service_token_use WHERE service_token_id = id)"
    };
}
pub(crate) use last_seen_at;

/// The same of its current secret alone.
macro_rules! current_seen_at {
    () => {
        "(SELECT last_seen_at FROM service_token_use WHERE service_token_id = id AND version = secret_version)"
    };
}
pub(crate) use current_seen_at;

/// When a row of `api_token` was last used, in a statement that reads these.
macro_rules! last_used_at {
    () => {
        "(SELECT last_used_at FROM api_token_seen WHERE api_token_id = id)"
    };
}
pub(crate) use last_used_at;

/// Keeps some marks in a table of their own. A mark never goes back. That the token still exists isn't looked at: the sweep
/// of its tombstone takes the mark along.
macro_rules! keep {
    ($table:literal, $key:literal, $column:literal) => {
        LazyLock::new(|| {
            Bulk::new(
                concat!("INSERT INTO ", $table, " (", $key, ", ", $column, ") VALUES"),
                2,
                concat!(
                    "ON CONFLICT (",
                    $key,
                    ") DO UPDATE SET ",
                    $column,
                    " = excluded.",
                    $column,
                    " WHERE ",
                    $table,
                    ".",
                    $column,
                    " < excluded.",
                    $column
                ),
            )
        })
    };
}

/// Marks some rows. A mark never goes back, and one for a row that is gone goes nowhere. `VALUES` names its columns alike
/// on both databases.
macro_rules! update {
    ($table:literal, $column:literal) => {
        LazyLock::new(|| {
            Bulk::new(
                concat!("UPDATE ", $table, " SET ", $column, " = mark.column2 FROM (VALUES"),
                2,
                concat!(
                    ") AS mark WHERE ",
                    $table,
                    ".id = mark.column1 AND (",
                    $column,
                    " IS NULL OR ",
                    $column,
                    " < mark.column2)"
                ),
            )
        })
    };
}

/// The same for the secrets of service tokens of which no visitor is told: most, where many are in use.
static SECRETS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT INTO service_token_use (service_token_id, version, last_seen_at) VALUES",
        3,
        "ON CONFLICT (service_token_id, version) DO UPDATE SET last_seen_at = excluded.last_seen_at \
         WHERE service_token_use.last_seen_at < excluded.last_seen_at",
    )
});

/// The same with a visitor. Of two the later one stays, whoever writes last.
static VISITORS: LazyLock<Bulk> = LazyLock::new(|| {
    macro_rules! by_the_later {
        ($column:literal) => {
            concat!(
                $column,
                " = CASE WHEN COALESCE(service_token_use.visited_at, 0) < excluded.visited_at THEN excluded.",
                $column,
                " ELSE service_token_use.",
                $column,
                " END"
            )
        };
    }
    Bulk::new(
        "INSERT INTO service_token_use (service_token_id, version, last_seen_at, visited_at, address, user_agent) \
         VALUES",
        6,
        concat!(
            "ON CONFLICT (service_token_id, version) DO UPDATE SET last_seen_at = CASE WHEN \
             service_token_use.last_seen_at < excluded.last_seen_at THEN excluded.last_seen_at \
             ELSE service_token_use.last_seen_at END, ",
            by_the_later!("address"),
            ", ",
            by_the_later!("user_agent"),
            ", ",
            by_the_later!("visited_at"),
            " WHERE service_token_use.last_seen_at < excluded.last_seen_at \
             OR COALESCE(service_token_use.visited_at, 0) < excluded.visited_at"
        ),
    )
});
static API_TOKENS: LazyLock<Bulk> = keep!("api_token_seen", "api_token_id", "last_used_at");
static MANAGEMENT_TOKENS: LazyLock<Bulk> = update!("management_token", "last_used_at");
static USERS: LazyLock<Bulk> = update!("app_user", "last_active_at");

/// A mark, and for a secret of a service token perhaps who it was that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What was seen, and when.
    pub mark: SeenMark,
    /// Who came, then or a while before.
    pub visitor: Option<Box<Visitor>>,
}

impl From<SeenMark> for Sighting {
    fn from(mark: SeenMark) -> Self {
        Self { mark, visitor: None }
    }
}

/// Who came with a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// When.
    pub at: Timestamp,
    /// Where from; `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// As what they present themselves, in a form that can be shown; `None` if they don't.
    pub user_agent: Option<Box<str>>,
}

/// The last use of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretUse {
    /// Of which secret. Version 0 stands for what was seen before secrets were told apart.
    pub secret: SecretVersion,
    /// When.
    pub last_seen_at: Timestamp,
    /// The last visitor that is known of. A busy server can't take everybody down: it may be one of before.
    pub visitor: Option<Visitor>,
}

async fn list_uses(connection: &mut AnyConnection, ids: &[ServiceTokenId]) -> Result<Vec<SecretUse>, Error> {
    const AT_ONCE: usize = 64;
    let mut found = Vec::new();
    for some in ids.chunks(AT_ONCE) {
        let places: Vec<String> = (1..=some.len()).map(|place| format!("${place}")).collect();
        let query = built(format!(
            "SELECT service_token_id, version, last_seen_at, visited_at, address, user_agent FROM service_token_use \
             WHERE service_token_id IN ({}) ORDER BY service_token_id, version",
            places.join(", ")
        ));
        let query = some.iter().fold(query, |query, id| query.bind(id.to_string()));
        for row in &query.fetch_all(&mut *connection).await? {
            let mut columns = Columns::of("service_token_use", row);
            let secret = SecretVersion { id: columns.parse()?, version: read_version(&mut columns)? };
            let last_seen_at = columns.time()?;
            let (at, address) = (columns.time_if_any()?, columns.parse_if_any()?);
            let user_agent = columns.text_if_any()?.map(Box::from);
            let visitor = at.map(|at| Visitor { at, address, user_agent });
            found.push(SecretUse { secret, last_seen_at, visitor });
        }
    }
    Ok(found)
}

impl Store {
    /// Writes down when credentials were last used, each of them (and of a service token each of its secrets) once, all in
    /// one commit. In the order of their subjects it costs least: that is the order of the rows.
    ///
    /// # Errors
    ///
    /// When the database can't be written. Then no mark was.
    pub async fn record_seen(&self, seen: &[Sighting]) -> Result<(), Error> {
        if seen.is_empty() {
            return Ok(());
        }
        let seen: Arc<[Sighting]> = seen.into();
        let write = self.write(move |tx| {
            let seen = Arc::clone(&seen);
            Box::pin(async move { record(tx, &seen).await })
        });
        write.await.map(|_| ())
    }

    /// The last use of each secret that these tokens have had, as far as it was written down, in the order of their ids and
    /// versions.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_secret_uses(&self, ids: &[ServiceTokenId]) -> Result<Vec<SecretUse>, Error> {
        list_uses(&mut *self.reader().await?, ids).await
    }
}

impl Tx {
    /// The last use of each secret that a token has had, in the order of their versions.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_secret_uses(&mut self, id: &ServiceTokenId) -> Result<Vec<SecretUse>, Error> {
        let found = list_uses(self.reading(), &[*id]).await;
        self.noting(found)
    }
}

async fn record(tx: &mut Tx, seen: &[Sighting]) -> Result<(), Error> {
    let bind = |query: Binding, Sighting { mark, visitor }: &&Sighting| {
        let query = query.bind(id(&mark.subject));
        let SeenSubject::ServiceToken(_) = mark.subject else { return query.bind(mark.at.as_micros()) };
        let query = query.bind(i64::from(mark.version)).bind(mark.at.as_micros());
        let Some(visitor) = visitor else { return query };
        query
            .bind(visitor.at.as_micros())
            .bind(visitor.address.map(|address| address.to_string()))
            .bind(visitor.user_agent.as_deref().map(str::to_owned))
    };
    for place in [&SECRETS, &VISITORS, &API_TOKENS, &MANAGEMENT_TOKENS, &USERS] {
        let alike: Vec<_> = seen.iter().filter(|sighting| std::ptr::eq(place_of(sighting), place)).collect();
        let outcome = place.execute(tx.writing_apart(), &alike, bind).await;
        tx.noting(outcome)?;
    }
    Ok(())
}

/// What writes this down.
fn place_of(sighting: &Sighting) -> &'static LazyLock<Bulk> {
    match sighting.mark.subject {
        SeenSubject::ServiceToken(_) if sighting.visitor.is_some() => &VISITORS,
        SeenSubject::ServiceToken(_) => &SECRETS,
        SeenSubject::ApiToken(_) => &API_TOKENS,
        SeenSubject::ManagementToken(_) => &MANAGEMENT_TOKENS,
        SeenSubject::User(_) => &USERS,
    }
}

fn id(subject: &SeenSubject) -> String {
    match subject {
        SeenSubject::ServiceToken(id) => id.to_string(),
        SeenSubject::ApiToken(id) => id.to_string(),
        SeenSubject::ManagementToken(id) => id.to_string(),
        SeenSubject::User(id) => id.to_string(),
    }
}
