//! The servers that follow the feed of this store, and the programs that follow it through them.
//!
//! Nothing here takes a revision or an audit event, and nothing waits for those who do: a node must be able to count its
//! heartbeat also while another one holds the counter.

use std::fmt;
use std::str::FromStr;

use countersign_token::digest::KeyId;
use countersign_token::entropy::Entropy;
use countersign_token::feed::Revision;
use countersign_token::id::{IdError, InstallationId};
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;

use crate::error::Error;
use crate::row::Columns;
use crate::store::Store;
use crate::tx::{Tx, expect_rows};

/// Names one run of a server. Text: 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(InstallationId);

impl NodeId {
    /// A new random id.
    pub fn generate(entropy: &Entropy) -> Self {
        Self(InstallationId::generate(entropy))
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(InstallationId::from_bytes(bytes))
    }

    /// The first and the last id that begin with the same 8 bytes.
    fn family(self) -> (Self, Self) {
        let [mut first, mut last] = [*self.0.as_bytes(); 2];
        for (low, high) in first.iter_mut().zip(&mut last).skip(8) {
            (*low, *high) = (0, u8::MAX);
        }
        (Self::from_bytes(first), Self::from_bytes(last))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl FromStr for NodeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self)
    }
}

/// A server that follows the feed, or a program that does so through one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// When it started, on its own clock.
    pub started_at: Timestamp,
    /// Counts its polls. No meaning but that it moves.
    pub heartbeat: i64,
    /// Up to where it has applied the feed, as it last reported.
    pub applied: Revision,
    /// Whether it goes on admitting when it has fallen behind.
    pub serves_stale: bool,
    /// The newest installation key that it holds.
    pub installation_key: KeyId,
    /// Whether it is a program that verifies by itself. It outlives the server that it follows.
    pub is_verifier: bool,
}

impl Node {
    /// A node that starts, and refuses when it falls behind.
    pub fn new(id: NodeId, started_at: Timestamp, applied: Revision) -> Self {
        Self {
            id,
            started_at,
            heartbeat: 0,
            applied,
            serves_stale: false,
            installation_key: KeyId::FIRST,
            is_verifier: false,
        }
    }
}

impl Store {
    /// Puts a node on the list, or back on it; one that is there counts a heartbeat, and reports how far it has come.
    ///
    /// # Errors
    ///
    /// When the database can't be written.
    pub async fn register_node(&self, node: &Node) -> Result<(), Error> {
        let node = *node;
        self.write_apart(move |connection| Box::pin(async move { insert(connection, &node).await })).await
    }

    /// The same, where nodes come in families, whose ids begin with the same 8 bytes. `false`, and nothing is done, for one
    /// that is not on the list while `most` of its family are.
    ///
    /// # Errors
    ///
    /// When the database can't be written.
    pub async fn register_one_of(&self, node: &Node, most: u32) -> Result<bool, Error> {
        let node = *node;
        self.write_apart(move |connection| {
            Box::pin(async move {
                let is_admitted = has_place(connection, node.id, most).await?;
                if is_admitted {
                    insert(connection, &node).await?;
                }
                Ok(is_admitted)
            })
        })
        .await
    }

    /// Counts a node's heartbeat, and reports how far it has come.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if the node is not on the list any more: it must register again.
    pub async fn heartbeat(&self, node: NodeId, applied: Revision) -> Result<(), Error> {
        self.write_apart(move |connection| {
            Box::pin(async move {
                let query = sqlx::query("UPDATE node SET heartbeat = heartbeat + 1, applied = $2 WHERE id = $1")
                    .bind(node.to_string())
                    .bind(applied.get());
                expect_rows(query.execute(connection).await?.rows_affected(), 1)
            })
        })
        .await
    }

