//! What belongs to an entry besides its cache line: found by a number that stays.
//!
//! Nobody waits to read it. A record belongs to the content of its entry that has the same ticket: whoever reads by a
//! ticket looks afterwards whether the record still has it, and has read nothing if it hasn't. One writer at a time: whoever
//! holds the lock of the entry's shard.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};

use super::arena::{Arena, NOWHERE};
use super::directory::Directory;
use super::entry::{DigestWords, Ticket};
use super::packed::{Extras, Packed, View};
use super::slab::Slab;
use super::{Detail, SeenMark};
use crate::allow_from::AllowFrom;
use crate::feed::Revision;
use crate::time::Timestamp;
use crate::verify::SecretSlot;

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

/// What few credentials have.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// The record that it belongs to, and of which content.
    owner: (u32, Ticket),
    /// Where it may be presented from, of an entry whose state says that there is such a list.
    pub(crate) allow_from: Option<Box<AllowFrom>>,
    pub(crate) previous: Option<Previous>,
    /// What is known of it, if that does not fit into a row.
    pub(crate) whole: Option<Box<Detail>>,
}

/// Three words for each credential, and where there is more.
#[derive(Default)]
pub(crate) struct Record {
    /// Of the row that says what it is; nowhere once it is deleted.
    place: AtomicU32,
    /// Which of the credential's secrets is the current one; 0 if it has but one.
    version: AtomicU32,
    /// The ticket, and below it when the current secret was last admitted, as in an entry.
    mark: AtomicU64,
    revision: AtomicI64,
}

/// A content that is yet to be set.
pub(crate) struct Content {
    pub(crate) revision: Revision,
    pub(crate) version: u32,
    pub(crate) seen: u32,
    pub(crate) allow_from: Option<Box<AllowFrom>>,
    pub(crate) previous: Option<Previous>,
    pub(crate) detail: Option<Detail>,
    /// The number of its account.
    pub(crate) account: u32,
}

/// The same with everything in its place, to be set in a moment.
pub(crate) struct Ready {
    place: u32,
    extra: Option<u32>,
    version: u32,
    seen: u32,
    revision: Revision,
}

/// All records.
pub(crate) struct Records {
    records: Slab<Record, 8_192>,
    extras: Extras,
    rows: Arena,
}

impl Records {
    pub(crate) fn new() -> Self {
        Self { records: Slab::new(), extras: Slab::new(), rows: Arena::new() }
    }

    /// The number of records that there have been at one time.
    #[cfg(test)]
    pub(super) fn len(&self) -> u32 {
        self.records.len()
    }

    /// The bytes of all that there is room for.
    pub(super) fn size(&self) -> usize {
        self.records.size() + self.extras.size() + self.rows.size()
    }

