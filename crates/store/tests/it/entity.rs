//! Rows come back as they went in.

use countersign_store::{
    Account, AccountFilter, Error, ManagementToken, ManagementTokenFilter, Membership, Page, User, UserFilter, Zone,
    ZoneFilter,
};
use countersign_token::duration::TokenDuration;
use countersign_token::feed::{Grant, TokenOwner};
use countersign_token::id::{AccountId, ManagementTokenId, UserId, ZoneId};
use countersign_token::index::{SeenMark, SeenSubject};
use countersign_token::permission::Permission;
use countersign_token::service_token::{Name, ServiceToken};
use countersign_token::time::Timestamp;

use crate::{World, at, change, insert, on_both};

on_both! {
    an_installation_is_made_once,
    accounts_and_zones,
    users,
    management_tokens,
    service_tokens,
    what_cannot_be_read_names_its_place,
}

async fn an_installation_is_made_once(world: World) {
    let store = world.open().await;
    assert_eq!(store.installation().await.unwrap(), None);
    let before = store.signing_key_id().await;
    assert!(matches!(before, Err(Error::Rows { .. })), "{before:?}");
    let (first, second) = (world.installation(), world.installation());
    change!(store, [first], |tx| tx.insert_installation(&first)).unwrap();
    assert_eq!(store.installation().await.unwrap(), Some(first));
    let again = change!(store, [second], |tx| tx.insert_installation(&second));
    assert!(matches!(again, Err(Error::Initialised)), "{again:?}");
    assert_eq!(store.installation().await.unwrap(), Some(first));
    assert_eq!(store.list_audit(&Default::default(), 10).await.unwrap().len(), 1);
    assert_eq!(store.signing_key_id().await.unwrap(), "1");
    change!(store, [], |tx| tx.update_signing_key_id("2")).unwrap();
    assert_eq!(store.signing_key_id().await.unwrap(), "2");
    assert_eq!(change!(store, [], |tx| tx.signing_key_id()).unwrap(), "2");
    assert_eq!(store.installation().await.unwrap(), Some(first), "the installation is the same");
}

