//! What runs for every request allocates nothing.

#![expect(unsafe_code, reason = "an allocator that counts can't be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::cell::Cell;

use countersign_token::api_token::ApiTokenStatus;
use countersign_token::credential::{Credential, Presented};
use countersign_token::demand::Demand;
use countersign_token::digest::{BearerKind, InstallationKey};
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
        digest: key.pair(&client_id, "current"),
        previous: Some((key.pair(&client_id, "previous"), Timestamp::MAX)),
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
    for (number, subject) in (1..).zip([Subject::Zone { id: zone, account }, service_token, api_token]) {
        index.apply(&Change { revision: Revision::new(number), subject });
    }
    let account_demand = Demand::default().with_account(&index, &account);
    let zone_demand = Demand::parse(&format!("zone_id={zone}"), &index).unwrap().0;
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
    let unknown = Credential::UnknownPair { secret: Cow::Borrowed("current") };
    let id: &'static str = id.leak();
    // The first look at a table gives the thread its place among the readers.
    assert_eq!(verify(&index, &wrong_bearer, &account_demand, now), verify(&index, &unknown, &account_demand, now));

    let before = ALLOCATIONS.get();
    let pair = |secret, demand| match present(id, secret) {
        Presented::Credential(credential) => verify(&index, &credential, demand, now),
        Presented::Missing | Presented::Malformed => unreachable!(),
    };
    let decisions = [
        pair("current", &account_demand),
        pair("current", &zone_demand),
        pair("previous", &account_demand),
        verify(&index, &bearer, &account_demand, now),
        pair("wrong", &account_demand),
        pair("current", &listed),
        verify(&index, &unknown, &account_demand, now),
        verify(&index, &wrong_bearer, &account_demand, now),
    ];
    for decision in &decisions {
        if let Decision::Allow(verified) = decision {
            index.mark_seen(verified, now);
            drop(index.describe(verified.handle));
        }
    }
    let allocations = ALLOCATIONS.get() - before;

    assert_eq!(allocations, 0);
    let reasons = decisions.map(|decision| match decision {
        Decision::Allow(_) => None,
        Decision::Refuse(refusal) => Some(refusal.reason),
    });
    let (invalid, not_permitted) = (Some(Reason::Invalid), Some(Reason::NotPermitted));
    assert_eq!(reasons, [None, None, None, None, invalid, not_permitted, invalid, invalid]);
    assert!(index.last_seen(&client_id).is_some());
}
