//! The service token and everything that can happen to it. Nothing here reads a clock or makes a secret: both come in.

use std::fmt;

use crate::allow_from::AllowFrom;
use crate::digest::Digest;
use crate::duration::TokenDuration;
use crate::id::{AccountId, ClientId, ServiceTokenId, ZoneId};
use crate::time::Timestamp;

const REFRESHED_FOR_NANOS: i64 = 365 * 24 * 3_600_000_000_000;

/// Where a service token lives: an account, or one zone of it. The two are separate name spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The account, also of a zone's token.
    pub account: AccountId,
    /// The zone; `None` for a token of the account itself.
    pub zone: Option<ZoneId>,
}

/// A token's name: 1 to 350 Unicode scalar values, none of them U+0000, kept as they came.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Box<str>);

impl Name {
    const LENGTH_MAX: usize = 350;

    /// Takes a text as a name.
    ///
    /// # Errors
    /// When it is empty, too long, or holds U+0000.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.chars().nth(Self::LENGTH_MAX).is_some() {
            return Err(NameError::TooLong);
        }
        if text.contains('\0') {
            return Err(NameError::Null);
        }
        Ok(Self(text.into()))
    }

    /// The name as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as [`fold`] makes it: what a search that ignores case looks into.
    pub fn folded(&self) -> String {
        fold(&self.0)
    }
}

/// A text in lower case, letter by letter: a letter folds alike wherever it stands, so that a part of a name is also a
/// part of the folded name.
pub fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({:?})", self.0)
    }
}

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing.
    #[error("must not be empty")]
    Empty,
    /// More than 350 characters.
    #[error("must not be longer than 350 characters")]
    TooLong,
    /// It holds U+0000.
    #[error("must not contain U+0000")]
    Null,
}

/// A machine's credential: a pair of a public client id and a secret, of which only digests are kept.
#[derive(Clone, Debug)]
pub struct ServiceToken {
    /// Its name in the management API.
    pub id: ServiceTokenId,
    /// Where it lives.
    pub owner: Owner,
    /// The public half of the pair; it never changes.
    pub client_id: ClientId,
    /// What people call it. Others may have the same.
    pub name: Name,
    /// The lifetime that its last reset gave it.
    pub duration: TokenDuration,
    /// Whether it is admitted at all.
    pub enabled: bool,
    /// Where it may be presented from; `None` is anywhere.
    pub allow_from: Option<AllowFrom>,
    /// Counts the secrets, from 1 or from what its creator said.
    pub secret_version: u32,
    /// The digest of the secret.
    pub digest: Digest,
    /// The digest of the secret before, as long as it may still be good.
    pub previous_digest: Option<Digest>,
    /// The number of the secret before, whether or not that is still good; `None` if there never was one.
    pub previous_version: Option<u32>,
    /// When the secret before ends, in whole seconds. Kept and shown also without a secret before.
    pub previous_expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its secret was last replaced; `None` if it never was, or before that was kept.
    pub rotated_at: Option<Timestamp>,
    /// When anything but `last_seen_at` last changed.
    pub updated_at: Timestamp,
    /// When it ends. A date for show if its duration is `forever`.
    pub expires_at: Timestamp,
    /// When it was last admitted.
    pub last_seen_at: Option<Timestamp>,
}

/// What a new service token is made of.
#[derive(Clone, Debug)]
pub struct NewServiceToken {
    /// Its name in the management API.
    pub id: ServiceTokenId,
    /// Where it lives.
    pub owner: Owner,
    /// The public half of the pair.
    pub client_id: ClientId,
    /// What people call it.
    pub name: Name,
    /// How long it lives from now on.
    pub duration: TokenDuration,
    /// Whether it is admitted.
    pub enabled: bool,
    /// The number of its first secret, from 1.
    pub secret_version: u32,
    /// The digest of its first secret.
    pub digest: Digest,
    /// Kept and shown; there is no secret before that it could end.
    pub previous_expires_at: Option<Timestamp>,
}

