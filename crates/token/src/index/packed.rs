//! What is known of a credential, as a row of words.
//!
//! A service token and an API token take their id, where they are confined to, and their name. The client id is what a
//! service token is found by, and its account stands beside that: see [`Entry`](super::entry::Entry). Everything else is
//! kept as it is in an [`Extra`].

use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::arena::ROW_MAX;
use super::directory::Directory;
use super::hash::Key;
use super::interner::NOBODY;
use super::record::Extra;
use super::slab::Slab;
use super::{Detail, SeenSubject, Text};
use crate::id::{ApiTokenId, ClientId, EnvironmentId, Pfid, ServiceTokenId, ZoneId};
use crate::service_token::Owner;

/// The first word: what it is, what else there is, and the length of the name in bytes.
const KIND: u32 = 0b11;
const SERVICE: u32 = 1;
const API: u32 = 2;
/// What there is to know is in the extra.
const WHOLE: u32 = 3;
/// A word follows: the number of the zone, or of the environment.
const SCOPED: u32 = 1 << 2;
/// A word follows: the number of the extra.
const EXTRA: u32 = 1 << 3;
const NAME_SHIFT: u32 = 8;

const ID_WORDS: usize = 4;
const PFID_WORDS: usize = 5;

/// A row that is being made.
pub(crate) struct Packed {
    row: [u32; ROW_MAX],
    length: usize,
}

impl Packed {
    /// The row of what fits into one. [`NOBODY`] stands for an account that has no number.
    pub(crate) fn of(detail: &Detail, account: u32, extra: Option<u32>, directory: &Directory) -> Option<Self> {
        if account == NOBODY {
            return None;
        }
        match detail {
            Detail::ServiceToken { id, owner, client_id: _, name } => {
                let (length, bytes) = name.as_short()?;
                let zone = owner.zone.map(|zone| directory.zone_ids.intern(&zone));
                let mut row = Self::begin(SERVICE | u32::from(length) << NAME_SHIFT, zone, extra)?;
                row.push(id.as_bytes().as_chunks::<4>().0);
                row.push(bytes.as_chunks::<4>().0.get(..usize::from(length).div_ceil(4))?);
                Some(row)
            }
            Detail::ApiToken { id, account: _, environment } => {
                let environment = environment.map(|environment| directory.environment_ids.intern(&environment));
                let mut row = Self::begin(API, environment, extra)?;
                row.push(id.as_pfid().as_bytes().as_chunks::<4>().0);
                Some(row)
            }
            Detail::ManagementToken { .. } | Detail::User { .. } => None,
        }
    }

    /// The row of what is in an extra as a whole.
    pub(crate) fn whole(extra: u32) -> Option<Self> {
        Self::begin(WHOLE, None, Some(extra))
    }

    pub(crate) fn words(&self) -> &[u32] {
        self.row.get(..self.length).unwrap_or_default()
    }

    fn begin(header: u32, scope: Option<u32>, extra: Option<u32>) -> Option<Self> {
        if scope == Some(NOBODY) {
            return None;
        }
        let flag = |word: Option<u32>, flag| if word.is_some() { flag } else { 0 };
        let mut packed = Self { row: [0; ROW_MAX], length: 0 };
        let header = header | flag(scope, SCOPED) | flag(extra, EXTRA);
        for word in [Some(header), scope, extra].into_iter().flatten() {
            packed.push(&[word.to_le_bytes()]);
        }
        Some(packed)
    }

    fn push(&mut self, words: &[[u8; 4]]) {
        for (place, word) in self.row.iter_mut().skip(self.length).zip(words) {
            *place = u32::from_le_bytes(*word);
        }
        self.length += words.len();
    }
}

/// A row that is being read. Its words may be another's meanwhile: then what comes out is of no use, and must do no harm.
pub(crate) struct View<'r> {
    words: &'r [AtomicU32],
    header: u32,
    extras: &'r Extras,
}

pub(crate) type Extras = Slab<RwLock<Extra>, 256>;

impl<'r> View<'r> {
    pub(crate) fn new(words: &'r [AtomicU32], extras: &'r Extras) -> Self {
        Self { words, header: words.first().map_or(0, |word| word.load(Ordering::Relaxed)), extras }
    }

    /// How many words the row has.
    pub(crate) fn length(&self) -> usize {
        let id = match self.header & KIND {
            SERVICE => ID_WORDS,
            API => PFID_WORDS,
            _ => 0,
        };
        self.id_at() + id + usize::from(self.name_length()).div_ceil(4)
    }

