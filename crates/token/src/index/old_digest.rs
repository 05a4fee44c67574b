//! What was admitted by a digest under the key before: gathered so that its row can be given the new one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::SeenSubject;
use crate::digest::Digest;
use crate::verify::SecretSlot;

/// How many are gathered at most; the others are found when they are seen again.
const LENGTH_MAX: usize = 65_536;

/// A digest under the key before of a secret that was presented, and the one that is to take its place.
#[derive(Clone, Copy, Debug)]
pub struct OldDigest {
    /// Whose it is.
    pub subject: SeenSubject,
    /// Which of its secrets.
    pub slot: SecretSlot,
    /// The digest under the key before.
    pub old: Digest,
    /// The digest of the same secret under the current key.
    pub new: Digest,
}

#[derive(Default)]
pub(crate) struct OldDigests(Mutex<HashMap<(SeenSubject, SecretSlot), (Digest, Digest)>>);

impl OldDigests {
    /// Takes note, unless somebody else is just doing so.
    pub(crate) fn note(&self, subject: SeenSubject, slot: SecretSlot, old: Digest, new: Digest) {
        if let Ok(mut gathered) = self.0.try_lock()
            && (gathered.len() < LENGTH_MAX || gathered.contains_key(&(subject, slot)))
        {
            gathered.insert((subject, slot), (old, new));
        }
    }

    pub(crate) fn take(&self) -> Vec<OldDigest> {
        let gathered = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        gathered.into_iter().map(|((subject, slot), (old, new))| OldDigest { subject, slot, old, new }).collect()
    }
}
