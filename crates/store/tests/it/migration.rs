//! A store of the step before is brought up to date, with everything in its place.

use countersign_store::{
    Account, AccountFilter, AuditFilter, ManagementTokenFilter, Nulls, Order, Page, ServiceTokenFilter, User,
    UserFilter, ZoneFilter,
};
use countersign_store::{ApiTokenColumn, ListColumn, ObjectKind};
use countersign_token::api_token::{ApiTokenScope, ApiTokenStatus};
use countersign_token::credential::Credential;
use countersign_token::demand::Demand;
use countersign_token::digest::{BearerKind, InstallationKey};
use countersign_token::feed::{Revision, TokenOwner};
use countersign_token::id::{AccountId, AccountPfid, EnvironmentId, UserId};
use countersign_token::index::{Detail, Index};
use countersign_token::service_token::Owner;
use countersign_token::time::Timestamp;
use countersign_token::verify::{Decision, verify};

use crate::{Open, World, at, change, on_both};

on_both! {
    everything_of_the_step_before_is_in_its_place,
    a_store_of_the_step_before_goes_on,
    a_migration_that_fails_changes_nothing,
}

/// The checksums of 0001 when it was released: an applied migration is never edited.
const SQLITE_CHECKSUM: &str = "6243fc6e74660c56353bd2582add2166fbe8abffc80a44e0ed51214107a916c4";
const POSTGRES_CHECKSUM: &str = "5b07ea69dcec181a2b4e8292771d9a1e99dfa7363ec426bafd21ea5c77601ef0";

/// What the store of that time was opened with, and what it had handed out.
const KEY: &str = "912ecf72d3364fee2daa748a46cb226ebffc3323294c4aadd7d9102b68974325";
const GLOBAL_KEY: &str = "2b8b11662ae9f6e0463becd4c584e9e8e3a9c";
const MANAGEMENT_TOKEN: &str = "csat_1QnCHkGifa7SMZ2SNawzVY1FSetYUcCdJN0sX9C303Yecy";
const ACCOUNT_TOKEN: &str = concat!(
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJjb3VudGVyc2lnbjphMjJjYWJiMDEzZTIzN2RlNjJmZjdjZDJhOGI3YzAwNSIsInN1",
    "YiI6IjAxbTgwcGg2NTQ3MXQ3YTRuMGEwNHY5NW44MWZodndhIiwianRpIjoiMDFtODBwaDY1NDcxdDdhNG4wYTA0djk1bjgxZmh2d2EiLCJpYXQiOjE3",
    "OTUzMTk5NjEsImV4cCI6MTgyNjg1NTk2MSwiYWNjb3VudF9pZCI6IjAxbTgwcGg2NTQ3MXQ3YTRwbmdkdDhudGd6OHM0Nm52IiwidG9rZW5fc2NvcGUi",
    "OiJhY2NvdW50In0.0_m83Ag34mzAS1K35z1b5nu4N90_YwwiJ45F5_YIB_g",
);
const SECRET: &str = "csec_3KxVjftFv0Ws3cShMWUbV7Qg7by17miln4Zfyekr3g0FE5";
const SECRET_BEFORE: &str = "csec_AoxvfuaOUk48M4nGC5GJ1DSFyVfiXfvgwZpJeHgM4eSajo";

const BY_ID: Order<ListColumn> = Order { column: ListColumn::Id, descending: false, nulls: Nulls::Last };
const TOKENS_BY_ID: Order<ApiTokenColumn> = Order { column: ApiTokenColumn::Id, descending: false, nulls: Nulls::Last };

pub(crate) fn first() -> AccountId {
    "c9331afd347fa704e15e03615c1292a2".parse().unwrap()
}

fn second() -> AccountId {
    "99f6425bd32e6031b42b619133118903".parse().unwrap()
}

pub(crate) fn key() -> InstallationKey {
    InstallationKey::parse_hex(KEY).unwrap()
}

/// Makes the database one that the step before has left.
pub(crate) async fn fill(world: &World) {
    let rows = include_str!("../data/0001.sql");
    let (schema, rows, checksum) = match world.file() {
        Some(_) => (include_str!("../../migrations/sqlite/0001_initial.sql"), rows.to_owned(), SQLITE_CHECKSUM),
        None => {
            world.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
            let rows = rows.replace("X'", "'\\x");
            (include_str!("../../migrations/postgres/0001_initial.sql"), rows, POSTGRES_CHECKSUM)
        }
    };
    world.sql(schema).await;
    world.sql(&rows).await;
    world
        .sql(&format!(
            "CREATE TABLE countersign_migration \
             (version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL); \
             INSERT INTO countersign_migration VALUES (1, 'initial', '{checksum}')"
        ))
        .await;
}

