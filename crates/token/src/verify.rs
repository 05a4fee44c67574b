//! The decision about one presented credential.

use crate::credential::Credential;
use crate::demand::Demand;
use crate::digest::{BearerKind, Digest, DigestKey};
use crate::id::ClientId;
use crate::index::{Candidate, EntryKind, Handle, Index, State, Ticket, compared, same_digest};
use crate::time::Timestamp;

/// Decides about a credential: is it right, is it active and unexpired, may it come from where it does, does it meet the
/// demand, in this order. One that may only come from some networks is refused where the demand doesn't say
/// [where it came from](Demand::presented_from).
///
/// It reads memory only, takes no lock that a writer holds for longer than one entry, and doesn't allocate. An unknown
/// id and a wrong secret take the same work and get the same answer.
pub fn verify(index: &Index, credential: &Credential<'_>, demand: &Demand, now: Timestamp) -> Decision {
    if let Some(before) = index.key_before() {
        return verify_under_two(index, before, credential, demand, now);
    }
    match credential {
        Credential::Pair { client_id, secret } => {
            let place = index.place_of_client(client_id);
            // A miss in the cache takes longer than the digest: let it happen meanwhile.
            place.warm();
            let digest = index.digest_key().pair(client_id, secret);
            let (handle, judgement) = place.judge(|candidate| {
                (candidate.handle, judge(index, candidate, EntryKind::Service, &digest, demand, now))
            });
            Decision::of(Kind::ServiceToken, handle, judgement)
        }
        Credential::UnknownPair { secret } => {
            let client_id = ClientId::from_bytes([0; 16]);
            let place = index.place_of_client(&client_id);
            let digest = index.digest_key().pair(&client_id, secret);
            let (handle, judgement) = place.judge(|candidate| {
                let unknown = Candidate { is_known: false, ..*candidate };
                (unknown.handle, judge(index, &unknown, EntryKind::Service, &digest, demand, now))
            });
            Decision::of(Kind::ServiceToken, handle, judgement)
        }
        Credential::Bearer { kind: BearerKind::ApiToken, token } => {
            let digest = index.digest_key().bearer(BearerKind::ApiToken, token);
            let place = index.place_of_bearer(&digest);
            let (handle, judgement) = place
                .judge(|candidate| (candidate.handle, judge(index, candidate, EntryKind::Api, &digest, demand, now)));
            Decision::of(Kind::ApiToken, handle, judgement)
        }
        Credential::Bearer { kind: BearerKind::ManagementToken | BearerKind::GlobalKey, .. } => Decision::INVALID,
    }
}

/// The same while one installation key takes the place of another: a digest of either counts. Which of the two admitted
/// costs an unknown id and a wrong secret the same again.
#[cold]
fn verify_under_two(
    index: &Index,
    before: &DigestKey,
    credential: &Credential<'_>,
    demand: &Demand,
    now: Timestamp,
) -> Decision {
    let (new, old, (decision, is_old)) = match credential {
        Credential::Pair { client_id, secret } => {
            let new = index.digest_key().pair(client_id, secret);
            let old = before.pair(client_id, secret);
            // Both at one moment: in between, the row may move from one key to the other.
            let decision = index.place_of_client(client_id).judge(|candidate| {
                let judge = |digest| {
                    let judgement = judge(index, candidate, EntryKind::Service, digest, demand, now);
                    Decision::of(Kind::ServiceToken, candidate.handle, judgement)
                };
                either(judge(&new), || judge(&old))
            });
            (new, old, decision)
        }
        Credential::UnknownPair { secret } => {
            let client_id = ClientId::from_bytes([0; 16]);
            let new = index.digest_key().pair(&client_id, secret);
            let old = before.pair(&client_id, secret);
            let decision = index.place_of_client(&client_id).judge(|candidate| {
                let unknown = Candidate { is_known: false, ..*candidate };
                let judge = |digest| {
                    let judgement = judge(index, &unknown, EntryKind::Service, digest, demand, now);
                    Decision::of(Kind::ServiceToken, unknown.handle, judgement)
                };
                either(judge(&new), || judge(&old))
            });
            (new, old, decision)
        }
        Credential::Bearer { kind: BearerKind::ApiToken, token } => {
            let new = index.digest_key().bearer(BearerKind::ApiToken, token);
            let old = before.bearer(BearerKind::ApiToken, token);
            let look = |digest| {
                let place = index.place_of_bearer(digest);
                let (handle, judgement) = place.judge(|candidate| {
                    (candidate.handle, judge(index, candidate, EntryKind::Api, digest, demand, now))
                });
                Decision::of(Kind::ApiToken, handle, judgement)
            };
            // The entry under the new digest comes before that under the old one goes: whoever missed both looks again.
            let decision = match either(look(&new), || look(&old)) {
                (Decision::INVALID, _) => (look(&new), false),
                decision => decision,
            };
            (new, old, decision)
        }
        Credential::Bearer { kind: BearerKind::ManagementToken | BearerKind::GlobalKey, .. } => {
            return Decision::INVALID;
        }
    };
    if is_old && let Decision::Allow(verified) = &decision {
        index.note_old_digest(verified, old, new);
    }
    decision
}