    /// Reports how far a node has come, without counting a heartbeat.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if the node is not on the list any more: it must register again.
    pub async fn report_applied(&self, node: NodeId, applied: Revision) -> Result<(), Error> {
        self.write_apart(move |connection| {
            Box::pin(async move {
                let query = sqlx::query("UPDATE node SET applied = $2 WHERE id = $1")
                    .bind(node.to_string())
                    .bind(applied.get());
                expect_rows(query.execute(connection).await?.rows_affected(), 1)
            })
        })
        .await
    }

    /// Reports the newest installation key that a node holds.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if the node is not on the list any more: it must register again.
    pub async fn report_installation_key(&self, node: NodeId, key: KeyId) -> Result<(), Error> {
        self.write_apart(move |connection| {
            Box::pin(async move {
                let query = sqlx::query("UPDATE node SET installation_key = $2 WHERE id = $1")
                    .bind(node.to_string())
                    .bind(i64::from(key.get()));
                expect_rows(query.execute(connection).await?.rows_affected(), 1)
            })
        })
        .await
    }

    /// Takes a node off the list, if it is on it.
    ///
    /// # Errors
    ///
    /// When the database can't be written.
    pub async fn remove_node(&self, node: NodeId) -> Result<(), Error> {
        self.write_apart(move |connection| {
            Box::pin(async move {
                let query = sqlx::query("DELETE FROM node WHERE id = $1").bind(node.to_string());
                query.execute(connection).await?;
                Ok(())
            })
        })
        .await
    }

    /// The nodes on the list, in the order of their ids.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_nodes(&self) -> Result<Vec<Node>, Error> {
        list(&mut *self.reader().await?).await
    }
}

impl Tx {
    /// The nodes on the list, in the order of their ids.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_nodes(&mut self) -> Result<Vec<Node>, Error> {
        let found = list(self.reading()).await;
        self.noting(found)
    }
}

/// Whether a node is on the list, or fewer than `most` of its family are.
async fn has_place(connection: &mut AnyConnection, id: NodeId, most: u32) -> Result<bool, Error> {
    let (first, last) = id.family();
    let query =
        sqlx::query("SELECT COUNT(*), COUNT(CASE WHEN id = $3 THEN 1 END) FROM node WHERE id BETWEEN $1 AND $2")
            .bind(first.to_string())
            .bind(last.to_string())
            .bind(id.to_string());
    let row = query.fetch_one(connection).await?;
    let mut columns = Columns::of("node", &row);
    let (family, is_known) = (columns.int()?, columns.int()? > 0);
    Ok(is_known || family < i64::from(most))
}

async fn insert(connection: &mut AnyConnection, node: &Node) -> Result<(), Error> {
    let query = sqlx::query(
        "INSERT INTO node (id, started_at, heartbeat, applied, serves_stale, installation_key, is_verifier) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (id) DO UPDATE SET heartbeat = node.heartbeat + 1, applied = excluded.applied, \
         serves_stale = excluded.serves_stale, installation_key = excluded.installation_key",
    )
    .bind(node.id.to_string())
    .bind(node.started_at.as_micros())
    .bind(node.heartbeat)
    .bind(node.applied.get())
    .bind(i64::from(node.serves_stale))
    .bind(i64::from(node.installation_key.get()))
    .bind(i64::from(node.is_verifier));
    expect_rows(query.execute(connection).await?.rows_affected(), 1)
}

async fn list(connection: &mut AnyConnection) -> Result<Vec<Node>, Error> {
    let query = sqlx::query(
        "SELECT id, started_at, heartbeat, applied, serves_stale, installation_key, is_verifier FROM node ORDER BY id",
    );
    let rows = query.fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of("node", row);
            Ok(Node {
                id: columns.parse()?,
                started_at: columns.time()?,
                heartbeat: columns.int()?,
                applied: Revision::new(columns.int()?),
                serves_stale: columns.flag()?,
                installation_key: columns.key_id()?,
                is_verifier: columns.flag()?,
            })
        })
        .collect()
}