async fn accounts_and_zones(world: World) {
    let store = world.open().await;
    let (one, two) = (world.account("Größe"), world.account("two"));
    let zone = |account: AccountId, name: &str| Zone {
        id: ZoneId::generate(&world.entropy),
        account,
        name: name.to_owned(),
        created_at: at(1),
    };
    let zones = [zone(one.id, "example.com"), zone(one.id, "example.org"), zone(two.id, "example.com")];
    for account in [&one, &two] {
        let account = account.clone();
        change!(store, [account], |tx| tx.insert_account(&account)).unwrap();
    }
    for zone in &zones {
        let zone = zone.clone();
        change!(store, [zone], |tx| tx.insert_zone(&zone)).unwrap();
    }
    assert_eq!(store.find_account(&one.id).await.unwrap(), Some(one.clone()));
    assert_eq!(store.find_account(&two.id).await.unwrap(), Some(two.clone()));
    assert_eq!(store.find_account(&AccountId::generate(&world.entropy)).await.unwrap(), None);
    let renamed = Account {
        name: "one".to_owned(),
        organisation_name: Some("Example GmbH".to_owned()),
        purpose: "personal".to_owned(),
        updated_at: at(3),
        ..one.clone()
    };
    for account in [renamed, one.clone()] {
        let update = account.clone();
        change!(store, [update], |tx| tx.update_account(&update)).unwrap();
        assert_eq!(store.find_account(&one.id).await.unwrap(), Some(account));
    }
    let nobody = world.account("nobody");
    let outcome = change!(store, [nobody], |tx| tx.update_account(&nobody));
    assert!(matches!(outcome, Err(Error::Rows { .. })), "{outcome:?}");
    assert_eq!(store.find_account(&two.id).await.unwrap(), Some(two.clone()));
    assert_eq!(store.find_zone(&zones[1].id).await.unwrap(), Some(zones[1].clone()));
    let user = world.user("member@example.com");
    let membership = Membership { user: user.id, account: two.id, created_at: at(2) };
    let member = user.id;
    change!(store, [user], |tx| tx.insert_user(&user)).unwrap();
    change!(store, [], |tx| tx.insert_membership(&membership)).unwrap();

    let accounts = async |filter: AccountFilter, page: Page| {
        let listed = store.list_accounts(&filter, page).await.unwrap();
        if page == Page::ALL {
            assert_eq!(store.count_accounts(&filter).await.unwrap(), listed.len() as u64);
        }
        listed.into_iter().map(|account| account.id).collect::<Vec<_>>()
    };
    let mut both = [one.id, two.id];
    both.sort_unstable_by_key(ToString::to_string);
    assert_eq!(accounts(AccountFilter::default(), Page::ALL).await, both);
    assert_eq!(accounts(AccountFilter::default(), Page { offset: 1, limit: 5 }).await, both[1..]);
    assert_eq!(accounts(AccountFilter { name: Some("Größe".to_owned()), member: None }, Page::ALL).await, [one.id]);
    assert_eq!(accounts(AccountFilter { name: None, member: Some(member) }, Page::ALL).await, [two.id]);

    let listed = async |filter: ZoneFilter| {
        let listed = store.list_zones(&filter, Page::ALL).await.unwrap();
        assert_eq!(store.count_zones(&filter).await.unwrap(), listed.len() as u64);
        listed.len()
    };
    assert_eq!(listed(ZoneFilter::default()).await, 3);
    assert_eq!(listed(ZoneFilter { account: Some(one.id), ..ZoneFilter::default() }).await, 2);
    assert_eq!(listed(ZoneFilter { name: Some("example.com".to_owned()), ..ZoneFilter::default() }).await, 2);
    assert_eq!(listed(ZoneFilter { member: Some(member), ..ZoneFilter::default() }).await, 1);
    let orphan = zone(AccountId::generate(&world.entropy), "nobody.example");
    let outcome = change!(store, [orphan], |tx| tx.insert_zone(&orphan));
    assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
}

async fn users(world: World) {
    let store = world.open().await;
    let (owner, other) = (world.user("owner@Example.com"), world.user("ÄÖ@example.com"));
    for user in [&owner, &other] {
        let user = user.clone();
        change!(store, [user], |tx| tx.insert_user(&user)).unwrap();
    }
    let same = |found: Option<User>, expected: &User| {
        let found = found.expect("a user");
        assert_eq!((found.id, found.pfid, found.created_at), (expected.id, expected.pfid, expected.created_at));
        assert_eq!((&found.email, found.installation_owner), (&expected.email, expected.installation_owner));
        assert!(found.key_digest.matches(&expected.key_digest));
    };
    same(store.find_user(&owner.id).await.unwrap(), &owner);
    same(store.find_user_by_email("OWNER@example.COM").await.unwrap(), &owner);
    same(store.find_user_by_email("äÖ@example.com").await.unwrap(), &other);
    assert!(store.find_user_by_email("nobody@example.com").await.unwrap().is_none());
    assert_eq!(store.list_users(&UserFilter::default(), Page::ALL).await.unwrap().len(), 2);
    let nowhere = UserFilter { account: Some(AccountId::generate(&world.entropy)) };
    assert!(store.list_users(&nowhere, Page::ALL).await.unwrap().is_empty());
    let twin = world.user("Owner@EXAMPLE.com");
    let outcome = change!(store, [twin], |tx| tx.insert_user(&twin));
    assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
    let told = User {
        name: Some("Größe".to_owned()),
        job_title: Some("operator".to_owned()),
        profile_completed_at: Some(at(5)),
        updated_at: at(6),
        ..owner.clone()
    };
    let update = told.clone();
    change!(store, [update], |tx| tx.update_user(&update)).unwrap();
    // Marks go forward only, and are no update.
    for (second, expected) in [(50, 50), (40, 50), (60, 60)] {
        store
            .record_seen(&[SeenMark { subject: SeenSubject::User(owner.id), version: 0, at: at(second) }.into()])
            .await
            .unwrap();
        let found = store.find_user(&owner.id).await.unwrap().unwrap();
        assert_eq!((found.last_active_at, found.updated_at), (Some(at(expected)), at(6)));
    }
    let found = store.find_user(&owner.id).await.unwrap();
    let profile = |user: &User| (user.name.clone(), user.job_title.clone(), user.profile_completed_at);
    assert_eq!(found.as_ref().map(profile), Some(profile(&told)));
    same(found, &told);
    assert_eq!(store.find_user(&other.id).await.unwrap().unwrap().last_active_at, None);
    let nobody = world.user("nobody@example.com");
    let outcome = change!(store, [nobody], |tx| tx.update_user(&nobody));
    assert!(matches!(outcome, Err(Error::Rows { .. })), "{outcome:?}");
}

