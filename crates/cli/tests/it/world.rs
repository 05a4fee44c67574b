//! A directory, the binary, servers of it, and a way to ask them.

use std::io::{BufRead as _, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take that is waited for. Only a failure takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with an installation, or with none yet.
pub(crate) struct World {
    directory: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Standard output of a command that must have succeeded.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Standard output and error of a command that must have said that something is not so yet.
    pub(crate) fn not_yet(self) -> (String, String) {
        assert_eq!(self.code, Some(3), "{self:?}");
        (self.stdout, self.stderr)
    }

    /// The one JSON document of a command that must have succeeded.
    pub(crate) fn json(self) -> Value {
        let stdout = self.ok();
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
    }

    /// Standard error of a command that must have failed with `code` and printed nothing else.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{}", self.stderr);
        self.stderr
    }
}

/// What `init --json` printed.
pub(crate) struct Installation {
    pub document: Value,
}

impl Installation {
    pub(crate) fn account(&self) -> &str {
        self.document["account"]["id"].as_str().unwrap()
    }

    pub(crate) fn zone(&self) -> &str {
        self.document["zone"]["id"].as_str().unwrap()
    }

    /// The PFID of the first environment.
    pub(crate) fn environment(&self) -> &str {
        self.document["environment"]["id"].as_str().unwrap()
    }

    /// The management token.
    pub(crate) fn api_token(&self) -> &str {
        self.document["api_token"].as_str().unwrap()
    }

    /// The account-scoped API token.
    pub(crate) fn account_token(&self) -> &str {
        self.document["account_token"].as_str().unwrap()
    }

    /// Every string in it that must never be seen again.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let texts = [&self.document["user"]["api_key"], &self.document["api_token"], &self.document["account_token"]];
        texts.map(|text| text.as_str().unwrap().to_owned()).to_vec()
    }
}

impl World {
    /// Runs a create whose request is heard at `listener` and never answered, without and with an idempotency key: it says
    /// to look with `list` before it is repeated, and that it may be repeated.
    pub(crate) fn loses_answers(&self, listener: &TcpListener, create: &[&str], list: &str) {
        for (key, words) in [([].as_slice(), list), (&["--idempotency-key", "k"], "the same --idempotency-key")] {
            let hang_up = || listener.accept().unwrap().0.read(&mut [0]).unwrap();
            let all = [create, key].concat();
            let said = thread::scope(|scope| {
                scope.spawn(hang_up);
                self.run(&all).failed(1)
            });
            assert!(said.contains("may have done it") && said.contains(words), "{said}");
        }
    }

    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// The binary with these arguments, in this world's directory, and nothing of the environment but the search path.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(arguments).current_dir(self.directory.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("COUNTERSIGN_DATA_DIR", self.data_dir());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        outcome(&mut self.command(arguments))
    }

    pub(crate) fn init(&self) -> Installation {
        Installation { document: self.run(&["init", "--json"]).json() }
    }

    /// A server of this world's installation, listening.
    pub(crate) fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    pub(crate) fn serve_with(&self, arguments: &[&str]) -> Server {
        let mut all = vec!["serve", "--listen", "127.0.0.1:0", "--gate-listen", "127.0.0.1:0"];
        all.extend(arguments);
        Server::start(self.command(&all))
    }
}

pub(crate) fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// What a server has said on standard error.
#[derive(Default)]
struct Log {
    text: Mutex<String>,
    grown: Condvar,
}

/// An installation on one database or the other, and what was handed out there.
pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) first: Installation,
    database: Vec<String>,
}

impl Place {
    /// On the database at `url`, or on an embedded one.
    pub(crate) fn new(url: Option<String>) -> Self {
        let world = World::new();
        let database: Vec<String> =
            url.map(|url| vec!["--database-url".to_owned(), url]).into_iter().flatten().collect();
        let mut init = vec!["init", "--json"];
        init.extend(database.iter().map(String::as_str));
        let first = Installation { document: world.run(&init).json() };
        Self { world, first, database }
    }

    /// A command on the store.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.world.run(&self.with_database(arguments))
    }

    pub(crate) fn serve(&self) -> Server {
        self.serve_at("127.0.0.1:0")
    }

    /// A server at this address, so that whoever follows it finds it again.
    pub(crate) fn serve_at(&self, listen: &str) -> Server {
        let all = self.with_database(&["serve", "--gate-listen", "127.0.0.1:0", "--listen", listen]);
        Server::start(self.world.command(&all))
    }

    fn with_database<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        arguments.iter().copied().chain(self.database.iter().map(String::as_str)).collect()
    }
}

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    log: Arc<Log>,
    readers: Vec<thread::JoinHandle<()>>,
    /// Address of the management API, such as `http://127.0.0.1:1234`.
    pub management: String,
    /// Address of the gate.
    pub gate: String,
}

