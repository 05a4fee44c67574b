//! Every credential of an installation in memory, for readers that never wait.
//!
//! The index is made from a [feed](crate::feed) of changes and knows nothing else. One applier feeds it; any number of
//! threads read at the same time, without locks on the way to an answer.

mod arena;
mod census;
mod detail;
mod directory;
mod entry;
mod hash;
mod interner;
mod keys;
mod old_digest;
mod packed;
mod record;
mod row;
mod segments;
mod shards;
mod slab;
mod table;
mod text;

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use crate::digest::{BearerKind, Digest, DigestKey};
use crate::entropy::Entropy;
use crate::feed::{Change, Revision, Subject};
use crate::id::{
    AccountId, AccountPfid, ApiTokenId, ClientId, EnvironmentId, ManagementTokenId, ServiceTokenId, UserId, ZoneId,
};
use crate::time::Timestamp;
use crate::verify::{SecretSlot, Verified};
pub use census::{Census, Count};
pub use detail::Detail;
use directory::Directory;
use entry::{DigestWords, Entry};
pub(crate) use entry::{EntryKind, State, Ticket, Words, same_digest};
use hash::{Hasher, Key};
pub(crate) use interner::NOBODY;
use keys::Keys;
pub use old_digest::OldDigest;
use old_digest::OldDigests;
use packed::View;
use record::{Content, Records};
use row::Row;
pub(crate) use row::compared;
use shards::{Held, Shards};
use table::Shard;
pub use text::Text;

/// For how many revisions a deletion is remembered at least, so that an older change can't undo it.
const DELETIONS_KEPT: i64 = 1 << 16;

/// Names a credential inside one index, for as long as it is not deleted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    hash: u64,
    number: u32,
}

impl Handle {
    fn new(hash: u64, number: u32) -> Self {
        Self { hash, number }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.number)
    }
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeenSubject {
    /// A service token.
    ServiceToken(ServiceTokenId),
    /// An API token.
    ApiToken(ApiTokenId),
    /// A management API token.
    ManagementToken(ManagementTokenId),
    /// A user, by the global API key.
    User(UserId),
}

/// That a credential was admitted, and when last; the time has whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenMark {
    /// What was seen.
    pub subject: SeenSubject,
    /// By which of its secrets; 0 for what has but one, and where it can't be told.
    pub version: u32,
    /// When last.
    pub at: Timestamp,
}

/// One of a service token's secrets, over all that it has ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretVersion {
    /// Whose.
    pub id: ServiceTokenId,
    /// Which, from 1.
    pub version: u32,
}

/// The credentials, and what they belong to.
pub struct Index {
    keys: Keys,
    hasher: Hasher,
    shards: Shards,
    records: Records,
    directory: Directory,
    old_digests: OldDigests,
    /// Stands in for the entry of an unknown id, so that unknown and wrong are the same work.
    decoy: Entry,
    live: AtomicUsize,
    newest: AtomicI64,
}

impl Index {
    /// An empty index. `entropy` seeds the place of its entries.
    pub fn new(digest_key: DigestKey, entropy: &Entropy) -> Self {
        Self::with_capacity(digest_key, entropy, 0)
    }

    /// An empty index with room for a number of credentials, so that loading them moves none.
    pub fn with_capacity(digest_key: DigestKey, entropy: &Entropy, capacity: usize) -> Self {
        let random = || u64::from_ne_bytes(entropy.bytes());
        let decoy = Entry::default();
        let words = Words {
            digest: [random(), random(), random()],
            state: State::new(EntryKind::Service, None),
            account: NOBODY,
        };
        decoy.fill(Key([random(), random()]), 0, &words, Ticket::FIRST);
        Self {
            keys: Keys::new(digest_key),
            hasher: Hasher::new([0; 3].map(|_: u128| u128::from_ne_bytes(entropy.bytes()))),
            shards: Shards::with_capacity(capacity),
            records: Records::new(),
            directory: Directory::default(),
            old_digests: OldDigests::default(),
            decoy,
            live: AtomicUsize::new(0),
            newest: AtomicI64::new(0),
        }
    }

