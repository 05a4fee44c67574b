//! Whole servers on stores of their own: how they start, and how they end.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::anyhow;
use countersign_token::secret::Secret;
use prometheus_client::metrics::counter::Counter;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;

use super::*;
use crate::config::Overrides;
use crate::ops::{Initialised, NewInstallation};

mod limits;
mod loading;
mod metrics;
mod tls;
mod traces;

/// A directory, and what a server on it is told.
struct Home {
    dir: tempfile::TempDir,
    settings: Settings,
    entropy: Entropy,
}

impl Home {
    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let any_port = Some("127.0.0.1:0".parse().unwrap());
        let flags = Overrides {
            data_dir: Some(dir.path().join("data")),
            listen: any_port,
            gate_listen: any_port,
            gate_unix: Some(dir.path().join("gate.sock")),
            ..Overrides::default()
        };
        let settings = Settings::load(flags, None, &|_| None).unwrap();
        Self { dir, settings, entropy: Entropy::System }
    }

    /// With an installation.
    async fn new() -> (Self, Initialised) {
        let home = Self::empty();
        let opened = create_store(&home.settings, &home.entropy).await.unwrap();
        let new = NewInstallation { email: "admin@example.com".to_owned(), zone_name: "example.com".to_owned() };
        let made = home.work(opened, async |ops| ops.initialise(&new).await.unwrap()).await;
        (home, made)
    }

    /// Does `job` on the store, as a command would.
    async fn work<T>(&self, opened: Opened, job: impl AsyncFnOnce(&Ops) -> T) -> T {
        let Opened { store, writer } = opened;
        let job = async {
            let ops = Ops::outside(store, Clock::System, self.entropy.clone());
            job(&ops).await
        };
        tokio::join!(job, writer.run()).0
    }

    async fn start(&self) -> anyhow::Result<Server> {
        Server::start(&self.settings, Clock::System, self.entropy.clone()).await
    }

    async fn serve(&self) -> Serving {
        Serving::of(self.start().await.unwrap())
    }

    fn key_file(&self) -> std::path::PathBuf {
        self.settings.data_dir.join("installation.key")
    }
}