    /// What `look` makes of the row of the content that has the ticket: there is none if that is deleted. `None` if the record
    /// has another content. `look` may see what is not of one moment, which is forgotten then.
    #[inline]
    pub(crate) fn read<T>(&self, number: u32, ticket: Ticket, look: impl FnOnce(Option<View<'_>>) -> T) -> Option<T> {
        let record = self.records.get(number)?;
        if ticket_of(record.mark.load(Ordering::Acquire)) != ticket {
            return None;
        }
        let found = look(self.view(record));
        // Everything that was read happens before the ticket is read again.
        fence(Ordering::Acquire);
        (ticket_of(record.mark.load(Ordering::Relaxed)) == ticket).then_some(found)
    }

    /// The same for who keeps writers away.
    pub(crate) fn settled<T>(&self, number: u32, look: impl FnOnce(View<'_>) -> T) -> Option<T> {
        self.view(self.records.get(number)?).map(look)
    }

    /// The revision of a record's content.
    pub(crate) fn revision(&self, number: u32) -> Option<Revision> {
        self.records.get(number).map(|record| Revision::new(record.revision.load(Ordering::Relaxed)))
    }

    /// Moves the mark of the secret that was admitted, and says which it is. `None` if that is no news, if there is but one,
    /// or if it can't be told any more: the record has another content now.
    pub(crate) fn mark_secret(&self, number: u32, ticket: Ticket, slot: SecretSlot, secs: u32) -> Option<u32> {
        let record = self.records.get(number)?;
        let mut mark = record.mark.load(Ordering::Acquire);
        let version = record.version.load(Ordering::Relaxed);
        // If the version is that of a later content, so is the mark from here on.
        fence(Ordering::Acquire);
        if ticket_of(mark) != ticket || version == 0 {
            return None;
        }
        if slot == SecretSlot::Previous {
            return self.view(record)?.extra(|extra| extra.mark_previous((number, ticket), secs)).flatten();
        }
        while ticket_of(mark) == ticket && seen_of(mark) < secs {
            let moved = joined(ticket, secs);
            match record.mark.compare_exchange_weak(mark, moved, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(version),
                Err(newer) => mark = newer,
            }
        }
        None
    }

    /// Hands out the marks of a record whose entry has the mark `secs`, for who keeps writers away.
    pub(crate) fn drain(&self, number: u32, secs: u32, take: &mut dyn FnMut(SeenMark)) {
        let Some(record) = self.records.get(number) else { return };
        let Some(view) = self.view(record) else { return };
        let Some(subject) = view.seen_subject() else { return };
        let current = (record.version.load(Ordering::Relaxed), seen_of(record.mark.load(Ordering::Relaxed)));
        let mut told = 0;
        for (version, seen) in [Some(current), view.extra(Extra::previous_mark).flatten()].into_iter().flatten() {
            if version != 0 && seen != 0 {
                take(SeenMark { subject, version, at: Timestamp::from_secs(seen.into()) });
                told = told.max(seen);
            }
        }
        if secs > told {
            take(SeenMark { subject, version: 0, at: Timestamp::from_secs(secs.into()) });
        }
    }

    /// Finds room for what a content has besides its record. Where there is none, nothing is known of the credential: it is
    /// admitted less, never more.
    pub(crate) fn prepare(&self, content: Content, directory: &Directory) -> Ready {
        let Content { revision, version, seen, allow_from, previous, detail, account } = content;
        let mut ready = Ready { place: NOWHERE, extra: None, version, seen, revision };
        let Some(detail) = detail else { return ready };
        let mut extra = Extra { owner: Default::default(), allow_from, previous, whole: None };
        if extra.allow_from.is_some() || extra.previous.is_some() {
            ready.extra = self.extras.take();
        }
        let row = match Packed::of(&detail, account, ready.extra, directory) {
            Some(row) => Some(row),
            None => {
                extra.whole = Some(Box::new(detail));
                ready.extra = ready.extra.or_else(|| self.extras.take());
                ready.extra.and_then(Packed::whole)
            }
        };
        if let Some(place) = ready.extra.and_then(|number| self.extras.get(number)) {
            *place.write().unwrap_or_else(PoisonError::into_inner) = extra;
        }
        ready.place = row.and_then(|row| self.rows.put(row.words())).unwrap_or(NOWHERE);
        ready
    }

    /// A new record and its ticket; `None` if there are too many.
    pub(crate) fn insert(&self, ready: &Ready) -> Option<(u32, Ticket)> {
        let number = self.records.take()?;
        let ticket = ticket_of(self.records.get(number)?.mark.load(Ordering::Relaxed)).next();
        self.set(number, ticket, ready);
        Some((number, ticket))
    }

    /// Sets the content that the ticket is going to stand for. A secret keeps its mark, whichever place it has now.
    pub(crate) fn set(&self, number: u32, ticket: Ticket, ready: &Ready) {
        let Some(record) = self.records.get(number) else { return };
        // From here on, nobody reads or marks the content before.
        let mark = record.mark.swap(joined(ticket, 0), Ordering::AcqRel);
        fence(Ordering::Release);
        let current = (record.version.load(Ordering::Relaxed), seen_of(mark));
        let before = self.view(record).map(|view| (view.length(), view.extra_number()));
        let extra = before.and_then(|(_, extra)| extra).and_then(|number| self.extras.get(number));
        let ended = extra.map(|extra| std::mem::take(&mut *extra.write().unwrap_or_else(PoisonError::into_inner)));
        let previous = ended.as_ref().and_then(Extra::previous_mark);
        let kept = |version: u32| {
            let known = [Some(current), previous].into_iter().flatten();
            let marks = known.filter(|(known, _)| version != 0 && *known == version);
            marks.map(|(_, seen)| seen).max().unwrap_or_default()
        };
        if let Some(place) = ready.extra.and_then(|number| self.extras.get(number)) {
            let mut extra = place.write().unwrap_or_else(PoisonError::into_inner);
            extra.owner = (number, ticket);
            if let Some(previous) = &extra.previous {
                previous.seen.fetch_max(kept(previous.version), Ordering::Relaxed);
            }
        }
        let place = record.place.swap(ready.place, Ordering::Relaxed);
        record.version.store(ready.version, Ordering::Relaxed);
        record.revision.store(ready.revision.get(), Ordering::Relaxed);
        record.mark.store(joined(ticket, ready.seen.max(kept(ready.version))), Ordering::Release);
        if let Some((length, extra)) = before {
            self.rows.give_back(place, length);
            if let Some(extra) = extra {
                self.extras.give_back(extra);
            }
        }
    }

    /// Leaves of a record only what tells its successor's changes from older ones.
    pub(crate) fn clear(&self, number: u32, ticket: Ticket) {
        let revision = self.revision(number).unwrap_or_default();
        self.set(number, ticket, &Ready { place: NOWHERE, extra: None, version: 0, seen: 0, revision });
    }

    /// Leaves everything, under another ticket.
    pub(crate) fn keep(&self, number: u32, ticket: Ticket) {
        if let Some(record) = self.records.get(number) {
            let seen = seen_of(record.mark.swap(joined(ticket, 0), Ordering::AcqRel));
            record.mark.fetch_or(u64::from(seen), Ordering::Relaxed);
        }
    }

    /// Takes a record back. Whoever gets its number next gets other tickets.
    pub(crate) fn remove(&self, number: u32) {
        let Some(record) = self.records.get(number) else { return };
        self.clear(number, ticket_of(record.mark.load(Ordering::Relaxed)).next());
        record.revision.store(0, Ordering::Relaxed);
        self.records.give_back(number);
    }

    fn view(&self, record: &Record) -> Option<View<'_>> {
        let place = record.place.load(Ordering::Relaxed);
        (place != NOWHERE).then(|| View::new(self.rows.read(place), &self.extras))
    }
}

impl Extra {
    fn mark_previous(&self, owner: (u32, Ticket), secs: u32) -> Option<u32> {
        let previous = self.previous.as_ref().filter(|_| self.owner == owner)?;
        let seen = &previous.seen;
        let is_news = seen.load(Ordering::Relaxed) < secs && seen.fetch_max(secs, Ordering::Relaxed) < secs;
        is_news.then_some(previous.version)
    }

    fn previous_mark(&self) -> Option<(u32, u32)> {
        self.previous.as_ref().map(|previous| (previous.version, previous.seen.load(Ordering::Relaxed)))
    }
}

fn joined(ticket: Ticket, seen: u32) -> u64 {
    u64::from(ticket.bits()) << 32 | u64::from(seen)
}

fn ticket_of(mark: u64) -> Ticket {
    let [_, _, _, _, ticket @ ..] = mark.to_le_bytes();
    Ticket::from_bits(u32::from_le_bytes(ticket))
}

fn seen_of(mark: u64) -> u32 {
    let [seen @ .., _, _, _, _] = mark.to_le_bytes();
    u32::from_le_bytes(seen)
}
