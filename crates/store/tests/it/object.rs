//! What an account has with PFIDs: environments, agents, deployments, members, invitations.

use countersign_store::{
    Account, Environment, Error, InviteStatus, ListColumn, Membership, Nulls, ObjectKind, Order, Page, User,
};
use countersign_token::api_token::ApiTokenScope;
use countersign_token::id::{AccountId, EnvironmentId, Partition, Pfid};
use countersign_token::time::Timestamp;

use crate::{Open, World, at, change, on_both};

on_both! {
    environments,
    agents,
    an_agent_is_deployed_in_an_environment_once,
    members,
    invites,
    lists_are_sorted_by_every_column,
    objects_are_found_by_their_kind,
    partitions_are_those_of_accounts,
    tombstones_go_when_nothing_living_refers_to_them,
    default_orders_are_served_by_an_index,
}

const BY_ID: Order<ListColumn> = Order { column: ListColumn::Id, descending: false, nulls: Nulls::Last };

/// Two accounts.
async fn accounts(world: &World, store: &Open) -> (Account, Account) {
    let (one, two) = (world.account("one"), world.account("two"));
    for account in [&one, &two] {
        let account = account.clone();
        change!(store, [account], |tx| tx.insert_account(&account)).unwrap();
    }
    (one, two)
}

fn assert_none<T: std::fmt::Debug>(outcome: &Result<T, Error>) {
    assert!(matches!(outcome, Err(Error::Rows { expected: 1, actual: 0 })), "{outcome:?}");
}

async fn environments(world: World) {
    let store = world.open().await;
    let (one, two) = accounts(&world, &store).await;
    let inserted = world.environment(one.id);
    let changed = Environment {
        name: "dev \u{1F600}".to_owned(),
        description: Some("Where it all begins".to_owned()),
        purpose: "staging".to_owned(),
        external_identifier: Some("ext-1".to_owned()),
        updated_at: at(5),
        ..inserted.clone()
    };
    let row = inserted.clone();
    change!(store, [row], |tx| tx.insert_environment(&row)).unwrap();
    let id = inserted.id;
    assert_eq!(store.find_environment(&one.id, &id).await.unwrap(), Some(inserted.clone()));
    for environment in [&changed, &inserted, &changed] {
        let update = environment.clone();
        change!(store, [update], |tx| tx.update_environment(&update)).unwrap();
        assert_eq!(store.find_environment(&one.id, &id).await.unwrap().as_ref(), Some(environment));
    }
    assert_eq!(store.list_environments(&one.id, &BY_ID, Page::ALL).await.unwrap().rows, std::slice::from_ref(&changed));

    // It is none of another account's.
    assert_eq!(store.find_environment(&two.id, &id).await.unwrap(), None);
    assert_eq!(store.list_environments(&two.id, &BY_ID, Page::ALL).await.unwrap().total, 0);
    let foreign = Environment { account: two.id, ..changed.clone() };
    assert_none(&change!(store, [foreign], |tx| tx.update_environment(&foreign)));
    let other = two.id;
    assert_none(&change!(store, [], |tx| tx.delete_environment(&other, &id, at(6))));

    let account = one.id;
    change!(store, [], |tx| tx.delete_environment(&account, &id, at(6))).unwrap();
    assert_eq!(store.find_environment(&account, &id).await.unwrap(), None);
    assert_eq!(change!(store, [], |tx| tx.find_environment(&account, &id)).unwrap(), None);
    assert_eq!(store.list_environments(&account, &BY_ID, Page::ALL).await.unwrap().total, 0);
    assert_none(&change!(store, [], |tx| tx.delete_environment(&account, &id, at(7))));
    assert_none(&change!(store, [changed], |tx| tx.update_environment(&changed)));
}

