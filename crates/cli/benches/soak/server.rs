//! The servers, as their operator has them: the binary, its commands and signals.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Where an installation's rows and key are.
pub(crate) struct Installation {
    pub(crate) directory: PathBuf,
    pub(crate) database_url: Option<String>,
}

impl Installation {
    fn program(&self) -> PathBuf {
        self.directory.join("countersign")
    }

    /// Copies the program, so that all of a long run is of one build.
    pub(crate) fn bring_program(&self) -> std::io::Result<u64> {
        std::fs::copy(env!("CARGO_BIN_EXE_countersign"), self.program())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        command.args(arguments).env_clear().stdin(Stdio::null());
        command.env("COUNTERSIGN_DATA_DIR", self.directory.join("data")).env("COUNTERSIGN_LOG_LEVEL", "warn");
        if let Some(url) = &self.database_url {
            command.env("COUNTERSIGN_DATABASE_URL", url);
        }
        command
    }

    /// Runs a command to its end, and gives what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.command(arguments).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(format!("countersign {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
        }
    }

    pub(crate) fn init(&self) -> Result<Value, String> {
        serde_json::from_str(&self.run(&["init", "--json"])?).map_err(|error| error.to_string())
    }

    /// The bytes of the database, and of SQLite's write-ahead log.
    pub(crate) fn size(&self) -> (u64, u64) {
        let length = |path: PathBuf| std::fs::metadata(path).map_or(0, |data| data.len());
        match self.database_url.as_deref().and_then(|url| url.split_once("?host=")) {
            Some((_, cluster)) => (size_below(&Path::new(cluster).join("data/base")), 0),
            None => {
                let file = |name| length(self.directory.join("data").join(name));
                (file("countersign.db"), file("countersign.db-wal"))
            }
        }
    }

    pub(crate) fn serve(&self, number: usize) -> Result<Server, String> {
        let log = self.directory.join(format!("server-{number}.log"));
        let into = std::fs::File::create(&log).map_err(|error| error.to_string())?;
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0", "--gate-listen", "127.0.0.1:0"]);
        let mut child =
            command.stdout(Stdio::piped()).stderr(into).spawn().map_err(|error| format!("the server: {error}"))?;
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let mut bound = lines.map_while(Result::ok).filter_map(|line| line.rsplit_once("http://")?.1.parse().ok());
        let listening = (bound.next(), bound.next());
        // From here on it is stopped whatever happens.
        let mut server = Server { child, log, node: None };
        let (Some(management), Some(gate)) = listening else { return Err(server.said()) };
        server.node = Some(Node { management, gate });
        Ok(server)
    }
}

fn size_below(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => size_below(&entry.path()),
        Ok(data) => data.len(),
        // It went away meanwhile.
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// Where a server listens.
#[derive(Clone, Copy)]
pub(crate) struct Node {
    pub(crate) management: SocketAddr,
    pub(crate) gate: SocketAddr,
}

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
    pub(crate) node: Option<Node>,
}

impl Server {
    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it as an operator does. An error if it did not end in order, or has logged one.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        signal(self.id(), "TERM")?;
        let status = self.child.wait().map_err(|error| error.to_string())?;
        let said = self.said();
        let wrong: Vec<_> = said.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).collect();
        if status.success() && wrong.is_empty() { Ok(()) } else { Err(format!("{status}; {wrong:#?}")) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(process: u32, name: &str) -> Result<(), String> {
    let mut kill = Command::new("kill");
    let sent = kill.args([format!("-{name}"), process.to_string()]).status().map_err(|error| error.to_string())?;
    if sent.success() { Ok(()) } else { Err(format!("process {process} is gone")) }
}
