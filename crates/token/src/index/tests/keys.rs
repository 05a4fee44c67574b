use super::{ACCOUNT, NOW, admits, apply, service_token};
use crate::api_token::ApiTokenStatus;
use crate::credential::Credential;
use crate::demand::Demand;
use crate::digest::{BearerKind, DigestKey, InstallationKey, KeyId};
use crate::entropy::Entropy;
use crate::feed::{Subject, TokenOwner};
use crate::id::{ApiTokenId, ClientId, ManagementTokenId, Pfid, UserId};
use crate::index::{Index, OldDigest, SeenSubject};
use crate::time::Timestamp;
use crate::verify::{Decision, Reason, SecretSlot, verify};

/// What one key's digests admit, another's do while both are live, also while a row moves from one to the other.
#[test]
fn two_keys_are_live_at_a_time() {
    let entropy = Entropy::seeded(1);
    let old = InstallationKey::generate(&entropy).digest_key();
    let new = InstallationKey::generate(&entropy).with_id(KeyId::new(2).unwrap()).digest_key();
    let index = Index::new(old.clone(), &entropy);
    let client_id = ClientId::from_bytes([1; 16]);
    let pair = |before: &DigestKey, current: &DigestKey| {
        let mut subject = service_token(client_id, current.pair(&client_id, "x"), false);
        if let Subject::ServiceToken { previous, .. } = &mut subject {
            *previous = Some((before.pair(&client_id, "before"), Timestamp::MAX));
        }
        subject
    };
    let api = |key: &DigestKey, replaced: Option<&DigestKey>, status| Subject::ApiToken {
        id: ApiTokenId::from(Pfid::generate_root(NOW, &Entropy::seeded(1))),
        account: ACCOUNT,
        environment: None,
        digest: key.bearer(BearerKind::ApiToken, "a.b.c"),
        replaced: replaced.map(|key| key.bearer(BearerKind::ApiToken, "a.b.c")),
        status,
        expires_at: Timestamp::MAX,
        last_used_at: None,
        deleted: false,
    };
    let management = |key: &DigestKey, replaced: Option<&DigestKey>| Subject::ManagementToken {
        id: ManagementTokenId::from_bytes([9; 16]),
        owner: TokenOwner::Account(ACCOUNT),
        digest: key.bearer(BearerKind::ManagementToken, "m"),
        replaced: replaced.map(|key| key.bearer(BearerKind::ManagementToken, "m")),
        grants: Vec::new(),
        expires_at: None,
        revoked: false,
    };
    let user = |key: &DigestKey| Subject::User {
        id: UserId::from_bytes([7; 16]),
        email: "a@example.com".to_owned(),
        key_digest: key.bearer(BearerKind::GlobalKey, "g"),
        installation_owner: false,
        accounts: Vec::new(),
    };
    let bearer = |index: &Index| {
        let credential = Credential::Bearer { kind: BearerKind::ApiToken, token: "a.b.c" };
        verify(index, &credential, &Demand::default().with_account(index, &ACCOUNT), NOW)
    };
    let admitted = |index: &Index| {
        [
            matches!(admits(index, client_id, "x"), Decision::Allow(_)),
            matches!(admits(index, client_id, "before"), Decision::Allow(_)),
            matches!(bearer(index), Decision::Allow(_)),
            index.authenticate_bearer(BearerKind::ApiToken, "a.b.c", NOW).is_some(),
            index.authenticate_bearer(BearerKind::ManagementToken, "m", NOW).is_some(),
            index.authenticate_global_key("A@example.com", "g", NOW).is_some(),
        ]
    };
    let active = ApiTokenStatus::Active;
    for (revision, subject) in
        (1..).zip([pair(&old, &old), api(&old, None, active), management(&old, None), user(&old)])
    {
        apply(&index, revision, subject);
    }
    assert_eq!(admitted(&index), [true; 6]);
    assert!(index.take_old_digests().is_empty(), "one key is live");

    assert!(index.set_keys(&new, Some(&old)));
    assert_eq!(admitted(&index), [true; 6]);
    assert!(matches!(admits(&index, client_id, "other"), Decision::Refuse(_)));
    let noted = index.take_old_digests();
    assert_eq!(noted.len(), 5, "two slots, two bearers, one user: {noted:?}");
    for OldDigest { subject, slot, old: from, new: to } in noted {
        let (kind, text) = match (subject, slot) {
            (SeenSubject::ServiceToken(_), slot) => {
                let secret = if slot == SecretSlot::Current { "x" } else { "before" };
                assert!(from.matches(&old.pair(&client_id, secret)) && to.matches(&new.pair(&client_id, secret)));
                continue;
            }
            (SeenSubject::ApiToken(_), _) => (BearerKind::ApiToken, "a.b.c"),
            (SeenSubject::ManagementToken(_), _) => (BearerKind::ManagementToken, "m"),
            (SeenSubject::User(_), _) => (BearerKind::GlobalKey, "g"),
        };
        assert!(from.matches(&old.bearer(kind, text)) && to.matches(&new.bearer(kind, text)), "{kind:?}");
        assert_eq!((from.key(), to.key()), (old.id(), new.id()));
    }

    // The rows move to the new key: one slot of the pair first.
    let (_, handle) = match bearer(&index) {
        Decision::Allow(verified) => (verified.kind, verified.handle),
        refused @ Decision::Refuse(_) => panic!("{refused:?}"),
    };
    index.take_old_digests();
    let moved = [pair(&old, &new), api(&new, Some(&old), active), management(&new, Some(&old)), user(&new)];
    for (revision, subject) in (11..).zip(moved) {
        apply(&index, revision, subject);
        assert_eq!(admitted(&index), [true; 6]);
    }
    assert!(index.describe(handle).is_some(), "whoever was admitted a moment ago is still known");
    index.take_old_digests();
    assert_eq!((admitted(&index), index.take_old_digests().len()), ([true; 6], 1), "the slot before is left");
    assert_eq!(index.len(), 3, "nothing is there twice");

    // Whatever happens to a token from here on happens to the only entry that there is.
    apply(&index, 21, api(&new, Some(&old), ApiTokenStatus::Revoked));
    assert!(matches!(bearer(&index), Decision::Refuse(refusal) if refusal.reason == Reason::Revoked));
    apply(&index, 22, api(&new, Some(&old), active));

    assert!(index.set_keys(&new, None));
    assert_eq!(admitted(&index), [true, false, true, true, true, true], "what stands under the old key is void");
    assert!(index.take_old_digests().is_empty());
}