/// Every version of the schema, as the files say.
pub(crate) fn versions() -> Vec<i64> {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite")).unwrap();
    let version = |file: std::io::Result<std::fs::DirEntry>| {
        let name = file.unwrap().file_name().into_string().unwrap();
        name.split_once('_').unwrap().0.parse().unwrap()
    };
    let mut versions: Vec<i64> = files.map(version).collect();
    versions.sort_unstable();
    versions
}

/// The newest version of the schema.
pub(crate) fn newest() -> i64 {
    *versions().last().unwrap()
}

pub(crate) async fn open(world: &World) -> Open {
    world.try_open_at(world.database.clone(), &key()).await.expect("a store of the step before")
}

async fn everything_of_the_step_before_is_in_its_place(world: World) {
    fill(&world).await;
    let store = open(&world).await;
    assert_eq!(store.revision().await.unwrap(), Revision::new(12));

    let installation = store.installation().await.unwrap().expect("an installation");
    assert_eq!(installation.id.to_string(), "a22cabb013e237de62ff7cd2a8b7c005");
    assert_eq!(store.signing_key_id().await.unwrap(), "1");

    let accounts = store.list_accounts(&AccountFilter::default(), Page::ALL).await.unwrap();
    let made_at = Timestamp::from_micros(1_795_319_961_764_742);
    let expected = Account {
        id: first(),
        pfid: "01m80ph65471t7a4pngdt8ntgz8s46nv".parse().unwrap(),
        name: "Default".to_owned(),
        organisation_name: None,
        purpose: "business".to_owned(),
        created_at: made_at,
        updated_at: made_at,
    };
    assert_eq!(accounts.len(), 2);
    assert_eq!(accounts[0], expected);
    assert_eq!((accounts[1].id, accounts[1].name.as_str()), (second(), "Platform team"));
    assert_eq!(store.count_zones(&ZoneFilter::default()).await.unwrap(), 2);

    let environments = store.list_environments(&first(), &BY_ID, Page::ALL).await.unwrap();
    assert_eq!(environments.total, 1);
    let environment = &environments.rows[0];
    assert_eq!((environment.name.as_str(), environment.purpose.as_str()), ("development", "development"));
    assert_eq!((&environment.description, &environment.external_identifier), (&None, &None));
    assert_eq!((environment.inserted_at, environment.updated_at), (made_at, made_at));

    let owner = store.find_user_by_email("ops@example.com").await.unwrap().expect("the owner");
    assert_eq!((owner.installation_owner, owner.created_at, owner.updated_at), (true, made_at, made_at));
    assert_eq!((&owner.name, &owner.job_title), (&None, &None));
    assert_eq!((owner.profile_completed_at, owner.last_active_at), (None, None));
    assert_eq!(store.list_users(&UserFilter::default(), Page::ALL).await.unwrap().len(), 2);
    let members = store.list_members(&second(), &BY_ID, Page::ALL).await.unwrap().rows;
    assert_eq!(members.iter().map(|user| user.email.as_str()).collect::<Vec<_>>(), ["second@example.com"]);
    assert_eq!(store.find_object(&first(), owner.pfid.as_pfid()).await.unwrap(), Some(ObjectKind::User));

    let tokens = store.list_management_tokens(&ManagementTokenFilter::default(), Page::ALL).await.unwrap();
    let seen: Vec<_> =
        tokens.iter().map(|token| (token.name.as_str(), token.grants.len(), token.revoked_at.is_some())).collect();
    assert_eq!(seen, [("initial", 1, false), ("gone", 1, true), ("terraform", 2, false)]);
    assert!(matches!(tokens[0].owner, TokenOwner::User(id) if id == owner.id));

    let filter = ServiceTokenFilter::all(Owner { account: first(), zone: None });
    assert_eq!(store.count_service_tokens(&filter).await.unwrap(), 1);
    let tokens = store.list_service_tokens(&filter, None, Page::ALL).await.unwrap().rows;
    assert_eq!((tokens.len(), tokens[0].name.as_str(), tokens[0].secret_version), (1, "deploy", 2));
    assert_eq!(tokens[0].last_seen_at, Some(Timestamp::from_micros(1_795_319_986_000_000)));

    let of_first = store.list_api_tokens(&first(), &TOKENS_BY_ID, Page::ALL).await.unwrap();
    assert_eq!((of_first.total, of_first.rows[0].scope), (1, ApiTokenScope::Account));
    assert_eq!((of_first.rows[0].created_by, of_first.rows[0].key_id.as_str()), (Some(owner.pfid), "1"));
    let of_second = store.list_api_tokens(&second(), &TOKENS_BY_ID, Page::ALL).await.unwrap();
    assert_eq!(of_second.total, 2, "the deleted one is not listed");
    let confined = &of_second.rows[1];
    let environment: EnvironmentId = "01m80ph6add8cqrkh0hxq2b42xzrs6re".parse().unwrap();
    assert_eq!(confined.scope, ApiTokenScope::Environment(environment));
    assert_eq!((confined.status, confined.last_used_at.is_some()), (ApiTokenStatus::Suspended, true));

    let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
    assert_eq!((chain.events, chain.broken), (12, None));
    assert_eq!(store.list_audit(&AuditFilter::default(), 100).await.unwrap().len(), 12);
    assert_eq!(store.list_nodes().await.unwrap().len(), 1);
    admits_what_it_admitted(&store).await;
    is_followed(&store).await;
}