    /// The number of credentials that are not deleted.
    pub fn len(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Whether there are no credentials.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in a change. Once this returns, every decision that begins knows it.
    ///
    /// A change that was taken in before, or is older than one of the same subject, changes nothing. (A deletion is
    /// remembered for 65 536 revisions; the feed never goes back behind what it has delivered.)
    pub fn apply(&self, change: &Change) {
        let revision = change.revision;
        self.newest.fetch_max(revision.get(), Ordering::Relaxed);
        match &change.subject {
            Subject::Account { id, pfid } => self.directory.apply_account(*id, *pfid, revision),
            Subject::Zone { id, account } => self.directory.apply_zone(*id, *account, revision),
            Subject::Environment { id, account, deleted } => {
                for token in self.directory.apply_environment(*id, *account, *deleted, revision) {
                    self.end_with_environment(token, id);
                }
            }
            Subject::User { id, email, key_digest, installation_owner, accounts } => {
                let detail = Detail::User {
                    id: *id,
                    email: email.as_str().into(),
                    installation_owner: *installation_owner,
                    accounts: accounts.as_slice().into(),
                };
                self.directory.apply_user(*id, email, *key_digest, detail, revision);
            }
            credential => {
                if let Some(row) = Row::of(credential) {
                    self.apply_row(row, revision);
                }
            }
        }
    }

    /// Drops everything that the changes don't name: they are all there is. To be followed by [`Index::apply`] of each.
    pub fn retain(&self, changes: &[Change]) {
        self.directory.retain(changes);
        let named: HashSet<Key> = changes.iter().filter_map(|change| row::key_of(&change.subject)).collect();
        for shard in self.shards.iter() {
            let writer = shard.write();
            for entry in writer.entries().filter(|entry| !named.contains(&entry.key())) {
                self.delete(entry);
            }
        }
    }

    /// Whether there is a credential that is found by the same as this one, and not deleted. `false` for any other subject.
    pub fn holds(&self, subject: &Subject) -> bool {
        row::key_of(subject).is_some_and(|key| {
            self.place(key).judge(|candidate| candidate.is_known && !candidate.words.state.has(State::DELETED))
        })
    }

    /// What is known of an admitted credential; `None` if it was deleted since.
    pub fn describe(&self, handle: Handle) -> Option<Detail> {
        self.look_up(handle, |key, account, view| view.describe(key, account, &self.directory))?
    }

    /// What is known of the service token with this client id; `None` if there is none. Who names an id proves nothing.
    pub fn describe_client(&self, client_id: &ClientId) -> Option<Detail> {
        let handle = self.place_of_client(client_id).judge(|candidate| {
            let exists = candidate.is_known && !candidate.words.state.has(State::DELETED);
            exists.then_some(candidate.handle)
        });
        self.describe(handle?)
    }

    /// Notes that a credential was admitted. It costs next to nothing where the second is no other than the last time.
    ///
    /// Of a service token it is noted with which secret, too. That secret is returned if it was not seen in this second
    /// before: for whoever wants to note more of its last use.
    pub fn mark_seen(&self, verified: &Verified, now: Timestamp) -> Option<SecretVersion> {
        let (Handle { hash, number }, secs) = (verified.handle, row::secs(Some(now)));
        if !verified.has_two_secrets && !self.shards.is_news(hash, number, secs) {
            return None;
        }
        // First the secret, then the credential: what is drained in between is drained again.
        let version = self.records.mark_secret(number, verified.ticket, verified.slot_used, secs);
        let used = version.and_then(|version| {
            let id = self.look(verified.handle, verified.ticket, |view| view.service_token_id())??;
            Some(SecretVersion { id, version })
        });
        self.shards.mark_seen(hash, number, secs, used.is_some());
        used
    }

    /// When a service token was last admitted, in whole seconds; `None` if it never was, or is unknown.
    pub fn last_seen(&self, client_id: &ClientId) -> Option<Timestamp> {
        self.seen(row::key_of_client(client_id))
    }

    /// Starts to bring into the processor's cache what [`last_seen`](Self::last_seen) looks at, and waits for none of it.
    pub fn warm<'c>(&self, client_ids: impl IntoIterator<Item = &'c ClientId>) {
        for client_id in client_ids {
            let hash = self.hasher.hash(row::key_of_client(client_id));
            if let Some(table) = self.shards.read(hash).table() {
                table.warm(hash);
            }
        }
    }