async fn management_tokens(world: World) {
    let store = world.open().await;
    let (account, user) = (world.account("one"), world.user("a@b"));
    let (account_id, user_id) = (account.id, user.id);
    change!(store, [account], |tx| tx.insert_account(&account)).unwrap();
    change!(store, [user], |tx| tx.insert_user(&user)).unwrap();
    let grant = |permission| Grant { account: account_id, permission };
    let token = |owner: TokenOwner, grants: Vec<Grant>, second: i64| ManagementToken {
        id: ManagementTokenId::generate(&world.entropy),
        owner,
        name: "ci".to_owned(),
        digest: world.digest(&second.to_string()),
        grants,
        created_at: at(second),
        expires_at: Some(at(second + 100)),
        revoked_at: None,
        last_used_at: None,
    };
    let of_user = token(
        TokenOwner::User(user_id),
        // Named twice, and not in order.
        vec![grant(Permission::ServiceTokensWrite), grant(Permission::Everything), grant(Permission::Everything)],
        1,
    );
    let of_account = token(TokenOwner::Account(account_id), Vec::new(), 2);
    for token in [&of_user, &of_account] {
        let token = token.clone();
        change!(store, [token], |tx| tx.insert_management_token(&token)).unwrap();
    }
    let found = store.find_management_token(&of_user.id).await.unwrap().unwrap();
    assert_eq!(
        found.grants,
        [grant(Permission::ServiceTokensWrite), grant(Permission::Everything)].map(|g| g).to_vec().tap_sorted()
    );
    assert_eq!((found.owner, found.expires_at, found.revoked_at), (of_user.owner, of_user.expires_at, None));
    assert!(found.digest.matches(&of_user.digest));
    let ids = async |account: Option<AccountId>, user: Option<UserId>| {
        let filter = ManagementTokenFilter { account, user };
        let listed = store.list_management_tokens(&filter, Page::ALL).await.unwrap();
        listed.into_iter().map(|token| (token.id, token.grants.len())).collect::<Vec<_>>()
    };
    let both = [(of_user.id, 2), (of_account.id, 0)];
    assert_eq!(ids(None, None).await, both);
    assert_eq!(ids(Some(account_id), None).await, both);
    assert_eq!(ids(None, Some(user_id)).await, both[..1]);
    let (id, seen) =
        (of_user.id, SeenMark { subject: SeenSubject::ManagementToken(of_user.id), version: 0, at: at(50) }.into());
    store.record_seen(&[seen]).await.unwrap();
    change!(store, [], |tx| tx.revoke_management_token(&id, at(60))).unwrap();
    let again = change!(store, [], |tx| tx.revoke_management_token(&id, at(70)));
    assert!(matches!(again, Err(Error::Rows { .. })), "{again:?}");
    let found = store.find_management_token(&id).await.unwrap().unwrap();
    assert_eq!((found.last_used_at, found.revoked_at), (Some(at(50)), Some(at(60))));
}

/// Sorts in passing.
trait TapSorted {
    fn tap_sorted(self) -> Self;
}

impl TapSorted for Vec<Grant> {
    fn tap_sorted(mut self) -> Self {
        self.sort_by_key(|grant| (grant.account.to_string(), grant.permission.text()));
        self
    }
}

