//! The one writer: what is committed together, and what fails alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use countersign_store::{Answer, Error, ServiceTokenFilter, Store, Written};
use countersign_token::api_token::{ApiTokenScope, ApiTokenStatus};
use countersign_token::feed::Revision;
use countersign_token::service_token::ServiceToken;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{World, at, event, insert, on_both, try_insert, write};

on_both! {
    a_write_takes_the_next_revision,
    a_job_that_changes_nothing_takes_no_revision,
    jobs_that_wait_together_share_a_commit,
    a_job_that_fails_before_writing_costs_the_others_nothing,
    a_job_that_fails_after_writing_fails_alone,
    a_conflict_that_shows_with_the_batch_is_its_jobs_own,
    a_swallowed_failure_is_a_failure,
    a_change_without_an_event_is_rolled_back,
    revisions_are_in_order_under_concurrency,
    two_writers_share_one_order,
    what_was_acknowledged_is_there_after_a_restart,
    writes_after_the_end_of_the_writer_fail,
    a_key_that_exists_is_a_conflict,
    more_rows_than_a_statement_takes_are_written_in_order,
    a_later_job_finds_what_an_earlier_one_of_its_batch_left_for_the_end,
    a_missing_row_is_counted,
}

async fn a_write_takes_the_next_revision(world: World) {
    let store = world.open().await;
    let owner = world.owner();
    assert_eq!(store.revision().await.unwrap(), Revision::new(0));
    for number in 1..4 {
        let written = insert(&store, &world.token(owner, "one", number)).await;
        assert_eq!(written.revision, Some(Revision::new(number)));
        assert_eq!(store.revision().await.unwrap(), Revision::new(number));
    }
}

async fn a_job_that_changes_nothing_takes_no_revision(world: World) {
    let store = world.open().await;
    let account = world.account("a");
    let id = account.id;
    let written = write!(store, [], |tx| { tx.find_account(&id).await }).await.unwrap();
    assert_eq!(written, Written { value: None, revision: None });
    assert_eq!(store.revision().await.unwrap(), Revision::new(0));
}

/// Holds the writer within a job until `go` is given, so that what is queued meanwhile becomes one batch.
async fn hold(store: &Store, tasks: &TaskTracker) -> Arc<Semaphore> {
    let (started, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (store, running, gate) = (store.clone(), Arc::clone(&started), Arc::clone(&go));
    tasks.spawn(async move {
        let held = write!(store, [running, gate], |_tx| {
            running.add_permits(1);
            gate.acquire().await.expect("never closed").forget();
            Ok::<_, Error>(())
        });
        held.await.expect("nothing to go wrong");
    });
    started.acquire().await.expect("never closed").forget();
    go
}

/// Queues the jobs as one batch, each after the one before, and returns their outcomes.
async fn together<T: Send + 'static>(
    store: &Store,
    jobs: Vec<std::pin::Pin<Box<dyn Future<Output = T> + Send>>>,
) -> Vec<T> {
    let tasks = TaskTracker::new();
    let go = hold(store, &tasks).await;
    let mut answers = Vec::new();
    for job in jobs {
        // The first poll puts the job in the queue; its answer comes later.
        let mut job = job;
        let pending = std::future::poll_fn(|context| std::task::Poll::Ready(job.as_mut().poll(context).is_pending()));
        assert!(pending.await, "the writer is held");
        answers.push(job);
    }
    go.add_permits(1);
    let mut outcomes = Vec::new();
    for answer in answers {
        outcomes.push(answer.await);
    }
    tasks.close();
    tasks.wait().await;
    outcomes
}

fn boxed<T>(future: impl Future<Output = T> + Send + 'static) -> std::pin::Pin<Box<dyn Future<Output = T> + Send>> {
    Box::pin(future)
}

fn inserting(
    store: &Store,
    token: &ServiceToken,
) -> std::pin::Pin<Box<dyn Future<Output = Result<Option<Revision>, Error>> + Send>> {
    let (store, token) = (store.clone(), token.clone());
    boxed(async move { try_insert(&store, &token).await.map(|written| written.revision) })
}

async fn jobs_that_wait_together_share_a_commit(world: World) {
    let store = world.open().await;
    let owner = world.owner();
    // What a job reads of the audit log's rows is what its own transaction and earlier ones have written: events are
    // appended when the batch ends, so jobs of one batch see none of each other's.
    let jobs = (0..10)
        .map(|second| {
            let (store, token) = (store.store.clone(), world.token(owner, "t", second));
            boxed(async move {
                let written = write!(store, [token], |tx| {
                    let before = tx.count_service_tokens(&owner).await?;
                    tx.insert_service_token(&token).await?;
                    tx.record(event("service_token.create", &token.id));
                    Ok::<_, Error>(before)
                });
                written.await
            })
        })
        .collect();
    let outcomes: Vec<Written<u64>> = together(&store, jobs).await.into_iter().map(Result::unwrap).collect();
    for (place, written) in outcomes.iter().enumerate() {
        assert_eq!(written.value, place as u64, "each sees those before it");
        assert_eq!(written.revision, Some(Revision::new(place as i64 + 1)));
    }
    assert_eq!(store.list_audit(&Default::default(), 100).await.unwrap().len(), 10);
}

