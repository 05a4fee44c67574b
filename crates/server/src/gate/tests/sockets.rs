//! Unix sockets, several threads, and the end.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::world::{Client, OPTIONS, World, get, pair};
use crate::config::Stale;
use crate::gate::listener::Options;
use crate::lifecycle::{http, unix};

#[tokio::test]
async fn a_unix_socket_answers_alike() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gate.sock");
    let (file, listener) = unix::bind(&path).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let world = World::with(OPTIONS, Stale::Refuse, Some(listener)).await;
    let token = world.account_token();
    let mut client = Client::connect(&path).await;
    let request = get(&world.demand(), &pair(&token));
    let answer = client.ask(&request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), world.connect().await.ask(&request).await.text());
    drop(file);
    world.stop.request();
    world.threads.join().await.unwrap();
    assert!(client.is_closed().await);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gate.sock");
    // A socket whose process has ended: nobody removed the file.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let (file, listener) = unix::bind(&path).await.unwrap();
    let error = unix::bind(&path).await.expect_err("it lives");
    assert_eq!(format!("{error:#}"), format!("another server is listening on the Unix socket {}", path.display()));
    drop((file, listener));
    assert!(!path.exists());

    std::fs::write(&path, "precious").unwrap();
    let error = unix::bind(&path).await.expect_err("it is a file");
    assert_eq!(format!("{error:#}"), format!("{} exists and is no socket", path.display()));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[tokio::test]
async fn several_threads_share_the_listeners() {
    let world = World::with(Options { threads: 4, ..OPTIONS }, Stale::Refuse, None).await;
    let token = world.account_token();
    let request = get(&world.demand(), &pair(&token));
    let mut clients = Vec::new();
    for _ in 0..64 {
        clients.push(world.connect().await);
    }
    for _ in 0..3 {
        for client in &mut clients {
            client.send(&request).await;
        }
        for client in &mut clients {
            assert_eq!(client.answer().await.unwrap().status, 200);
        }
    }
    assert_eq!(world.tallies.answers("service_token"), 3 * 64);
    world.stop.request();
    world.threads.join().await.unwrap();
}

#[tokio::test]
async fn what_has_begun_is_answered_before_the_end() {
    let world = World::new().await;
    let token = world.account_token();
    let request = get(&world.demand(), &pair(&token));
    let mut idle = world.connect().await;
    assert_eq!(idle.ask(&request).await.status, 200);
    let mut begun = world.connect().await;
    let (first, rest) = request.split_at(request.len() / 2);
    begun.send(first).await;
    // There is one thread. When two later questions are answered, it has read what was sent before them.
    assert_eq!(idle.ask(&request).await.status, 200);
    assert_eq!(idle.ask(&request).await.status, 200);

    world.stop.request();
    assert!(idle.is_closed().await, "an idle connection ends at once");
    begun.send(rest).await;
    let answer = begun.answer().await.expect("an answer to what has begun");
    assert_eq!(answer.status, 200);
    assert!(begun.is_closed().await);
    world.threads.join().await.unwrap();
}

#[tokio::test]
async fn whoever_asks_and_asks_and_reads_nothing_is_cut_off() {
    let http = http::Options { write_timeout: Duration::from_millis(50), ..OPTIONS.http };
    let world = World::with(Options { http, ..OPTIONS }, Stale::Refuse, None).await;
    let mut greedy = TcpStream::connect(world.address()).await.unwrap();
    let requests = get("", "").repeat(1000);
    // It ends when the gate has had enough: then nothing more can be sent.
    while greedy.write_all(requests.as_bytes()).await.is_ok() {}
    assert_eq!(world.ask("", "").await.status, 403);
}

#[tokio::test]
async fn a_connection_that_does_not_end_is_cut() {
    let http = http::Options { drain_timeout: Duration::from_millis(50), ..OPTIONS.http };
    let options = Options { http, ..OPTIONS };
    let world = World::with(options, Stale::Refuse, None).await;
    let mut idle = world.connect().await;
    let mut begun = world.connect().await;
    begun.send("GET /verify").await;
    assert_eq!(idle.ask(get("", "")).await.status, 403);
    assert_eq!(idle.ask(get("", "")).await.status, 403);
    world.stop.request();
    world.threads.join().await.unwrap();
    assert!(begun.is_closed().await);
}
