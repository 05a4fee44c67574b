//! API tokens: how they are listed, how they end, and what an index makes of that.

use std::collections::BTreeMap;

use countersign_store::{ApiTokenColumn, Environment, Error, Nulls, Order, Page};
use countersign_token::api_token::{Action, After, ApiToken, ApiTokenScope, ApiTokenStatus};
use countersign_token::digest::BearerKind;
use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::{AccountId, ApiTokenId};
use countersign_token::index::{Index, SeenMark, SeenSubject};
use countersign_token::time::Timestamp;

use crate::{Open, World, at, change, event, on_both, write};

on_both! {
    tokens_come_back_as_they_went_in,
    a_deleted_token_is_kept_for_replays,
    every_order_is_total,
    a_scope_that_does_not_fit_is_said_to_be_so,
    tokens_end_with_their_deployment_agent_or_environment,
    following_equals_loading_equals_the_rules,
    counts_follow_every_change,
}

const BY_ID: Order<ApiTokenColumn> = Order { column: ApiTokenColumn::Id, descending: false, nulls: Nulls::Last };

fn assert_same(found: &ApiToken, expected: &ApiToken) {
    assert_eq!((found.id, found.account, found.scope), (expected.id, expected.account, expected.scope));
    assert_eq!((found.status, &found.key_id), (expected.status, &expected.key_id));
    assert_eq!(found.digest.as_bytes(), expected.digest.as_bytes());
    assert_eq!((found.issued_at, found.expires_at), (expected.issued_at, expected.expires_at));
    assert_eq!((found.created_by, found.last_used_at), (expected.created_by, expected.last_used_at));
    assert_eq!((found.inserted_at, found.updated_at), (expected.inserted_at, expected.updated_at));
}

/// Inserts a token with its mark.
async fn insert(store: &Open, token: &ApiToken) {
    let new = token.clone();
    change!(store, [new], |tx| tx.insert_api_token(&new)).unwrap();
    let mark =
        token.last_used_at.map(|at| SeenMark { subject: SeenSubject::ApiToken(token.id), version: 0, at }.into());
    store.record_seen(mark.as_slice()).await.unwrap();
}

/// A scope of each kind.
fn scopes(world: &World, account: AccountId) -> [ApiTokenScope; 3] {
    let (environment, agent) = (world.environment(account), world.agent(account));
    let deployment = world.deployment(&agent, &environment).id;
    [
        ApiTokenScope::Account,
        ApiTokenScope::Environment(environment.id),
        ApiTokenScope::AgentDeployment { deployment, agent: agent.id, environment: environment.id },
    ]
}

async fn tokens_come_back_as_they_went_in(world: World) {
    let store = world.open().await;
    let [account, other] = [(); 2].map(|()| AccountId::generate(&world.entropy));
    for scope in scopes(&world, account) {
        let token = ApiToken {
            key_id: "\u{1F600}".to_owned(),
            issued_at: at(2),
            expires_at: Timestamp::MAX,
            created_by: None,
            last_used_at: Some(at(3)),
            inserted_at: Timestamp::from_micros(-1),
            updated_at: at(4),
            ..world.api_token(account, scope)
        };
        insert(&store, &token).await;
        let id = token.id;
        assert_same(&store.find_api_token(&account, &id).await.unwrap().unwrap(), &token);
        assert_same(&change!(store, [], |tx| tx.find_api_token(&account, &id)).unwrap().unwrap(), &token);
        let suspended = token.changed(ApiTokenStatus::Suspended, at(5));
        let update = suspended.clone();
        change!(store, [update], |tx| tx.update_api_token(&update)).unwrap();
        store
            .record_seen(&[SeenMark { subject: SeenSubject::ApiToken(id), version: 0, at: at(6) }.into()])
            .await
            .unwrap();
        let expected = ApiToken { last_used_at: Some(at(6)), ..suspended.clone() };
        assert_same(&store.find_api_token(&account, &id).await.unwrap().unwrap(), &expected);

        // It is none of another account's.
        assert!(store.find_api_token(&other, &id).await.unwrap().is_none());
        assert!(store.find_api_token_ever(&other, &id).await.unwrap().is_none());
        let foreign = ApiToken { account: other, ..suspended };
        let outcome = change!(store, [foreign], |tx| tx.update_api_token(&foreign));
        assert!(matches!(outcome, Err(Error::Rows { .. })), "{outcome:?}");
        let outcome = change!(store, [], |tx| tx.delete_api_token(&other, &id, at(7)));
        assert!(matches!(outcome, Err(Error::Rows { .. })), "{outcome:?}");
        let twin = token.clone();
        let outcome = change!(store, [twin], |tx| tx.insert_api_token(&twin));
        assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
    }
}