async fn a_job_that_fails_before_writing_costs_the_others_nothing(world: World) {
    let store = world.open().await;
    let owner = world.owner();
    let runs = Arc::new(AtomicU32::new(0));
    let failing = {
        let store = store.store.clone();
        boxed(async move {
            let written = write!(store, [], |tx| {
                tx.record(event("service_token.create", "nobody"));
                tx.revision();
                Err::<(), _>(Error::Unaudited)
            });
            written.await.map(|written| written.revision)
        })
    };
    let counted = {
        let (store, token, runs) = (store.store.clone(), world.token(owner, "counted", 1), Arc::clone(&runs));
        boxed(async move {
            let written = write!(store, [token, runs], |tx| {
                runs.fetch_add(1, Ordering::Relaxed);
                tx.insert_service_token(&token).await?;
                tx.record(event("service_token.create", &token.id));
                Ok::<_, Error>(())
            });
            written.await.map(|written| written.revision)
        })
    };
    let last = inserting(&store, &world.token(owner, "last", 2));
    let outcomes = together(&store, vec![counted, failing, last]).await;
    assert!(matches!(outcomes[1], Err(Error::Unaudited)), "{outcomes:?}");
    assert_eq!(outcomes[0].clone().unwrap(), Some(Revision::new(1)));
    assert_eq!(outcomes[2].clone().unwrap(), Some(Revision::new(2)), "the failed job has left no gap");
    assert_eq!(runs.load(Ordering::Relaxed), 1, "nothing was run again");
    assert_eq!(store.list_audit(&Default::default(), 100).await.unwrap().len(), 2);
}

async fn a_job_that_fails_after_writing_fails_alone(world: World) {
    let store = world.open().await;
    let owner = world.owner();
    let (first, second) = (world.token(owner, "first", 1), world.token(owner, "second", 2));
    let half = world.token(owner, "half", 3);
    let failing = {
        let (store, half) = (store.store.clone(), half.clone());
        boxed(async move {
            let written = write!(store, [half], |tx| {
                tx.insert_service_token(&half).await?;
                tx.record(event("service_token.create", &half.id));
                Err::<(), _>(Error::KeyMismatch)
            });
            written.await.map(|written| written.revision)
        })
    };
    // The same key again: the statement itself fails.
    let duplicate = inserting(&store, &first);
    let jobs = vec![inserting(&store, &first), failing, duplicate, inserting(&store, &second)];
    let outcomes = together(&store, jobs).await;
    assert_eq!(outcomes[0].clone().unwrap(), Some(Revision::new(1)));
    assert!(matches!(outcomes[1], Err(Error::KeyMismatch)), "{outcomes:?}");
    assert!(matches!(outcomes[2], Err(Error::Conflict { .. })), "{outcomes:?}");
    assert_eq!(outcomes[3].clone().unwrap(), Some(Revision::new(2)));
    assert!(store.find_service_token(&owner, &half.id).await.unwrap().is_none());
    assert_eq!(store.count_service_tokens(&ServiceTokenFilter::all(owner)).await.unwrap(), 2);
    let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
    assert_eq!((chain.events, chain.broken), (2, None));
}

async fn a_conflict_that_shows_with_the_batch_is_its_jobs_own(world: World) {
    let store = world.open().await;
    let owner = world.owner();
    let (first, second) = (world.token(owner, "first", 1), world.token(owner, "second", 2));
    let silent = {
        let (store, token) = (store.store.clone(), world.token(owner, "silent", 3));
        boxed(async move {
            let written = write!(store, [token], |tx| { tx.insert_service_token(&token).await });
            written.await.map(|written| written.revision)
        })
    };
    let jobs = vec![inserting(&store, &first), inserting(&store, &first), silent, inserting(&store, &second)];
    let outcomes = together(&store, jobs).await;
    assert_eq!(outcomes[0].clone().unwrap(), Some(Revision::new(1)));
    assert!(matches!(outcomes[1], Err(Error::Conflict { .. })), "{outcomes:?}");
    assert!(matches!(outcomes[2], Err(Error::Unaudited)), "{outcomes:?}");
    assert_eq!(outcomes[3].clone().unwrap(), Some(Revision::new(2)));
}

