//! Flags that several commands share, and what they stand for.

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use countersign_client::Timestamp;
use countersign_client::cloudflare::TokenDuration;
use countersign_server::config::explain::{Explained, Layer};
use countersign_server::config::{LogFormat, Overrides, SecretFormatName, Settings, Stale};

/// How the answer is shown.
#[derive(Args, Clone, Copy)]
pub(crate) struct Shown {
    /// Print one JSON document instead of text for people
    #[arg(long)]
    pub json: bool,
}

/// Which installation a command works on.
#[derive(Args, Clone)]
#[command(next_help_heading = "Installation")]
pub(crate) struct Place {
    /// Directory of the database and the installation key [env: COUNTERSIGN_DATA_DIR] [default: countersign-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// `sqlite:PATH` or `postgres://USER@HOST/DATABASE` [env: COUNTERSIGN_DATABASE_URL] [default: SQLite in the data
    /// directory]
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// File of the installation key [env: COUNTERSIGN_INSTALLATION_KEY_FILE] [default: installation.key in the data
    /// directory]
    #[arg(long, value_name = "FILE")]
    installation_key_file: Option<PathBuf>,
    /// TOML file with the same settings as the flags
    #[arg(long, value_name = "FILE", env = "COUNTERSIGN_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
}

impl Place {
    /// The settings, complete: these flags over the environment over the file over the defaults.
    pub(crate) fn settings(self) -> anyhow::Result<Settings> {
        self.settings_with(Overrides::default())
    }

    fn settings_with(self, rest: Overrides) -> anyhow::Result<Settings> {
        let (flags, file) = self.layers(rest);
        Settings::load(flags, file.as_deref(), &|name| env::var(name).ok())
    }

    /// These flags over others, and the file.
    fn layers(self, rest: Overrides) -> (Overrides, Option<PathBuf>) {
        let flags = Overrides {
            data_dir: self.data_dir,
            database_url: self.database_url,
            installation_key_file: self.installation_key_file,
            ..rest
        };
        (flags, self.config)
    }
}

/// What a server is told.
#[derive(Args, Clone)]
pub(crate) struct Serving {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    listeners: Listeners,
    #[command(flatten)]
    tls: Tls,
    #[command(flatten)]
    audit: Audit,
    #[command(flatten)]
    logging: Logging,
}

#[derive(Args, Clone)]
#[command(next_help_heading = "Listeners")]
struct Listeners {
    /// Address of the management API; port 0 binds a free one [env: COUNTERSIGN_LISTEN] [default: 127.0.0.1:8787]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Address of the gate, which proxies ask; port 0 binds a free one [env: COUNTERSIGN_GATE_LISTEN] [default:
    /// 127.0.0.1:8788]
    #[arg(long, value_name = "ADDRESS")]
    gate_listen: Option<SocketAddr>,
    /// The gate on a Unix socket as well [env: COUNTERSIGN_GATE_UNIX]
    #[arg(long, value_name = "PATH")]
    gate_unix: Option<PathBuf>,
    /// How many connections each listener has at once [env: COUNTERSIGN_MAX_CONNECTIONS] [default: 16384]
    #[arg(long, value_name = "COUNT")]
    max_connections: Option<u32>,
    /// How many requests a caller may send to the management API in 5 minutes; 0 is no limit [env:
    /// COUNTERSIGN_RATE_LIMIT] [default: 0]
    #[arg(long, value_name = "COUNT")]
    rate_limit: Option<u32>,
    /// How many wrong credentials may come from an address in a minute before it is told to wait; 0 is no limit [env:
    /// COUNTERSIGN_FAILURE_LIMIT] [default: 100]
    #[arg(long, value_name = "COUNT")]
    failure_limit: Option<u32>,
    /// How many wrong credentials may come to the gate from an address in a minute before it says to wait; 0 is no limit
    /// [env: COUNTERSIGN_GATE_FAILURE_LIMIT] [default: 0]
    #[arg(long, value_name = "COUNT")]
    gate_failure_limit: Option<u32>,
    /// Our own proxies, which are believed about where a request came from: addresses, networks, and `unix` [env:
    /// COUNTERSIGN_TRUSTED_PROXIES]
    #[arg(long, value_name = "NETWORKS")]
    trusted_proxies: Option<String>,
    /// Address under which clients reach the management API, for links and audiences [env: COUNTERSIGN_PUBLIC_URL]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Who makes assertions: the address below which their keys are found [env: COUNTERSIGN_ASSERTION_ISSUER] [default: the
    /// public URL, or the gate's address]
    #[arg(long, value_name = "URL")]
    assertion_issuer: Option<String>,
    /// How long an assertion is good, from 60s to 144h [env: COUNTERSIGN_ASSERTION_LIFETIME] [default: 24h]
    #[arg(long, value_name = "DURATION")]
    assertion_lifetime: Option<String>,
    /// Form of new client secrets: `csec_…`, which leak scanners find, or 64 hex digits [env:
    /// COUNTERSIGN_SECRET_FORMAT] [default: scannable]
    #[arg(long, value_name = "FORM")]
    secret_format: Option<SecretFormatFlag>,
    /// What to do when the store has been out of reach for too long: refuse everything, or serve the last knowledge and
    /// give up the promise about revocation [env: COUNTERSIGN_STALE] [default: refuse]
    #[arg(long, value_name = "WHAT")]
    stale: Option<StaleFlag>,
}