async fn a_deleted_token_is_kept_for_replays(world: World) {
    let store = world.open().await;
    let account = AccountId::generate(&world.entropy);
    let token = world.api_token(account, ApiTokenScope::Account);
    let token = ApiToken { last_used_at: Some(at(6)), ..token };
    let id = token.id;
    insert(&store, &token).await;
    change!(store, [], |tx| tx.delete_api_token(&account, &id, at(7))).unwrap();
    assert!(store.find_api_token(&account, &id).await.unwrap().is_none());
    assert!(change!(store, [], |tx| tx.find_api_token(&account, &id)).unwrap().is_none());
    assert_eq!(store.list_api_tokens(&account, &BY_ID, Page::ALL).await.unwrap().total, 0);
    assert_same(&store.find_api_token_ever(&account, &id).await.unwrap().unwrap(), &token);
    let outcome = change!(store, [], |tx| tx.delete_api_token(&account, &id, at(8)));
    assert!(matches!(outcome, Err(Error::Rows { .. })), "{outcome:?}");
    let update = token.changed(ApiTokenStatus::Active, at(8));
    let outcome = change!(store, [update], |tx| tx.update_api_token(&update));
    assert!(matches!(outcome, Err(Error::Rows { .. })), "{outcome:?}");
    assert_eq!(store.sweep_tombstones(at(8)).await.unwrap(), 1);
    assert!(store.find_api_token_ever(&account, &id).await.unwrap().is_none());
    assert!(world.sql("SELECT 1 FROM api_token_seen").await.is_empty(), "its mark went with it");
}

/// The list as it should be.
fn sorted(tokens: &[ApiToken], order: &Order<ApiTokenColumn>) -> Vec<ApiTokenId> {
    type Value = Option<(i64, String)>;
    let time = |at: Timestamp| Some((at.as_micros(), String::new()));
    let value = |token: &ApiToken| -> Value {
        match order.column {
            ApiTokenColumn::Id => Some((0, token.id.to_string())),
            ApiTokenColumn::InsertedAt => time(token.inserted_at),
            ApiTokenColumn::UpdatedAt => time(token.updated_at),
            ApiTokenColumn::ExpiresAt => time(token.expires_at),
            ApiTokenColumn::LastUsedAt => token.last_used_at.and_then(time),
            ApiTokenColumn::Status => Some((0, token.status.text().to_owned())),
            ApiTokenColumn::Scope => Some((0, token.scope.kind().text().to_owned())),
        }
    };
    let ids = |is_some: bool| {
        let mut some: Vec<_> = tokens.iter().filter(|token| value(token).is_some() == is_some).collect();
        some.sort_by_key(|token| (value(token), token.id.to_string()));
        if order.descending {
            some.reverse();
        }
        some.into_iter().map(|token| token.id).collect::<Vec<_>>()
    };
    match order.nulls {
        Nulls::First => [ids(false), ids(true)].concat(),
        Nulls::Last => [ids(true), ids(false)].concat(),
    }
}

