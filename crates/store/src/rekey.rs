//! Rows that move from one installation key to the next.

use countersign_token::api_token::ApiToken;
use countersign_token::digest::KeyId;
use countersign_token::id::{AccountId, ApiTokenId};
use countersign_token::index::{OldDigest, SeenSubject};
use countersign_token::time::Timestamp;
use countersign_token::verify::SecretSlot;
use sqlx::AnyConnection;

use crate::api_token;
use crate::error::Error;
use crate::invite::InviteStatus;
use crate::row::Columns;
use crate::seen::{last_seen_at, last_used_at};
use crate::store::Store;
use crate::tx::{Group, Tx};

/// How many secrets stand under a key, and would be void without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Service tokens, by their current secret; expired and disabled ones too, since they can come back.
    pub service_tokens: u64,
    /// Secrets of service tokens before the current one, within their grace period.
    pub previous_secrets: u64,
    /// API tokens that are not deleted and have not ended.
    pub api_tokens: u64,
    /// Management tokens that are neither revoked nor expired.
    pub management_tokens: u64,
    /// Users, by their global API key.
    pub users: u64,
}

impl Standing {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Self { service_tokens, previous_secrets, api_tokens, management_tokens, users } = *self;
        service_tokens + previous_secrets + api_tokens + management_tokens + users
    }
}

/// Something whose secret stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// `service_token`, `management_token` or `user`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// Its name, or a user's address.
    pub name: String,
    /// The account that it belongs to; `None` for what belongs to none, or to several.
    pub account: Option<AccountId>,
    /// When its secret was last seen, as far as the store knows.
    pub last_seen_at: Option<Timestamp>,
}

macro_rules! holders {
    ($columns:expr, $from:literal) => {
        (concat!("SELECT COUNT(*)", $from), concat!("SELECT ", $columns, $from, " ORDER BY id LIMIT $3"))
    };
}

const SERVICE_TOKENS: (&str, &str) = holders!(
    concat!("id, name, account_id, ", last_seen_at!()),
    " FROM service_token WHERE digest_key = $1 AND deleted_at IS NULL AND $2 = $2"
);
const PREVIOUS_SECRETS: (&str, &str) = holders!(
    concat!("id, name, account_id, ", last_seen_at!()),
    " FROM service_token WHERE previous_digest_key = $1 AND previous_digest IS NOT NULL AND deleted_at IS NULL \
     AND previous_expires_at > $2 AND (expires_at > $2 OR duration = 'forever')"
);
const API_TOKENS: (&str, &str) = holders!(
    concat!("id, '', account_id, ", last_used_at!()),
    " FROM api_token WHERE digest_key = $1 AND deleted_at IS NULL AND ended_at IS NULL AND $2 = $2"
);
const MANAGEMENT_TOKENS: (&str, &str) = holders!(
    "id, name, account_id, last_used_at",
    " FROM management_token WHERE digest_key = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)"
);
const USERS: (&str, &str) =
    holders!("id, email, NULL, last_active_at", " FROM app_user WHERE digest_key = $1 AND $2 = $2");

/// How the row of one kind is given another digest, if it still has the old one.
struct Step {
    group: Group,
    /// `$1` is the id, `$2` the old digest.
    find: &'static str,
    /// Besides, `$3` is the new digest, `$4` its key, `$5` the revision.
    update: &'static str,
}

macro_rules! step {
    ($group:ident, $table:literal, $set:literal, $condition:literal) => {
        Step {
            group: Group::$group,
            find: concat!("SELECT COUNT(*) FROM ", $table, " WHERE id = $1 AND ", $condition),
            update: concat!("UPDATE ", $table, " SET revision = $5, ", $set, " WHERE id = $1 AND ", $condition),
        }
    };
}

const CURRENT: Step =
    step!(ServiceToken, "service_token", "digest = $3, digest_key = $4", "digest = $2 AND deleted_at IS NULL");
