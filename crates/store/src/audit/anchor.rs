//! Pruning, and the mark that it leaves.

use countersign_token::digest::MacKey;
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;

use super::key::AuditKeys;
use super::{AuditEvent, ChainMac};
use crate::error::Error;
use crate::row::Columns;
use crate::store::Store;
use crate::tx::Tx;

/// How many events are pruned by one job, so that others need not wait for long.
const EVENTS_AT_ONCE: i64 = 1000;

/// The last event that was pruned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    pub(super) seq: i64,
    pub(super) mac: ChainMac,
    seal: ChainMac,
}

impl Anchor {
    /// Under a key that is made of the chain's by a text that is shorter than any event, as with heads.
    fn new(key: &MacKey, seq: i64, mac: ChainMac) -> Self {
        let key = MacKey::from_bytes(key.mac(&[b"countersign audit anchor"]));
        let seal = ChainMac::from_bytes(key.mac(&[&seq.to_be_bytes(), mac.as_bytes()]));
        Self { seq, mac, seal }
    }

    /// `None` if nothing was pruned.
    pub(super) async fn find(connection: &mut AnyConnection) -> Result<Option<Self>, Error> {
        let query = sqlx::query("SELECT seq, mac, seal FROM audit_anchor WHERE one = 1");
        let Some(row) = query.fetch_optional(connection).await? else { return Ok(None) };
        let mut columns = Columns::of("audit_anchor", &row);
        Ok(Some(Self { seq: columns.int()?, mac: columns.chain_mac()?, seal: columns.chain_mac()? }))
    }

    /// Whether this installation has set it.
    pub(super) fn is_authentic(&self, keys: &AuditKeys) -> bool {
        keys.all().any(|key| Self::new(key, self.seq, self.mac).seal == self.seal)
    }
}

impl Store {
    /// When the oldest event that is still there took place.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn oldest_audit(&self) -> Result<Option<Timestamp>, Error> {
        let query = sqlx::query("SELECT at FROM audit_event ORDER BY seq LIMIT 1");
        let row = query.fetch_optional(&mut *self.reader().await?).await?;
        row.map(|row| Columns::of("audit_event", &row).time()).transpose()
    }

    /// Takes events of before `before` away from the beginning of the log, a bounded number, and returns how many. An event
    /// that is as new keeps those after it, whatever their time. If any go, `event` is recorded with that.
    ///
    /// # Errors
    ///
    /// [`Error::Inconsistent`] if the log does not begin where its mark says, which is for [`Store::verify_audit_chain`] to
    /// find and must not be pruned away; or when the database can't be written.
    pub async fn prune_audit(&self, before: Timestamp, event: Option<AuditEvent>) -> Result<u64, Error> {
        let keys = self.audit_keys(&mut *self.reader().await?).await?;
        let key = keys.newest().clone();
        let written = self
            .write(move |tx: &mut Tx| {
                let (key, event) = (key.clone(), event.clone());
                Box::pin(async move {
                    let pruned = prune(tx, &key, before).await?;
                    if pruned > 0 {
                        event.into_iter().for_each(|event| tx.record(event));
                    }
                    Ok::<_, Error>(pruned)
                })
            })
            .await?;
        Ok(written.value)
    }
}

async fn prune(tx: &mut Tx, key: &MacKey, before: Timestamp) -> Result<u64, Error> {
    let found = find_last(tx.reading(), before).await;
    let Some((first, last, mac)) = tx.noting(found)? else { return Ok(0) };
    let anchor = Anchor::new(key, last, mac);
    let query = sqlx::query(
        "INSERT INTO audit_anchor (one, seq, mac, seal) VALUES (1, $1, $2, $3) \
         ON CONFLICT (one) DO UPDATE SET seq = excluded.seq, mac = excluded.mac, seal = excluded.seal",
    )
    .bind(anchor.seq)
    .bind(anchor.mac.as_bytes().to_vec())
    .bind(anchor.seal.as_bytes().to_vec());
    tx.execute(query, 1).await?;
    let pruned = (last - first + 1).unsigned_abs();
    tx.execute(sqlx::query("DELETE FROM audit_event WHERE seq <= $1").bind(last), pruned).await?;
    Ok(pruned)
}

/// The first event that is there, and the last before the first one that stays.
async fn find_last(connection: &mut AnyConnection, before: Timestamp) -> Result<Option<(i64, i64, ChainMac)>, Error> {
    let first = Anchor::find(connection).await?.map_or(1, |anchor| anchor.seq + 1);
    let rows = sqlx::query("SELECT seq, at, mac FROM audit_event ORDER BY seq LIMIT $1")
        .bind(EVENTS_AT_ONCE)
        .fetch_all(connection)
        .await?;
    let mut last = None;
    for (row, expected) in rows.iter().zip(first..) {
        let mut columns = Columns::of("audit_event", row);
        let (seq, at) = (columns.int()?, columns.time()?);
        if seq != expected {
            return Err(columns.problem(format_args!("event {expected} is missing before it")));
        }
        if at >= before {
            break;
        }
        last = Some((first, seq, columns.chain_mac()?));
    }
    Ok(last)
}
