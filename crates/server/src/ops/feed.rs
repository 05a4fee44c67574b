//! The feed for programs that verify by themselves: what there is in the accounts that they may see, and what changes there.
//!
//! A verifier is a follower of this node. It is on the list of nodes before it reads anything, its heartbeat is counted
//! before each answer is read from the store, and how far it has come is what it shows when it asks again: so whoever takes
//! something away waits for it as for any server.

use std::time::Duration;

use countersign_store::{LivingPlace, Node, NodeId};
use countersign_token::digest::{KeyId, LiveKeys, MacKey};
use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::{AccountId, InstallationId, ManagementTokenId};
use sha2::{Digest as _, Sha256};

use super::{Error, Ops, Seat};

/// How many changes one answer holds of all that there is.
const PAGE: usize = 4096;

/// How many revisions a verifier may lie behind. One that lies further behind begins anew, page by page: what has changed
/// is read as a whole.
const BEHIND_MAX: i64 = 1 << 16;

/// How many changes one answer holds at most: a write may be of many tokens. More are read page by page.
const CHANGES_MAX: usize = 1 << 16;

/// How many verifiers may be on the list with one token. Whoever revokes something waits for each of them, and each counts
/// a heartbeat a second.
const VERIFIERS_MAX: u32 = 256;

/// Who follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    /// The token that it shows.
    pub token: ManagementTokenId,
    /// Its own name, which tells it from others with the same token.
    pub name: String,
    /// What it may see, in order.
    pub accounts: Vec<AccountId>,
}

/// How far a verifier has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It reads all that there is: next in this account, from this place on. What has changed after `since` may be missing.
    Reading {
        /// The newest revision when it began.
        since: Revision,
        /// The account.
        account: AccountId,
        /// The place.
        place: LivingPlace,
    },
    /// It has read all that there is, and may lack what has changed since then.
    Read(Revision),
    /// It decides by everything up to here.
    Following(Revision),
}

/// What comes next.
#[derive(Debug)]
pub struct News {
    /// Whether it begins anew: what the verifier had before counts no more.
    pub is_beginning: bool,
    /// The keys that digests are made with: the current one, and the one before while there is one.
    pub keys: Vec<(KeyId, MacKey)>,
    /// The changes, in the order in which they are to be applied.
    pub changes: Vec<Change>,
    /// How far the verifier has come with them.
    pub progress: Progress,
}

impl Verifier {
    /// The node that it is on the list, of a family with the others of its token. Nobody with another token can name it, and
    /// it is no server's.
    fn node(&self) -> NodeId {
        let token: [u8; 32] = Sha256::digest(format!("countersign verifier\0{}", self.token)).into();
        let whole: [u8; 32] = Sha256::digest(format!("countersign verifier\0{}\0{}", self.token, self.name)).into();
        let mut id = [0; 16];
        for (place, byte) in id.iter_mut().zip(token.into_iter().take(8).chain(whole)) {
            *place = byte;
        }
        NodeId::from_bytes(id)
    }

    fn sees(&self, subject: &Subject) -> bool {
        let account = match subject {
            Subject::Account { id, .. } => id,
            Subject::Zone { account, .. }
            | Subject::Environment { account, .. }
            | Subject::ApiToken { account, .. } => account,
            Subject::ServiceToken { owner, .. } => &owner.account,
            Subject::User { .. } | Subject::ManagementToken { .. } => return false,
        };
        self.accounts.contains(account)
    }

    fn account_after(&self, account: &AccountId) -> Option<AccountId> {
        self.accounts.iter().find(|next| *next > account).copied()
    }
}

impl Progress {
    /// Up to where whoever shows this has applied the feed.
    fn applied(&self) -> Revision {
        match self {
            // Until it has read all, it may still decide by what it had before.
            Self::Reading { .. } | Self::Read(_) => Revision::new(0),
            Self::Following(revision) => *revision,
        }
    }
}

impl Ops {
    /// Which installation this is, and how old a verifier's knowledge may be.
    pub async fn feed_promise(&self) -> Result<(InstallationId, Duration), Error> {
        let installation = self.store.installation().await?.ok_or(Error::NotFound)?;
        Ok((installation.id, installation.max_staleness))
    }

