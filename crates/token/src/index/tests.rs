mod keys;
mod secrets;

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::thread;

use super::{Census, Count, DELETIONS_KEPT, Index, SeenMark, SeenSubject, State};
use crate::api_token::ApiTokenStatus;
use crate::credential::Credential;
use crate::demand::Demand;
use crate::digest::{BearerKind, Digest, InstallationKey};
use crate::entropy::Entropy;
use crate::feed::{Change, Grant, Revision, Subject, TokenOwner};
use crate::id::{
    AccountId, ApiTokenId, ClientId, EnvironmentId, ManagementTokenId, Partition, ServiceTokenId, UserId, ZoneId,
};
use crate::permission::Permission;
use crate::service_token::Owner;
use crate::time::Timestamp;
use crate::verify::{Decision, verify};

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const ACCOUNT: AccountId = AccountId::from_bytes([1; 16]);

fn index() -> Index {
    let entropy = Entropy::seeded(1);
    Index::new(InstallationKey::generate(&entropy).digest_key(), &entropy)
}

fn apply(index: &Index, revision: i64, subject: Subject) {
    index.apply(&Change { revision: Revision::new(revision), subject });
}

fn service_token(client_id: ClientId, digest: Digest, deleted: bool) -> Subject {
    Subject::ServiceToken {
        id: ServiceTokenId::from_bytes(*client_id.as_bytes()),
        owner: Owner { account: ACCOUNT, zone: None },
        client_id,
        name: "x".to_owned(),
        allow_from: None,
        digest,
        secret_version: 1,
        previous: None,
        previous_version: None,
        enabled: true,
        expires_at: None,
        last_seen_at: Some(Timestamp::from_secs(7)),
        deleted,
    }
}

fn admits(index: &Index, client_id: ClientId, secret: &str) -> Decision {
    let credential = Credential::Pair { client_id, secret: Cow::Borrowed(secret) };
    verify(index, &credential, &Demand::default().with_account(index, &ACCOUNT), NOW)
}

#[test]
fn an_entry_is_one_cache_line() {
    assert_eq!((size_of::<super::Entry>(), align_of::<super::Entry>()), (64, 64));
}

#[test]
fn deletions_are_remembered_for_a_while_and_forgotten_in_the_end() {
    let index = index();
    let entropy = Entropy::seeded(2);
    let (mut revision, mut told, digest) = (0, Vec::new(), Digest::from_bytes([5; 32]));
    for _ in 0..60_000 {
        let client_id = ClientId::generate(&entropy);
        let born = Change { revision: Revision::new(revision + 1), subject: service_token(client_id, digest, false) };
        index.apply(&born);
        apply(&index, revision + 2, service_token(client_id, digest, true));
        revision += 2;
        told.push(born);
    }
    assert!(index.is_empty());
    for change in told.iter().rev().take_while(|change| change.revision.get() > revision - DELETIONS_KEPT) {
        index.apply(change);
        assert!(index.is_empty(), "an older change undid a deletion");
    }
    // Half as many deletions as revisions, and what has come since the shards last grew.
    assert!(index.records.len() < 45_000, "{} records", index.records.len());
}

/// What comes and goes, and changes in every way, takes no more room than so many live credentials and the deletions that
/// are remembered.
#[test]
fn churn_takes_no_more_room() {
    let index = index();
    let entropy = Entropy::seeded(7);
    let digest = Digest::from_bytes([5; 32]);
    let mut live: VecDeque<ClientId> = VecDeque::new();
    let mut revision = 0;
    let mut tell = |client_id, form: u16, deleted| {
        let mut subject = service_token(client_id, digest, deleted);
        if let Subject::ServiceToken { owner, name, allow_from, previous, previous_version, .. } = &mut subject {
            owner.zone = form.is_multiple_of(3).then_some(ZoneId::from_bytes([2; 16]));
            *name = "x".repeat(usize::from(form % 79) + 1);
            *allow_from = form.is_multiple_of(5).then(|| "10.0.0.0/8".parse().unwrap());
            *previous = form.is_multiple_of(4).then_some((digest, Timestamp::MAX));
            *previous_version = Some(1);
        }
        // Others' changes come in between.
        revision += 8;
        apply(&index, revision, subject);
        revision
    };
    let mut most = [0; 4];
    for most in &mut most {
        let end = tell(ClientId::from_bytes([1; 16]), 0, false) + 2 * DELETIONS_KEPT;
        while {
            if live.len() == 1_000 {
                tell(live.pop_front().unwrap(), 0, true);
            }
            live.push_back(ClientId::generate(&entropy));
            tell(*live.back().unwrap(), u16::from_be_bytes(entropy.bytes()), false);
            let any = usize::from_be_bytes(entropy.bytes()) % live.len();
            tell(live[any], u16::from_be_bytes(entropy.bytes()), false) < end
        } {
            *most = index.size().max(*most);
        }
    }
    assert_eq!(index.len(), 1_001);
    let [first, rest @ ..] = most;
    assert!(rest.iter().all(|most| most * 20 <= first * 21), "the room that was taken by quarters: {first}, {rest:?}");
}