    /// When a bearer with this digest was last admitted, in whole seconds; `None` if it never was, or is unknown.
    pub fn last_used(&self, digest: &Digest) -> Option<Timestamp> {
        self.seen(row::key_of_bearer(digest))
    }

    /// When a user's global key was last used, in whole seconds; `None` if it wasn't since this index was made.
    pub fn last_active(&self, id: &UserId) -> Option<Timestamp> {
        self.directory.last_active(id)
    }

    /// Hands out every mark that moved since the last time, in no order: for each secret of a service token one, and perhaps
    /// one of which it can't be told whose it is. Some may not have moved.
    pub fn drain_seen(&self, take: &mut dyn FnMut(SeenMark)) {
        self.drain_part_seen(0, 1, take);
    }

    /// The same for one of `parts` parts of about the same size, by its number from 0; and for all users.
    pub fn drain_part_seen(&self, part: usize, parts: usize, take: &mut dyn FnMut(SeenMark)) {
        for (id, at) in self.directory.drain_active() {
            take(SeenMark { subject: SeenSubject::User(id), version: 0, at });
        }
        let mut marks = Vec::new();
        for shard in self.shards.iter().skip(part).step_by(parts.max(1)) {
            shard.drain_seen(&mut |number, secs| self.records.drain(number, secs, &mut |mark| marks.push(mark)));
            marks.drain(..).for_each(&mut *take);
        }
    }

    /// Who holds a bearer, if it is active and unexpired; the credential counts as seen.
    ///
    /// A user's global key is no bearer: see [`Index::authenticate_global_key`].
    pub fn authenticate_bearer(&self, kind: BearerKind, token: &str, now: Timestamp) -> Option<Detail> {
        let kind_found = match kind {
            BearerKind::ManagementToken => EntryKind::Management,
            BearerKind::ApiToken => EntryKind::Api,
            BearerKind::GlobalKey => return None,
        };
        let digest = self.digest_key().bearer(kind, token);
        let look = |digest: &Digest| self.admitted(kind_found, digest, now);
        let (handle, detail) = match self.key_before() {
            None => look(&digest)?,
            Some(before) => {
                let old = before.bearer(kind, token);
                match (look(&digest), look(&old)) {
                    (Some(found), _) => found,
                    (None, Some(found)) => {
                        if let Some(subject) = found.1.seen_subject() {
                            self.old_digests.note(subject, SecretSlot::Current, old, digest);
                        }
                        found
                    }
                    // As in `verify`: the row may just have moved from one digest to the other.
                    (None, None) => look(&digest)?,
                }
            }
        };
        self.mark(handle, now);
        Some(detail)
    }

    fn admitted(&self, kind: EntryKind, digest: &Digest, now: Timestamp) -> Option<(Handle, Detail)> {
        let handle = self.place_of_bearer(digest).judge(|candidate| {
            let state = candidate.words.state;
            let right =
                same_digest(candidate.words.digest, compared(digest)) && candidate.is_known && state.kind() == kind;
            let refused = state.has(State::DELETED | State::REVOKED | State::DISABLED) || state.is_expired(now);
            (right && !refused).then_some(candidate.handle)
        });
        handle.and_then(|handle| Some((handle, self.describe(handle)?)))
    }

    /// The user with this address, if the global key is theirs; the user counts as seen. Upper and lower case don't differ
    /// in an address.
    pub fn authenticate_global_key(&self, email: &str, key: &str, now: Timestamp) -> Option<Detail> {
        let email = email.to_lowercase();
        let digest = self.digest_key().bearer(BearerKind::GlobalKey, key);
        let old = self.key_before().map(|before| before.bearer(BearerKind::GlobalKey, key));
        let (detail, is_old) = self.directory.authenticate(&email, &digest, old.as_ref(), now)?;
        if let (Some(old), true, Detail::User { id, .. }) = (old, is_old, &detail) {
            self.old_digests.note(SeenSubject::User(*id), SecretSlot::Current, old, digest);
        }
        Some(detail)
    }

    /// A user; `None` if there is none with this id.
    pub fn find_user(&self, id: &UserId) -> Option<Detail> {
        self.directory.user(id)
    }

