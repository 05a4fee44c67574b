//! nginx with one worker, on data of its own.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::server::Connection;

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running nginx. It is stopped when this is dropped.
pub(crate) struct Nginx {
    process: Child,
    worker: u32,
    addresses: Vec<SocketAddr>,
    _directory: TempDir,
}

/// The headers that the gate gives for a service token, with the values of one.
pub(crate) fn same_headers() -> String {
    let headers = [
        ("cache-control", "no-store"),
        ("countersign-kind", "service_token"),
        ("countersign-token-id", "019a9c5e-2f0b-7c61-a9c4-0d1e2f3a4b5c"),
        ("countersign-account-id", "2f0c5b1be6f84e7f8a2d3c4b5a697887"),
        ("countersign-token-name", "bench"),
        ("countersign-client-id", "88bf3b6d86161464f6509f7219099e57.access"),
    ];
    headers.iter().fold(String::new(), |mut text, (name, value)| {
        writeln!(text, "add_header {name} \"{value}\";").unwrap();
        text
    })
}

impl Nginx {
    /// Starts nginx with as many addresses as `http` uses: `{0}`, `{1}` … stand for them.
    pub(crate) fn start(program: &Path, http: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut http = http.to_owned();
        let mut addresses = Vec::new();
        for number in 0.. {
            let place = format!("{{{number}}}");
            if !http.contains(&place) {
                break;
            }
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            http = http.replace(&place, &free.to_string());
            addresses.push(free);
        }
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let text = format!(
            "{user} worker_processes 1; pid nginx.pid; error_log error.log;
             events {{ worker_connections 1024; }}
             http {{
                 access_log off; server_tokens off; keepalive_requests 1000000000; tcp_nodelay on;
                 client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; scgi_temp_path scgi;
                 uwsgi_temp_path uwsgi;
                 {http}
             }}"
        );
        std::fs::write(directory.path().join("nginx.conf"), text).unwrap();
        let mut process = Command::new(program)
            .arg("-p")
            .arg(directory.path())
            .args(["-c", "nginx.conf", "-e", "error.log", "-g", "daemon off;"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        let worker = loop {
            assert!(process.try_wait().unwrap().is_none(), "nginx has ended");
            assert!(begin.elapsed() < PATIENCE, "nginx does not answer");
            let id = process.id();
            let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
            if addresses.iter().all(|address| TcpStream::connect(address).is_ok())
                && let Some(worker) = children.split_whitespace().next()
            {
                break worker.parse().unwrap();
            }
            std::thread::yield_now();
        };
        Self { process, worker, addresses, _directory: directory }
    }

    pub(crate) fn worker(&self) -> u32 {
        self.worker
    }

    /// The address that stands in the configuration as this number.
    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        self.addresses[number]
    }

    pub(crate) fn connect(&self, number: usize) -> Connection {
        Connection::open(self.addresses[number])
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        self.process.wait().unwrap();
    }
}
