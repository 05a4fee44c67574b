//! Flags that several commands share, and what they stand for.

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use countersign_client::{Client, Credential, Scope};
use countersign_server::config::{LogFormat, Overrides, SecretFormatName, Settings, Stale};

use crate::failure::Usage;

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
        let flags = Overrides {
            data_dir: self.data_dir,
            database_url: self.database_url,
            installation_key_file: self.installation_key_file,
            ..rest
        };
        Settings::load(flags, self.config.as_deref(), &|name| env::var(name).ok())
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
    /// Address under which clients reach the management API, for links and audiences [env: COUNTERSIGN_PUBLIC_URL]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
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
#[command(next_help_heading = "Logs, on standard error")]
struct Logging {
    /// Form of log lines [env: COUNTERSIGN_LOG_FORMAT] [default: human]
    #[arg(long, value_name = "FORM")]
    log_format: Option<LogFormatFlag>,
    /// `error`, `warn`, `info`, `debug` or `trace`, or a filter as in RUST_LOG [env: RUST_LOG, COUNTERSIGN_LOG_LEVEL]
    /// [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl Serving {
    /// The settings, complete. `RUST_LOG` stands between the flag and everything else, as people expect of it.
    pub(crate) fn settings(self) -> anyhow::Result<Settings> {
        let rust_log = || env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
        let rest = Overrides {
            listen: self.listeners.listen,
            gate_listen: self.listeners.gate_listen,
            gate_unix: self.listeners.gate_unix,
            public_url: self.listeners.public_url,
            secret_format: self.listeners.secret_format.map(Into::into),
            stale: self.listeners.stale.map(Into::into),
            log_format: self.logging.log_format.map(Into::into),
            log_level: self.logging.log_level.or_else(rust_log),
            ..Overrides::default()
        };
        self.place.settings_with(rest)
    }
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

/// Which server is asked, as whom, and about which account or zone.
#[derive(Args, Clone)]
#[command(next_help_heading = "Server")]
pub(crate) struct Remote {
    /// Address of the management API
    #[arg(
        long,
        value_name = "URL",
        env = "COUNTERSIGN_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8787"
    )]
    url: String,
    /// Management API token to call with; better given in the environment, where other users of the machine can't see it
    #[arg(long, value_name = "TOKEN", env = "COUNTERSIGN_API_TOKEN", hide_env_values = true)]
    api_token: Option<String>,
    /// Account whose tokens are meant [env: COUNTERSIGN_ACCOUNT_ID]
    #[arg(long, value_name = "ID", conflicts_with = "zone")]
    account: Option<String>,
    /// Zone whose tokens are meant
    #[arg(long, value_name = "ID")]
    zone: Option<String>,
}

impl Remote {
    /// The address as it was given.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A client of that server. No message from here names the token.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let token = self.api_token.as_deref().map(str::trim).filter(|token| !token.is_empty()).ok_or_else(|| {
            Usage(
                "an API token is needed: set COUNTERSIGN_API_TOKEN, or give --api-token. \
                 `countersign token create` makes one"
                    .to_owned(),
            )
        })?;
        Ok(Client::new(&self.url, &Credential::api_token(token)).map_err(usage)?)
    }

    /// The account or zone that is meant. A zone that is named wins over an account in the environment.
    pub(crate) fn scope(&self) -> anyhow::Result<Scope> {
        if let Some(zone) = &self.zone {
            return Ok(Scope::zone(zone).map_err(usage)?);
        }
        let environment = || env::var("COUNTERSIGN_ACCOUNT_ID").ok().filter(|id| !id.is_empty());
        match self.account.clone().or_else(environment) {
            Some(account) => Ok(Scope::account(&account).map_err(usage)?),
            None => Err(Usage(
                "say whose tokens are meant: --account ID, --zone ID, or COUNTERSIGN_ACCOUNT_ID. \
                 `countersign account list` and `countersign zone list` show the ids"
                    .to_owned(),
            )
            .into()),
        }
    }
}

/// A value that can't be sent is a slip on the command line.
fn usage(error: countersign_client::Error) -> Usage {
    Usage(format!("{:#}", anyhow::Error::from(error)))
}