async fn every_order_is_total(world: World) {
    let store = world.open().await;
    let [account, other] = [(); 2].map(|()| AccountId::generate(&world.entropy));
    let scopes = scopes(&world, account);
    let statuses = [ApiTokenStatus::Active, ApiTokenStatus::Suspended, ApiTokenStatus::Revoked];
    let mut tokens = Vec::new();
    for number in 0..23_usize {
        let second = |modulus: usize| at(i64::try_from(number * 7 % modulus).unwrap());
        let token = ApiToken {
            status: statuses[number % 3],
            inserted_at: second(5),
            updated_at: second(4),
            expires_at: second(3),
            last_used_at: (number % 3 != 1).then(|| second(2)),
            ..world.api_token(account, scopes[number * 5 % 3])
        };
        insert(&store, &token).await;
        insert(&store, &world.api_token(other, ApiTokenScope::Account)).await;
        tokens.push(token);
    }
    let columns = [
        ApiTokenColumn::Id,
        ApiTokenColumn::InsertedAt,
        ApiTokenColumn::UpdatedAt,
        ApiTokenColumn::ExpiresAt,
        ApiTokenColumn::LastUsedAt,
        ApiTokenColumn::Status,
        ApiTokenColumn::Scope,
    ];
    for column in columns {
        for (descending, nulls) in
            [(false, Nulls::Last), (true, Nulls::First), (false, Nulls::First), (true, Nulls::Last)]
        {
            let order = Order { column, descending, nulls };
            let expected = sorted(&tokens, &order);
            let mut paged = Vec::new();
            for offset in (0..30).step_by(7) {
                let listed = store.list_api_tokens(&account, &order, Page { offset, limit: 7 }).await.unwrap();
                assert_eq!(listed.total, 23);
                assert!(listed.rows.len() <= 7);
                paged.extend(listed.rows.into_iter().map(|token| token.id));
            }
            assert_eq!(paged, expected, "{order:?}");
        }
    }
    for page in [Page { offset: 23, limit: 7 }, Page { offset: u64::MAX, limit: 7 }, Page { offset: 0, limit: 0 }] {
        let listed = store.list_api_tokens(&account, &BY_ID, page).await.unwrap();
        assert_eq!((listed.rows.len(), listed.total), (0, 23), "{page:?}");
    }
    let ids = sorted(&tokens, &BY_ID);
    for (after, offset, limit) in [(None, 0, 7), (None, 5, 50), (Some(4), 0, 3), (Some(4), 2, 3), (Some(22), 0, 3)] {
        let skipped = after.map_or(0, |after| after + 1) + offset;
        let (after, page) =
            (after.map(|after| &ids[after]), Page { offset: offset as u64, limit: u32::try_from(limit).unwrap() });
        let listed = store.list_api_tokens_after(&account, after, page).await.unwrap();
        let found: Vec<_> = listed.rows.into_iter().map(|token| token.id).collect();
        assert_eq!(found, ids.iter().skip(skipped).take(limit).copied().collect::<Vec<_>>(), "{after:?} {page:?}");
        assert_eq!(listed.total, 23);
    }
    for (after, step, count) in [(None, 5, 9), (None, 23, 1), (None, 24, 1), (Some(7), 4, 9), (None, 3, 2)] {
        let skipped = after.map_or(0, |after| after + 1);
        let marks: Vec<_> = ids.iter().skip(skipped + step - 1).step_by(step).take(count).copied().collect();
        let [step, count] = [step, count].map(|number| u32::try_from(number).unwrap());
        let after = after.map(|after| &ids[after]);
        assert_eq!(store.mark_api_tokens(&account, after, step, count).await.unwrap(), marks, "{step} {count}");
    }
    let nobody = AccountId::generate(&world.entropy);
    assert_eq!(store.list_api_tokens(&nobody, &BY_ID, Page::ALL).await.unwrap().total, 0);
}

async fn a_scope_that_does_not_fit_is_said_to_be_so(world: World) {
    let store = world.open().await;
    let account = AccountId::generate(&world.entropy);
    let token = world.api_token(account, scopes(&world, account)[2]);
    insert(&store, &token).await;
    for set in ["agent_id = NULL", "scope = 'account'", "scope = 'environment'", "scope = 'galaxy'"] {
        world.sql(&format!("UPDATE api_token SET {set}")).await;
        let error = store.find_api_token(&account, &token.id).await.expect_err(set);
        assert!(matches!(&error, Error::Inconsistent { table: "api_token", .. }), "{set}: {error:?}");
    }
}

