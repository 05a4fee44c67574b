//! What is rarely needed of a credential, off its cache line: found by a number that stays.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use super::Detail;
use super::entry::{DigestWords, Ticket};
use crate::allow_from::AllowFrom;
use crate::feed::Revision;
use crate::time::Timestamp;
use crate::verify::SecretSlot;

const SEGMENT_LENGTH: usize = 8_192;
const SEGMENTS: usize = 16_384;

/// The secret before, of which there is rarely one.
#[derive(Debug)]
pub(crate) struct Previous {
    pub(crate) digest: DigestWords,
    pub(crate) expires_at: Timestamp,
    /// Which of the credential's secrets it is.
    pub(crate) version: u32,
    /// When it was last admitted, as in an entry.
    pub(crate) seen: AtomicU32,
}

/// What belongs to an entry besides its cache line.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) revision: Revision,
    /// Tells the credentials apart that have had this handle one after the other.
    pub(crate) tag: u32,
    /// Of the entry's content that this belongs to.
    pub(crate) ticket: Ticket,
    /// Which of the credential's secrets is the current one; 0 if it has but one.
    pub(crate) version: u32,
    /// When the current secret was last admitted, as in an entry.
    pub(crate) seen: AtomicU32,
    /// Where it may be presented from, of an entry whose state says that there is such a list.
    pub(crate) allow_from: Option<Box<AllowFrom>>,
    pub(crate) previous: Option<Box<Previous>>,
    /// `None` once it is deleted.
    pub(crate) detail: Option<Arc<Detail>>,
}

impl Record {
    /// Each secret of which there may be several, and when it was last admitted.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (u32, &AtomicU32)> {
        let previous = self.previous.as_deref().map(|previous| (previous.version, &previous.seen));
        std::iter::once((self.version, &self.seen)).chain(previous).filter(|(version, _)| *version != 0)
    }

    /// Moves the mark of the secret that was admitted, and says which it is. `None` if that is no news, if there is but one,
    /// or if it can't be told any more: the entry has another content now.
    pub(crate) fn mark_secret(&self, slot: SecretSlot, ticket: Ticket, secs: u32) -> Option<u32> {
        if self.ticket != ticket || self.version == 0 {
            return None;
        }
        let (version, seen) = match slot {
            SecretSlot::Current => (self.version, &self.seen),
            SecretSlot::Previous => self.previous.as_deref().map(|previous| (previous.version, &previous.seen))?,
        };
        let is_news = seen.load(Ordering::Relaxed) < secs && seen.fetch_max(secs, Ordering::Relaxed) < secs;
        is_news.then_some(version)
    }

    /// A secret keeps its mark, whichever place it has now.
    fn keep_marks(&self, before: &Self) {
        if self.tag != before.tag {
            return;
        }
        for (version, seen) in self.secrets() {
            for (_, known) in before.secrets().filter(|(known, _)| *known == version) {
                seen.fetch_max(known.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }
}

type Segment = Box<[RwLock<Record>]>;

/// Records in segments that never move. Room for 134 million.
pub(crate) struct Slab {
    segments: Box<[OnceLock<Segment>]>,
    length: AtomicU32,
    free: Mutex<Vec<u32>>,
}

impl Slab {
    pub(crate) fn new() -> Self {
        Self {
            segments: (0..SEGMENTS).map(|_| OnceLock::new()).collect(),
            length: AtomicU32::new(0),
            free: Mutex::new(Vec::new()),
        }
    }

    /// The number of records that there have been at one time.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.length.load(Ordering::Acquire)).unwrap_or_default()
    }

    /// The size of its segments in bytes.
    pub(super) fn size(&self) -> usize {
        self.len().div_ceil(SEGMENT_LENGTH) * SEGMENT_LENGTH * size_of::<RwLock<Record>>()
    }

    fn get(&self, handle: u32) -> Option<&RwLock<Record>> {
        let handle = usize::try_from(handle).ok()?;
        self.segments.get(handle / SEGMENT_LENGTH)?.get()?.get(handle % SEGMENT_LENGTH)
    }

    /// What `look` makes of a record; `None` if there is none yet. Keep it short: a writer waits.
    #[inline]
    pub(crate) fn with<T>(&self, handle: u32, look: impl FnOnce(&Record) -> T) -> Option<T> {
        let record = self.get(handle)?.read().unwrap_or_else(PoisonError::into_inner);
        Some(look(&record))
    }

    pub(crate) fn replace(&self, handle: u32, record: Record) {
        if let Some(slot) = self.get(handle) {
            let mut slot = slot.write().unwrap_or_else(PoisonError::into_inner);
            record.keep_marks(&slot);
            let before = std::mem::replace(&mut *slot, record);
            drop(slot);
            // Its memory is given back after readers are let in.
            drop(before);
        }
    }

    /// Leaves of a record only what tells its successor's changes from older ones.
    pub(crate) fn clear(&self, handle: u32) {
        let kept = self.with(handle, |record| (record.revision, record.tag));
        if let Some((revision, tag)) = kept {
            self.replace(handle, Record { revision, tag, ..Record::default() });
        }
    }

    /// A handle for a new record; `None` if there are 134 million.
    pub(crate) fn insert(&self, record: Record) -> Option<u32> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = match free.pop() {
            Some(handle) => handle,
            None => {
                let handle = self.length.load(Ordering::Relaxed);
                let segment = self.segments.get(usize::try_from(handle).ok()? / SEGMENT_LENGTH)?;
                segment.get_or_init(|| (0..SEGMENT_LENGTH).map(|_| RwLock::default()).collect());
                self.length.store(handle + 1, Ordering::Release);
                handle
            }
        };
        drop(free);
        self.replace(handle, record);
        Some(handle)
    }

    pub(crate) fn remove(&self, handle: u32) {
        self.replace(handle, Record::default());
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
    }
}