#[derive(Args, Clone)]
#[command(next_help_heading = "TLS, all files in PEM")]
struct Tls {
    /// Certificate of the management API, with its chain [env: COUNTERSIGN_TLS_CERTIFICATE]
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// Its key [env: COUNTERSIGN_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Certificate of the gate, with its chain [env: COUNTERSIGN_GATE_TLS_CERTIFICATE]
    #[arg(long, value_name = "FILE")]
    gate_tls_certificate: Option<PathBuf>,
    /// Its key [env: COUNTERSIGN_GATE_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    gate_tls_key: Option<PathBuf>,
    /// Authorities whose certificates the gate's clients must show [env: COUNTERSIGN_GATE_CLIENT_CA]
    #[arg(long, value_name = "FILE")]
    gate_client_ca: Option<PathBuf>,
}

#[derive(Args, Clone)]
#[command(next_help_heading = "Audit log")]
struct Audit {
    /// How long events are kept: `forever`, or a duration of at least 24h [env: COUNTERSIGN_AUDIT_RETENTION] [default:
    /// forever]
    #[arg(long, value_name = "DURATION")]
    audit_retention: Option<String>,
    /// File to which the log's head is appended, for `countersign audit verify --head-file` [env:
    /// COUNTERSIGN_AUDIT_HEAD_FILE]
    #[arg(long, value_name = "FILE")]
    audit_head_file: Option<PathBuf>,
    /// Address to which the log's head is sent by POST [env: COUNTERSIGN_AUDIT_HEAD_URL]
    #[arg(long, value_name = "URL")]
    audit_head_url: Option<String>,
    /// How often, if the head has moved [env: COUNTERSIGN_AUDIT_HEAD_INTERVAL] [default: 60s]
    #[arg(long, value_name = "DURATION")]
    audit_head_interval: Option<String>,
}

#[derive(Args, Clone)]
#[command(next_help_heading = "Logs, on standard error, and traces")]
struct Logging {
    /// Form of log lines [env: COUNTERSIGN_LOG_FORMAT] [default: human]
    #[arg(long, value_name = "FORM")]
    log_format: Option<LogFormatFlag>,
    /// `error`, `warn`, `info`, `debug` or `trace`, or a filter as in RUST_LOG [env: RUST_LOG, COUNTERSIGN_LOG_LEVEL]
    /// [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Collector that gets traces of management requests by OTLP over HTTP, such as http://localhost:4318 [env:
    /// COUNTERSIGN_OTLP_ENDPOINT]
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
}

