//! PostgreSQL goes away and comes back.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use countersign_store::{Database, Error, Node, NodeId, Page};
use countersign_token::feed::Revision;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{World, at, event, insert, on_postgres, try_insert, write};

/// What a proxy does when a commit passes.
const PASS: u8 = 0;
/// The commit takes place, and its answer is lost.
const LOSE_ANSWER: u8 = 1;
/// The commit never arrives.
const LOSE_COMMIT: u8 = 2;

/// Stands between a store and its database.
struct Proxy {
    database: Database,
    mode: Arc<AtomicU8>,
    _tasks: TaskTracker,
}

impl Proxy {
    /// `None` where the server is not this process' own.
    async fn start(world: &World) -> Option<Self> {
        let Database::Postgres(url) = &world.database else { return None };
        let (address, directory) = url.split_once("?host=")?;
        let socket = PathBuf::from(directory).join(".s.PGSQL.5432");
        let name = address.rsplit('/').next()?;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let database = Database::Postgres(format!("postgres://postgres@127.0.0.1:{port}/{name}?sslmode=disable"));
        let (mode, tasks) = (Arc::new(AtomicU8::new(PASS)), TaskTracker::new());
        let (shared, spawner) = (Arc::clone(&mode), tasks.clone());
        tasks.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                spawner.spawn(pass(client, socket.clone(), Arc::clone(&shared)));
            }
        });
        Some(Self { database, mode, _tasks: tasks })
    }

    /// From now on one commit is lost, in this way.
    fn lose(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }
}

/// Passes bytes on until one side closes, or a commit is to be lost.
async fn pass(mut client: TcpStream, socket: PathBuf, mode: Arc<AtomicU8>) {
    let mut server = UnixStream::connect(socket).await.unwrap();
    let (mut from_client, mut from_server) = ([0; 65536], [0; 65536]);
    let mut losing = PASS;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(read @ 1..) = read else { return };
                let bytes = &from_client[..read];
                if bytes.windows(7).any(|window| window == b"COMMIT\0") {
                    losing = mode.swap(PASS, Ordering::SeqCst);
                }
                if losing == LOSE_COMMIT || server.write_all(bytes).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(read @ 1..) = read else { return };
                if losing == LOSE_ANSWER || client.write_all(&from_server[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn a_lost_commit_takes_place_once(world: World, mode: u8) {
    let Some(proxy) = Proxy::start(&world).await else { return };
    let store = world.try_open_at(proxy.database.clone(), &world.key).await.unwrap();
    let owner = world.owner();
    insert(&store, &world.token(owner, "before", 1)).await;
    for second in 2..6 {
        proxy.lose(mode);
        let written = insert(&store, &world.token(owner, "during", second)).await;
        assert_eq!(written.revision, Some(Revision::new(second)));
    }
    let written = insert(&store, &world.token(owner, "after", 6)).await;
    assert_eq!(written.revision, Some(Revision::new(6)));
    let filter = countersign_store::ServiceTokenFilter::all(owner);
    assert_eq!(store.count_service_tokens(&filter).await.unwrap(), 6);
    assert_eq!(store.list_service_tokens(&filter, None, Page::ALL).await.unwrap().rows.len(), 6);
    assert!(!store.take_foreign(Revision::new(6)), "all of them are this process' own");
    let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
    assert_eq!((chain.events, chain.broken), (6, None));
}

#[test]
fn a_commit_whose_answer_is_lost_is_found() {
    on_postgres(|world| a_lost_commit_takes_place_once(world, LOSE_ANSWER));
}

#[test]
fn a_commit_that_never_arrived_is_repeated() {
    on_postgres(|world| a_lost_commit_takes_place_once(world, LOSE_COMMIT));
}

/// Ends every other session of this database, as a restart of the server would.
async fn cut_off(world: &World) {
    world
        .sql(
            "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
              WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
}

#[test]
fn a_session_that_ended_is_replaced() {
    on_postgres(async |world| {
        let store = world.open().await;
        let owner = world.owner();
        let mut watch = store.watch().await.unwrap();
        for second in 1..4 {
            insert(&store, &world.token(owner, "t", second)).await;
            assert_eq!(store.poll(Revision::new(0)).await.unwrap().changes.len() as i64, second);
            cut_off(&world).await;
        }
        // Something may have been missed, so the watch reports; and then it works again.
        watch.changed().await.unwrap();
        let other = world.open().await;
        insert(&other, &world.token(owner, "t", 9)).await;
        watch.changed().await.unwrap();
    });
}

#[test]
fn a_session_that_ends_within_a_job_has_it_run_again() {
    on_postgres(async |world| {
        let store = world.open().await;
        let owner = world.owner();
        let token = world.token(owner, "t", 1);
        let (started, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let tasks = TaskTracker::new();
        let (writer, running, gate, inserted) =
            (store.store.clone(), Arc::clone(&started), Arc::clone(&go), token.clone());
        let writing = tasks.spawn(async move {
            write!(writer, [running, gate, inserted], |tx| {
                tx.insert_service_token(&inserted).await?;
                running.add_permits(1);
                gate.acquire().await.expect("never closed").forget();
                tx.record(event("service_token.create", &inserted.id));
                Ok::<_, Error>(())
            })
            .await
        });
        started.acquire().await.unwrap().forget();
        cut_off(&world).await;
        go.add_permits(2);
        let written = writing.await.unwrap().unwrap();
        assert_eq!(written.revision, Some(Revision::new(1)));
        assert!(store.find_service_token(&owner, &token.id).await.unwrap().is_some());
        let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
        assert_eq!((chain.events, chain.broken), (1, None));
    });
}

#[test]
fn a_writer_that_has_stopped_keeps_nobody_from_counting_heartbeats() {
    on_postgres(async |world| {
        let (stopped, other) = (world.open().await, world.open().await);
        let (started, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let tasks = TaskTracker::new();
        let (writer, running, gate) = (stopped.store.clone(), Arc::clone(&started), Arc::clone(&go));
        let token = world.token(world.owner(), "t", 1);
        tasks.spawn(async move {
            let held = write!(writer, [running, gate, token], |tx| {
                tx.insert_service_token(&token).await?;
                running.add_permits(1);
                gate.acquire().await.expect("never closed").forget();
                tx.record(event("service_token.create", &token.id));
                Ok::<_, Error>(())
            });
            drop(held.await);
        });
        started.acquire().await.unwrap().forget();
        for store in [&stopped, &other] {
            let node = Node::new(NodeId::generate(&world.entropy), at(1), Revision::new(0));
            store.register_node(&node).await.unwrap();
            store.heartbeat(node.id, Revision::new(0)).await.unwrap();
        }
        // Nor, for long, from writing: the server ends a session that holds the counter and does nothing.
        try_insert(&other, &world.token(world.owner(), "t", 2)).await.unwrap();
        go.add_permits(2);
        tasks.close();
        tasks.wait().await;
    });
}

#[test]
fn an_address_that_nobody_answers_is_an_outage() {
    on_postgres(async |world| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let database = Database::Postgres(format!("postgres://u:secret@127.0.0.1:{port}/d"));
        let error = world.try_open_at(database, &world.key).await.map(|_| ()).expect_err("nobody is there");
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(!error.to_string().contains("secret"), "{error}");
    });
}