    /// Counts a verifier's heartbeat, and says how far it has come; one that is not on the list is put on it. To be done before
    /// anything is read for it. [`Error::Conflict`] for one more than a token may have.
    pub async fn note_verifier(&self, verifier: &Verifier, progress: Option<&Progress>) -> Result<(), Error> {
        // Whoever can't be told the keys must not be waited for.
        self.verifier_keys(self.keys().live())?;
        let applied = progress.map_or(Revision::new(0), Progress::applied);
        let node = Node::new(verifier.node(), self.clock.now(), applied);
        let installation_key = self.keys().live().current;
        let node = Node { is_verifier: true, installation_key, ..node };
        if self.store.register_one_of(&node, VERIFIERS_MAX).await? {
            return Ok(());
        }
        Err(Error::Conflict(format!(
            "{VERIFIERS_MAX} verifiers follow with this token already: give others a token of their own, or stop some; one that \
             was killed counts for a minute"
        )))
    }

    /// Takes a verifier off the list, if it is on it. It must not admit anybody any more.
    pub async fn forget_verifier(&self, verifier: &Verifier) -> Result<(), Error> {
        Ok(self.store.remove_node(verifier.node()).await?)
    }

    /// Returns when this node knows something that the verifier may not know, and after `patience` in any case.
    pub async fn await_news(&self, progress: Option<&Progress>, patience: Duration) {
        if let (Some(Progress::Following(revision)), Seat::Node(node)) = (progress, &self.seat) {
            node.follower.pass(*revision, patience).await;
        }
    }

    /// What comes after `progress`, read from the store now.
    pub async fn read_feed(&self, verifier: &Verifier, progress: Option<Progress>) -> Result<News, Error> {
        match progress {
            Some(Progress::Reading { since, account, place }) if verifier.accounts.contains(&account) => {
                self.read_living(verifier, since, account, place, false).await
            }
            Some(Progress::Read(since) | Progress::Following(since)) => self.read_changes(verifier, since).await,
            Some(Progress::Reading { .. }) | None => self.read_anew(verifier).await,
        }
    }

    async fn read_anew(&self, verifier: &Verifier) -> Result<News, Error> {
        let account = *verifier.accounts.first().ok_or(Error::Forbidden)?;
        // Before the first row: what changes from here on is read again.
        let since = self.store.revision().await?;
        self.read_living(verifier, since, account, LivingPlace::START, true).await
    }

    async fn read_living(
        &self,
        verifier: &Verifier,
        since: Revision,
        mut account: AccountId,
        mut place: LivingPlace,
        is_beginning: bool,
    ) -> Result<News, Error> {
        let mut changes = Vec::new();
        let progress = loop {
            let room = u32::try_from(PAGE.saturating_sub(changes.len())).unwrap_or(0);
            if room == 0 {
                break Progress::Reading { since, account, place };
            }
            let (read, next) = self.store.list_living(&account, &place, room).await?;
            changes.extend(read);
            match (next, verifier.account_after(&account)) {
                (Some(next), _) => place = next,
                (None, Some(next)) => (account, place) = (next, LivingPlace::START),
                (None, None) => break Progress::Read(since),
            }
        };
        // After the rows: whatever key they stand under is among these, or they are read again.
        let keys = self.verifier_keys(self.store.live_keys().await?)?;
        Ok(News { is_beginning, keys, changes, progress })
    }

    async fn read_changes(&self, verifier: &Verifier, since: Revision) -> Result<News, Error> {
        let newest = match &self.seat {
            Seat::Node(node) => node.follower.applied(),
            Seat::Outside => self.store.revision().await?,
        };
        if newest.get().saturating_sub(since.get()) > BEHIND_MAX {
            return self.read_anew(verifier).await;
        }
        let feed = self.store.poll(since).await?;
        // What was deleted is gone for good, or the store knows nothing of what the verifier has seen.
        if feed.reload || feed.revision < since {
            return self.read_anew(verifier).await;
        }
        let mut changes = feed.changes;
        changes.retain(|change| verifier.sees(&change.subject));
        if changes.len() > CHANGES_MAX {
            return self.read_anew(verifier).await;
        }
        let keys = self.verifier_keys(feed.keys)?;
        Ok(News { is_beginning: false, keys, changes, progress: Progress::Following(feed.revision) })
    }

    /// The keys that a verifier needs, the current one first.
    fn verifier_keys(&self, live: LiveKeys) -> Result<Vec<(KeyId, MacKey)>, Error> {
        let mut keys = Vec::new();
        for id in live.needed() {
            let key = self.keys().get(id).map_err(countersign_store::Error::from)?;
            let Some(handed_out) = key.verifier_key() else {
                return Err(Error::Conflict(format!(
                    "installation key {id} is of an earlier form, which cannot be handed to a verifier: change it first, with \
                     `countersign installation-key prepare`, `rotate` and `finish`"
                )));
            };
            keys.push((id, handed_out));
        }
        Ok(keys)
    }
}