async fn agents(world: World) {
    let store = world.open().await;
    let (one, two) = accounts(&world, &store).await;
    let mut agent = world.agent(one.id);
    let (account, other, id) = (one.id, two.id, agent.id);
    let row = agent.clone();
    change!(store, [row], |tx| tx.insert_agent(&row)).unwrap();
    let row = agent.clone();
    let again = change!(store, [row], |tx| tx.insert_agent(&row));
    assert!(matches!(again, Err(Error::Conflict { .. })), "{again:?}");
    agent.name = "Größe".to_owned();
    agent.updated_at = at(4);
    let row = agent.clone();
    change!(store, [row], |tx| tx.update_agent(&row)).unwrap();
    assert_eq!(store.find_agent(&account, &id).await.unwrap(), Some(agent.clone()));
    assert_eq!(change!(store, [], |tx| tx.find_agent(&account, &id)).unwrap(), Some(agent.clone()));
    assert_eq!(store.find_agent(&other, &id).await.unwrap(), None);
    let foreign = countersign_store::Agent { account: other, ..agent.clone() };
    assert_none(&change!(store, [foreign], |tx| tx.update_agent(&foreign)));
    assert_none(&change!(store, [], |tx| tx.delete_agent(&other, &id, at(5))));
    change!(store, [], |tx| tx.delete_agent(&account, &id, at(5))).unwrap();
    assert_eq!(store.find_agent(&account, &id).await.unwrap(), None);
    assert_eq!(store.list_agents(&account, &BY_ID, Page::ALL).await.unwrap().total, 0);
    assert_none(&change!(store, [], |tx| tx.delete_agent(&account, &id, at(6))));
    let orphan = world.agent(AccountId::generate(&world.entropy));
    let outcome = change!(store, [orphan], |tx| tx.insert_agent(&orphan));
    assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
    // Agents are no news to anybody.
    assert!(store.poll(countersign_token::feed::Revision::new(2)).await.unwrap().changes.is_empty());
}

async fn an_agent_is_deployed_in_an_environment_once(world: World) {
    let store = world.open().await;
    let (one, two) = accounts(&world, &store).await;
    let (account, other) = (one.id, two.id);
    let agents = [world.agent(account), world.agent(account)];
    let environments = [world.environment(account), world.environment(account)];
    for agent in agents.clone() {
        change!(store, [agent], |tx| tx.insert_agent(&agent)).unwrap();
    }
    for environment in environments.clone() {
        change!(store, [environment], |tx| tx.insert_environment(&environment)).unwrap();
    }
    let mut deployments = Vec::new();
    for agent in &agents {
        for environment in &environments {
            let deployment = world.deployment(agent, environment);
            change!(store, [], |tx| tx.insert_agent_deployment(&deployment)).unwrap();
            deployments.push(deployment);
        }
    }
    let twin = world.deployment(&agents[0], &environments[0]);
    let outcome = change!(store, [], |tx| tx.insert_agent_deployment(&twin));
    assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");

    let first = deployments[0];
    let (agent, environment) = (first.agent, first.environment);
    assert_eq!(store.find_agent_deployment(&account, &first.id).await.unwrap(), Some(first));
    assert_eq!(store.find_agent_deployment(&other, &first.id).await.unwrap(), None);
    let of = change!(store, [], |tx| tx.find_agent_deployment_of(&account, &agent, &environment)).unwrap();
    assert_eq!(of, Some(first));
    let of = change!(store, [], |tx| tx.find_agent_deployment_of(&other, &agent, &environment)).unwrap();
    assert_eq!(of, None);
    let ids = async |agent: Option<usize>| {
        let agent = agent.map(|agent| &agents[agent].id);
        let listed = store.list_agent_deployments(&account, agent, &BY_ID, Page::ALL).await.unwrap();
        assert_eq!(listed.total, listed.rows.len() as u64);
        listed.rows.iter().map(|deployment| deployment.id).collect::<Vec<_>>()
    };
    let sorted = |places: &[usize]| {
        let mut ids: Vec<_> = places.iter().map(|place| deployments[*place].id).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(None).await, sorted(&[0, 1, 2, 3]));
    assert_eq!(ids(Some(0)).await, sorted(&[0, 1]));
    assert_eq!(ids(Some(1)).await, sorted(&[2, 3]));
    assert_eq!(store.list_agent_deployments(&other, Some(&agent), &BY_ID, Page::ALL).await.unwrap().total, 0);

    // Once it is gone there can be another one.
    assert_none(&change!(store, [], |tx| tx.delete_agent_deployment(&other, &first.id, at(2))));
    change!(store, [], |tx| tx.delete_agent_deployment(&account, &first.id, at(2))).unwrap();
    assert_none(&change!(store, [], |tx| tx.delete_agent_deployment(&account, &first.id, at(3))));
    assert_eq!(ids(None).await, sorted(&[1, 2, 3]));
    change!(store, [], |tx| tx.insert_agent_deployment(&twin)).unwrap();
    let of = change!(store, [], |tx| tx.find_agent_deployment_of(&account, &agent, &environment)).unwrap();
    assert_eq!(of, Some(twin));
    // The second environment goes with what is deployed there, then the first agent with what is left of it.
    let gone = environments[1].id;
    change!(store, [], |tx| tx.delete_environment(&account, &gone, at(4))).unwrap();
    let mut left = vec![twin.id, deployments[2].id];
    left.sort_unstable();
    assert_eq!(ids(None).await, left);
    change!(store, [], |tx| tx.delete_agent(&account, &agent, at(5))).unwrap();
    assert_eq!(ids(None).await, [deployments[2].id]);
}