impl Serving {
    /// The settings, complete.
    pub(crate) fn settings(self) -> anyhow::Result<Settings> {
        let (place, rest) = self.layers();
        place.settings_with(rest)
    }

    /// The same, and where each value comes from. `file` goes before `--config`.
    pub(crate) fn explain(self, file: Option<PathBuf>) -> anyhow::Result<(Settings, Vec<Explained>)> {
        let by_rust_log = self.logging.log_level.is_none() && rust_log().is_some();
        let (place, rest) = self.layers();
        let (flags, named) = place.layers(rest);
        let file = file.or(named);
        let (settings, mut explained) = Settings::explain(flags, file.as_deref(), &|name| env::var(name).ok())?;
        for level in explained.iter_mut().filter(|explained| explained.key == "log_level" && by_rust_log) {
            level.source = Layer::Environment;
        }
        Ok((settings, explained))
    }

    /// `RUST_LOG` stands between the flag and everything else, as people expect of it.
    fn layers(self) -> (Place, Overrides) {
        let rest = Overrides {
            listen: self.listeners.listen,
            gate_listen: self.listeners.gate_listen,
            gate_unix: self.listeners.gate_unix,
            max_connections: self.listeners.max_connections,
            rate_limit: self.listeners.rate_limit,
            failure_limit: self.listeners.failure_limit,
            gate_failure_limit: self.listeners.gate_failure_limit,
            trusted_proxies: self.listeners.trusted_proxies,
            tls_certificate: self.tls.tls_certificate,
            tls_key: self.tls.tls_key,
            gate_tls_certificate: self.tls.gate_tls_certificate,
            gate_tls_key: self.tls.gate_tls_key,
            gate_client_ca: self.tls.gate_client_ca,
            public_url: self.listeners.public_url,
            assertion_issuer: self.listeners.assertion_issuer,
            assertion_lifetime: self.listeners.assertion_lifetime,
            secret_format: self.listeners.secret_format.map(Into::into),
            stale: self.listeners.stale.map(Into::into),
            audit_retention: self.audit.audit_retention,
            audit_head_file: self.audit.audit_head_file,
            audit_head_url: self.audit.audit_head_url,
            audit_head_interval: self.audit.audit_head_interval,
            log_format: self.logging.log_format.map(Into::into),
            log_level: self.logging.log_level.or_else(rust_log),
            otlp_endpoint: self.logging.otlp_endpoint,
            ..Overrides::default()
        };
        (self.place, rest)
    }
}

fn rust_log() -> Option<String> {
    env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty())
}

#[derive(Clone, Copy, ValueEnum)]
enum SecretFormatFlag {
    Scannable,
    Hex,
}

impl From<SecretFormatFlag> for SecretFormatName {
    fn from(flag: SecretFormatFlag) -> Self {
        match flag {
            SecretFormatFlag::Scannable => Self::Scannable,
            SecretFormatFlag::Hex => Self::Hex,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum StaleFlag {
    Refuse,
    Serve,
}

impl From<StaleFlag> for Stale {
    fn from(flag: StaleFlag) -> Self {
        match flag {
            StaleFlag::Refuse => Self::Refuse,
            StaleFlag::Serve => Self::Serve,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormatFlag {
    Human,
    Json,
}

impl From<LogFormatFlag> for LogFormat {
    fn from(flag: LogFormatFlag) -> Self {
        match flag {
            LogFormatFlag::Human => Self::Human,
            LogFormatFlag::Json => Self::Json,
        }
    }
}

/// A length of time, such as `30m` or `2160h`.
pub(crate) fn parse_duration(text: &str) -> Result<TokenDuration, String> {
    TokenDuration::parse(text).map_err(|error| error.to_string())
}

/// A point in time, RFC 3339.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).map_err(|error| error.to_string())
}