#[test]
fn a_handle_does_not_outlive_its_credential() {
    let index = index();
    let entropy = Entropy::seeded(3);
    let client_id = ClientId::generate(&entropy);
    let digest = index.digest_key().pair(&client_id, "x");
    apply(&index, 1, service_token(client_id, digest, false));
    let Decision::Allow(verified) = admits(&index, client_id, "x") else { panic!("refused") };
    assert!(index.describe(verified.handle).is_some());
    apply(&index, 2, service_token(client_id, digest, true));
    assert!(index.describe(verified.handle).is_none());
    // Whoever gets its number next isn't taken for it.
    index.newest.store(2 + DELETIONS_KEPT + 1, Ordering::Relaxed);
    index.rebuild(&mut index.shard(verified.handle.hash).unwrap().write());
    apply(&index, 3, service_token(ClientId::generate(&entropy), digest, false));
    assert_eq!(index.records.len(), 1, "the number is in use again");
    assert!(index.describe(verified.handle).is_none());
    index.mark_seen(&verified, NOW);
    index.drain_seen(&mut |mark| panic!("{mark:?} is another's"));
}

#[test]
fn marks_are_handed_out_once_a_second() {
    let index = index();
    let client_id = ClientId::from_bytes([3; 16]);
    apply(&index, 1, service_token(client_id, index.digest_key().pair(&client_id, "x"), false));
    assert_eq!(index.last_seen(&client_id), Some(Timestamp::from_secs(7)), "as the store knows it");
    let Decision::Allow(verified) = admits(&index, client_id, "x") else { panic!("refused") };
    let drained = || {
        let mut marks = Vec::new();
        index.drain_seen(&mut |mark| marks.push(mark));
        marks
    };
    assert_eq!(drained(), []);
    let later = |micros| Timestamp::from_micros(NOW.as_micros() + micros);
    let subject = SeenSubject::ServiceToken(ServiceTokenId::from_bytes([3; 16]));
    index.mark_seen(&verified, later(1));
    assert_eq!(drained(), [SeenMark { subject, version: 1, at: NOW }]);
    index.mark_seen(&verified, later(999_999));
    index.mark_seen(&verified, later(-5_000_000));
    assert_eq!(drained(), []);
    index.mark_seen(&verified, later(1_000_000));
    // What the store knows is older, and changes nothing.
    apply(&index, 2, service_token(client_id, index.digest_key().pair(&client_id, "x"), false));
    assert_eq!(index.last_seen(&client_id), Some(later(1_000_000)));
    assert_eq!(drained(), [SeenMark { subject, version: 1, at: later(1_000_000) }]);
    assert_eq!(index.last_seen(&ClientId::from_bytes([4; 16])), None);
}

#[test]
fn marks_outlast_the_table_that_they_were_set_in() {
    let index = index();
    let client_id = ClientId::from_bytes([3; 16]);
    apply(&index, 1, service_token(client_id, index.digest_key().pair(&client_id, "x"), false));
    let Decision::Allow(verified) = admits(&index, client_id, "x") else { panic!("refused") };
    let hash = verified.handle.hash;
    let shard = index.shard(hash).unwrap();
    let drained = || {
        let mut marks = Vec::new();
        index.drain_seen(&mut |mark| marks.push(mark.at));
        marks
    };
    // Set before the table is replaced.
    index.mark_seen(&verified, NOW);
    index.rebuild(&mut shard.write());
    assert_eq!(index.last_seen(&client_id), Some(NOW));
    assert_eq!(drained(), [NOW]);
    // Drained before: kept, and not handed out again.
    index.rebuild(&mut shard.write());
    assert_eq!(index.last_seen(&client_id), Some(NOW));
    assert_eq!(drained(), []);
    // Set in a table that is replaced already.
    let replaced = index.shards.read(hash);
    index.rebuild(&mut shard.write());
    let later = Timestamp::from_secs(NOW.as_secs() + 1);
    index.shards.mark_seen_in(replaced, hash, verified.handle.number, u32::try_from(later.as_secs()).unwrap(), false);
    assert_eq!(index.last_seen(&client_id), Some(later));
    // Which secret it was is not known this way.
    assert_eq!(drained(), [NOW, later]);
}