/// Which of the tokens an index admits.
fn admitted(index: &Index, tokens: &[ApiToken]) -> Vec<bool> {
    let admits =
        |token: &ApiToken| index.authenticate_bearer(BearerKind::ApiToken, &token.id.to_string(), at(500)).is_some();
    tokens.iter().map(admits).collect()
}

fn new_index(world: &World) -> Index {
    Index::new(world.key.digest_key(), &world.entropy)
}

async fn loaded(world: &World, store: &Open) -> Index {
    let index = new_index(world);
    let mut take = |change: Change| {
        assert!(!matches!(change.subject, Subject::ApiToken { deleted: true, .. }), "what has ended is left out");
        index.apply(&change);
    };
    store.load(&mut take).await.unwrap();
    index
}

async fn follow(store: &Open, index: &Index, from: Revision) -> Revision {
    let feed = store.poll(from).await.unwrap();
    if feed.reload {
        index.retain(&feed.changes);
    }
    feed.changes.iter().for_each(|change| index.apply(change));
    feed.revision
}

async fn tokens_end_with_their_deployment_agent_or_environment(world: World) {
    let store = world.open().await;
    let row = world.account("one");
    let account = row.id;
    change!(store, [row], |tx| tx.insert_account(&row)).unwrap();
    let (mut tokens, mut made) = (vec![world.api_token(account, ApiTokenScope::Account)], Vec::new());
    for _ in 0..3 {
        let (environment, agent) = (world.environment(account), world.agent(account));
        let deployment = world.deployment(&agent, &environment);
        let (id, agent_id, environment_id) = (deployment.id, agent.id, environment.id);
        tokens.push(world.api_token(account, ApiTokenScope::Environment(environment_id)));
        let scope = ApiTokenScope::AgentDeployment { deployment: id, agent: agent_id, environment: environment_id };
        tokens.push(world.api_token(account, scope));
        made.push((environment_id, agent_id, id));
        write!(store, [environment, agent], |tx| {
            tx.insert_environment(&environment).await?;
            tx.insert_agent(&agent).await?;
            tx.insert_agent_deployment(&deployment).await?;
            tx.record(event("all.create", "all"));
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    }
    for token in &tokens {
        insert(&store, token).await;
    }
    let index = new_index(&world);
    let mut applied = follow(&store, &index, Revision::new(0)).await;
    // Account, then of each: environment, deployment.
    let mut expected = [true; 7];
    let mut check = async |expected: [bool; 7], changed: &[usize]| {
        let feed = store.poll(applied).await.unwrap();
        let told: Vec<ApiTokenId> = feed
            .changes
            .iter()
            .filter_map(|change| match &change.subject {
                Subject::ApiToken { id, deleted: true, .. } => Some(*id),
                Subject::ApiToken { .. } => panic!("{change:?}"),
                _ => None,
            })
            .collect();
        let changed: Vec<ApiTokenId> = changed.iter().map(|place| tokens[*place].id).collect();
        assert_eq!(told, changed);
        applied = follow(&store, &index, applied).await;
        assert_eq!(admitted(&index, &tokens), expected);
        assert_eq!(admitted(&loaded(&world, &store).await, &tokens), expected, "after a restart");
        let listed = store.list_api_tokens(&account, &BY_ID, Page::ALL).await.unwrap();
        assert_eq!(listed.total, 7, "they stay listed");
    };
    check(expected, &[]).await;

    let deployment = made[0].2;
    change!(store, [], |tx| tx.delete_agent_deployment(&account, &deployment, at(10))).unwrap();
    expected[2] = false;
    check(expected, &[2]).await;

    let agent = made[1].1;
    change!(store, [], |tx| tx.delete_agent(&account, &agent, at(11))).unwrap();
    expected[4] = false;
    check(expected, &[4]).await;

    // Those of the environment itself end with it, and those of its deployments with these.
    let environment = made[2].0;
    change!(store, [], |tx| tx.delete_environment(&account, &environment, at(12))).unwrap();
    (expected[5], expected[6]) = (false, false);
    check(expected, &[6]).await;

    // What has ended keeps its status and its actions, and nothing brings it back.
    let ended = store.find_api_token(&account, &tokens[2].id).await.unwrap().unwrap();
    assert_same(&ended, &tokens[2]);
    for status in [ApiTokenStatus::Suspended, ApiTokenStatus::Active] {
        let update = ended.changed(status, at(13));
        change!(store, [update], |tx| tx.update_api_token(&update)).unwrap();
        assert_eq!(store.find_api_token(&account, &ended.id).await.unwrap().unwrap().status, status);
        check(expected, &[2]).await;
    }
    assert_eq!(store.sweep_tombstones(at(20)).await.unwrap(), 0, "all of it is still named by a token");
}

/// A small source of choices.
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// What the rules say of a token.
struct Rule {
    token: ApiToken,
    ended: bool,
}

/// A random history of tokens, of what they belong to, and of sweeps.
async fn following_equals_loading_equals_the_rules(world: World) {
    let store = world.open().await;
    let row = world.account("one");
    let account = row.id;
    change!(store, [row], |tx| tx.insert_account(&row)).unwrap();
    let mut choices = Choices(5);
    let mut rules: BTreeMap<ApiTokenId, Rule> = BTreeMap::new();
    let mut every: Vec<ApiToken> = Vec::new();
    let mut environments: Vec<Environment> = Vec::new();
    let mut agents = Vec::new();
    let index = new_index(&world);
    let mut applied = Revision::new(0);
    for step in 0..250_i64 {
        let now = at(step);
        while environments.len() < 2 {
            let environment = world.environment(account);
            environments.push(environment.clone());
            change!(store, [environment], |tx| tx.insert_environment(&environment)).unwrap();
        }
        while agents.len() < 2 {
            let agent = world.agent(account);
            agents.push(agent.clone());
            change!(store, [agent], |tx| tx.insert_agent(&agent)).unwrap();
        }
        let environment = environments[choices.below(2)].clone();
        let agent = agents[choices.below(2)].clone();
        let (environment_id, agent_id) = (environment.id, agent.id);
        let deployment =
            change!(store, [], |tx| tx.find_agent_deployment_of(&account, &agent_id, &environment_id)).unwrap();
        match choices.below(12) {
            0..=3 => {
                let scope = match choices.below(4) {
                    0 => ApiTokenScope::Account,
                    1 => ApiTokenScope::Environment(environment_id),
                    _ => {
                        let fresh = world.deployment(&agent, &environment);
                        if deployment.is_none() {
                            change!(store, [], |tx| tx.insert_agent_deployment(&fresh)).unwrap();
                        }
                        let deployment = deployment.unwrap_or(fresh).id;
                        ApiTokenScope::AgentDeployment { deployment, agent: agent_id, environment: environment_id }
                    }
                };
                let token = world.api_token(account, scope);
                insert(&store, &token).await;
                every.push(token.clone());
                rules.insert(token.id, Rule { token, ended: false });
            }
            4..=8 if !rules.is_empty() => {
                let id = *rules.keys().nth(choices.below(rules.len())).unwrap();
                let action = [Action::Suspend, Action::Activate, Action::Revoke, Action::Delete][choices.below(4)];
                let rule = rules.get_mut(&id).unwrap();
                match rule.token.status.after(action) {
                    Some(After::Status(status)) => {
                        rule.token = rule.token.changed(status, now);
                        let update = rule.token.clone();
                        change!(store, [update], |tx| tx.update_api_token(&update)).unwrap();
                    }
                    Some(After::Deleted) => {
                        change!(store, [], |tx| tx.delete_api_token(&account, &id, now)).unwrap();
                        rules.remove(&id);
                    }
                    None => {}
                }
            }
            9 => {
                if let Some(deployment) = deployment {
                    change!(store, [], |tx| tx.delete_agent_deployment(&account, &deployment.id, now)).unwrap();
                    let ends = |rule: &Rule| rule.token.scope.deployment() == Some(deployment.id);
                    rules.values_mut().filter(|rule| ends(rule)).for_each(|rule| rule.ended = true);
                }
            }
            10 => {
                change!(store, [], |tx| tx.delete_agent(&account, &agent_id, now)).unwrap();
                agents.retain(|agent| agent.id != agent_id);
                let ends = |rule: &Rule| rule.token.scope.agent() == Some(agent_id);
                rules.values_mut().filter(|rule| ends(rule)).for_each(|rule| rule.ended = true);
            }
            11 if choices.below(3) == 0 => {
                change!(store, [], |tx| tx.delete_environment(&account, &environment_id, now)).unwrap();
                environments.retain(|environment| environment.id != environment_id);
                let ends = |rule: &Rule| rule.token.scope.environment() == Some(environment_id);
                rules.values_mut().filter(|rule| ends(rule)).for_each(|rule| rule.ended = true);
            }
            _ => drop(store.sweep_tombstones(at(step - 30)).await.unwrap()),
        }
        let listed = store.list_api_tokens(&account, &BY_ID, Page::ALL).await.unwrap();
        let ids: Vec<ApiTokenId> = listed.rows.iter().map(|token| token.id).collect();
        assert!(ids.iter().eq(rules.keys()), "step {step}: what has ended is listed, what is deleted is not");
        assert_eq!(listed.total, u64::try_from(rules.len()).unwrap(), "step {step}");
        if choices.below(4) == 0 {
            applied = follow(&store, &index, applied).await;
            let expected: Vec<bool> = every
                .iter()
                .map(|token| {
                    let rule = rules.get(&token.id);
                    rule.is_some_and(|rule| !rule.ended && rule.token.status == ApiTokenStatus::Active)
                })
                .collect();
            assert_eq!(admitted(&index, &every), expected, "followed, step {step}");
            assert_eq!(admitted(&loaded(&world, &store).await, &every), expected, "loaded, step {step}");
            let listed = store.list_api_tokens(&account, &BY_ID, Page::ALL).await.unwrap();
            let ids: Vec<_> = listed.rows.iter().map(|token| token.id).collect();
            let mut known: Vec<_> = rules.keys().copied().collect();
            known.sort_unstable();
            assert_eq!(ids, known, "step {step}");
        }
    }
    assert!(every.len() > 50 && rules.values().any(|rule| rule.ended));
}

async fn counts_follow_every_change(world: World) {
    let store = world.open().await;
    let [account, other] = [(); 2].map(|()| AccountId::generate(&world.entropy));
    let total = async |account: AccountId| {
        let listed = store.list_api_tokens(&account, &BY_ID, Page::ALL).await.unwrap();
        assert_eq!(listed.rows.len() as u64, listed.total);
        listed.total
    };
    let [one, two, three] = [(); 3].map(|()| world.api_token(account, ApiTokenScope::Account));
    let foreign = world.api_token(other, ApiTokenScope::Account);
    insert(&store, &one).await;
    let gone = one.id;
    write!(store, [two, three, foreign], |tx| {
        tx.insert_api_token(&two).await?;
        tx.insert_api_token(&foreign).await?;
        tx.insert_api_token(&three).await?;
        tx.delete_api_token(&account, &gone, at(4)).await?;
        tx.record(event("api_token.change", "them"));
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    assert_eq!((total(account).await, total(other).await), (2, 1));
    // A job that fails has counted nothing.
    let four = world.api_token(account, ApiTokenScope::Account);
    let outcome = write!(store, [four], |tx| {
        tx.insert_api_token(&four).await?;
        tx.record(event("api_token.change", "them"));
        tx.delete_api_token(&account, &gone, at(5)).await
    })
    .await;
    assert!(matches!(outcome, Err(Error::Rows { .. })), "{outcome:?}");
    assert_eq!((total(account).await, total(other).await), (2, 1));
}
