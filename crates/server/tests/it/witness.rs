//! The audit log's head is told of outside of the store.

use std::path::Path;
use std::time::Duration;

use countersign_server::config::AuditSettings;
use countersign_server::witness::{Witness, Witnessed};
use countersign_store::MarkProblem;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::world::{World, on_both, on_sqlite};

fn settings(file: Option<&Path>, url: Option<String>) -> AuditSettings {
    AuditSettings {
        retention: None,
        head_file: file.map(Path::to_owned),
        head_url: url.map(|url| url.parse().unwrap()),
        head_interval: Duration::from_secs(3600),
    }
}

fn witness(world: &World, settings: &AuditSettings) -> Witness {
    Witness::new(world.ops().store().clone(), world.clock(), settings).unwrap().expect("somebody is told")
}

fn read(path: &Path) -> Vec<Witnessed> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| Witnessed::parse(line).unwrap()).collect()
}

#[test]
fn a_file_gets_a_line_whenever_the_head_has_moved() {
    on_both(async |world| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("heads.jsonl");
        let mut witness = witness(world, &settings(Some(&path), None));
        witness.tell().await;
        world.advance(Duration::from_secs(1));
        witness.tell().await;
        assert_eq!(read(&path).len(), 1, "nothing has happened in between");
        world.issue_default().await;
        witness.tell().await;
        let heads = read(&path);
        assert_eq!(heads.len(), 2);
        assert_eq!((heads[1].mark.seq, heads[1].at), (world.audit_end().await, world.now()));
        let store = world.ops().store();
        let sealed: Vec<_> = heads.iter().map(|head| head.sealed.unwrap()).collect();
        assert_eq!(store.are_audit_heads_sealed(&sealed).await.unwrap(), [true, true]);
        assert_eq!(sealed[1].0.revision, store.revision().await.unwrap());
        let mut marks = heads.iter().map(|head| head.mark);
        let chain = store.verify_audit_marks(&mut marks, &mut |_| {}).await.unwrap();
        assert_eq!((chain.confirmed, chain.contradicted), (2, None));
        // A file that was moved away is made again.
        std::fs::rename(&path, directory.path().join("old")).unwrap();
        world.issue_default().await;
        witness.tell().await;
        assert_eq!(read(&path).len(), 1);
        drop(witness);
    });
}

#[test]
fn a_stop_tells_of_the_last_head() {
    on_both(async |world| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("heads.jsonl");
        let witness = witness(world, &settings(Some(&path), None));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        world.issue_default().await;
        stop.cancel();
        tasks.spawn(witness.run(stop)).await.unwrap();
        assert_eq!(read(&path).last().unwrap().mark.seq, world.audit_end().await);
    });
}

/// Takes one request, and answers it.
async fn take(listener: &TcpListener, status: &str) -> (String, String) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        stream.read_line(&mut head).await.unwrap();
    }
    let length = head.to_lowercase().split("content-length: ").nth(1).unwrap().split_once('\r').unwrap().0.to_owned();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn an_address_is_told_until_it_has_taken_the_head() {
    on_both(async |world| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/heads?of=us", listener.local_addr().unwrap());
        let mut witness = witness(world, &settings(None, Some(url)));
        // It may fail, and is asked again.
        let ((), (head, first)) = tokio::join!(witness.tell(), take(&listener, "503 Service Unavailable"));
        assert!(head.starts_with("POST /heads?of=us HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
        world.issue_default().await;
        let ((), (_, second)) = tokio::join!(witness.tell(), take(&listener, "204 No Content"));
        let seqs = [&first, &second].map(|body| Witnessed::parse(body).unwrap().mark.seq);
        assert_eq!(seqs[1], seqs[0] + 1, "the newer one stands for both");
        // It has it, and hears nothing while nothing happens: this would wait for an answer in vain.
        witness.tell().await;
        // Nobody is there any more: that holds nothing up.
        drop(listener);
        world.issue_default().await;
        witness.tell().await;
    });
}

#[test]
fn a_database_that_was_put_back_is_seen() {
    on_sqlite(async |world| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("heads.jsonl");
        let database = world.database_file();
        world.stop().await;
        let beside = database.with_extension("db-wal");
        let rest = beside.metadata().map_or(0, |beside| beside.len());
        assert_eq!(rest, 0, "whoever closes the database puts everything into its file");
        let old = std::fs::read(&database).unwrap();
        world.start().await;
        world.issue_default().await;
        witness(world, &settings(Some(&path), None)).tell().await;
        world.stop().await;
        std::fs::write(&database, old).unwrap();
        world.start().await;
        let verify = async |world: &World| {
            let heads = read(&path);
            let mut marks = heads.iter().map(|head| head.mark);
            let chain = world.ops().store().verify_audit_marks(&mut marks, &mut |_| {}).await.unwrap();
            assert_eq!(chain.broken, None, "in itself it is consistent");
            chain.contradicted.map(|found| (found.index, found.problem))
        };
        assert_eq!(verify(world).await, Some((0, MarkProblem::Beyond)));
        world.advance(Duration::from_secs(1));
        world.issue_default().await;
        assert_eq!(verify(world).await, Some((0, MarkProblem::Differs)));
    });
}

/// What an operator misspells is said at the start.
#[test]
fn a_file_that_cannot_be_written_is_refused() {
    on_sqlite(async |world| {
        let settings = settings(Some(Path::new("/nowhere/heads.jsonl")), None);
        let error = Witness::new(world.ops().store().clone(), world.clock(), &settings).err().expect("refused");
        assert!(format!("{error:#}").contains("/nowhere/heads.jsonl"), "{error:#}");
        let nobody = AuditSettings { head_file: None, ..settings };
        assert!(Witness::new(world.ops().store().clone(), world.clock(), &nobody).unwrap().is_none());
    });
}
