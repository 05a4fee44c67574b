//! A PostgreSQL of the tests' own, so that cloning the repository and running the tests is all it takes.
//!
//! The cluster is made of the installed binaries, in a directory of its own, reachable by a socket in that directory
//! only. A shell stands between it and the test process: when the test process ends, however it ends, a pipe closes,
//! and the shell stops the cluster and removes the directory. Tests get a database each, cloned from one that is
//! migrated once. Uses nothing but the standard library, so that other crates' tests can include this file.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A server to test on.
pub(crate) struct Cluster {
    bin: PathBuf,
    address: Address,
    databases: AtomicU32,
    _running: Option<(Child, ChildStdin)>,
}

enum Address {
    /// The directory of the socket.
    Socket(PathBuf),
    /// A running server's URL, from `COUNTERSIGN_TEST_POSTGRES_URL`. Its path is replaced.
    Url(String),
}

/// The name of the database that the others are cloned from.
const TEMPLATE: &str = "countersign_test_template";

impl Cluster {
    /// Starts a cluster, and has `migrate` bring its template up to date. `None`, and a word on standard error, where
    /// no PostgreSQL is installed; on CI that is a failure.
    pub(crate) fn start(migrate: impl FnOnce(&str)) -> Option<Self> {
        let cluster = match std::env::var("COUNTERSIGN_TEST_POSTGRES_URL") {
            Ok(url) => {
                let bin = find_binaries().unwrap_or_default();
                Self { bin, address: Address::Url(url), databases: AtomicU32::new(0), _running: None }
            }
            Err(_) => match find_binaries() {
                Some(bin) => Self::start_private(bin),
                None => {
                    let required = std::env::var_os("CI").is_some();
                    assert!(!required, "PostgreSQL is required on CI, and no initdb was found");
                    eprintln!("not run on PostgreSQL: no initdb was found");
                    return None;
                }
            },
        };
        cluster.create(TEMPLATE, "template0");
        migrate(&cluster.url(TEMPLATE));
        Some(cluster)
    }

    /// The URL of a new database with the template's schema. It goes with the cluster.
    pub(crate) fn database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("countersign_test_{}_{number}", std::process::id());
        self.create(&name, TEMPLATE);
        self.url(&name)
    }

    fn start_private(bin: PathBuf) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("countersign-test-postgres-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        run(as_postgres(Path::new("mkdir")).args(["-m", "0755"]).arg(&directory));
        let data = directory.join("data");
        let mut initdb = as_postgres(&bin.join("initdb"));
        initdb.args(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"]);
        run(initdb.arg(&data));

        // Its standard input is the pipe. `read` returns when this process has ended, and SIGQUIT is what PostgreSQL
        // calls an immediate shutdown. In a group of its own, so that Ctrl-C in a terminal reaches only the tests.
        let script = "\"$@\" & server=$!; read -r _; kill -QUIT $server; wait $server; rm -rf \"$0\"";
        let mut guard = as_postgres(Path::new("/bin/sh"));
        guard
            .arg("-c")
            .arg(script)
            .arg(&directory)
            .arg(bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(&directory);
        for setting in ["listen_addresses=", "fsync=off", "full_page_writes=off", "max_connections=300"] {
            guard.args(["-c", setting]);
        }
        let log = std::fs::File::create(directory.join("log")).expect("a log file");
        let mut guard = guard
            .current_dir(&directory)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("a shell");
        let pipe = guard.stdin.take().expect("its standard input");
        let cluster = Self {
            bin,
            address: Address::Socket(directory),
            databases: AtomicU32::new(0),
            _running: Some((guard, pipe)),
        };
        cluster.wait();
        cluster
    }

    /// Waits until the server answers, as `pg_isready` does it.
    fn wait(&self) {
        for _ in 0..600 {
            let ready = self.client("pg_isready").args(["--timeout=1", "--quiet"]).status().expect("pg_isready");
            if ready.success() {
                return;
            }
            // `sleep`, because the tests' own code is not allowed to.
            Command::new("sleep").arg("0.05").status().expect("sleep");
        }
        panic!("the cluster did not start: see {:?}", self.url("postgres"));
    }

    fn create(&self, name: &str, template: &str) {
        if let Address::Url(_) = self.address {
            self.client("dropdb").args(["--if-exists", name]).output().expect("dropdb");
        }
        run(self.client("createdb").arg(format!("--template={template}")).arg(name));
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        match &self.address {
            Address::Socket(directory) => {
                command.env("PGHOST", directory).env("PGUSER", "postgres");
            }
            Address::Url(url) => {
                command.arg(if program == "pg_isready" { "--dbname" } else { "--maintenance-db" }).arg(url);
            }
        }
        command
    }

    fn url(&self, database: &str) -> String {
        match &self.address {
            Address::Socket(directory) => {
                format!("postgres://postgres@localhost/{database}?host={}", directory.display())
            }
            Address::Url(url) => {
                let (base, parameters) = url.split_once('?').map_or((url.as_str(), None), |(b, p)| (b, Some(p)));
                let base = base.rsplit_once('/').map_or(base, |(base, _)| base);
                let parameters = parameters.map(|parameters| format!("?{parameters}")).unwrap_or_default();
                format!("{base}/{database}{parameters}")
            }
        }
    }
}

/// The newest installed binaries.
fn find_binaries() -> Option<PathBuf> {
    let told = Command::new("pg_config").arg("--bindir").output().ok().filter(|output| output.status.success());
    let told = told.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let mut installed: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    installed.sort_by_key(|bin| {
        let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        std::cmp::Reverse(version.and_then(|version| version.parse::<u32>().ok()))
    });
    told.into_iter().chain(installed).find(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
}

/// PostgreSQL refuses to run as root; where the tests do, it runs as the user that the package made for it.
fn as_postgres(program: &Path) -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