#[test]
fn a_judgement_is_of_one_moment() {
    let index = index();
    let client_id = ClientId::from_bytes([3; 16]);
    let digest = index.digest_key().pair(&client_id, "x");
    apply(&index, 1, service_token(client_id, digest, false));
    let asked = Cell::new(0);
    let deleted = index.place_of_client(&client_id).judge(|candidate| {
        asked.set(asked.get() + 1);
        if asked.get() == 1 {
            apply(&index, 2, service_token(client_id, digest, true));
        }
        candidate.words.state.has(State::DELETED)
    });
    assert_eq!((asked.get(), deleted), (2, true), "a change came in between");
}

#[test]
fn an_entry_and_its_record_change_together() {
    let index = index();
    let client_id = ClientId::from_bytes([3; 16]);
    let digest = index.digest_key().pair(&client_id, "x");
    let mut subject = service_token(client_id, digest, false);
    if let Subject::ServiceToken { previous, .. } = &mut subject {
        *previous = Some((digest, Timestamp::MAX));
    }
    apply(&index, 1, subject);
    let Decision::Allow(verified) = admits(&index, client_id, "x") else { panic!("refused") };
    let place = index.place_of_client(&client_id);
    let entry = place.held.table().unwrap().find(place.hash, place.key).unwrap();
    thread::scope(|scope| {
        // While somebody reads the secret before, a change of it waits: so must whoever reads the entry then.
        let read = index.records.read(verified.handle.number, verified.ticket, |view| {
            view.unwrap().extra(|extra| {
                scope.spawn(|| apply(&index, 2, service_token(client_id, digest, true)));
                let is_changing = (0..50_000_000).any(|_| {
                    thread::yield_now();
                    entry.is_changing()
                });
                assert!(is_changing && extra.previous.is_some());
            })
        });
        assert!(read.is_none(), "what was read of two contents is nobody's");
    });
    assert!(index.describe(verified.handle).is_none());
}

#[test]
fn a_deleted_environment_stays_deleted() {
    let index = index();
    let id = EnvironmentId::generate(NOW, Partition::MAX, &Entropy::seeded(1));
    let environment = |deleted| Subject::Environment { id, account: ACCOUNT, deleted };
    for (revision, deleted, expected) in
        [(2, false, Some(ACCOUNT)), (4, true, None), (3, false, None), (5, false, None)]
    {
        apply(&index, revision, environment(deleted));
        assert_eq!(index.environment_account(&id), expected, "{revision}");
    }
}