async fn a_swallowed_failure_is_a_failure(world: World) {
    let store = world.open().await;
    let owner = world.owner();
    let token = world.token(owner, "t", 1);
    let account = world.account("twice");
    for (expected, twice) in [("Conflict", true), ("Rows", false)] {
        let (token, account) = (token.clone(), account.clone());
        let outcome = write!(store, [token, account], |tx| {
            let swallowed = if twice {
                tx.insert_account(&account).await?;
                tx.insert_account(&account).await
            } else {
                tx.update_service_token(&token).await
            };
            assert!(swallowed.is_err());
            tx.record(event("service_token.create", &token.id));
            Ok::<_, Error>(())
        })
        .await;
        assert!(format!("{outcome:?}").contains(expected), "{outcome:?}");
    }
    assert_eq!(insert(&store, &token).await.revision, Some(Revision::new(1)));
    assert!(store.find_account(&account.id).await.unwrap().is_none());
}

async fn a_change_without_an_event_is_rolled_back(world: World) {
    let store = world.open().await;
    let token = world.token(world.owner(), "silent", 1);
    let silent = token.clone();
    let outcome = write!(store, [silent], |tx| { tx.insert_service_token(&silent).await }).await;
    assert!(matches!(outcome, Err(Error::Unaudited)), "{outcome:?}");
    assert!(store.find_service_token(&token.owner, &token.id).await.unwrap().is_none());
    assert_eq!(store.revision().await.unwrap(), Revision::new(0));
}

async fn revisions_are_in_order_under_concurrency(world: World) {
    const CLIENTS: i64 = 16;
    const EACH: i64 = 20;
    let store = world.open().await;
    let owner = world.owner();
    let tasks = TaskTracker::new();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let store = store.store.clone();
            let tokens: Vec<_> = (0..EACH).map(|second| world.token(owner, "t", client * EACH + second)).collect();
            tasks.spawn(async move {
                let mut revisions = Vec::new();
                for token in &tokens {
                    let revision = insert(&store, token).await.revision.expect("a revision");
                    // Whoever was answered sees it at once, and everything before it.
                    let seen = store.revision().await.unwrap();
                    assert!(seen >= revision, "{seen:?} < {revision:?}");
                    let feed = store.poll(Revision::new(0)).await.unwrap();
                    assert!(feed.changes.len() as i64 >= revision.get(), "a gap below {revision:?}");
                    revisions.push(revision.get());
                }
                assert!(revisions.is_sorted());
                revisions
            })
        })
        .collect();
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.await.unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (1..=CLIENTS * EACH).collect::<Vec<_>>(), "each once, none left out");
    let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
    assert_eq!((chain.events, chain.broken), ((CLIENTS * EACH) as u64, None));
}