/// What an update does to a value that may be absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Leave it.
    #[default]
    Keep,
    /// Take it away.
    Clear,
    /// Put this in its place.
    Set(T),
}

/// The fields to change; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// A new name.
    pub name: Option<Name>,
    /// A new lifetime, from the time of the update on; the same text changes nothing.
    pub duration: Option<TokenDuration>,
    /// Whether the token is admitted.
    pub enabled: Option<bool>,
    /// A greater number than the current one asks for a new secret; any other is ignored.
    pub secret_version: Option<u32>,
    /// When the secret before ends.
    pub previous_expires_at: Patch<Timestamp>,
}

impl ServiceToken {
    /// A token that begins now.
    pub fn create(new: NewServiceToken, now: Timestamp) -> Self {
        Self {
            id: new.id,
            owner: new.owner,
            client_id: new.client_id,
            name: new.name,
            enabled: new.enabled,
            allow_from: None,
            secret_version: new.secret_version.max(1),
            digest: new.digest,
            previous_digest: None,
            previous_version: None,
            previous_expires_at: new.previous_expires_at.map(Timestamp::floor_to_second),
            created_at: now,
            rotated_at: None,
            updated_at: now,
            expires_at: new.duration.expires_at(now),
            duration: new.duration,
            last_seen_at: None,
        }
    }

    /// Whether an update asks for a new secret.
    pub fn update_rotates(&self, update: &Update) -> bool {
        update.secret_version.is_some_and(|version| version > self.secret_version)
    }

    /// The token after an update. `new_digest` is used if and only if [`Self::update_rotates`]; without it nothing rotates.
    ///
    /// - A different duration restarts the lifetime now.
    /// - With a rotation, the secret before ends when the update says, or now.
    /// - Without, a running grace period ends when the update says; one that has lapsed stays lapsed.
    /// - Where nothing changes, `updated_at` doesn't either.
    pub fn updated(&self, update: &Update, new_digest: Option<&Digest>, now: Timestamp) -> Self {
        let mut after = self.clone();
        if let Some(name) = &update.name {
            after.name = name.clone();
        }
        if let Some(enabled) = update.enabled {
            after.enabled = enabled;
        }
        if let Some(duration) = update.duration.as_ref().filter(|duration| **duration != self.duration) {
            after.expires_at = duration.expires_at(now);
            after.duration = duration.clone();
            after.drop_lapsed(self, now);
        }
        match (update.secret_version.filter(|_| self.update_rotates(update)), new_digest) {
            (Some(version), Some(digest)) => {
                let previous_expires_at = match update.previous_expires_at {
                    Patch::Keep => Some(now),
                    Patch::Clear => None,
                    Patch::Set(at) => Some(at),
                };
                after.replace_secret(version, digest, previous_expires_at, now);
            }
            _ => after.move_grace(self, update.previous_expires_at, now),
        }
        if !after.reads_like(self) {
            after.updated_at = now;
        }
        after
    }

    /// The token with a new secret, of the next version. The one before stays good until `previous_expires_at`
    /// (`None`: it ends now) or the token's own end; the one before that is dropped.
    pub fn rotated(&self, previous_expires_at: Option<Timestamp>, digest: Digest, now: Timestamp) -> Self {
        let mut after = self.clone();
        let version = self.secret_version.saturating_add(1);
        after.replace_secret(version, &digest, Some(previous_expires_at.unwrap_or(now)), now);
        after.updated_at = now;
        after
    }

    /// The token with at least a year (365 days) to live. It never shortens a life; `forever` stays as it is.
    pub fn refreshed(&self, now: Timestamp) -> Self {
        let mut after = self.clone();
        let refreshed = now.saturating_add_nanos(REFRESHED_FOR_NANOS);
        if !self.duration.is_forever() && refreshed > self.expires_at {
            after.expires_at = refreshed;
            after.drop_lapsed(self, now);
            after.updated_at = now;
        }
        after
    }