const PREVIOUS: Step = step!(
    ServiceToken,
    "service_token",
    "previous_digest = $3, previous_digest_key = $4",
    "previous_digest = $2 AND deleted_at IS NULL"
);
// Indexes know a bearer by its digest, and have to be told which one it was.
const API_TOKEN: Step =
    step!(ApiToken, "api_token", "replaced_digest = digest, digest = $3, digest_key = $4", "digest = $2");
const MANAGEMENT_TOKEN: Step =
    step!(Directory, "management_token", "replaced_digest = digest, digest = $3, digest_key = $4", "digest = $2");
const USER: Step = step!(Directory, "app_user", "key_digest = $3, digest_key = $4", "key_digest = $2");

impl Store {
    /// How many secrets stand under a key, and are not over by themselves.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn count_standing(&self, key: KeyId, now: Timestamp) -> Result<Standing, Error> {
        let mut snapshot = self.snapshot().await?;
        count(&mut snapshot, key, now).await
    }

    /// How many pending invitations were made before a time.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn count_pending_invites(&self, before: Timestamp) -> Result<u64, Error> {
        count_invites(&mut *self.reader().await?, before).await
    }

    /// Some of the service tokens, management tokens and users whose secrets stand under a key: `limit` of each kind.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_standing(&self, key: KeyId, now: Timestamp, limit: u32) -> Result<Vec<Holder>, Error> {
        let mut snapshot = self.snapshot().await?;
        let mut holders = Vec::new();
        for (kind, (_, sql)) in [
            ("service_token", SERVICE_TOKENS),
            ("service_token", PREVIOUS_SECRETS),
            ("management_token", MANAGEMENT_TOKENS),
            ("user", USERS),
        ] {
            let query = sqlx::query(sql).bind(i64::from(key.get())).bind(now.as_micros()).bind(i64::from(limit));
            for row in query.fetch_all(&mut *snapshot).await? {
                let mut columns = Columns::of("installation_key", &row);
                holders.push(Holder {
                    kind,
                    id: columns.text()?.to_owned(),
                    name: columns.text()?.to_owned(),
                    account: columns.parse_if_any()?,
                    last_seen_at: columns.time_if_any()?,
                });
            }
        }
        holders.dedup();
        Ok(holders)
    }

    /// Up to `limit` API tokens under a key after the id `after`, deleted ones included that are not swept yet.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_api_tokens_under(
        &self,
        key: KeyId,
        after: Option<&ApiTokenId>,
        limit: u32,
    ) -> Result<Vec<ApiToken>, Error> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let query = sqlx::query(api_token::UNDER_KEY).bind(i64::from(key.get())).bind(after).bind(i64::from(limit));
        let rows = query.fetch_all(&mut *self.reader().await?).await?;
        rows.iter().map(|row| api_token::read(row.into())).collect()
    }

    /// Forgets the digests under a key that is not live any more by which indexes knew tokens, and those of secrets whose
    /// grace period had ended with it.
    ///
    /// # Errors
    ///
    /// When the database can't be written. What was forgotten until then stays forgotten.
    pub async fn forget_old_digests(&self, live: KeyId) -> Result<(), Error> {
        const SOME: [&str; 3] = [
            "UPDATE api_token SET replaced_digest = NULL WHERE id IN \
             (SELECT id FROM api_token WHERE replaced_digest IS NOT NULL AND $1 = $1 LIMIT 500)",
            "UPDATE management_token SET replaced_digest = NULL WHERE id IN \
             (SELECT id FROM management_token WHERE replaced_digest IS NOT NULL AND $1 = $1 LIMIT 500)",
            "UPDATE service_token SET previous_digest = NULL, previous_digest_key = $1 WHERE id IN \
             (SELECT id FROM service_token WHERE previous_digest IS NOT NULL AND previous_digest_key <> $1 LIMIT 500)",
        ];
        for sql in SOME {
            loop {
                let written = self.write(move |tx| {
                    Box::pin(async move {
                        let keys = tx.live_keys();
                        if keys.before.is_some() || keys.current != live {
                            return Ok(0);
                        }
                        tx.settle_tokens().await?;
                        tx.execute_any(sqlx::query(sql).bind(i64::from(live.get()))).await
                    })
                });
                let written: Result<_, Error> = written.await;
                if written?.value == 0 {
                    break;
                }
            }
        }
        Ok(())
    }
}

