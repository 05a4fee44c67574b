//! The real binary, on data of its own.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::load::Requests;

fn program() -> OsString {
    std::env::var_os("COUNTERSIGN").unwrap_or_else(|| env!("CARGO_BIN_EXE_countersign").into())
}

/// An installation whose server may be started.
pub(crate) struct Installation {
    directory: TempDir,
    described: serde_json::Value,
}

/// A service token of which its client knows everything.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) client_id: String,
    pub(crate) secret: String,
}

impl Pair {
    /// One of a series. Ids and secrets differ in all their digits.
    pub(crate) fn numbered(number: usize) -> Self {
        let digits = |seed: u64| {
            // SplitMix64: spreads neighbouring numbers over all bits.
            let mut state = (number as u64 * 4 + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            format!("{:016x}", state ^ (state >> 31))
        };
        let (high, low) = (digits(0), digits(1));
        let secret = [digits(2), digits(3), digits(2), digits(3)].concat();
        Self { client_id: format!("{high}{low}.access"), secret }
    }
}

impl Installation {
    pub(crate) fn make() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let output = Command::new(program())
            .args(["init", "--json", "--data-dir"])
            .arg(directory.path().join("data"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { directory, described: serde_json::from_slice(&output.stdout).unwrap() }
    }

    /// Adds service tokens to the account.
    pub(crate) fn import(&self, tokens: &[Pair], enabled: bool) {
        let mut text = "name,client_id,client_secret,enabled\n".to_owned();
        for Pair { client_id, secret } in tokens {
            writeln!(text, "bench,{client_id},{secret},{enabled}").unwrap();
        }
        let file = self.directory.path().join("tokens.csv");
        std::fs::write(&file, text).unwrap();
        let output = Command::new(program())
            .args(["service-token", "import", "--account", self.account_id(), "--data-dir"])
            .arg(self.directory.path().join("data"))
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn account_id(&self) -> &str {
        self.text(&["account", "id"])
    }

    pub(crate) fn text(&self, path: &[&str]) -> &str {
        path.iter().fold(&self.described, |value, key| &value[key]).as_str().unwrap()
    }

    /// The demand that every token of the account meets, as a path.
    pub(crate) fn verify(&self) -> String {
        format!("/verify?account_id={}", self.account_id())
    }

    /// What a proxy asks for each of the tokens.
    pub(crate) fn requests(&self, tokens: &[Pair], status: u16) -> Requests {
        self.requests_of(&self.verify(), tokens, status)
    }

    /// The same with another demand.
    pub(crate) fn requests_of(&self, path: &str, tokens: &[Pair], status: u16) -> Requests {
        let head = |pair: &Pair| {
            let Pair { client_id, secret } = pair;
            get(path, &format!("CF-Access-Client-Id: {client_id}\r\nCF-Access-Client-Secret: {secret}\r\n"))
        };
        Requests::new(tokens.iter().map(head), status)
    }

    /// Starts a server, scheduled as the packaged service is.
    pub(crate) fn start(&self) -> Server {
        let socket = self.directory.path().join("gate.sock");
        let mut process = Command::new("chrt")
            .args(["--batch", "0"])
            .arg(program())
            .args(["serve", "--listen", "127.0.0.1:0", "--gate-listen", "127.0.0.1:0", "--log-level", "error"])
            .arg("--data-dir")
            .arg(self.directory.path().join("data"))
            .arg("--gate-unix")
            .arg(&socket)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut address = |name: &str| {
            let line = lines.next().unwrap().unwrap();
            line.strip_prefix(&format!("listening {name} http://")).expect(&line).parse().unwrap()
        };
        let (management, gate) = (address("management"), address("gate"));
        Server { process, management, gate, socket }
    }
}

/// The header of a GET, complete. `headers` are whole lines.
pub(crate) fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: gate\r\n{headers}\r\n")
}

/// A running server. It is stopped when this is dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) management: SocketAddr,
    pub(crate) gate: SocketAddr,
    pub(crate) socket: PathBuf,
}

impl Server {
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        self.process.wait().unwrap();
    }
}

/// One kept connection, for one request after the other.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// The status and the body of the answer.
    pub(crate) fn send(&mut self, request: &str) -> (u16, String) {
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let status = line.get(9..12).and_then(|status| status.parse().ok()).expect("a status line");
        let mut length = 0;
        loop {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (status, String::from_utf8(body).unwrap())
    }

    /// The body of an answer that must be a success.
    pub(crate) fn call(&mut self, method: &str, path: &str, token: &str, body: &str) -> String {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, answer) = self.send(&request);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }
}
