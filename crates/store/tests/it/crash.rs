//! `kill -9` at any moment: what was acknowledged is there, and nothing is half there.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use countersign_store::{Database, Page, ServiceTokenFilter};
use countersign_token::digest::InstallationKey;
use countersign_token::id::{AccountId, ServiceTokenId};
use countersign_token::service_token::Owner;
use countersign_token::time::Timestamp;
use tokio_util::task::TaskTracker;

use crate::{World, event, insert, on_both, write};

on_both! { a_killed_writer_leaves_what_it_acknowledged }

/// What the process to be killed is told: the database, the installation key, and the account.
const VARIABLES: [&str; 3] =
    ["COUNTERSIGN_TEST_CRASH_DATABASE", "COUNTERSIGN_TEST_CRASH_KEY", "COUNTERSIGN_TEST_CRASH_ACCOUNT"];

const ACKNOWLEDGED: &str = "acknowledged ";

async fn a_killed_writer_leaves_what_it_acknowledged(world: World) {
    let owner = world.owner();
    let database = match &world.database {
        Database::Sqlite(path) => format!("sqlite:{}", path.display()),
        Database::Postgres(url) => url.clone(),
    };
    let mut acknowledged: Vec<ServiceTokenId> = Vec::new();
    for round in 0..8 {
        let values = [database.clone(), world.key.to_hex().expose().to_owned(), owner.account.to_string()];
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::writer_to_be_killed", "--exact", "--nocapture"])
            .envs(VARIABLES.into_iter().zip(values))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let enough = acknowledged.len() + 5 + 11 * round;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            // The last line may be cut off.
            if let Some(id) = line.split_once(ACKNOWLEDGED).and_then(|(_, id)| id.parse().ok()) {
                acknowledged.push(id);
            }
            if acknowledged.len() == enough {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success() && acknowledged.len() >= enough, "it ended by itself");

        let store = world.open().await;
        // On PostgreSQL a commit may still be under way; a write comes after it.
        write!(store, [], |tx| {
            tx.record(event("test.wait", &round));
            Ok::<_, countersign_store::Error>(())
        })
        .await
        .unwrap();
        let filter = ServiceTokenFilter::all(owner);
        let tokens = store.list_service_tokens(&filter, None, Page::ALL).await.unwrap().rows;
        for id in &acknowledged {
            assert!(tokens.iter().any(|token| token.id == *id), "{id} was acknowledged");
        }
        assert_eq!(store.count_service_tokens(&filter).await.unwrap(), tokens.len() as u64);
        assert_eq!(store.revision().await.unwrap().get(), tokens.len() as i64);
        let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
        assert_eq!((chain.events, chain.broken), ((tokens.len() + round + 1) as u64, None));
        store.close().await;
    }
}

/// Does nothing unless it is told what to.
#[test]
fn writer_to_be_killed() {
    let [Ok(database), Ok(key), Ok(account)] = VARIABLES.map(std::env::var) else { return };
    let database = Database::parse(&database).unwrap();
    let key = InstallationKey::parse_hex(&key).unwrap();
    let owner = Owner { account: account.parse::<AccountId>().unwrap(), zone: None };
    crate::on_sqlite(async |world| {
        let store = world.try_open_at(database, &key).await.unwrap();
        let tasks = TaskTracker::new();
        let began = store.revision().await.unwrap().get();
        for client in 0..8 {
            let store = store.store.clone();
            let tokens: Vec<_> = (0..500)
                .map(|number| {
                    let mut token = world.token(owner, "t", number);
                    // Ids that no other round has.
                    let mut bytes = *token.id.as_bytes();
                    bytes[..8].copy_from_slice(&began.to_be_bytes());
                    bytes[8] = 0x80 | u8::try_from(client).unwrap();
                    token.id = ServiceTokenId::from_bytes(bytes);
                    token.updated_at = Timestamp::from_secs(number);
                    token
                })
                .collect();
            tasks.spawn(async move {
                for token in &tokens {
                    insert(&store, token).await;
                    println!("{ACKNOWLEDGED}{}", token.id);
                }
            });
        }
        tasks.close();
        tasks.wait().await;
    });
}