fn assert_same(found: &ServiceToken, expected: &ServiceToken) {
    assert_eq!((found.id, found.owner, found.client_id), (expected.id, expected.owner, expected.client_id));
    assert_eq!((&found.name, &found.duration), (&expected.name, &expected.duration));
    assert_eq!((found.enabled, found.secret_version), (expected.enabled, expected.secret_version));
    assert_eq!(found.allow_from, expected.allow_from);
    assert_eq!(found.digest.as_bytes(), expected.digest.as_bytes());
    assert_eq!(found.previous_digest.map(|d| *d.as_bytes()), expected.previous_digest.map(|d| *d.as_bytes()));
    assert_eq!(found.previous_expires_at, expected.previous_expires_at);
    assert_eq!((found.previous_version, found.rotated_at), (expected.previous_version, expected.rotated_at));
    assert_eq!((found.created_at, found.updated_at), (expected.created_at, expected.updated_at));
    assert_eq!((found.expires_at, found.last_seen_at), (expected.expires_at, expected.last_seen_at));
}

async fn service_tokens(world: World) {
    let store = world.open().await;
    let plain = world.token(world.owner(), "plain", 1);
    let odd = ServiceToken {
        name: Name::parse(&format!(" \u{1F600}\"'\\%_\u{7f}\n{} ", "ß".repeat(300))).unwrap(),
        duration: TokenDuration::parse("forever").unwrap(),
        enabled: false,
        allow_from: Some("10.0.0.0/8,192.0.2.7,2001:db8::/32".parse().unwrap()),
        secret_version: u32::MAX,
        previous_digest: Some(world.digest("before")),
        previous_version: Some(7),
        previous_expires_at: Some(Timestamp::MIN),
        rotated_at: Some(Timestamp::from_micros(-2)),
        expires_at: Timestamp::MAX,
        updated_at: Timestamp::from_micros(-1),
        ..world.token(world.zone_owner(), "odd", 2)
    };
    for token in [&plain, &odd] {
        insert(&store, token).await;
        assert_same(&store.find_service_token(&token.owner, &token.id).await.unwrap().unwrap(), token);
    }
    store
        .record_seen(&[SeenMark { subject: SeenSubject::ServiceToken(odd.id), version: u32::MAX, at: at(7) }.into()])
        .await
        .unwrap();
    let elsewhere = Some("192.0.2.8".parse().unwrap());
    let rotated = odd.rotated(None, world.digest("next"), at(9)).allowed_from(elsewhere, at(9));
    let update = rotated.clone();
    change!(store, [update], |tx| tx.update_service_token(&update)).unwrap();
    let expected = ServiceToken { last_seen_at: Some(at(7)), ..rotated };
    assert_same(&store.find_service_token(&odd.owner, &odd.id).await.unwrap().unwrap(), &expected);
    let (owner, id) = (odd.owner, odd.id);
    change!(store, [], |tx| tx.delete_service_token(&owner, &id, at(10))).unwrap();
    assert!(store.find_service_token(&owner, &id).await.unwrap().is_none());
    let again = change!(store, [], |tx| tx.delete_service_token(&owner, &id, at(11)));
    assert!(matches!(again, Err(Error::Rows { .. })), "{again:?}");
}

async fn what_cannot_be_read_names_its_place(world: World) {
    let store = world.open().await;
    let token = world.token(world.owner(), "t", 1);
    insert(&store, &token).await;
    let check = async |set: &str, column: &str| {
        world.sql(&format!("UPDATE service_token SET {set}")).await;
        let error = store.find_service_token(&token.owner, &token.id).await.expect_err(set);
        match error {
            Error::Inconsistent { table, column: named, key, .. } => {
                assert_eq!((table, named.as_str(), key), ("service_token", column, token.id.to_string()));
            }
            other => panic!("{set}: {other:?}"),
        }
    };
    check("enabled = 2", "enabled").await;
    check("enabled = 1, secret_version = -1", "secret_version").await;
    check("secret_version = 1, client_id = 'x'", "client_id").await;
    check(&format!("client_id = '{}', digest = NULL", token.client_id), "digest").await;
}