impl Server {
    /// Starts it and waits until it says what is bound.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (to, lines) = channel();
        let log = Arc::<Log>::default();
        let stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        let into = Arc::clone(&log);
        let readers = vec![thread::spawn(move || forward(stdout, &to)), thread::spawn(move || collect(stderr, &into))];
        let mut server = Self { child, lines, log, readers, management: String::new(), gate: String::new() };
        while server.gate.is_empty() {
            let line = server.line();
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["listening", "management", url] => server.management = (*url).to_owned(),
                ["listening", "gate", url] => server.gate = (*url).to_owned(),
                _ => panic!("not a listening line: {line}"),
            }
        }
        server
    }

    /// The next line of its standard output.
    pub(crate) fn line(&self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => panic!("{error}; log: {}", self.log()),
        }
    }

    /// Every line that is still to come, up to one that starts with `last`.
    pub(crate) fn lines_until(&self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            let done = line.starts_with(last);
            lines.push(line);
            if done {
                return lines;
            }
        }
    }

    /// What it has said on standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.text.lock().unwrap().clone()
    }

    /// Waits until it has said this on standard error.
    pub(crate) fn says(&self, what: &str) {
        let said = self.log.text.lock().unwrap();
        let (said, waited) = self.log.grown.wait_timeout_while(said, PATIENCE, |said| !said.contains(what)).unwrap();
        assert!(!waited.timed_out(), "{what:?} in {said}");
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// A way to end it while others are busy with it.
    pub(crate) fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end, and returns how it ended and its whole log.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        (status, self.log())
    }

    /// A command over HTTP as the holder of `api_token`.
    pub(crate) fn remote(&self, world: &World, api_token: &str, arguments: &[&str]) -> Outcome {
        let mut command = world.command(arguments);
        command.env("COUNTERSIGN_URL", &self.management).env("COUNTERSIGN_API_TOKEN", api_token);
        outcome(&mut command)
    }

    /// What this server's gate says to a pair; see [`gate_says`].
    pub(crate) fn gate_says(&self, account: &str, id: &str, secret: &str) -> (u16, Option<String>) {
        gate_says(&self.gate, account, id, secret)
    }

    /// What this server's API tokens dialect says to the holder of `account_token`.
    pub(crate) fn prefactor(&self, account_token: &str, method: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {account_token}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        request(&self.management, method, &format!("/api/v1{path}"), &headers, Some(body)).expect("the server answers")
    }
}

/// What a gate says to the bearer of `token`, asked with this demand.
pub(crate) fn gate_says_to_bearer(gate: &str, demand: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let answer = request(gate, "GET", &format!("/verify?{demand}"), &[("Authorization", &bearer)], None);
    answer.expect("the gate answers")
}

/// What a gate says to this pair, asked on behalf of `account`: the status, and the reason of a refusal.
pub(crate) fn gate_says(gate: &str, account: &str, id: &str, secret: &str) -> (u16, Option<String>) {
    let headers = [("CF-Access-Client-Id", id), ("CF-Access-Client-Secret", secret)];
    let answer = request(gate, "GET", &format!("/verify?account_id={account}"), &headers, None);
    let answer = answer.expect("the gate answers");
    (answer.status, answer.header("countersign-reason").map(str::to_owned))
}

/// The process of a server.
pub(crate) struct Process(u32);

impl Process {
    /// Kills it as a power cut would.
    pub(crate) fn kill(&self) {
        assert!(Command::new("sh").args(["-c", &format!("kill -9 {}", self.0)]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(from: impl Read, to: &Sender<String>) {
    for line in BufReader::new(from).lines() {
        // The test may have heard enough.
        if to.send(line.unwrap()).is_err() {
            return;
        }
    }
}

fn collect(from: impl Read, into: &Log) {
    for line in BufReader::new(from).lines() {
        let mut log = into.text.lock().unwrap();
        log.push_str(&line.unwrap());
        log.push('\n');
        into.grown.notify_all();
    }
}

/// An answer of a server.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Sends one request on its own connection. An error means that the answer did not come whole.
pub(crate) fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> std::io::Result<Answer> {
    let host = address.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    exchange(&mut stream, host, method, path, headers, body)
}

/// The same over a Unix socket.
pub(crate) fn request_unix(path: &Path, target: &str, headers: &[(&str, &str)]) -> std::io::Result<Answer> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    exchange(&mut stream, "gate", "GET", target, headers, None)
}

fn exchange(
    stream: &mut (impl Read + std::io::Write),
    host: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> std::io::Result<Answer> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = body.unwrap_or_default();
    head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(head.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    parse(&text).ok_or_else(|| std::io::Error::other("the answer is cut off"))
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let answer = Answer { status, headers, body: body.to_owned() };
    let whole = answer.header("content-length").is_none_or(|length| length.parse() == Ok(body.len()));
    whole.then_some(answer)
}