    /// Whether there is an account with this id.
    pub fn account_exists(&self, id: &AccountId) -> bool {
        self.directory.account_exists(id)
    }

    /// The PFID of an account; `None` if there is none with this id.
    pub fn account_pfid(&self, id: &AccountId) -> Option<AccountPfid> {
        self.directory.account_pfid(id)
    }

    /// The account with this PFID.
    pub fn resolve_account_pfid(&self, pfid: &AccountPfid) -> Option<AccountId> {
        self.directory.resolve_account_pfid(pfid)
    }

    /// The account that a zone belongs to; `None` if there is no such zone.
    pub fn zone_account(&self, id: &ZoneId) -> Option<AccountId> {
        self.directory.zone_account(id)
    }

    /// The account that an environment belongs to; `None` if there is no such environment, or no more.
    pub fn environment_account(&self, id: &EnvironmentId) -> Option<AccountId> {
        self.directory.environment_account(id)
    }

    /// The key that this index's digests are made with.
    #[inline]
    pub fn digest_key(&self) -> &DigestKey {
        self.keys.current()
    }

    /// The key that some digests may still be made with; `None` nearly always.
    #[inline]
    pub fn key_before(&self) -> Option<&DigestKey> {
        self.keys.before()
    }

    /// Sets the keys that digests are made with, before any change that depends on them is applied. `false` if this index
    /// has had too many, one after the other (65): then nothing has changed, and another index is needed. One caller at a
    /// time.
    #[must_use]
    pub fn set_keys(&self, current: &DigestKey, before: Option<&DigestKey>) -> bool {
        if before.is_none() {
            self.old_digests.take();
        }
        self.keys.set(current, before)
    }

    /// The digests under the key before of what was admitted since the last time, with those that are to take their place.
    /// Some may be missing: whatever is seen again is found again.
    pub fn take_old_digests(&self) -> Vec<OldDigest> {
        self.old_digests.take()
    }

    /// Takes note of what was admitted by its digest under the key before.
    pub(crate) fn note_old_digest(&self, verified: &Verified, old: Digest, new: Digest) {
        let subject = self.look(verified.handle, verified.ticket, |view| view.seen_subject());
        if let Some(subject) = subject.flatten() {
            self.old_digests.note(subject, verified.slot_used, old, new);
        }
    }

    /// The number that stands for an account in its credentials' entries.
    pub(crate) fn account_number(&self, id: &AccountId) -> Option<u32> {
        self.directory.account_ids.number(id)
    }

    /// The zone that a service token is confined to.
    pub(crate) fn zone(&self, candidate: &Candidate) -> Option<ZoneId> {
        self.look(candidate.handle, candidate.ticket, |view| view.zone(&self.directory))?
    }

    /// The environment that an API token is confined to.
    pub(crate) fn environment(&self, candidate: &Candidate) -> Option<EnvironmentId> {
        self.look(candidate.handle, candidate.ticket, |view| view.environment(&self.directory))?
    }

    /// The id of a service token; `None` for what is none.
    pub(crate) fn service_token_id(&self, candidate: &Candidate) -> Option<ServiceTokenId> {
        self.look(candidate.handle, candidate.ticket, |view| view.service_token_id())?
    }

