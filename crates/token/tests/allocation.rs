//! What runs for every request allocates nothing.

#![expect(unsafe_code, reason = "an allocator that counts can't be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::cell::Cell;

use countersign_token::api_token::ApiTokenStatus;
use countersign_token::credential::{Credential, Presented};
use countersign_token::demand::Demand;
use countersign_token::digest::{BearerKind, InstallationKey, KeyId};
use countersign_token::entropy::Entropy;
use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::{AccountId, ApiTokenId, ClientId, Pfid, ServiceTokenId, ZoneId};
use countersign_token::index::Index;
use countersign_token::service_token::Owner;
use countersign_token::time::Timestamp;
use countersign_token::verify::{Decision, Reason, verify};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn verification_allocates_nothing() {
    let entropy = Entropy::seeded(1);
    let key = InstallationKey::generate(&entropy).digest_key();
    let index = Index::new(key.clone(), &entropy);
    let account = AccountId::generate(&entropy);
    let zone = ZoneId::generate(&entropy);
    let client_id = ClientId::generate(&entropy);
    let now = Timestamp::from_secs(1_767_225_600);
    let service_token = Subject::ServiceToken {
        id: ServiceTokenId::generate(now, &entropy),
        owner: Owner { account, zone: Some(zone) },
        client_id,
        name: "x".to_owned(),
        allow_from: None,
        digest: key.pair(&client_id, "current"),
        secret_version: 2,
        previous: Some((key.pair(&client_id, "previous"), Timestamp::MAX)),
        previous_version: Some(1),
        enabled: true,
        expires_at: None,
        last_seen_at: None,
        deleted: false,
    };
    let api_token = Subject::ApiToken {
        id: ApiTokenId::from(Pfid::generate_root(now, &entropy)),
        account,
        environment: None,
        digest: key.bearer(BearerKind::ApiToken, "a.b.c"),
        replaced: None,
        status: ApiTokenStatus::Active,
        expires_at: Timestamp::MAX,
        last_used_at: None,
        deleted: false,
    };
    // What is disabled, expired, revoked or admitted from one address: with the right secret, each is refused for what it is.
    let mut others = [service_token.clone(), service_token.clone(), api_token.clone(), service_token.clone()];
    let other_clients = [0; 4].map(|_: u8| ClientId::generate(&entropy));
    for (number, other) in others.iter_mut().enumerate() {
        match other {
            Subject::ServiceToken { client_id, digest, enabled, expires_at, allow_from, .. } => {
                *client_id = other_clients[number];
                *digest = key.pair(client_id, "current");
                *enabled = number != 0;
                *expires_at = (number == 1).then_some(now);
                *allow_from = (number == 3).then(|| "10.0.0.0/8,192.0.2.7".parse().unwrap());
            }
            Subject::ApiToken { digest, status, .. } => {
                (*digest, *status) = (key.bearer(BearerKind::ApiToken, "a.b.r"), ApiTokenStatus::Revoked);
            }
            _ => unreachable!(),
        }
    }
    let subjects = [Subject::Zone { id: zone, account }, service_token.clone(), api_token].into_iter().chain(others);
    for (number, subject) in (1..).zip(subjects) {
        index.apply(&Change { revision: Revision::new(number), subject });
    }
    let account_demand = Demand::default().with_account(&index, &account);
    let zone_demand = Demand::parse(&format!("zone_id={zone}"), &index).unwrap().0;
    let no_demand = Demand::default();
    let listed = account_demand.clone().with_service_token(ServiceTokenId::from_bytes([0; 16]));
    let id = client_id.to_string();
    let present = |id: &'static str, secret: &'static str| {
        Presented::from_headers(
            [("cf-access-client-id", id.as_bytes()), ("cf-access-client-secret", secret.as_bytes())],
            None,
        )
    };
    let bearer = Credential::Bearer { kind: BearerKind::ApiToken, token: "a.b.c" };
    let wrong_bearer = Credential::Bearer { kind: BearerKind::ApiToken, token: "a.b.d" };
    let revoked_bearer = Credential::Bearer { kind: BearerKind::ApiToken, token: "a.b.r" };
    let unknown = Credential::UnknownPair { secret: Cow::Borrowed("current") };
    let id: &'static str = id.leak();
    let ids = [&other_clients[0], &other_clients[1], &other_clients[3], &ClientId::generate(&entropy)];
    let [disabled_id, expired_id, listed_id, unknown_id] = ids.map(|id| &*id.to_string().leak());
    let pair = |id, secret, demand| match present(id, secret) {
        Presented::Credential(credential) => verify(&index, &credential, demand, now),
        Presented::Missing | Presented::Malformed => unreachable!(),
    };
    let from = |address: &str| account_demand.clone().presented_from(Some(address.parse().unwrap()));
    let (elsewhere, inside) = (from("192.0.2.8"), from("::ffff:192.0.2.7"));
    let decide = || {
        let before = ALLOCATIONS.get();
        let decisions = [
            pair(id, "current", &account_demand),
            pair(id, "current", &zone_demand),
            pair(id, "previous", &account_demand),
            verify(&index, &bearer, &account_demand, now),
            pair(id, "wrong", &account_demand),
            pair(unknown_id, "current", &account_demand),
            verify(&index, &unknown, &account_demand, now),
            verify(&index, &wrong_bearer, &account_demand, now),
            pair(id, "current", &listed),
            verify(&index, &bearer, &zone_demand, now),
            pair(id, "current", &no_demand),
            pair(disabled_id, "current", &account_demand),
            pair(expired_id, "current", &account_demand),
            verify(&index, &revoked_bearer, &account_demand, now),
            pair(listed_id, "current", &elsewhere),
            pair(listed_id, "current", &inside),
        ];
        for decision in &decisions {
            if let Decision::Allow(verified) = decision {
                index.mark_seen(verified, now);
                drop(index.describe(verified.handle));
            }
        }
        (ALLOCATIONS.get() - before, decisions)
    };
    // A thread makes room for what it keeps of the tables when it looks at one for the first time.
    assert_ne!(decide().0, 0);
    let expect = |(allocations, decisions): (u64, [Decision; 16])| {
        assert_eq!(allocations, 0);
        let reasons = decisions.map(|decision| match decision {
            Decision::Allow(_) => None,
            Decision::Refuse(refusal) => Some(refusal.reason),
        });
        assert_eq!(reasons[..4], [None; 4]);
        assert_eq!(reasons[4..8], [Some(Reason::Invalid); 4]);
        assert_eq!(reasons[8..11], [Some(Reason::NotPermitted); 3]);
        assert_eq!(reasons[11..14], [Some(Reason::Disabled), Some(Reason::Expired), Some(Reason::Revoked)]);
        assert_eq!(reasons[14..], [Some(Reason::AddressNotAllowed), None]);
    };
    expect(decide());
    // Tables that others have replaced meanwhile cost nothing either.
    for number in 0..2_000 {
        let mut subject = service_token.clone();
        if let Subject::ServiceToken { client_id, .. } = &mut subject {
            *client_id = ClientId::generate(&entropy);
        }
        index.apply(&Change { revision: Revision::new(100 + number), subject });
    }
    expect(decide());
    // While one installation key takes the place of another, both are tried.
    let next = InstallationKey::generate(&entropy).with_id(KeyId::new(2).unwrap()).digest_key();
    assert!(index.set_keys(&next, Some(&key)));
    let _ = decide();
    index.take_old_digests();
    let refused = |credential| {
        let before = ALLOCATIONS.get();
        let decision = verify(&index, credential, &account_demand, now);
        (ALLOCATIONS.get() - before, matches!(decision, Decision::Refuse(_)))
    };
    assert_eq!(refused(&unknown), (0, true));
    assert_eq!(refused(&wrong_bearer), (0, true));
    assert!(index.last_seen(&client_id).is_some());
}