#[test]
fn bearers_authenticate_callers() {
    let index = index();
    let key = index.digest_key();
    let grant = Grant { account: ACCOUNT, permission: Permission::ServiceTokensRead };
    let management = |token: &str, expires_at, revoked| Subject::ManagementToken {
        id: ManagementTokenId::from_bytes([9; 16]),
        owner: TokenOwner::Account(ACCOUNT),
        digest: key.bearer(BearerKind::ManagementToken, token),
        replaced: None,
        grants: vec![grant],
        expires_at,
        revoked,
    };
    apply(&index, 1, management("good", None, false));
    apply(&index, 2, management("revoked", None, true));
    apply(&index, 3, management("expired", Some(NOW), false));
    let api_token = key.bearer(BearerKind::ApiToken, "a.b.c");
    apply(
        &index,
        4,
        Subject::ApiToken {
            id: ApiTokenId::generate(NOW, Partition::MAX, &Entropy::seeded(1)),
            account: ACCOUNT,
            environment: None,
            digest: api_token,
            replaced: None,
            status: ApiTokenStatus::Active,
            expires_at: Timestamp::MAX,
            last_used_at: None,
            deleted: false,
        },
    );
    let check = |kind, token: &str, expected: bool| {
        assert_eq!(index.authenticate_bearer(kind, token, NOW).is_some(), expected, "{kind:?} {token}");
    };
    check(BearerKind::ManagementToken, "good", true);
    check(BearerKind::ManagementToken, "revoked", false);
    check(BearerKind::ManagementToken, "expired", false);
    check(BearerKind::ManagementToken, "unknown", false);
    check(BearerKind::ManagementToken, "a.b.c", false);
    check(BearerKind::ApiToken, "good", false);
    check(BearerKind::GlobalKey, "good", false);
    assert_eq!(index.last_used(&api_token), None);
    check(BearerKind::ApiToken, "a.b.c", true);
    assert_eq!(index.last_used(&api_token), Some(NOW));
    let mut subjects = Vec::new();
    index.drain_seen(&mut |mark| subjects.push(mark.subject));
    assert!(subjects.contains(&SeenSubject::ManagementToken(ManagementTokenId::from_bytes([9; 16]))));
    // At the gate, a management token is nobody.
    let demand = Demand::default().with_account(&index, &ACCOUNT);
    for kind in [BearerKind::ManagementToken, BearerKind::GlobalKey, BearerKind::ApiToken] {
        let decision = verify(&index, &Credential::Bearer { kind, token: "good" }, &demand, NOW);
        assert!(matches!(decision, Decision::Refuse(refusal) if refusal.reason.as_str() == "invalid"));
    }
}

#[test]
fn global_keys_authenticate_users() {
    let index = index();
    let user = |id: u8, email: &str, api_key: &str| Subject::User {
        id: UserId::from_bytes([id; 16]),
        email: email.to_owned(),
        key_digest: index.digest_key().bearer(BearerKind::GlobalKey, api_key),
        installation_owner: false,
        accounts: vec![ACCOUNT],
    };
    let check = |email: &str, api_key: &str, expected: bool| {
        assert_eq!(index.authenticate_global_key(email, api_key, NOW).is_some(), expected, "{email} {api_key}");
    };
    apply(&index, 1, user(1, "a@example.com", "key"));
    apply(&index, 2, user(2, "b@example.com", "other"));
    check("a@example.com", "key", true);
    check("A@Example.COM", "key", true);
    check("a@example.com", "other", false);
    check("c@example.com", "key", false);
    // Addresses move, and one that has passed on stays with whoever has it now.
    apply(&index, 4, user(2, "a@example.com", "other"));
    apply(&index, 3, user(1, "c@example.com", "new"));
    apply(&index, 1, user(1, "a@example.com", "key"));
    check("a@example.com", "other", true);
    check("c@example.com", "new", true);
    check("c@example.com", "key", false);
    check("b@example.com", "other", false);
    assert!(index.find_user(&UserId::from_bytes([1; 16])).is_some());
    assert!(index.find_user(&UserId::from_bytes([3; 16])).is_none());
}

#[test]
fn users_are_marked_by_their_global_keys() {
    let index = index();
    let id = UserId::from_bytes([1; 16]);
    let user = |email: &str| Subject::User {
        id,
        email: email.to_owned(),
        key_digest: index.digest_key().bearer(BearerKind::GlobalKey, "key"),
        installation_owner: false,
        accounts: vec![ACCOUNT],
    };
    let drained = || {
        let mut marks = Vec::new();
        index.drain_seen(&mut |mark| marks.push(mark));
        marks
    };
    let at = |seconds: i64| Timestamp::from_secs(NOW.as_secs() + seconds);
    apply(&index, 1, user("a@example.com"));
    assert_eq!(index.last_active(&id), None);
    assert!(index.authenticate_global_key("a@example.com", "wrong", NOW).is_none());
    assert_eq!((index.last_active(&id), drained()), (None, Vec::new()), "whoever is refused was not there");
    assert!(index.authenticate_global_key("a@example.com", "key", at(5)).is_some());
    assert!(index.authenticate_global_key("a@example.com", "key", at(3)).is_some(), "marks go forward only");
    assert_eq!(index.last_active(&id), Some(at(5)));
    assert_eq!(drained(), [SeenMark { subject: SeenSubject::User(id), version: 0, at: at(5) }]);
    assert_eq!(drained(), []);
    // A change of the user keeps the mark, and doesn't hand it out again.
    apply(&index, 2, user("b@example.com"));
    assert_eq!((index.last_active(&id), drained()), (Some(at(5)), Vec::new()));
    assert!(index.authenticate_global_key("b@example.com", "key", at(9)).is_some());
    assert_eq!(drained(), [SeenMark { subject: SeenSubject::User(id), version: 0, at: at(9) }]);
    assert_eq!(index.last_active(&UserId::from_bytes([2; 16])), None);
}