async fn count(connection: &mut AnyConnection, key: KeyId, now: Timestamp) -> Result<Standing, Error> {
    let mut counts = [0; 5];
    let kinds = [SERVICE_TOKENS, PREVIOUS_SECRETS, API_TOKENS, MANAGEMENT_TOKENS, USERS];
    for (count, (sql, _)) in counts.iter_mut().zip(kinds) {
        let query = sqlx::query(sql).bind(i64::from(key.get())).bind(now.as_micros());
        let row = query.fetch_one(&mut *connection).await?;
        *count = Columns::of("installation_key", &row).count()?;
    }
    let [service_tokens, previous_secrets, api_tokens, management_tokens, users] = counts;
    Ok(Standing { service_tokens, previous_secrets, api_tokens, management_tokens, users })
}

async fn count_invites(connection: &mut AnyConnection, before: Timestamp) -> Result<u64, Error> {
    let query = sqlx::query("SELECT COUNT(*) FROM admin_user_invite WHERE status = $1 AND inserted_at < $2")
        .bind(InviteStatus::Pending.text())
        .bind(before.as_micros());
    Columns::of("admin_user_invite", &query.fetch_one(connection).await?).count()
}

impl Tx {
    /// How many pending invitations were made before a time.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn count_pending_invites(&mut self, before: Timestamp) -> Result<u64, Error> {
        let counted = count_invites(self.reading(), before).await;
        self.noting(counted)
    }

    /// How many secrets stand under a key, and are not over by themselves.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn count_standing(&mut self, key: KeyId, now: Timestamp) -> Result<Standing, Error> {
        self.settle_tokens().await?;
        let counted = count(self.reading(), key, now).await;
        self.noting(counted)
    }

    /// Gives rows digests under the current key for those under the key before, where they still have these, and returns
    /// how many it were. What was changed meanwhile stays as it is.
    ///
    /// # Errors
    ///
    /// When the database can't be written.
    pub async fn rekey(&mut self, digests: &[OldDigest]) -> Result<u64, Error> {
        self.settle_tokens().await?;
        let live = self.live_keys();
        let mut changed = 0;
        for OldDigest { subject, slot, old, new } in digests {
            if live.before != Some(old.key()) || live.current != new.key() {
                continue;
            }
            let (step, id) = match (subject, slot) {
                (SeenSubject::ServiceToken(id), SecretSlot::Current) => (CURRENT, id.to_string()),
                (SeenSubject::ServiceToken(id), SecretSlot::Previous) => (PREVIOUS, id.to_string()),
                (SeenSubject::ApiToken(id), _) => (API_TOKEN, id.to_string()),
                (SeenSubject::ManagementToken(id), _) => (MANAGEMENT_TOKEN, id.to_string()),
                (SeenSubject::User(id), _) => (USER, id.to_string()),
            };
            let query = sqlx::query(step.find).bind(id.clone()).bind(old.as_bytes().to_vec());
            let row = query.fetch_one(self.reading()).await.map_err(Error::from);
            let row = self.noting(row)?;
            if Columns::of("installation_key", &row).count()? == 0 {
                continue;
            }
            let revision = self.change(step.group);
            let query = sqlx::query(step.update)
                .bind(id)
                .bind(old.as_bytes().to_vec())
                .bind(new.as_bytes().to_vec())
                .bind(i64::from(new.key().get()))
                .bind(revision);
            self.execute(query, 1).await?;
            changed += 1;
        }
        Ok(changed)
    }
}