/// The first decision, or the other one if the first says that nothing fits, and whether it is the other one.
fn either(decision: Decision, other: impl FnOnce() -> Decision) -> (Decision, bool) {
    if decision == Decision::INVALID { (other(), true) } else { (decision, false) }
}

/// Whether a credential is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is.
    Allow(Verified),
    /// It isn't.
    Refuse(Refusal),
}

impl Decision {
    const INVALID: Self = Self::Refuse(Refusal { reason: Reason::Invalid, handle: None });

    #[inline]
    fn of(kind: Kind, handle: Handle, judgement: Judgement) -> Self {
        match judgement {
            Ok(Admitted { slot_used, has_two_secrets, ticket }) => {
                Self::Allow(Verified { handle, kind, slot_used, has_two_secrets, ticket })
            }
            Err(Reason::Invalid) => Self::INVALID,
            Err(reason) => Self::Refuse(Refusal { reason, handle: Some(handle) }),
        }
    }
}

/// An admitted credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Which one: [`Index::describe`] says more.
    pub handle: Handle,
    /// What it is.
    pub kind: Kind,
    /// Which of its secrets was presented.
    pub slot_used: SecretSlot,
    pub(crate) has_two_secrets: bool,
    /// Tells whether the secret that was presented still has the place that it had.
    pub(crate) ticket: Ticket,
}

/// What an admitted credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A service token.
    ServiceToken,
    /// An API token.
    ApiToken,
}

/// Which secret of a credential was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecretSlot {
    /// The current one.
    Current,
    /// The one before, within its grace period.
    Previous,
}

/// A refused credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Which one, if its secret was right.
    pub handle: Option<Handle>,
}

/// Why a credential is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Unknown, wrong, deleted, or a secret whose grace period has ended.
    Invalid,
    /// Right, but its time is up.
    Expired,
    /// Right, but disabled or suspended.
    Disabled,
    /// Right, but revoked.
    Revoked,
    /// Good, but not from where it came.
    AddressNotAllowed,
    /// Good, but not for what is demanded.
    NotPermitted,
}

impl Reason {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::NotPermitted => "not_permitted",
        }
    }
}

/// What admits a credential, or why it is refused.
type Judgement = Result<Admitted, Reason>;

#[derive(Clone, Copy)]
struct Admitted {
    slot_used: SecretSlot,
    has_two_secrets: bool,
    ticket: Ticket,
}

// Left to itself the compiler makes a call of it, which costs a tenth of what may be spent here.
#[inline(always)]
fn judge(
    index: &Index,
    candidate: &Candidate,
    kind: EntryKind,
    digest: &Digest,
    demand: &Demand,
    now: Timestamp,
) -> Judgement {
    let state = candidate.words.state;
    let is_current = same_digest(candidate.words.digest, compared(digest)) && candidate.is_known;
    let slot_used = if is_current {
        SecretSlot::Current
    } else if state.has(State::HAS_PREVIOUS) && is_previous(index, candidate, digest, now) {
        SecretSlot::Previous
    } else {
        return Err(Reason::Invalid);
    };
    if state.kind() != kind {
        return Err(Reason::Invalid);
    }
    if state.has(State::RARE) {
        rare(index, candidate, demand, now)?;
    }
    if state.is_expired(now) {
        return Err(Reason::Expired);
    }
    if !demand.is_met(index, candidate) {
        return Err(Reason::NotPermitted);
    }
    Ok(Admitted { slot_used, has_two_secrets: state.has(State::HAS_PREVIOUS), ticket: candidate.ticket })
}

/// What is asked of few: whether a flag refuses them, or the address that they come from.
#[cold]
fn rare(index: &Index, candidate: &Candidate, demand: &Demand, now: Timestamp) -> Result<(), Reason> {
    let state = candidate.words.state;
    if state.has(State::DELETED) {
        return Err(Reason::Invalid);
    }
    if state.has(State::REVOKED) {
        return Err(Reason::Revoked);
    }
    if state.has(State::DISABLED) {
        return Err(Reason::Disabled);
    }
    if state.is_expired(now) {
        return Err(Reason::Expired);
    }
    if state.has(State::LISTED) && !index.allows_from(candidate, demand.from()) {
        return Err(Reason::AddressNotAllowed);
    }
    Ok(())
}

/// Whether the secret is the one before, still within its grace.
#[cold]
fn is_previous(index: &Index, candidate: &Candidate, digest: &Digest, now: Timestamp) -> bool {
    let (previous, running) = index.previous(candidate, now).unwrap_or_default();
    same_digest(previous, compared(digest)) && running && candidate.is_known
}