async fn members(world: World) {
    let store = world.open().await;
    let (one, two) = accounts(&world, &store).await;
    let users = [world.user("a@example.com"), world.user("b@example.com"), world.user("c@example.com")];
    for user in users.clone() {
        change!(store, [user], |tx| tx.insert_user(&user)).unwrap();
    }
    for (user, account) in [(0, one.id), (1, one.id), (1, two.id)] {
        let membership = Membership { user: users[user].id, account, created_at: at(2) };
        change!(store, [], |tx| tx.insert_membership(&membership)).unwrap();
    }
    let listed = async |account: &AccountId| {
        let listed = store.list_members(account, &BY_ID, Page::ALL).await.unwrap();
        assert_eq!(listed.total, listed.rows.len() as u64);
        listed.rows.into_iter().map(|user| user.pfid).collect::<Vec<_>>()
    };
    let mut both = vec![users[0].pfid, users[1].pfid];
    both.sort_unstable();
    assert_eq!(listed(&one.id).await, both);
    assert_eq!(listed(&two.id).await, [users[1].pfid]);
    let found = async |account: AccountId, user: usize| {
        let pfid = users[user].pfid;
        let read = store.find_member(&account, &pfid).await.unwrap().map(|user: User| user.id);
        let seen = change!(store, [], |tx| tx.find_member(&account, &pfid)).unwrap().map(|user| user.id);
        assert_eq!(read, seen);
        read == Some(users[user].id)
    };
    for (account, user, expected) in
        [(&one, 0, true), (&one, 1, true), (&one, 2, false), (&two, 0, false), (&two, 1, true), (&two, 2, false)]
    {
        assert_eq!(found(account.id, user).await, expected, "{} {user}", account.name);
    }
}

async fn invites(world: World) {
    let store = world.open().await;
    let (one, two) = accounts(&world, &store).await;
    let (account, other) = (one.id, two.id);
    let mut invite = world.invite(account, "New.Person@Example.com");
    let (row, id) = (invite.clone(), invite.id);
    change!(store, [row], |tx| tx.insert_invite(&row)).unwrap();
    invite.email = "new.person@example.com".to_owned();
    assert_eq!(store.find_invite(&account, &id).await.unwrap(), Some(invite.clone()));
    assert_eq!(store.find_invite(&other, &id).await.unwrap(), None);
    assert_eq!(store.find_invite_anywhere(&id).await.unwrap(), Some(invite.clone()));
    for (status, second) in [(InviteStatus::Revoked, 5), (InviteStatus::Used, 6), (InviteStatus::Pending, 7)] {
        invite.status = status;
        invite.updated_at = at(second);
        let update = invite.clone();
        change!(store, [update], |tx| tx.update_invite_status(&update)).unwrap();
        assert_eq!(change!(store, [], |tx| tx.find_invite(&account, &id)).unwrap(), Some(invite.clone()));
        assert_eq!(change!(store, [], |tx| tx.find_invite_anywhere(&id)).unwrap(), Some(invite.clone()));
        assert_eq!(InviteStatus::parse(status.text()), Some(status));
    }
    assert_eq!(store.list_invites(&account, &BY_ID, Page::ALL).await.unwrap().rows, [invite.clone()]);
    assert_eq!(store.list_invites(&other, &BY_ID, Page::ALL).await.unwrap().total, 0);
    let foreign = countersign_store::Invite { account: other, ..invite.clone() };
    assert_none(&change!(store, [foreign], |tx| tx.update_invite_status(&foreign)));
    assert_eq!(InviteStatus::parse("accepted"), None);
}