/// Every secret that was handed out is good for what it was good for.
pub(crate) async fn admits_what_it_admitted(store: &Open) {
    let entropy = countersign_token::entropy::Entropy::seeded(3);
    let index = Index::new(store.keys().current().digest_key(), &entropy);
    store.load(&mut |change| index.apply(&change)).await.unwrap();
    let now = Timestamp::from_micros(1_795_319_990_000_000);
    let bearer = index.authenticate_bearer(BearerKind::ApiToken, ACCOUNT_TOKEN, now).expect("the account's token");
    assert!(matches!(&bearer, Detail::ApiToken { account, environment: None, .. } if *account == first()));
    assert!(index.authenticate_bearer(BearerKind::ManagementToken, MANAGEMENT_TOKEN, now).is_some());
    assert!(index.authenticate_global_key("OPS@example.com", GLOBAL_KEY, now).is_some());
    let demand = Demand::default().with_account(&index, &first());
    let client_id = "b230b07682a85393b0f2c700adb8e364.access".parse().unwrap();
    for secret in [SECRET, SECRET_BEFORE] {
        let credential = Credential::Pair { client_id, secret: secret.into() };
        assert!(matches!(verify(&index, &credential, &demand, now), Decision::Allow(_)), "{secret}");
    }
}

/// A follower from before goes on where it was.
async fn is_followed(store: &Open) {
    assert!(store.poll(Revision::new(12)).await.unwrap().changes.is_empty());
    assert_eq!(store.poll(Revision::new(0)).await.unwrap().revision, Revision::new(12));
}

async fn a_store_of_the_step_before_goes_on(world: World) {
    fill(&world).await;
    let store = open(&world).await;
    let pfid: AccountPfid = "01m80ph65471t7a4pngdt8ntgz8s46nv".parse().unwrap();
    let partition = pfid.as_pfid().partition();
    assert!(change!(store, [], |tx| tx.account_has_partition(partition)).unwrap());
    let environment = store.list_environments(&first(), &BY_ID, Page::ALL).await.unwrap().rows.remove(0);
    let agent = world.agent(first());
    let deployment = world.deployment(&agent, &environment);
    let scope =
        ApiTokenScope::AgentDeployment { deployment: deployment.id, agent: agent.id, environment: environment.id };
    let token = world.api_token(first(), scope);
    let owner: UserId = "f5bf48586ce93a1c0d1fd90b95b596bd".parse().unwrap();
    let owner =
        User { name: Some("Ops".to_owned()), updated_at: at(1), ..store.find_user(&owner).await.unwrap().unwrap() };
    let (a, d, t, o) = (agent.clone(), deployment, token.clone(), owner.clone());
    change!(store, [a], |tx| tx.insert_agent(&a)).unwrap();
    change!(store, [d], |tx| tx.insert_agent_deployment(&d)).unwrap();
    change!(store, [t], |tx| tx.insert_api_token(&t)).unwrap();
    change!(store, [o], |tx| tx.update_user(&o)).unwrap();
    store.close().await;
    // Opened again, nothing is applied twice.
    let store = open(&world).await;
    assert_eq!(store.find_api_token(&first(), &token.id).await.unwrap().map(|token| token.scope), Some(scope));
    assert_eq!(store.find_user(&owner.id).await.unwrap().and_then(|user| user.name), owner.name);
    let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
    assert_eq!((chain.events, chain.broken), (17, None));
    let versions = world.sql("SELECT version FROM countersign_migration ORDER BY version").await;
    let versions: Vec<i64> = versions.iter().map(|row| sqlx::Row::get(row, 0)).collect();
    assert_eq!(versions, self::versions());
}

async fn a_migration_that_fails_changes_nothing(world: World) {
    fill(&world).await;
    // In the way of the last step's last table.
    world.sql("CREATE TABLE api_token_count (x TEXT)").await;
    let outcome = world.try_open_at(world.database.clone(), &key()).await.map(|_| ());
    assert!(outcome.is_err(), "{outcome:?}");
    let versions = world.sql("SELECT version FROM countersign_migration").await;
    assert_eq!(versions.len(), 1);
    world.sql("DROP TABLE api_token_count").await;
    let store = open(&world).await;
    assert_eq!(store.list_accounts(&AccountFilter::default(), Page::ALL).await.unwrap().len(), 2);
}