    /// The number of the extra; `None` if there is none.
    pub(crate) fn extra_number(&self) -> Option<u32> {
        self.has(EXTRA).then(|| self.word(1 + usize::from(self.has(SCOPED)))).flatten()
    }

    /// What `look` makes of the extra; `None` if there is none. Keep it short: a writer waits.
    pub(crate) fn extra<T>(&self, look: impl FnOnce(&Extra) -> T) -> Option<T> {
        let extra = self.extras.get(self.extra_number()?)?;
        Some(look(&extra.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Everything that is known. What found the credential says the rest.
    pub(crate) fn describe(&self, key: Key, account: u32, directory: &Directory) -> Option<Detail> {
        match self.header & KIND {
            SERVICE => {
                let zone = self.zone(directory);
                let owner = Owner { account: directory.account_ids.id(account)?, zone };
                let client_id = ClientId::from_bytes(key.bytes());
                Some(Detail::ServiceToken { id: self.service_token_id()?, owner, client_id, name: self.name() })
            }
            API => {
                let (account, environment) = (directory.account_ids.id(account)?, self.environment(directory));
                Some(Detail::ApiToken { id: self.api_token_id()?, account, environment })
            }
            _ => self.whole(Detail::clone),
        }
    }

    pub(crate) fn seen_subject(&self) -> Option<SeenSubject> {
        match self.header & KIND {
            SERVICE => self.service_token_id().map(SeenSubject::ServiceToken),
            API => self.api_token_id().map(SeenSubject::ApiToken),
            _ => self.whole(Detail::seen_subject).flatten(),
        }
    }

    /// `None` if it is no service token.
    pub(crate) fn service_token_id(&self) -> Option<ServiceTokenId> {
        match self.header & KIND {
            SERVICE => Some(ServiceTokenId::from_bytes(self.bytes(self.id_at()))),
            WHOLE => self.whole(|detail| match detail {
                Detail::ServiceToken { id, .. } => Some(*id),
                Detail::ApiToken { .. } | Detail::ManagementToken { .. } | Detail::User { .. } => None,
            })?,
            _ => None,
        }
    }

    /// The zone that a service token is confined to.
    pub(crate) fn zone(&self, directory: &Directory) -> Option<ZoneId> {
        match self.header & KIND {
            SERVICE => directory.zone_ids.id(self.scope()?),
            WHOLE => self.whole(|detail| match detail {
                Detail::ServiceToken { owner, .. } => owner.zone,
                Detail::ApiToken { .. } | Detail::ManagementToken { .. } | Detail::User { .. } => None,
            })?,
            _ => None,
        }
    }

    /// The environment that an API token is confined to.
    pub(crate) fn environment(&self, directory: &Directory) -> Option<EnvironmentId> {
        match self.header & KIND {
            API => directory.environment_ids.id(self.scope()?),
            WHOLE => self.whole(|detail| match detail {
                Detail::ApiToken { environment, .. } => *environment,
                Detail::ServiceToken { .. } | Detail::ManagementToken { .. } | Detail::User { .. } => None,
            })?,
            _ => None,
        }
    }

    fn api_token_id(&self) -> Option<ApiTokenId> {
        Pfid::from_bytes(self.bytes(self.id_at())).ok().map(ApiTokenId::from)
    }

    fn name(&self) -> Text {
        Text::short(self.name_length(), self.bytes(self.id_at() + ID_WORDS))
    }

    fn whole<T>(&self, look: impl FnOnce(&Detail) -> T) -> Option<T> {
        self.extra(|extra| extra.whole.as_deref().map(look)).flatten()
    }

    fn scope(&self) -> Option<u32> {
        if self.has(SCOPED) { self.word(1) } else { None }
    }

    fn has(&self, flag: u32) -> bool {
        self.header & flag != 0
    }

    fn name_length(&self) -> u8 {
        let [_, length, ..] = self.header.to_le_bytes();
        length
    }

    /// Where the id is.
    fn id_at(&self) -> usize {
        1 + usize::from(self.has(SCOPED)) + usize::from(self.has(EXTRA))
    }

    fn word(&self, at: usize) -> Option<u32> {
        self.words.get(at).map(|word| word.load(Ordering::Relaxed))
    }

    /// As many bytes from a word on as the row has, and some of what is behind it, or zeroes.
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        let words = self.words.get(at..self.length()).unwrap_or_default();
        for (bytes, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *bytes = word.load(Ordering::Relaxed).to_le_bytes();
        }
        bytes
    }
}
