//! Which installation keys are live, taken over from the feed.

use std::sync::Arc;

use countersign_store::{Error, NodeId, Store};
use countersign_token::digest::{InstallationKey, KeyId, LiveKeys, NoKey};
use countersign_token::index::Index;

use crate::config::key::KeySource;

/// The keys of a node that follows the feed.
#[derive(Debug)]
pub(super) struct Keys {
    store: Store,
    index: Arc<Index>,
    node: NodeId,
    /// Where keys are found that come later.
    pub(super) source: Option<KeySource>,
    /// What the list of nodes says that this one holds.
    reported: KeyId,
    /// The key that was missed already, so that it is said once.
    missed: Option<KeyId>,
    /// The index has no room for the keys that are live.
    is_full: bool,
}

impl Keys {
    /// The keys that the store was opened with, as the index is to know them.
    pub(super) fn new(store: Store, index: Arc<Index>, node: NodeId) -> Self {
        let reported = newest(&store);
        let keys = Self { store, index, node, source: None, reported, missed: None, is_full: false };
        // One key after another has yet to come.
        keys.tell_index();
        keys
    }

    /// Takes over which keys are live. A next key that is not here yet is looked for again each time; one that is needed
    /// and not here is an error, and this node must not go on as if it knew everything.
    pub(super) async fn follow(&mut self, live: LiveKeys) -> Result<(), Error> {
        let ring = self.store.keys().clone();
        if self.is_full {
            return Err(NoKey(live.current).into());
        }
        if ring.live() == live && ring.holds(live) {
            self.report().await;
            return Ok(());
        }
        let found = if ring.holds(live) { Vec::new() } else { self.look().await? };
        let before = ring.live();
        ring.adopt(live, found)?;
        if before != live && !self.tell_index() {
            tracing::error!(
                "this server has seen too many changes of the installation key, and goes stale: restart it"
            );
            self.is_full = true;
            return Err(NoKey(live.current).into());
        }
        if before.current != live.current {
            tracing::info!(key = live.current.get(), "another installation key is current now");
        }
        match live.next.filter(|next| ring.find(*next).is_none()) {
            Some(next) if self.missed != Some(next) => {
                tracing::warn!(
                    key = next.get(),
                    "an installation key is prepared that is not here: copy the key file from the machine where it was made"
                );
                self.missed = Some(next);
            }
            Some(_) => {}
            None => self.missed = None,
        }
        self.report().await;
        Ok(())
    }

    /// The keys that are where this node's keys come from, with their ids.
    async fn look(&self) -> Result<Vec<InstallationKey>, Error> {
        let Some(source) = &self.source else { return Ok(Vec::new()) };
        match source.load() {
            Ok(keys) => {
                let records = self.store.list_installation_keys().await?;
                let known = |key: &InstallationKey| {
                    records.iter().find_map(|record| Some(key.known_by(&record.check_value)?.with_id(record.id)))
                };
                Ok(keys.iter().filter_map(known).collect())
            }
            Err(error) => {
                if self.missed.is_none() {
                    tracing::warn!(error = format!("{error:#}"), "the installation key can't be read again");
                }
                Ok(Vec::new())
            }
        }
    }

    /// `false` if the index has no room for another key.
    fn tell_index(&self) -> bool {
        let ring = self.store.keys();
        let before = ring.live().before.and_then(|before| ring.find(before));
        let before = before.map(|key| key.digest_key());
        self.index.set_keys(&ring.current().digest_key(), before.as_ref())
    }

    /// Says on the list of nodes what this one holds. What can't be written is written the next time: nobody waits for it
    /// but who prepares the change.
    async fn report(&mut self) {
        let newest = newest(&self.store);
        if newest == self.reported {
            return;
        }
        match self.store.report_installation_key(self.node, newest).await {
            Ok(()) => {
                self.reported = newest;
                tracing::info!(key = newest.get(), "this server holds another installation key");
            }
            Err(error) => tracing::debug!(error = %error, "cannot say yet which installation key this server holds"),
        }
    }
}

/// The newest key that this process holds.
pub(super) fn newest(store: &Store) -> KeyId {
    let newest = store.keys().all().iter().map(|key| key.id()).max();
    newest.unwrap_or(KeyId::FIRST)
}