async fn two_writers_share_one_order(world: World) {
    const EACH: i64 = 25;
    let stores = [world.open().await, world.open().await];
    let owner = world.owner();
    let tasks = TaskTracker::new();
    let writers: Vec<_> = stores
        .iter()
        .enumerate()
        .map(|(place, open)| {
            let store = open.store.clone();
            let tokens: Vec<_> =
                (0..EACH).map(|second| world.token(owner, "t", place as i64 * EACH + second)).collect();
            tasks.spawn(async move {
                for token in &tokens {
                    insert(&store, token).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let newest = Revision::new(2 * EACH);
    assert_eq!(stores[0].revision().await.unwrap(), newest);
    assert!(stores[0].take_foreign(newest) && stores[1].take_foreign(newest), "each sees the other's");
    assert!(!stores[0].take_foreign(newest));
    insert(&stores[0], &world.token(owner, "own", 100)).await;
    let newest = Revision::new(2 * EACH + 1);
    assert!(!stores[0].take_foreign(newest));
    assert!(stores[1].take_foreign(newest));
    let chain = stores[1].verify_audit_chain(&mut |_| ()).await.unwrap();
    assert_eq!((chain.events, chain.broken), ((2 * EACH + 1) as u64, None));
}

async fn what_was_acknowledged_is_there_after_a_restart(world: World) {
    let owner = world.owner();
    let tokens: Vec<_> = (0..5).map(|second| world.token(owner, "t", second)).collect();
    let store = world.open().await;
    for token in &tokens {
        insert(&store, token).await;
    }
    store.close().await;
    let store = world.open().await;
    assert_eq!(store.revision().await.unwrap(), Revision::new(5));
    for token in &tokens {
        assert!(store.find_service_token(&owner, &token.id).await.unwrap().is_some());
    }
    let next = insert(&store, &world.token(owner, "next", 9)).await;
    assert_eq!(next.revision, Some(Revision::new(6)));
    let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
    assert_eq!((chain.events, chain.broken), (6, None));
}

async fn writes_after_the_end_of_the_writer_fail(world: World) {
    let options = countersign_store::Options { database: world.database.clone(), readers: 1 };
    let (store, writer) = Store::connect(options, &world.key).await.unwrap();
    drop(writer);
    let outcome = try_insert(&store, &world.token(world.owner(), "late", 1)).await;
    assert!(matches!(outcome, Err(Error::Stopped)), "{outcome:?}");
}

async fn a_key_that_exists_is_a_conflict(world: World) {
    let store = world.open().await;
    let token = world.token(world.owner(), "twice", 1);
    insert(&store, &token).await;
    let outcome = try_insert(&store, &token).await;
    assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
    assert!(std::error::Error::source(&outcome.unwrap_err()).is_some(), "the driver's error is kept");
}

async fn a_missing_row_is_counted(world: World) {
    let store = world.open().await;
    let token = world.token(world.owner(), "nobody", 1);
    let outcome = write!(store, [token], |tx| {
        tx.record(event("service_token.update", &token.id));
        tx.update_service_token(&token).await
    })
    .await;
    assert!(matches!(outcome, Err(Error::Rows { expected: 1, actual: 0 })), "{outcome:?}");
    assert_eq!(store.revision().await.unwrap(), Revision::new(0));
}

async fn more_rows_than_a_statement_takes_are_written_in_order(world: World) {
    const ROUNDS: u8 = 150;
    let store = world.open().await;
    let owner = world.owner();
    let tokens: Vec<_> = (0..ROUNDS)
        .map(|round| {
            let api_token = world.api_token(owner.account, ApiTokenScope::Account);
            (world.token(owner, "t", round.into()), api_token, round)
        })
        .collect();
    let all = tokens.clone();
    let written = write!(store, [all], |tx| {
        for (service_token, api_token, round) in &all {
            tx.insert_service_token(service_token).await?;
            tx.insert_api_token(api_token).await?;
            let answer = Answer { fingerprint: [*round; 32], subject: String::new(), answer: round.to_string() };
            tx.insert_answer(&owner.account, &format!("key {round}"), &answer, at(1)).await?;
            tx.record(event("create", &service_token.id));
        }
        Ok::<_, Error>(())
    });
    assert_eq!(written.await.unwrap().revision, Some(Revision::new(1)));
    assert_eq!(store.count_service_tokens(&ServiceTokenFilter::all(owner)).await.unwrap(), u64::from(ROUNDS));
    assert_eq!(store.count_credentials().await.unwrap(), 2 * u64::from(ROUNDS));
    assert_eq!(store.poll(Revision::new(0)).await.unwrap().changes.len(), 2 * usize::from(ROUNDS));
    let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
    assert_eq!((chain.events, chain.broken), (u64::from(ROUNDS), None));
    let keys = (0..ROUNDS).map(|round| (owner.account, format!("key {round}"))).collect();
    let answers = store.write_asking(keys, move |tx| {
        Box::pin(async move {
            let mut answers = Vec::new();
            for round in 0..ROUNDS {
                answers.extend(tx.find_answer(&owner.account, &format!("key {round}"), at(0)).await?);
            }
            Ok::<_, Error>(answers)
        })
    });
    let answers: Vec<_> = answers.await.unwrap().value.into_iter().map(|answer| answer.answer).collect();
    assert_eq!(answers, (0..ROUNDS).map(|round| round.to_string()).collect::<Vec<_>>());
}

async fn a_later_job_finds_what_an_earlier_one_of_its_batch_left_for_the_end(world: World) {
    let store = world.open().await;
    let account = world.owner().account;
    let token = world.api_token(account, ApiTokenScope::Account);
    let job = |mark: &'static str| {
        let (store, token) = (store.store.clone(), token.clone());
        let keys = vec![(account, "key".to_owned())];
        boxed(async move {
            let written = store.write_asking(keys, move |tx| {
                let token = token.clone();
                Box::pin(async move {
                    if let Some(kept) = tx.find_answer(&account, "key", at(0)).await? {
                        let found = tx.find_api_token(&account, &token.id).await?.expect("it came with the answer");
                        tx.update_api_token(&found.changed(ApiTokenStatus::Suspended, at(5))).await?;
                        tx.record(event("suspend", &token.id));
                        return Ok::<_, Error>(kept.answer);
                    }
                    tx.insert_api_token(&token).await?;
                    let answer = Answer { fingerprint: [1; 32], subject: String::new(), answer: mark.to_owned() };
                    tx.insert_answer(&account, "key", &answer, at(1)).await?;
                    tx.record(event("create", &token.id));
                    Ok(mark.to_owned())
                })
            });
            written.await.map(|written| written.value)
        })
    };
    let outcomes = together(&store, vec![job("first"), job("second")]).await;
    assert_eq!(outcomes.into_iter().map(Result::unwrap).collect::<Vec<_>>(), ["first", "first"]);
    let found = store.find_api_token(&account, &token.id).await.unwrap().unwrap();
    assert_eq!(found.status, ApiTokenStatus::Suspended);
}