#[test]
fn a_bearer_is_no_pair() {
    // The first half of a bearer's digest is its key: nobody can know it, but it must not matter.
    let index = index();
    let digest = index.digest_key().bearer(BearerKind::ManagementToken, "good");
    apply(
        &index,
        1,
        Subject::ManagementToken {
            id: ManagementTokenId::from_bytes([9; 16]),
            owner: TokenOwner::Account(ACCOUNT),
            digest,
            replaced: None,
            grants: Vec::new(),
            expires_at: None,
            revoked: false,
        },
    );
    let client_id = ClientId::from_bytes(*digest.as_bytes().first_chunk().unwrap());
    assert!(matches!(admits(&index, client_id, "good"), Decision::Refuse(_)));
    apply(
        &index,
        2,
        service_token(
            ClientId::from_bytes([0; 16]),
            index.digest_key().pair(&ClientId::from_bytes([0; 16]), "x"),
            false,
        ),
    );
    assert!(matches!(admits(&index, ClientId::from_bytes([0; 16]), "x"), Decision::Allow(_)));
    let unknown = Credential::UnknownPair { secret: Cow::Borrowed("x") };
    let demand = Demand::default().with_account(&index, &ACCOUNT);
    assert!(matches!(verify(&index, &unknown, &demand, NOW), Decision::Refuse(_)), "an ill-formed id is not id zero");
}

#[test]
fn a_census_counts_each_credential_where_it_would_be_refused() {
    let index = index();
    let day = 24 * 3600;
    let at = |days: i64| Some(Timestamp::from_secs(NOW.as_secs() + days * day));
    // Whether it is enabled, when it ends, and whether it is deleted.
    let tokens = [
        (true, None, false),
        (true, at(7), false),
        (true, at(8), false),
        (true, at(14), false),
        (true, at(30), false),
        (true, at(31), false),
        (true, at(0), false),
        (false, at(-1), false),
        (false, None, false),
        (true, None, true),
    ];
    for (number, (enabled, expires_at, deleted)) in (1..).zip(tokens) {
        let client_id = ClientId::from_bytes([number; 16]);
        let mut subject = service_token(client_id, index.digest_key().pair(&client_id, "s"), deleted);
        if let Subject::ServiceToken { enabled: is_enabled, expires_at: ends_at, .. } = &mut subject {
            (*is_enabled, *ends_at) = (enabled, expires_at);
        }
        apply(&index, number.into(), subject);
    }
    let census = index.census(NOW).fold(Census::default(), Census::and);
    let service_tokens = Count { active: 6, disabled: 2, revoked: 0, expired: 1, ending: [1, 3, 4] };
    assert_eq!(census, Census { service_tokens, ..Census::default() });
    assert!(index.size() >= 10 * size_of::<super::Entry>(), "{}", index.size());
}

#[test]
fn parts_have_every_mark_once() {
    let index = index();
    let entropy = Entropy::seeded(4);
    let ids: Vec<ClientId> = (0..1_000).map(|_| ClientId::generate(&entropy)).collect();
    for (revision, id) in (1..).zip(&ids) {
        apply(&index, revision, service_token(*id, index.digest_key().pair(id, "x"), false));
    }
    for id in &ids {
        let Decision::Allow(verified) = admits(&index, *id, "x") else { panic!("refused") };
        index.mark_seen(&verified, NOW);
    }
    let drain = |part, parts| {
        let mut count = 0;
        index.drain_part_seen(part, parts, &mut |_| count += 1);
        count
    };
    let counts: Vec<usize> = (0..16).map(|part| drain(part, 16)).collect();
    assert_eq!(counts.iter().sum::<usize>(), ids.len());
    assert!(counts.iter().all(|count| (20..150).contains(count)), "{counts:?}");
    assert_eq!(drain(0, 1), 0);
}