/// Rows by id, times of making and changing, with ties.
async fn lists_are_sorted_by_every_column(world: World) {
    let store = world.open().await;
    let (one, two) = accounts(&world, &store).await;
    let times = [(3, 4), (1, 9), (2, 9), (3, 4), (1, 1), (2, 2), (3, 9)];
    let (mut environments, mut agents, mut invites, mut members) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (place, (made, changed)) in times.into_iter().enumerate() {
        let (inserted_at, updated_at) = (at(made), at(changed));
        for account in [one.id, two.id] {
            let environment = Environment { inserted_at, updated_at, ..world.environment(account) };
            let agent = countersign_store::Agent { inserted_at, updated_at, ..world.agent(account) };
            let invite = countersign_store::Invite { inserted_at, updated_at, ..world.invite(account, "a@b") };
            let user = User { created_at: inserted_at, updated_at, ..world.user(&format!("{account}{place}@b")) };
            if account == one.id {
                environments.push((environment.id.to_string(), inserted_at, updated_at));
                agents.push((agent.id.to_string(), inserted_at, updated_at));
                invites.push((invite.id.to_string(), inserted_at, updated_at));
                members.push((user.pfid.to_string(), inserted_at, updated_at));
            }
            let membership = Membership { user: user.id, account, created_at: at(1) };
            crate::write!(store, [environment, agent, invite, user], |tx| {
                tx.insert_environment(&environment).await?;
                tx.insert_agent(&agent).await?;
                tx.insert_invite(&invite).await?;
                tx.insert_user(&user).await?;
                tx.insert_membership(&membership).await?;
                tx.record(crate::event("all.create", "all"));
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        }
    }
    for column in [ListColumn::Id, ListColumn::InsertedAt, ListColumn::UpdatedAt] {
        for descending in [false, true] {
            let order = Order { column, descending, nulls: if descending { Nulls::First } else { Nulls::Last } };
            let expected = |rows: &[(String, Timestamp, Timestamp)]| {
                let mut rows = rows.to_vec();
                rows.sort_by_key(|(id, made, changed)| match column {
                    ListColumn::Id => (at(0), id.clone()),
                    ListColumn::InsertedAt => (*made, id.clone()),
                    ListColumn::UpdatedAt => (*changed, id.clone()),
                });
                if descending {
                    rows.reverse();
                }
                rows.into_iter().map(|(id, ..)| id).collect::<Vec<_>>()
            };
            for offset in [0, 3, 6, 7, 100] {
                let page = Page { offset, limit: 3 };
                let part = |ids: Vec<String>| {
                    ids.into_iter().skip(usize::try_from(offset).unwrap()).take(3).collect::<Vec<_>>()
                };
                let listed = store.list_environments(&one.id, &order, page).await.unwrap();
                assert_eq!(listed.total, 7);
                let ids: Vec<_> = listed.rows.iter().map(|row| row.id.to_string()).collect();
                assert_eq!(ids, part(expected(&environments)), "{order:?}");
                let listed = store.list_agents(&one.id, &order, page).await.unwrap();
                assert_eq!(listed.total, 7);
                let ids: Vec<_> = listed.rows.iter().map(|row| row.id.to_string()).collect();
                assert_eq!(ids, part(expected(&agents)), "{order:?}");
                let listed = store.list_invites(&one.id, &order, page).await.unwrap();
                assert_eq!(listed.total, 7);
                let ids: Vec<_> = listed.rows.iter().map(|row| row.id.to_string()).collect();
                assert_eq!(ids, part(expected(&invites)), "{order:?}");
                let listed = store.list_members(&one.id, &order, page).await.unwrap();
                assert_eq!(listed.total, 7);
                let ids: Vec<_> = listed.rows.iter().map(|row| row.pfid.to_string()).collect();
                assert_eq!(ids, part(expected(&members)), "{order:?}");
            }
        }
    }
}

async fn objects_are_found_by_their_kind(world: World) {
    let store = world.open().await;
    let (one, two) = accounts(&world, &store).await;
    let (account, other) = (one.id, two.id);
    let (environment, agent) = (world.environment(account), world.agent(account));
    let deployment = world.deployment(&agent, &environment);
    let token = world.api_token(account, ApiTokenScope::Environment(environment.id));
    let (invite, user) = (world.invite(account, "a@b"), world.user("c@d"));
    let membership = Membership { user: user.id, account, created_at: at(1) };
    let objects: [(Pfid, ObjectKind); 7] = [
        (*one.pfid.as_pfid(), ObjectKind::Account),
        (*token.id.as_pfid(), ObjectKind::ApiToken),
        (*environment.id.as_pfid(), ObjectKind::Environment),
        (*agent.id.as_pfid(), ObjectKind::Agent),
        (*deployment.id.as_pfid(), ObjectKind::AgentDeployment),
        (*user.pfid.as_pfid(), ObjectKind::User),
        (*invite.id.as_pfid(), ObjectKind::Invite),
    ];
    let check = async |expected: bool| {
        for (pfid, kind) in objects {
            let found = store.find_object(&account, &pfid).await.unwrap();
            assert_eq!(found, (expected || kind == ObjectKind::Account).then_some(kind));
            assert_eq!(change!(store, [], |tx| tx.find_object(&account, &pfid)).unwrap(), found);
            assert_eq!(store.find_object(&other, &pfid).await.unwrap(), None, "{kind:?} of another account");
        }
    };
    check(false).await;
    let (e, a, t, i, u) = (environment.clone(), agent.clone(), token.clone(), invite, user.clone());
    crate::write!(store, [e, a, t, i, u], |tx| {
        tx.insert_environment(&e).await?;
        tx.insert_agent(&a).await?;
        tx.insert_agent_deployment(&deployment).await?;
        tx.insert_api_token(&t).await?;
        tx.insert_invite(&i).await?;
        tx.insert_user(&u).await?;
        tx.insert_membership(&membership).await?;
        tx.record(crate::event("all.create", "all"));
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    check(true).await;
    let nothing = Pfid::generate_root(at(1), &world.entropy);
    assert_eq!(store.find_object(&account, &nothing).await.unwrap(), None);
    // A user is a thing of each account that it is a member of.
    let second = Membership { account: other, ..membership };
    change!(store, [], |tx| tx.insert_membership(&second)).unwrap();
    assert_eq!(store.find_object(&other, user.pfid.as_pfid()).await.unwrap(), Some(ObjectKind::User));
    // What was deleted has had its id.
    let (agent, environment, token) = (agent.id, environment.id, token.id);
    change!(store, [], |tx| tx.delete_agent(&account, &agent, at(2))).unwrap();
    change!(store, [], |tx| tx.delete_environment(&account, &environment, at(2))).unwrap();
    change!(store, [], |tx| tx.delete_api_token(&account, &token, at(2))).unwrap();
    for (pfid, kind) in objects {
        assert_eq!(store.find_object(&account, &pfid).await.unwrap(), Some(kind));
    }
}

async fn partitions_are_those_of_accounts(world: World) {
    let store = world.open().await;
    let (one, two) = accounts(&world, &store).await;
    let has = async |partition: Partition| change!(store, [], |tx| tx.account_has_partition(partition)).unwrap();
    assert!(has(one.pfid.as_pfid().partition()).await);
    assert!(has(two.pfid.as_pfid().partition()).await);
    let fresh = Pfid::generate_root(at(1), &world.entropy).partition();
    assert!(!has(fresh).await);
    // The partition of an environment that came from elsewhere is nobody's.
    let environment =
        Environment { id: EnvironmentId::generate(at(1), fresh, &world.entropy), ..world.environment(one.id) };
    change!(store, [environment], |tx| tx.insert_environment(&environment)).unwrap();
    assert!(!has(fresh).await);
}

async fn rows(world: &World) -> [i64; 4] {
    let count =
        async |table: &str| -> i64 { sqlx::Row::get(&world.sql(&format!("SELECT COUNT(*) FROM {table}")).await[0], 0) };
    [count("agent").await, count("agent_deployment").await, count("environment").await, count("api_token").await]
}

async fn tombstones_go_when_nothing_living_refers_to_them(world: World) {
    let store = world.open().await;
    let (one, _) = accounts(&world, &store).await;
    let account = one.id;
    // Twice the same; only the first has a token.
    let mut made = Vec::new();
    for _ in 0..2 {
        let (environment, agent) = (world.environment(account), world.agent(account));
        let deployment = world.deployment(&agent, &environment);
        made.push((environment.id, agent.id, deployment));
        crate::write!(store, [environment, agent], |tx| {
            tx.insert_environment(&environment).await?;
            tx.insert_agent(&agent).await?;
            tx.insert_agent_deployment(&deployment).await?;
            tx.record(crate::event("all.create", "all"));
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    }
    let (environment, agent, deployment) = made[0];
    let scope = ApiTokenScope::AgentDeployment { deployment: deployment.id, agent, environment };
    let token = world.api_token(account, scope);
    let id = token.id;
    change!(store, [token], |tx| tx.insert_api_token(&token)).unwrap();
    for (environment, agent, _) in made {
        change!(store, [], |tx| tx.delete_agent(&account, &agent, at(10))).unwrap();
        change!(store, [], |tx| tx.delete_environment(&account, &environment, at(10))).unwrap();
    }
    assert_eq!(store.sweep_tombstones(at(10)).await.unwrap(), 0, "none is older than that");
    assert_eq!(rows(&world).await, [2, 2, 2, 1]);
    assert_eq!(store.sweep_tombstones(at(20)).await.unwrap(), 3);
    assert_eq!(rows(&world).await, [1, 1, 1, 1]);
    assert!(store.find_api_token(&account, &id).await.unwrap().is_some());
    change!(store, [], |tx| tx.delete_api_token(&account, &id, at(15))).unwrap();
    assert_eq!(store.sweep_tombstones(at(20)).await.unwrap(), 4);
    assert_eq!(rows(&world).await, [0, 0, 0, 0]);
}

async fn default_orders_are_served_by_an_index(world: World) {
    drop(world.open().await);
    for (table, living) in [
        ("api_token", " AND deleted_at IS NULL"),
        ("environment", " AND deleted_at IS NULL"),
        ("agent", " AND deleted_at IS NULL"),
        ("agent_deployment", " AND deleted_at IS NULL"),
        ("admin_user_invite", ""),
    ] {
        for direction in ["ASC", "DESC"] {
            let query =
                format!("SELECT id FROM {table} WHERE account_id = 'a'{living} ORDER BY id {direction} LIMIT 1");
            let plan = match world.file() {
                Some(_) => world.sql(&format!("EXPLAIN QUERY PLAN {query}")).await,
                // Empty tables are read as a whole unless that is made dear.
                None => world.sql(&format!("SET enable_seqscan = off; EXPLAIN {query}")).await,
            };
            let place = if world.file().is_some() { 3 } else { 0 };
            let plan: Vec<String> = plan.iter().map(|row| sqlx::Row::get(row, place)).collect();
            let plan = plan.join("; ");
            assert!(plan.contains(&format!("{table}_account")), "{plan}");
            assert!(!plan.contains("TEMP B-TREE") && !plan.contains("Sort"), "{plan}");
        }
    }
    if world.file().is_some() {
        for place in ["api_token WHERE account_id = 'a'", "service_token WHERE account_id = 'a' AND zone_id = ''"] {
            let query = format!("SELECT id FROM {place} AND deleted_at IS NULL ORDER BY id LIMIT 1 OFFSET 9");
            let plan = world.sql(&format!("EXPLAIN QUERY PLAN {query}")).await;
            let plan: String = sqlx::Row::get(&plan[0], 3);
            assert!(plan.contains("USING COVERING INDEX"), "rows are passed over without reading them: {plan}");
        }
    }
}
