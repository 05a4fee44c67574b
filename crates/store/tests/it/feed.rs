//! The feed: whoever follows it step by step knows what one who reads everything knows.

use std::collections::{BTreeMap, HashMap};

use countersign_store::{Error, ManagementToken, Membership, Node, NodeId, Sighting, Store, User};
use countersign_token::api_token::ApiTokenScope;
use countersign_token::feed::{Change, Grant, Revision, Subject, TokenOwner};
use countersign_token::id::{AccountId, ManagementTokenId, ServiceTokenId, ZoneId};
use countersign_token::index::{SeenMark, SeenSubject};
use countersign_token::permission::Permission;
use countersign_token::service_token::{Owner, ServiceToken};

use crate::{World, at, change, event, insert, on_both, write};

on_both! {
    a_poll_returns_what_came_after,
    only_the_newest_state_of_a_subject_is_in_a_poll,
    a_membership_takes_its_user_along,
    a_grant_comes_with_its_token,
    directory_comes_before_tokens,
    a_reader_behind_the_sweep_reloads,
    a_deleted_environment_stays_known_while_it_has_tokens,
    marks_and_heartbeats_are_not_in_the_feed,
    following_equals_loading,
    another_process_is_noticed,
    a_dropped_wait_loses_nothing,
    nodes_come_and_go,
}

/// What a follower knows, in words, by kind and id.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known(BTreeMap<String, String>);

impl Known {
    fn apply(&mut self, change: &Change) {
        let subject = &change.subject;
        let (key, gone) = match subject {
            Subject::Account { id, .. } => (format!("account {id}"), false),
            Subject::Zone { id, .. } => (format!("zone {id}"), false),
            Subject::Environment { id, .. } => (format!("environment {id}"), false),
            Subject::User { id, .. } => (format!("user {id}"), false),
            Subject::ManagementToken { id, revoked, .. } => (format!("management {id}"), *revoked),
            Subject::ServiceToken { id, deleted, .. } => (format!("service {id}"), *deleted),
            Subject::ApiToken { id, deleted, .. } => (format!("api {id}"), *deleted),
        };
        if gone {
            self.0.remove(&key);
        } else {
            self.0.insert(key, format!("{:?} {subject:?} {:?}", change.revision, digests(subject)));
        }
    }

    async fn loaded(store: &Store) -> (Revision, Self) {
        let mut known = Self::default();
        let revision = store.load(&mut |change| known.apply(&change)).await.unwrap();
        (revision, known)
    }

    /// Follows by one poll.
    async fn follow(&mut self, store: &Store, from: Revision) -> Revision {
        let feed = store.poll(from).await.unwrap();
        if feed.reload {
            self.0.clear();
        }
        feed.changes.iter().for_each(|change| self.apply(change));
        feed.revision
    }
}

/// Digests don't show themselves; here they must.
fn digests(subject: &Subject) -> Vec<[u8; 32]> {
    match subject {
        Subject::User { key_digest, .. } => vec![*key_digest.as_bytes()],
        Subject::ManagementToken { digest, .. } | Subject::ApiToken { digest, .. } => vec![*digest.as_bytes()],
        Subject::ServiceToken { digest, previous, .. } => {
            std::iter::once(digest).chain(previous.iter().map(|(digest, _)| digest)).map(|d| *d.as_bytes()).collect()
        }
        _ => Vec::new(),
    }
}

fn kinds(changes: &[Change]) -> Vec<&'static str> {
    changes
        .iter()
        .map(|change| match change.subject {
            Subject::Account { .. } => "account",
            Subject::Zone { .. } => "zone",
            Subject::Environment { .. } => "environment",
            Subject::User { .. } => "user",
            Subject::ManagementToken { .. } => "management",
            Subject::ServiceToken { .. } => "service",
            Subject::ApiToken { .. } => "api",
        })
        .collect()
}

fn management_token(world: &World, owner: TokenOwner, grants: Vec<Grant>) -> ManagementToken {
    let id = ManagementTokenId::generate(&world.entropy);
    ManagementToken {
        id,
        owner,
        name: "ci".to_owned(),
        digest: world.digest(&id.to_string()),
        grants,
        created_at: at(1),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    }
}