/// A server that answers.
struct Serving {
    listening: Vec<Listening>,
    stop: oneshot::Sender<()>,
    run: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Serving {
    fn of(server: Server) -> Self {
        let listening = server.listening().to_vec();
        let (stop, stopped) = oneshot::channel();
        let run = server.run(async {
            let _ = stopped.await;
        });
        let run = tokio_util::task::TaskTracker::new().spawn(run);
        Self { listening, stop, run }
    }

    fn address(&self, name: &str) -> &str {
        let listening = self.listening.iter().find(|listening| listening.name == name).unwrap();
        listening.url.split_once(':').unwrap().1.trim_start_matches('/')
    }

    async fn ask(&self, name: &str, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address(name)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        parse(&answer)
    }

    async fn end(self) -> anyhow::Result<()> {
        self.stop.send(()).unwrap();
        self.run.await.unwrap()
    }
}

fn parse(answer: &str) -> (u16, String) {
    let status = answer.strip_prefix("HTTP/1.1 ").expect("a status line")[..3].parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn create(made: &Initialised) -> String {
    let path = format!("/client/v4/accounts/{}/access/service_tokens", made.account.id);
    call(made, "POST", &path, r#"{"name":"ci"}"#)
}

/// A request of the first user's.
fn call(made: &Initialised, method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        made.api_token.expose(),
        body.len()
    )
}

/// Makes a service token and returns what `/verify` is asked with.
async fn create_and_verify(serving: &Serving, made: &Initialised) -> String {
    let (status, body) = serving.ask("management", &create(made)).await;
    assert!((200..300).contains(&status), "{status} {body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    let field = |name: &str| body["result"][name].as_str().unwrap().to_owned();
    format!(
        "GET /verify?account_id={} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nCF-Access-Client-Id: {}\r\n\
         CF-Access-Client-Secret: {}\r\n\r\n",
        made.account.id,
        field("client_id"),
        field("client_secret")
    )
}

#[tokio::test]
async fn a_token_is_good_at_once_and_seen_after_the_end() {
    let (home, made) = Home::new().await;
    let serving = home.serve().await;
    let names: Vec<_> = serving.listening.iter().map(|listening| listening.name).collect();
    assert_eq!(names, ["management", "gate", "gate-unix"]);
    for name in ["management", "gate"] {
        assert_eq!(serving.ask(name, "GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n").await.0, 200, "{name}");
    }
    let verify = create_and_verify(&serving, &made).await;
    assert_eq!(serving.ask("gate", &verify).await.0, 200);
    let mut unix = UnixStream::connect(home.dir.path().join("gate.sock")).await.unwrap();
    unix.write_all(verify.as_bytes()).await.unwrap();
    let mut answer = String::new();
    unix.read_to_string(&mut answer).await.unwrap();
    assert_eq!(parse(&answer).0, 200);

    let (_, metrics) = serving.ask("management", "GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    for line in [
        "countersign_gate_decisions_total{outcome=\"allow\",reason=\"service_token\"} 2\n",
        "countersign_gate_decisions_total{outcome=\"refuse\",reason=\"stale\"} 0\n",
        "route=\"/client/v4/accounts/{account_id}/access/service_tokens\",status=\"2xx\"} 1\n",
        "# EOF\n",
    ] {
        assert!(metrics.contains(line), "{line:?} in {metrics}");
    }

    serving.end().await.unwrap();
    assert!(!home.dir.path().join("gate.sock").exists());
    let (opened, _) = open_store(&home.settings).await.unwrap();
    assert_eq!(opened.store.list_nodes().await.unwrap(), [], "it took itself off the list");
    let mut seen = Vec::new();
    opened
        .store
        .load(&mut |change| {
            if let countersign_token::feed::Subject::ServiceToken { last_seen_at, .. } = change.subject {
                seen.push(last_seen_at);
            }
        })
        .await
        .unwrap();
    assert!(matches!(seen.as_slice(), [Some(_)]), "{seen:?}");

    // And it starts again, and still knows the token.
    let serving = home.serve().await;
    assert_eq!(serving.ask("gate", &verify).await.0, 200);
    serving.end().await.unwrap();
}

#[tokio::test]
async fn what_was_wished_of_a_rotation_is_done_by_whichever_server_runs() {
    let (home, made) = Home::new().await;
    let serving = home.serve().await;
    let manage = async |serving: &Serving, method: &str, path: &str, body: &str| {
        let (status, body) = serving.ask("management", &call(&made, method, path, body)).await;
        assert!((200..300).contains(&status), "{status} {body}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let tokens = format!("/client/v4/accounts/{}/access/service_tokens", made.account.id);
    let id = manage(&serving, "POST", &tokens, r#"{"name":"ci"}"#).await["result"]["id"].as_str().unwrap().to_owned();
    let grace = r#"{"previous_client_secret_expires_at":"2999-01-01T00:00:00Z"}"#;
    manage(&serving, "PUT", &format!("{tokens}/{id}"), r#"{"duration":"forever"}"#).await;
    manage(&serving, "POST", &format!("{tokens}/{id}/rotate"), grace).await;
    let rotation = format!("/admin/v1/accounts/{}/service_tokens/{id}/rotation", made.account.id);
    let told = manage(&serving, "PUT", &rotation, r#"{"finish_when_quiet":"1h"}"#).await;
    assert!(told["previous_secret"].is_object(), "{told}");
    serving.end().await.unwrap();

    let later = Clock::System.now().saturating_add_micros(2 * 3_600_000_000);
    let later = Clock::Manual(countersign_token::time::ManualClock::new(later));
    let serving = Serving::of(Server::start(&home.settings, later, home.entropy.clone()).await.unwrap());
    let ended = async { while !manage(&serving, "GET", &rotation, "").await["previous_secret"].is_null() {} };
    assert!(tokio::time::timeout(std::time::Duration::from_secs(30), ended).await.is_ok(), "it never ends");
    serving.end().await.unwrap();
}

#[tokio::test]
async fn a_request_that_has_begun_is_answered() {
    let (home, made) = Home::new().await;
    let serving = home.serve().await;
    let request = create(&made);
    let (head, body) = request.split_at(request.len() - 5);
    let mut begun = TcpStream::connect(serving.address("management")).await.unwrap();
    begun.write_all(head.replace("Connection: close\r\n", "Expect: 100-continue\r\n").as_bytes()).await.unwrap();
    // The server asks for the body: the request has begun.
    let mut interim = [0; 25];
    begun.read_exact(&mut interim).await.unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100"));
    let mut idle = TcpStream::connect(serving.address("management")).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    idle.read_exact(&mut [0; 15]).await.unwrap();

    serving.stop.send(()).unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    begun.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    begun.read_to_string(&mut answer).await.unwrap();
    assert!((200..300).contains(&parse(&answer).0), "{answer}");
    serving.run.await.unwrap().unwrap();
}

#[tokio::test]
async fn slow_heads_of_the_management_api_are_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, errors) = (Stop::default(), Counter::default());
    let options = http::Options { head_timeout: Duration::from_millis(50), ..CONNECTION };
    let listener = http::Listener { tcp: listener, tls: None, room: Room::new(16) };
    let router = Router::new().route("/", axum::routing::get(async || "here"));
    let mut tasks = Tasks::default();
    tasks.spawn(MANAGEMENT, http::serve(listener, router, options, stop.clone(), errors));
    let request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    // `P` begins both POST and the preface of HTTP/2.
    for start in ["", "P", "PRI * HTTP/2.0\r\n", &request[..request.len() - 1]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.is_empty() || parse(&answer).0 == 408, "{start:?} {answer:?}");
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(parse(&answer), (200, "here".to_owned()), "and then it was idle for too long");
    stop.request();
    tasks.finish(MANAGEMENT, FINISH_TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn one_server_serves_a_database() {
    let (home, _) = Home::new().await;
    let first = home.start().await.unwrap();
    let message = format!("{:#}", home.start().await.expect_err("there is one"));
    assert!(message.starts_with("another server is running on "), "{message}");
    // Whatever became of the first one, its lock does not stay behind.
    drop(first);
    home.serve().await.end().await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (mut home, _) = Home::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    home.settings.gate_listen = taken.local_addr().unwrap();
    let message = format!("{:#}", home.start().await.expect_err("the port is taken"));
    assert!(message.contains(&home.settings.gate_listen.to_string()) && message.contains("gate"), "{message}");
    let (opened, _) = open_store(&home.settings).await.unwrap();
    assert_eq!(opened.store.list_nodes().await.unwrap(), [], "nobody waits for a node that never was");
}

#[tokio::test]
async fn a_task_that_ends_early_ends_the_server() {
    let (home, _) = Home::new().await;
    for (fault, expected) in [
        (Ok(()), "the background task `fault` has ended early"),
        (Err(anyhow!("no more")), "the background task `fault` has failed: no more"),
    ] {
        let mut server = home.start().await.unwrap();
        server.background.tasks.spawn("fault", async { fault });
        let Serving { run, stop, .. } = Serving::of(server);
        assert_eq!(format!("{:#}", run.await.unwrap().expect_err("a task has ended")), expected);
        drop(stop);
        assert!(!home.dir.path().join("gate.sock").exists(), "it was taken down in order all the same");
    }
}

#[tokio::test]
async fn nothing_is_made_where_there_is_no_installation() {
    let home = Home::empty();
    let message = format!("{:#}", home.start().await.expect_err("there is nothing"));
    assert!(message.contains("countersign init"), "{message}");
    assert!(!home.settings.data_dir.exists());

    // A first `init` that was interrupted before anything was written to the store.
    drop(create_store(&home.settings, &home.entropy).await.unwrap());
    let message = format!("{:#}", home.start().await.expect_err("there is no installation"));
    assert!(message.contains("countersign init"), "{message}");
    let before = std::fs::read(home.key_file()).unwrap();
    drop(create_store(&home.settings, &home.entropy).await.unwrap());
    assert_eq!(std::fs::read(home.key_file()).unwrap(), before, "the key that was made is used");
}

#[tokio::test]
async fn a_lost_or_foreign_key_is_said() {
    let (home, _) = Home::new().await;
    let (path, mode) = (home.key_file(), |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777);
    assert_eq!((mode(&path), mode(&home.settings.data_dir)), (0o600, 0o700));
    let key = Secret::from(std::fs::read_to_string(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    let message = format!("{:#}", home.start().await.expect_err("the key is lost"));
    assert!(message.contains("the installation key is missing") && message.contains("backup"), "{message}");
    let message = format!("{:#}", create_store(&home.settings, &home.entropy).await.expect_err("the key is lost"));
    assert!(message.contains("holds an installation") && message.contains("is missing"), "{message}");
    assert!(!path.exists(), "no other key takes its place");

    std::fs::write(&path, "0".repeat(64)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let message = format!("{:#}", home.start().await.expect_err("it is another key"));
    assert!(message.contains("not the one of this database"), "{message}");

    std::fs::write(&path, key.expose()).unwrap();
    home.serve().await.end().await.unwrap();
}

#[tokio::test]
async fn several_servers_live_in_one_process() {
    let ((one, made_one), (two, made_two)) = (Home::new().await, Home::new().await);
    let (first, second) = (one.serve().await, two.serve().await);
    let verify_one = create_and_verify(&first, &made_one).await;
    let verify_two = create_and_verify(&second, &made_two).await;
    assert_eq!(first.ask("gate", &verify_one).await.0, 200);
    assert_eq!(second.ask("gate", &verify_two).await.0, 200);
    assert_eq!(first.ask("gate", &verify_two).await.0, 401);
    first.end().await.unwrap();
    assert_eq!(second.ask("gate", &verify_two).await.0, 200);
    second.end().await.unwrap();
}