    #[inline]
    pub(crate) fn place_of_client(&self, client_id: &ClientId) -> Place<'_> {
        self.place(row::key_of_client(client_id))
    }

    #[inline]
    pub(crate) fn place_of_bearer(&self, digest: &Digest) -> Place<'_> {
        self.place(row::key_of_bearer(digest))
    }

    #[inline]
    fn place(&self, key: Key) -> Place<'_> {
        let hash = self.hasher.hash(key);
        Place { index: self, key, hash, held: self.shards.read(hash) }
    }

    /// What `look` makes of what is known of a credential with this content, or of its content since; `None` if it is deleted.
    fn look<T>(&self, handle: Handle, ticket: Ticket, look: impl Fn(View<'_>) -> T) -> Option<T> {
        match self.records.read(handle.number, ticket, |view| view.map(&look)) {
            Some(found) => found,
            None => self.look_again(handle, look),
        }
    }

    #[cold]
    fn look_again<T>(&self, handle: Handle, look: impl Fn(View<'_>) -> T) -> Option<T> {
        self.look_up(handle, |_, _, view| look(view))
    }

    /// The same of the content that it has now, and what finds it, and the number of its account.
    fn look_up<T>(&self, handle: Handle, look: impl Fn(Key, u32, View<'_>) -> T) -> Option<T> {
        loop {
            // A table that was replaced meanwhile has entries that nothing changes any more: then another one is looked into.
            let held = self.shards.read(handle.hash);
            let (_, entry) = held.table()?.find_handle(handle.hash, handle.number)?;
            let key = entry.key();
            // Its number can be another's by now.
            if self.hasher.hash(key) != handle.hash {
                return None;
            }
            let (words, ticket) = entry.read();
            let found =
                self.records.read(handle.number, ticket, |view| view.map(|view| look(key, words.account, view)));
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// The secret before of a candidate that has one, and whether its grace period runs.
    pub(crate) fn previous(&self, candidate: &Candidate, now: Timestamp) -> Option<(DigestWords, bool)> {
        let look = |view: View<'_>| {
            view.extra(|extra| Some((extra.previous.as_ref()?.digest, now < extra.previous.as_ref()?.expires_at)))
        };
        self.look(candidate.handle, candidate.ticket, look)??
    }

    /// Whether a candidate whose state says that it has a list may be presented from there. An address that isn't known is on
    /// none.
    pub(crate) fn allows_from(&self, candidate: &Candidate, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return false };
        let look = |view: View<'_>| {
            view.extra(|extra| extra.allow_from.as_deref().is_some_and(|allow_from| allow_from.contains(address)))
        };
        self.look(candidate.handle, candidate.ticket, look).flatten().unwrap_or(false)
    }

    #[inline]
    fn shard(&self, hash: u64) -> Option<&Shard> {
        self.shards.of(hash)
    }

    fn mark(&self, handle: Handle, now: Timestamp) {
        self.shards.mark_seen(handle.hash, handle.number, row::secs(Some(now)), false);
    }

    fn seen(&self, key: Key) -> Option<Timestamp> {
        let hash = self.hasher.hash(key);
        let secs = self.shards.read(hash).table()?.find(hash, key)?.seen();
        (secs != 0).then(|| Timestamp::from_secs(secs.into()))
    }

    fn apply_row(&self, row: Row, revision: Revision) {
        let row = match row.environment {
            Some(environment) if self.directory.environment_is_deleted(&environment) => row.delete(),
            _ => row,
        };
        let hash = self.hasher.hash(row.key);
        let words = Words { digest: row.digest, state: row.state, account: self.account_of(&row) };
        let (deleted, environment, replaced) = (row.is_deleted(), row.environment, row.replaced);
        if let Some(handle) = self.write_row(row, hash, words, revision)
            && let Some(environment) = environment
        {
            if deleted {
                self.directory.detach(&environment, handle);
            } else if !self.directory.attach(environment, handle) {
                // The environment was deleted between the look above and now.
                self.end_with_environment(handle, &environment);
            }
        }
        // Not before the entry that took its place is there.
        if let Some(replaced) = replaced {
            self.end_replaced(replaced, environment);
        }
    }

    /// Ends the entry of a credential that is found by another digest now. What is known of it stays, for whoever has just
    /// been admitted by it, and for its last-seen mark.
    fn end_replaced(&self, key: Key, environment: Option<EnvironmentId>) {
        let hash = self.hasher.hash(key);
        let Some(writer) = self.shard(hash).map(Shard::write) else { return };
        let Some(entry) = writer.find(hash, key) else { return };
        let before = entry.read().0;
        if before.state.has(State::DELETED) {
            return;
        }
        let words = Words { digest: [0; 3], state: before.state.with(State::DELETED, true), ..before };
        let ticket = entry.next_ticket();
        entry.replace(&words, || self.records.keep(entry.handle(), ticket));
        self.live.fetch_sub(1, Ordering::Relaxed);
        let handle = Handle::new(hash, entry.handle());
        drop(writer);
        if let Some(environment) = environment {
            self.directory.detach(&environment, handle);
        }
    }

    /// Writes a row, if it is news, and says where.
    fn write_row(&self, row: Row, hash: u64, words: Words, revision: Revision) -> Option<Handle> {
        let mut writer = self.shard(hash)?.write();
        let lives = usize::from(!words.state.has(State::DELETED));
        let (key, seen) = (row.key, row.seen);
        let content = |row: Row| Content {
            revision,
            version: row.version,
            seen,
            allow_from: row.allow_from,
            previous: row.previous,
            detail: row.detail,
            account: words.account,
        };
        let Some(entry) = writer.find(hash, key) else {
            if writer.is_full() {
                self.rebuild(&mut writer);
            }
            let place = self.records.insert(&self.records.prepare(content(row), &self.directory))?;
            writer.insert(hash, key, place, seen, &words);
            self.live.fetch_add(lives, Ordering::Relaxed);
            return Some(Handle::new(hash, place.0));
        };
        let number = entry.handle();
        if revision <= self.records.revision(number)? {
            return None;
        }
        let lived = usize::from(!entry.read().0.state.has(State::DELETED));
        let (ready, ticket) = (self.records.prepare(content(row), &self.directory), entry.next_ticket());
        entry.replace(&words, || self.records.set(number, ticket, &ready));
        entry.mark_seen(seen);
        self.live.fetch_add(lives, Ordering::Relaxed);
        self.live.fetch_sub(lived, Ordering::Relaxed);
        Some(Handle::new(hash, number))
    }

    fn rebuild(&self, writer: &mut table::Writer<'_>) {
        let remembered = self.newest.load(Ordering::Relaxed).saturating_sub(DELETIONS_KEPT);
        let forgotten = writer.rebuild(
            &self.shards.edition,
            |key| self.hasher.hash(key),
            |entry| {
                let deleted = entry.read().0.state.has(State::DELETED);
                let revision = self.records.revision(entry.handle());
                deleted && revision.is_none_or(|revision| revision.get() < remembered)
            },
        );
        for handle in forgotten {
            self.records.remove(handle);
        }
    }

    fn end_with_environment(&self, handle: Handle, id: &EnvironmentId) {
        let Some(writer) = self.shard(handle.hash).map(Shard::write) else {
            return;
        };
        if let Some(entry) = writer.find_handle(handle.hash, handle.number)
            && self.hasher.hash(entry.key()) == handle.hash
            && self.records.settled(handle.number, |view| view.environment(&self.directory)) == Some(Some(*id))
        {
            self.delete(entry);
        }
    }

    /// Turns an entry into one that is gone, as of the revision that it has. The caller holds its shard's lock.
    fn delete(&self, entry: &Entry) {
        let before = entry.read().0;
        if before.state.has(State::DELETED) {
            return;
        }
        let words = Words { digest: [0; 3], state: before.state.with(State::DELETED, true), account: NOBODY };
        let ticket = entry.next_ticket();
        entry.replace(&words, || self.records.clear(entry.handle(), ticket));
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({} credentials)", self.len())
    }
}

/// Where a key belongs, whether or not it is there.
pub(crate) struct Place<'i> {
    index: &'i Index,
    key: Key,
    hash: u64,
    held: Held,
}

/// What there is to judge: an entry's content, or the decoy's.
pub(crate) struct Candidate {
    pub(crate) words: Words,
    pub(crate) handle: Handle,
    pub(crate) ticket: Ticket,
    /// `false` for the decoy.
    pub(crate) is_known: bool,
}

impl Place<'_> {
    /// Starts to bring the entry into the cache. To be called before the work that its arrival overlaps with.
    #[inline]
    pub(crate) fn warm(&self) {
        if let Some(table) = self.held.table() {
            table.warm(self.hash);
        }
    }

    /// What `judge` makes of one moment's content: it is asked again when a change came in between.
    #[inline]
    pub(crate) fn judge<T>(&self, judge: impl Fn(&Candidate) -> T) -> T {
        let found = self.held.table().and_then(|table| table.find(self.hash, self.key));
        let entry = found.unwrap_or(&self.index.decoy);
        let handle = Handle::new(self.hash, entry.handle());
        loop {
            let (words, ticket) = entry.read();
            let judgement = judge(&Candidate { words, handle, ticket, is_known: found.is_some() });
            if entry.is_unchanged(ticket) {
                return judgement;
            }
        }
    }
}

#[cfg(test)]
mod tests;