async fn delete(store: &Store, token: &ServiceToken, second: i64) {
    let token = token.clone();
    write!(store, [token], |tx| {
        tx.delete_service_token(&token.owner, &token.id, at(second)).await?;
        tx.record(event("service_token.delete", &token.id));
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
}

async fn a_poll_returns_what_came_after(world: World) {
    let store = world.open().await;
    let owner = world.owner();
    let feed = store.poll(Revision::new(0)).await.unwrap();
    assert_eq!((feed.revision, feed.changes.len(), feed.reload), (Revision::new(0), 0, false));
    let tokens: Vec<_> = (0..3).map(|second| world.token(owner, "t", second)).collect();
    for token in &tokens {
        insert(&store, token).await;
    }
    let feed = store.poll(Revision::new(1)).await.unwrap();
    assert_eq!(feed.revision, Revision::new(3));
    let seen: Vec<_> = feed
        .changes
        .iter()
        .map(|change| match &change.subject {
            Subject::ServiceToken {
                id,
                client_id,
                name,
                digest,
                allow_from: None,
                enabled: true,
                deleted: false,
                expires_at,
                ..
            } => (change.revision.get(), *id, *client_id, name.clone(), *digest.as_bytes(), *expires_at),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected: Vec<_> = [2, 3]
        .into_iter()
        .zip(&tokens[1..])
        .map(|(revision, t)| {
            (revision, t.id, t.client_id, t.name.as_str().to_owned(), *t.digest.as_bytes(), Some(t.expires_at))
        })
        .collect();
    assert_eq!(seen, expected);
    assert!(store.poll(Revision::new(3)).await.unwrap().changes.is_empty());
}

async fn only_the_newest_state_of_a_subject_is_in_a_poll(world: World) {
    let store = world.open().await;
    let token = world.token(world.owner(), "t", 1);
    insert(&store, &token).await;
    let rotated = token.rotated(Some(at(100)), world.digest("new"), at(2));
    write!(store, [rotated], |tx| {
        tx.update_service_token(&rotated).await?;
        tx.record(event("service_token.rotate", &rotated.id));
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    let feed = store.poll(Revision::new(0)).await.unwrap();
    assert_eq!(feed.changes.len(), 1);
    let Subject::ServiceToken { digest, previous, .. } = &feed.changes[0].subject else { panic!("{feed:?}") };
    assert!(digest.matches(&world.digest("new")));
    let (before, until) = previous.expect("a grace period");
    assert!(before.matches(&token.digest));
    assert_eq!(until, at(100));
    delete(&store, &token, 3).await;
    let feed = store.poll(Revision::new(2)).await.unwrap();
    assert!(matches!(feed.changes[0].subject, Subject::ServiceToken { deleted: true, previous: None, .. }));
    let raw = world.sql("SELECT COUNT(*) FROM service_token WHERE digest IS NULL AND previous_digest IS NULL").await;
    assert_eq!(sqlx::Row::get::<i64, _>(&raw[0], 0), 1, "no digest outlives its token");
}

async fn a_membership_takes_its_user_along(world: World) {
    let store = world.open().await;
    let (one, two) = (world.account("one"), world.account("two"));
    let user = world.user("Someone@Example.com");
    let accounts = async |from: i64| {
        let feed = store.poll(Revision::new(from)).await.unwrap();
        let users = feed.changes.iter().filter_map(|change| match &change.subject {
            Subject::User { id, email, accounts, .. } => {
                assert_eq!((id, email.as_str()), (&user.id, "someone@example.com"));
                Some(accounts.clone())
            }
            _ => None,
        });
        users.collect::<Vec<_>>()
    };
    let membership = |account: &AccountId| Membership { user: user.id, account: *account, created_at: at(1) };
    let (first, second) = (membership(&one.id), membership(&two.id));
    let (a, b, u) = (one.clone(), two.clone(), user.clone());
    write!(store, [a, b, u], |tx| {
        tx.insert_account(&a).await?;
        tx.insert_account(&b).await?;
        tx.insert_user(&u).await?;
        tx.insert_membership(&first).await?;
        tx.record(event("user.create", &u.id));
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    assert_eq!(accounts(0).await, [vec![one.id]]);
    write!(store, [], |tx| {
        tx.insert_membership(&second).await?;
        tx.record(event("membership.create", &second.user));
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    let mut both = vec![one.id, two.id];
    both.sort_unstable_by_key(ToString::to_string);
    assert_eq!(accounts(1).await, [both]);
    assert_eq!(store.list_memberships(&user.id).await.unwrap().len(), 2);
    let named = User { name: Some("Someone".to_owned()), ..user.clone() };
    change!(store, [named], |tx| tx.update_user(&named)).unwrap();
    let told = accounts(2).await;
    assert_eq!(told.iter().map(Vec::len).collect::<Vec<_>>(), [2], "a user comes with every account");
}

async fn a_grant_comes_with_its_token(world: World) {
    let store = world.open().await;
    let account = world.account("one");
    let grants = vec![
        Grant { account: account.id, permission: Permission::ServiceTokensRead },
        Grant { account: account.id, permission: Permission::ServiceTokensWrite },
    ];
    let token = management_token(&world, TokenOwner::Account(account.id), grants.clone());
    let bare = management_token(&world, TokenOwner::Account(account.id), Vec::new());
    let (t, b) = (token.clone(), bare.clone());
    write!(store, [account, t, b], |tx| {
        tx.insert_account(&account).await?;
        tx.insert_management_token(&t).await?;
        tx.insert_management_token(&b).await?;
        tx.record(event("token.create", &t.id));
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    let feed = store.poll(Revision::new(0)).await.unwrap();
    let seen: HashMap<_, _> = feed
        .changes
        .iter()
        .filter_map(|change| match &change.subject {
            Subject::ManagementToken { id, grants, revoked: false, .. } => Some((*id, grants.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(seen, HashMap::from([(token.id, grants), (bare.id, Vec::new())]));
    let id = token.id;
    write!(store, [], |tx| {
        tx.revoke_management_token(&id, at(5)).await?;
        tx.record(event("token.revoke", &id));
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    let feed = store.poll(feed.revision).await.unwrap();
    assert!(matches!(feed.changes[..], [Change { subject: Subject::ManagementToken { revoked: true, .. }, .. }]));
    let (_, known) = Known::loaded(&store).await;
    assert!(!known.0.contains_key(&format!("management {id}")));
    assert!(known.0.contains_key(&format!("management {}", bare.id)));
}

async fn directory_comes_before_tokens(world: World) {
    let store = world.open().await;
    let account = world.account("one");
    let owner = Owner { account: account.id, zone: None };
    let token = world.token(owner, "t", 1);
    let user = world.user("a@b");
    let grant = management_token(&world, TokenOwner::User(user.id), Vec::new());
    let zone = countersign_store::Zone {
        id: ZoneId::generate(&world.entropy),
        account: account.id,
        name: "example.com".to_owned(),
        created_at: at(1),
    };
    let environment = world.environment(account.id);
    insert(&store, &token).await;
    write!(store, [account, user, grant, zone, environment], |tx| {
        tx.insert_account(&account).await?;
        tx.insert_user(&user).await?;
        tx.insert_management_token(&grant).await?;
        tx.insert_environment(&environment).await?;
        tx.insert_zone(&zone).await?;
        tx.record(event("installation.create", "all"));
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    let expected = ["account", "zone", "environment", "user", "management", "service"];
    let feed = store.poll(Revision::new(0)).await.unwrap();
    assert_eq!(kinds(&feed.changes), expected);
    let mut loaded = Vec::new();
    store.load(&mut |change| loaded.push(change)).await.unwrap();
    assert_eq!(kinds(&loaded), expected);
}

async fn a_reader_behind_the_sweep_reloads(world: World) {
    let store = world.open().await;
    let owner = world.owner();
    let tokens: Vec<_> = (0..4).map(|second| world.token(owner, "t", second)).collect();
    for token in &tokens {
        insert(&store, token).await;
    }
    let mark =
        |token: &ServiceToken| SeenMark { subject: SeenSubject::ServiceToken(token.id), version: 1, at: at(9) }.into();
    store.record_seen(&tokens.iter().map(mark).collect::<Vec<_>>()).await.unwrap();
    delete(&store, &tokens[0], 10).await;
    delete(&store, &tokens[1], 20).await;
    assert_eq!(store.sweep_tombstones(at(5)).await.unwrap(), 0);
    assert!(!store.poll(Revision::new(4)).await.unwrap().reload);
    assert_eq!(store.sweep_tombstones(at(15)).await.unwrap(), 1);
    assert_eq!(store.revision().await.unwrap(), Revision::new(6), "a sweep takes no revision");
    // The first deletion was revision 5: who has seen it goes on, who hasn't starts again.
    let feed = store.poll(Revision::new(5)).await.unwrap();
    assert!(!feed.reload);
    assert_eq!(feed.changes.len(), 1);
    let feed = store.poll(Revision::new(4)).await.unwrap();
    assert!(feed.reload);
    assert_eq!((feed.revision, feed.changes.len()), (Revision::new(6), 2));
    assert_eq!(store.sweep_tombstones(at(100)).await.unwrap(), 1);
    for table in ["service_token", "service_token_use"] {
        let rows = world.sql(&format!("SELECT COUNT(*) FROM {table}")).await;
        assert_eq!(sqlx::Row::get::<i64, _>(&rows[0], 0), 2, "{table}");
    }
}

async fn a_deleted_environment_stays_known_while_it_has_tokens(world: World) {
    let store = world.open().await;
    let account = world.account("one");
    let (with, without) = (world.environment(account.id), world.environment(account.id));
    let token = world.api_token(account.id, ApiTokenScope::Environment(with.id));
    let (a, w, o, t) = (account, with.clone(), without.clone(), token.clone());
    write!(store, [a, w, o, t], |tx| {
        tx.insert_account(&a).await?;
        tx.insert_environment(&w).await?;
        tx.insert_environment(&o).await?;
        tx.insert_api_token(&t).await?;
        tx.delete_environment(&w.account, &w.id, at(2)).await?;
        tx.delete_environment(&o.account, &o.id, at(2)).await?;
        tx.record(event("all", "all"));
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    assert_eq!(store.sweep_tombstones(at(100)).await.unwrap(), 1);
    let (_, known) = Known::loaded(&store).await;
    assert!(known.0.contains_key(&format!("environment {}", with.id)));
    assert!(!known.0.contains_key(&format!("environment {}", without.id)));
    let (account, id) = (token.account, token.id);
    write!(store, [], |tx| {
        tx.delete_api_token(&account, &id, at(3)).await?;
        tx.record(event("api_token.delete", &id));
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    assert_eq!(store.sweep_tombstones(at(100)).await.unwrap(), 2);
}

async fn marks_and_heartbeats_are_not_in_the_feed(world: World) {
    let store = world.open().await;
    let owner = world.owner();
    let tokens: Vec<_> = (0..100).map(|second| world.token(owner, "t", second)).collect();
    for token in &tokens {
        insert(&store, token).await;
    }
    let marks: Vec<Sighting> = tokens
        .iter()
        .map(|token| token.id)
        .chain([ServiceTokenId::from_bytes([0; 16])])
        .map(|id| SeenMark { subject: SeenSubject::ServiceToken(id), version: 1, at: at(500) }.into())
        .collect();
    store.record_seen(&marks).await.unwrap();
    // A mark never goes back, and another one moves one row only.
    let mark = |place: usize, second: i64| {
        SeenMark { subject: SeenSubject::ServiceToken(tokens[place].id), version: 1, at: at(second) }.into()
    };
    store.record_seen(&[mark(0, 400), mark(1, 600)]).await.unwrap();
    assert_eq!(store.revision().await.unwrap(), Revision::new(100));
    assert!(store.poll(Revision::new(100)).await.unwrap().changes.is_empty());
    for (place, second) in [(0, 500), (1, 600), (99, 500)] {
        let token = store.find_service_token(&owner, &tokens[place].id).await.unwrap().unwrap();
        assert_eq!(token.last_seen_at, Some(at(second)));
        assert_eq!(token.updated_at, tokens[place].updated_at);
    }
    // An update by somebody who read the token before it was seen leaves the mark.
    let stale = tokens[1].clone();
    write!(store, [stale], |tx| {
        tx.update_service_token(&stale).await?;
        tx.record(event("service_token.update", &stale.id));
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    let token = store.find_service_token(&owner, &tokens[1].id).await.unwrap().unwrap();
    assert_eq!(token.last_seen_at, Some(at(600)));
}

/// A small source of choices.
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

async fn following_equals_loading(world: World) {
    let store = world.open().await;
    let account = world.account("one");
    let member = world.user("m@example.com");
    let (a, m) = (account.clone(), member.clone());
    write!(store, [a, m], |tx| {
        tx.insert_account(&a).await?;
        tx.insert_user(&m).await?;
        tx.record(event("installation.create", &a.id));
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    let zone = world.zone_owner().zone;
    let owners = [Owner { account: account.id, zone: None }, Owner { account: account.id, zone }];
    let (mut followed, mut followed_slowly) = (Known::default(), Known::default());
    let (mut applied, mut slowly) = (Revision::new(0), Revision::new(0));
    let mut choices = Choices(1);
    let mut alive: Vec<ServiceToken> = Vec::new();
    let mut is_member = false;
    for step in 0..150_i64 {
        let choice = choices.below(10);
        let picked = (!alive.is_empty()).then(|| choices.below(alive.len()));
        match (choice, picked) {
            (0..=3, _) | (_, None) => {
                let token = world.token(owners[choices.below(2)], "t", step);
                insert(&store, &token).await;
                alive.push(token);
            }
            (4..=5, Some(picked)) => {
                let rotated = alive[picked].rotated(Some(at(step + 10)), world.digest(&step.to_string()), at(step));
                alive[picked] = rotated.clone();
                write!(store, [rotated], |tx| {
                    tx.update_service_token(&rotated).await?;
                    tx.record(event("service_token.rotate", &rotated.id));
                    Ok::<_, Error>(())
                })
                .await
                .unwrap();
            }
            (6..=7, Some(picked)) => delete(&store, &alive.swap_remove(picked), step).await,
            (8, _) => {
                let membership = Membership { user: member.id, account: account.id, created_at: at(step) };
                let member = User { updated_at: at(step), ..member.clone() };
                write!(store, [member], |tx| {
                    if is_member {
                        tx.update_user(&member).await?;
                    } else {
                        tx.insert_membership(&membership).await?;
                    }
                    tx.record(event("membership.change", &membership.user));
                    Ok::<_, Error>(())
                })
                .await
                .unwrap();
                is_member = true;
            }
            _ => {
                store.sweep_tombstones(at(step - 20)).await.unwrap();
            }
        }
        applied = followed.follow(&store, applied).await;
        if choices.below(20) == 0 {
            slowly = followed_slowly.follow(&store, slowly).await;
        }
        if step % 10 == 0 {
            let (revision, loaded) = Known::loaded(&store).await;
            assert_eq!(revision, applied);
            assert_eq!(followed, loaded, "after step {step}");
        }
    }
    followed_slowly.follow(&store, slowly).await;
    assert_eq!(followed_slowly, followed);
    for owner in owners {
        let filter = countersign_store::ServiceTokenFilter::all(owner);
        let counted = store.count_service_tokens(&filter).await.unwrap();
        assert_eq!(counted, alive.iter().filter(|token| token.owner == owner).count() as u64);
    }
}

/// Returns whether the watch reports before anything else can happen for a while.
async fn reports(watch: &mut countersign_store::Watch) -> bool {
    // Many times the interval in which a file is looked at.
    tokio::time::timeout(std::time::Duration::from_millis(200), watch.changed()).await.is_ok()
}

async fn another_process_is_noticed(world: World) {
    let (here, there) = (world.open().await, world.open().await);
    let owner = world.owner();
    let mut watch = here.watch().await.unwrap();
    insert(&there, &world.token(owner, "foreign", 1)).await;
    watch.changed().await.unwrap();
    assert!(here.take_foreign(here.revision().await.unwrap()));
    // Own writes are known already, and heartbeats are nobody's business.
    insert(&here, &world.token(owner, "own", 2)).await;
    let node = Node::new(NodeId::generate(&world.entropy), at(1), Revision::new(0));
    there.register_node(&node).await.unwrap();
    assert!(!reports(&mut watch).await);
    assert!(!here.take_foreign(here.revision().await.unwrap()));
    insert(&there, &world.token(owner, "foreign", 3)).await;
    watch.changed().await.unwrap();
    assert!(here.take_foreign(here.revision().await.unwrap()));
}

async fn a_dropped_wait_loses_nothing(world: World) {
    let (here, there) = (world.open().await, world.open().await);
    let owner = world.owner();
    let mut watch = here.watch().await.unwrap();
    for second in 0..20_i64 {
        // Cut off wherever it stands.
        let cut = std::time::Duration::from_micros(second.unsigned_abs() * 700);
        let early = tokio::time::timeout(cut, watch.changed()).await;
        assert!(early.is_err(), "nothing was written since");
        insert(&there, &world.token(owner, "foreign", second)).await;
        let cut = tokio::time::timeout(cut, watch.changed()).await;
        if cut.is_err() {
            watch.changed().await.unwrap();
        }
    }
}

async fn nodes_come_and_go(world: World) {
    let store = world.open().await;
    let mut node = Node::new(NodeId::generate(&world.entropy), at(1), Revision::new(3));
    store.register_node(&node).await.unwrap();
    assert_eq!(store.list_nodes().await.unwrap(), [node]);
    store.heartbeat(node.id, Revision::new(4)).await.unwrap();
    store.report_applied(node.id, Revision::new(5)).await.unwrap();
    node.heartbeat = 1;
    node.applied = Revision::new(5);
    assert_eq!(store.list_nodes().await.unwrap(), [node]);
    store.register_node(&node).await.unwrap();
    node.heartbeat = 2;
    assert_eq!(store.list_nodes().await.unwrap(), [node], "the counter of one node never stands still or goes back");
    store.remove_node(node.id).await.unwrap();
    store.remove_node(node.id).await.unwrap();
    assert_eq!(store.list_nodes().await.unwrap(), []);
    let outcome = store.heartbeat(node.id, Revision::new(6)).await;
    assert!(matches!(outcome, Err(Error::Rows { expected: 1, actual: 0 })), "{outcome:?}");
    assert_eq!(store.revision().await.unwrap(), Revision::new(0));
}