    /// The token as one that may be presented from there alone; `None` is anywhere. Where that was so before, `updated_at`
    /// doesn't change.
    pub fn allowed_from(&self, allow_from: Option<AllowFrom>, now: Timestamp) -> Self {
        let mut after = Self { allow_from, ..self.clone() };
        if !after.reads_like(self) {
            after.updated_at = now;
        }
        after
    }

    /// When the token ends; `None` is never.
    pub fn ends_at(&self) -> Option<Timestamp> {
        if self.duration.is_forever() { None } else { Some(self.expires_at) }
    }

    /// The digest of the secret before and when that one ends, if there is one.
    pub fn previous(&self) -> Option<(Digest, Timestamp)> {
        self.previous_digest.zip(self.previous_expires_at)
    }

    /// Whether a secret that this token admits now or later is, after the change, refused now or earlier than it would have
    /// been, or where it would not have been.
    ///
    /// Such a change must be in force everywhere before it is reported as done.
    pub fn narrows(&self, after: &Self, now: Timestamp) -> bool {
        let secrets = [Some(self.digest), self.previous_digest];
        secrets.into_iter().flatten().any(|digest| {
            let until = self.admits_until(&digest);
            let is_good = until.is_some_and(|until| until > now);
            is_good && (after.admits_until(&digest) < until || self.shuts_out(after))
        })
    }

    /// Whether there is an address that this token may be presented from, and the other may not.
    fn shuts_out(&self, after: &Self) -> bool {
        match (&self.allow_from, &after.allow_from) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(before), Some(after)) => !after.covers(before),
        }
    }

    /// The first moment at which a secret is refused; `None` if it always is.
    fn admits_until(&self, digest: &Digest) -> Option<Timestamp> {
        let end = self.ends_at().unwrap_or(Timestamp::from_micros(i64::MAX));
        let current = self.digest.matches(digest).then_some(end);
        let previous =
            self.previous().filter(|(previous, _)| previous.matches(digest)).map(|(_, until)| until.min(end));
        current.max(previous).filter(|_| self.enabled)
    }

    fn replace_secret(
        &mut self,
        version: u32,
        digest: &Digest,
        previous_expires_at: Option<Timestamp>,
        now: Timestamp,
    ) {
        self.previous_version = Some(self.secret_version);
        self.rotated_at = Some(now);
        self.secret_version = version;
        self.previous_digest = previous_expires_at.map(|_| self.digest);
        self.previous_expires_at = previous_expires_at.map(Timestamp::floor_to_second);
        self.digest = *digest;
    }

    fn move_grace(&mut self, before: &Self, patch: Patch<Timestamp>, now: Timestamp) {
        let end = match patch {
            Patch::Keep => return,
            Patch::Clear => None,
            Patch::Set(at) => Some(at.floor_to_second()),
        };
        if end != before.previous_expires_at {
            let lapsed = before.previous_expires_at.is_none_or(|end| end <= now);
            if lapsed || end.is_none_or(|end| end <= now) {
                self.previous_digest = None;
            }
            self.previous_expires_at = end;
        }
    }

    /// A secret before that ended with the token doesn't come back with it.
    fn drop_lapsed(&mut self, before: &Self, now: Timestamp) {
        if before.ends_at().is_some_and(|end| end <= now) {
            self.previous_digest = None;
        }
    }

    /// Whether every field that is shown is the same, and the secret.
    pub fn reads_like(&self, other: &Self) -> bool {
        self.name == other.name
            && self.duration == other.duration
            && self.enabled == other.enabled
            && self.allow_from == other.allow_from
            && self.secret_version == other.secret_version
            && self.digest.matches(&other.digest)
            && self.previous_expires_at == other.previous_expires_at
            && self.expires_at == other.expires_at
    }
}

#[cfg(test)]
mod tests;
