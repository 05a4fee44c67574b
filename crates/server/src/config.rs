//! The settings of a server: where they come from, and what they say.
//!
//! Four layers have the same keys: `config.default.toml` (compiled in), a TOML file, the environment, flags. Each is read
//! into [`Overrides`], and they are laid over one another. A key that nobody knows refuses to start.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use countersign_store::Database;
use countersign_token::duration::TokenDuration;
use countersign_token::secret::SecretFormat;
use http::Uri;
use serde::{Deserialize, Serialize};

pub mod explain;
pub mod key;

use self::key::KeySource;
use crate::post;
use crate::proxy::TrustedProxies;

const DEFAULTS: &str = include_str!("config.default.toml");

/// Every key, in the order of the default file. A key is also `COUNTERSIGN_<KEY>` in the environment.
const KEYS: [&str; 28] = [
    "data_dir",
    "database_url",
    "installation_key_file",
    "listen",
    "gate_listen",
    "gate_unix",
    "tls_certificate",
    "tls_key",
    "gate_tls_certificate",
    "gate_tls_key",
    "gate_client_ca",
    "max_connections",
    "rate_limit",
    "failure_limit",
    "gate_failure_limit",
    "trusted_proxies",
    "public_url",
    "assertion_issuer",
    "assertion_lifetime",
    "secret_format",
    "stale",
    "audit_retention",
    "audit_head_file",
    "audit_head_url",
    "audit_head_interval",
    "log_format",
    "log_level",
    "otlp_endpoint",
];

/// Less is a slip: the log is for those who ask later.
const RETENTION_MIN: Duration = Duration::from_secs(24 * 3600);

const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Those who check assertions may have clocks of their own.
const LIFETIME_MIN: Duration = Duration::from_secs(60);

/// A key is published for a week after it signed.
const LIFETIME_MAX: Duration = Duration::from_secs(144 * 3600);

/// The keys whose values are numbers. In the environment everything is text.
const NUMBERS: [&str; 4] = ["max_connections", "rate_limit", "failure_limit", "gate_failure_limit"];

/// What a server is told, complete and checked.
#[derive(Clone)]
pub struct Settings {
    /// Where the database, the installation key and the lock live.
    pub data_dir: PathBuf,
    /// Where the rows are.
    pub database: Database,
    /// Where the installation key comes from.
    pub installation_key: KeySource,
    /// Address of the management API; port 0 binds a free one.
    pub listen: SocketAddr,
    /// Address of the gate; port 0 binds a free one.
    pub gate_listen: SocketAddr,
    /// Path of the gate's Unix socket, if it has one.
    pub gate_unix: Option<PathBuf>,
    /// The certificate of the management API; without one it speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The certificate of the gate's TCP listener.
    pub gate_tls: Option<TlsFiles>,
    /// How many connections each listener has at once.
    pub max_connections: u32,
    /// How many requests a caller may send to the management API in five minutes; `None` for no limit.
    pub rate_limit: Option<NonZeroU32>,
    /// How many wrong credentials may come from an address in a minute before it is told to wait; `None` for no limit.
    pub failure_limit: Option<NonZeroU32>,
    /// How many wrong credentials the gate may be asked about from an address in a minute before it tells to wait; `None` for
    /// no limit.
    pub gate_failure_limit: Option<NonZeroU32>,
    /// Who is believed about where a request came from.
    pub trusted_proxies: TrustedProxies,
    /// The address under which clients reach the management API, if it differs from what is bound.
    pub public_url: Option<String>,
    /// Who makes assertions, without a slash at its end; `None` if it was not configured.
    pub assertion_issuer: Option<String>,
    /// How long an assertion is good: from a minute to six days.
    pub assertion_lifetime: Duration,
    /// The form of new client secrets.
    pub secret_format: SecretFormat,
    /// What a node does that is not fresh any more.
    pub stale: Stale,
    /// How long the audit log is kept, and who is told of its head.
    pub audit: AuditSettings,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// A level, or a filter as in `RUST_LOG`.
    pub log_level: String,
    /// The collector that gets traces of management requests; `None` for none.
    pub otlp_endpoint: Option<Uri>,
}

/// How long the audit log is kept, and who is told of its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// How long events are kept at least, 24 hours or more; `None` for ever.
    pub retention: Option<Duration>,
    /// The file that heads are written to.
    pub head_file: Option<PathBuf>,
    /// The address that heads are sent to, by POST.
    pub head_url: Option<Uri>,
    /// How often it is looked whether there is a new head, a second or more.
    pub head_interval: Duration,
}

/// The files of a listener's TLS, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities whose certificates clients must show; `None` lets everybody connect.
    pub client_ca: Option<PathBuf>,
}

/// What a node answers that has not heard from the store for longer than `max_staleness`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stale {
    /// Nothing: it refuses everything.
    Refuse,
    /// Its last knowledge, which gives up the promise about revocation.
    Serve,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The form of new client secrets, as it is written in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretFormatName {
    /// `csec_…`
    Scannable,
    /// 64 hexadecimal digits.
    Hex,
}

impl From<SecretFormatName> for SecretFormat {
    fn from(name: SecretFormatName) -> Self {
        match name {
            SecretFormatName::Scannable => Self::Scannable,
            SecretFormatName::Hex => Self::Hex,
        }
    }
}

/// One layer of settings: `None` leaves a key to the layers below. Flags come in this form.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Overrides {
    /// See [`Settings::data_dir`].
    pub data_dir: Option<PathBuf>,
    /// `sqlite:PATH` or `postgres://…`.
    pub database_url: Option<String>,
    /// The file of the installation key.
    pub installation_key_file: Option<PathBuf>,
    /// See [`Settings::listen`].
    pub listen: Option<SocketAddr>,
    /// See [`Settings::gate_listen`].
    pub gate_listen: Option<SocketAddr>,
    /// See [`Settings::gate_unix`].
    pub gate_unix: Option<PathBuf>,
    /// See [`Settings::tls`].
    pub tls_certificate: Option<PathBuf>,
    /// See [`Settings::tls`].
    pub tls_key: Option<PathBuf>,
    /// See [`Settings::gate_tls`].
    pub gate_tls_certificate: Option<PathBuf>,
    /// See [`Settings::gate_tls`].
    pub gate_tls_key: Option<PathBuf>,
    /// See [`TlsFiles::client_ca`].
    pub gate_client_ca: Option<PathBuf>,
    /// See [`Settings::max_connections`].
    pub max_connections: Option<u32>,
    /// See [`Settings::rate_limit`]; 0 for no limit.
    pub rate_limit: Option<u32>,
    /// See [`Settings::failure_limit`]; 0 for no limit.
    pub failure_limit: Option<u32>,
    /// See [`Settings::gate_failure_limit`]; 0 for no limit.
    pub gate_failure_limit: Option<u32>,
    /// See [`Settings::trusted_proxies`]; addresses, networks and `unix`, with commas between them.
    pub trusted_proxies: Option<String>,
    /// See [`Settings::public_url`].
    pub public_url: Option<String>,
    /// See [`Settings::assertion_issuer`].
    pub assertion_issuer: Option<String>,
    /// See [`Settings::assertion_lifetime`]; a duration such as `24h`.
    pub assertion_lifetime: Option<String>,
    /// See [`Settings::secret_format`].
    pub secret_format: Option<SecretFormatName>,
    /// See [`Settings::stale`].
    pub stale: Option<Stale>,
    /// See [`AuditSettings::retention`]; `forever`, or a duration such as `8760h`.
    pub audit_retention: Option<String>,
    /// See [`AuditSettings::head_file`].
    pub audit_head_file: Option<PathBuf>,
    /// See [`AuditSettings::head_url`].
    pub audit_head_url: Option<String>,
    /// See [`AuditSettings::head_interval`]; a duration such as `60s`.
    pub audit_head_interval: Option<String>,
    /// See [`Settings::log_format`].
    pub log_format: Option<LogFormat>,
    /// See [`Settings::log_level`].
    pub log_level: Option<String>,
    /// See [`Settings::otlp_endpoint`].
    pub otlp_endpoint: Option<String>,
}

impl Settings {
    /// Lays `flags` over the environment over `file` over the defaults. `environment` looks a variable up; an empty
    /// variable counts as absent. Errors name the file and line, or the variable.
    pub fn load(
        flags: Overrides,
        file: Option<&Path>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let file = match file {
            Some(path) => Overrides::from_file(path)?,
            None => Overrides::default(),
        };
        let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
        let defaults = Overrides::parse(DEFAULTS).context("config.default.toml")?;
        flags.over(Overrides::from_environment(&environment)?).over(file).over(defaults).complete(&environment)
    }
}

impl Overrides {
    /// Reads one layer from TOML. The error shows the line.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    fn from_file(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("the configuration file {} is wrong", path.display()))
    }

    fn from_environment(environment: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let mut layer = Self::default();
        for key in KEYS {
            let name = format!("COUNTERSIGN_{}", key.to_uppercase());
            if let Some(value) = environment(&name) {
                let mut table = toml::Table::new();
                let number = value.parse().ok().filter(|_| NUMBERS.contains(&key)).map(toml::Value::Integer);
                table.insert(key.to_owned(), number.unwrap_or(toml::Value::String(value)));
                let one: Self = match table.try_into() {
                    Ok(one) => one,
                    Err(error) => bail!("the environment variable {name} is wrong: {}", error.message()),
                };
                layer = one.over(layer);
            }
        }
        Ok(layer)
    }

    fn over(self, below: Self) -> Self {
        Self {
            data_dir: self.data_dir.or(below.data_dir),
            database_url: self.database_url.or(below.database_url),
            installation_key_file: self.installation_key_file.or(below.installation_key_file),
            listen: self.listen.or(below.listen),
            gate_listen: self.gate_listen.or(below.gate_listen),
            gate_unix: self.gate_unix.or(below.gate_unix),
            tls_certificate: self.tls_certificate.or(below.tls_certificate),
            tls_key: self.tls_key.or(below.tls_key),
            gate_tls_certificate: self.gate_tls_certificate.or(below.gate_tls_certificate),
            gate_tls_key: self.gate_tls_key.or(below.gate_tls_key),
            gate_client_ca: self.gate_client_ca.or(below.gate_client_ca),
            max_connections: self.max_connections.or(below.max_connections),
            rate_limit: self.rate_limit.or(below.rate_limit),
            failure_limit: self.failure_limit.or(below.failure_limit),
            gate_failure_limit: self.gate_failure_limit.or(below.gate_failure_limit),
            trusted_proxies: self.trusted_proxies.or(below.trusted_proxies),
            public_url: self.public_url.or(below.public_url),
            assertion_issuer: self.assertion_issuer.or(below.assertion_issuer),
            assertion_lifetime: self.assertion_lifetime.or(below.assertion_lifetime),
            secret_format: self.secret_format.or(below.secret_format),
            stale: self.stale.or(below.stale),
            audit_retention: self.audit_retention.or(below.audit_retention),
            audit_head_file: self.audit_head_file.or(below.audit_head_file),
            audit_head_url: self.audit_head_url.or(below.audit_head_url),
            audit_head_interval: self.audit_head_interval.or(below.audit_head_interval),
            log_format: self.log_format.or(below.log_format),
            log_level: self.log_level.or(below.log_level),
            otlp_endpoint: self.otlp_endpoint.or(below.otlp_endpoint),
        }
    }

    fn complete(self, environment: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Settings> {
        let data_dir = self.data_dir.context("data_dir is not set")?;
        let database = match self.database_url {
            Some(url) => Database::parse(&url).context("database_url is wrong")?,
            None => Database::Sqlite(data_dir.join("countersign.db")),
        };
        let installation_key = match environment(key::VARIABLE) {
            Some(hex) => KeySource::from_environment(hex.into())?,
            None => KeySource::File(self.installation_key_file.unwrap_or_else(|| data_dir.join("installation.key"))),
        };
        Ok(Settings {
            data_dir,
            database,
            installation_key,
            listen: self.listen.context("listen is not set")?,
            gate_listen: self.gate_listen.context("gate_listen is not set")?,
            gate_unix: self.gate_unix,
            tls: tls_files(["tls_certificate", "tls_key"], self.tls_certificate, self.tls_key, None)?,
            gate_tls: match &self.gate_client_ca {
                Some(_) if self.gate_tls_certificate.is_none() => {
                    bail!("gate_client_ca is set, and gate_tls_certificate is not")
                }
                client_ca => tls_files(
                    ["gate_tls_certificate", "gate_tls_key"],
                    self.gate_tls_certificate,
                    self.gate_tls_key,
                    client_ca.clone(),
                )?,
            },
            max_connections: self
                .max_connections
                .filter(|max| *max > 0)
                .context("max_connections must be at least 1")?,
            rate_limit: NonZeroU32::new(self.rate_limit.context("rate_limit is not set")?),
            failure_limit: NonZeroU32::new(self.failure_limit.context("failure_limit is not set")?),
            gate_failure_limit: NonZeroU32::new(self.gate_failure_limit.context("gate_failure_limit is not set")?),
            trusted_proxies: self.trusted_proxies.unwrap_or_default().parse().context("trusted_proxies is wrong")?,
            assertion_issuer: match self.assertion_issuer {
                Some(issuer) => Some(parse_issuer(&issuer).context("assertion_issuer is wrong")?),
                None => self.public_url.as_deref().map(|url| url.trim_end_matches('/').to_owned()),
            },
            assertion_lifetime: duration("assertion_lifetime", self.assertion_lifetime, LIFETIME_MIN)?
                .filter(|lifetime| *lifetime <= LIFETIME_MAX)
                .with_context(|| format!("assertion_lifetime must be at most {} s", LIFETIME_MAX.as_secs()))?,
            public_url: self.public_url,
            secret_format: self.secret_format.context("secret_format is not set")?.into(),
            stale: self.stale.context("stale is not set")?,
            audit: AuditSettings {
                retention: duration("audit_retention", self.audit_retention, RETENTION_MIN)?,
                head_file: self.audit_head_file,
                head_url: self.audit_head_url.map(parse_url).transpose().context("audit_head_url is wrong")?,
                head_interval: duration("audit_head_interval", self.audit_head_interval, INTERVAL_MIN)?
                    .context("audit_head_interval must have an end")?,
            },
            log_format: self.log_format.context("log_format is not set")?,
            log_level: self.log_level.context("log_level is not set")?,
            otlp_endpoint: self.otlp_endpoint.map(parse_url).transpose().context("otlp_endpoint is wrong")?,
        })
    }
}

/// A duration of at least `min`; `None` for ever.
fn duration(key: &'static str, text: Option<String>, min: Duration) -> anyhow::Result<Option<Duration>> {
    let text = text.with_context(|| format!("{key} is not set"))?;
    let parsed = TokenDuration::parse(&text).with_context(|| format!("{key} is wrong"))?;
    let duration = parsed.nanos().map(|nanos| Duration::from_nanos(nanos.unsigned_abs()));
    if duration.is_some_and(|duration| duration < min) {
        bail!("{key} must be at least {} s", min.as_secs());
    }
    Ok(duration)
}

/// An address below which keys are found.
fn parse_issuer(text: &str) -> anyhow::Result<String> {
    let uri: Uri = text.parse().context("it is no URL")?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
        bail!("it must begin with https:// or http://, and have no query");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// An address that something can be sent to.
fn parse_url(text: String) -> anyhow::Result<Uri> {
    let uri = Uri::try_from(text).context("it is no URL")?;
    post::address(&uri)?;
    Ok(uri)
}

/// A certificate and its key go together.
fn tls_files(
    [certificate_name, key_name]: [&str; 2],
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
) -> anyhow::Result<Option<TlsFiles>> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key, client_ca })),
        (None, None) => Ok(None),
        (Some(_), None) => bail!("{certificate_name} is set, and {key_name} is not"),
        (None, Some(_)) => bail!("{key_name} is set, and {certificate_name} is not"),
    }
}

/// Only what is no secret: a database's URL may carry a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("data_dir", &self.data_dir)
            .field("listen", &self.listen)
            .field("gate_listen", &self.gate_listen)
            .field("gate_unix", &self.gate_unix)
            .field("tls", &self.tls)
            .field("gate_tls", &self.gate_tls)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nowhere(_: &str) -> Option<String> {
        None
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("countersign.toml");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn the_defaults_are_complete() {
        let settings = Settings::load(Overrides::default(), None, &nowhere).unwrap();
        assert_eq!(settings.data_dir, Path::new("countersign-data"));
        assert_eq!(settings.database, Database::Sqlite("countersign-data/countersign.db".into()));
        assert_eq!(settings.installation_key.to_string(), "countersign-data/installation.key");
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8787");
        assert_eq!(settings.gate_listen.to_string(), "127.0.0.1:8788");
        assert_eq!(settings.gate_unix, None);
        assert_eq!((settings.tls, settings.gate_tls), (None, None));
        assert_eq!(settings.max_connections, 16384);
        assert_eq!((settings.rate_limit, settings.failure_limit), (None, NonZeroU32::new(100)));
        assert_eq!(settings.gate_failure_limit, None);
        assert_eq!(settings.trusted_proxies, TrustedProxies::default());
        assert_eq!(settings.secret_format, SecretFormat::Scannable);
        assert_eq!((settings.assertion_issuer, settings.assertion_lifetime.as_secs()), (None, 24 * 3600));
        assert_eq!(settings.stale, Stale::Refuse);
        let minute = Duration::from_secs(60);
        let audit = AuditSettings { retention: None, head_file: None, head_url: None, head_interval: minute };
        assert_eq!(settings.audit, audit);
        assert_eq!(settings.log_format, LogFormat::Human);
        assert_eq!(settings.log_level, "info");
    }

    #[test]
    fn the_default_file_shows_every_key_and_no_other() {
        let shown: String = DEFAULTS
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = \"")).unwrap_or(line))
            .fold(String::new(), |text, line| text + line + "\n");
        let table: toml::Table = toml::from_str(&shown).unwrap();
        let mut keys: Vec<&str> = table.keys().map(String::as_str).collect();
        let mut expected = KEYS;
        keys.sort_unstable();
        expected.sort_unstable();
        assert_eq!(keys, expected);
        Overrides::parse(&shown).expect("every example in the default file can be read");
    }

    #[test]
    fn assertions_have_an_issuer_and_a_lifetime() {
        let check = |text: &str| {
            let (_dir, path) = file(text);
            let settings = Settings::load(Overrides::default(), Some(&path), &nowhere)?;
            anyhow::Ok((settings.assertion_issuer, settings.assertion_lifetime.as_secs()))
        };
        let good = |text: &str, issuer: &str, secs: u64| {
            assert_eq!(check(text).unwrap(), (Some(issuer.to_owned()), secs), "{text}");
        };
        good("public_url = 'https://a.example/'", "https://a.example", 86400);
        good(
            "public_url = 'https://a.example'\nassertion_issuer = 'https://b.example/c/'",
            "https://b.example/c",
            86400,
        );
        good("assertion_issuer = 'http://b'\nassertion_lifetime = '60s'", "http://b", 60);
        good("assertion_issuer = 'http://b'\nassertion_lifetime = '144h'", "http://b", 518_400);
        for bad in [
            "assertion_lifetime = '59s'",
            "assertion_lifetime = '145h'",
            "assertion_lifetime = 'forever'",
            "assertion_issuer = 'b.example'",
            "assertion_issuer = 'ftp://b.example'",
            "assertion_issuer = 'https://b.example/?x'",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_layer_wins_over_the_one_below() {
        let (_dir, path) = file("listen = '127.0.0.1:1'\ngate_listen = '127.0.0.1:1'\nlog_level = 'file'\n");
        let environment = |name: &str| match name {
            "COUNTERSIGN_LISTEN" | "COUNTERSIGN_GATE_LISTEN" => Some("127.0.0.1:2".to_owned()),
            "COUNTERSIGN_LOG_LEVEL" | "COUNTERSIGN_DATA_DIR" => Some(String::new()),
            "COUNTERSIGN_LOG_FORMAT" => Some("json".to_owned()),
            _ => None,
        };
        let flags = Overrides { listen: Some("127.0.0.1:3".parse().unwrap()), ..Overrides::default() };
        let settings = Settings::load(flags, Some(&path), &environment).unwrap();
        assert_eq!(settings.listen.port(), 3, "a flag wins over the environment");
        assert_eq!(settings.gate_listen.port(), 2, "the environment wins over the file");
        assert_eq!(settings.log_level, "file", "an empty variable says nothing, and the file wins over the default");
        assert_eq!(settings.log_format, LogFormat::Json);
        assert_eq!(settings.data_dir, Path::new("countersign-data"));
    }

    #[test]
    fn an_error_in_a_file_names_file_line_and_key() {
        fn check(text: &str, expected: &[&str]) {
            let (_dir, path) = file(text);
            let error = Settings::load(Overrides::default(), Some(&path), &nowhere).expect_err(text);
            let message = format!("{error:#}");
            for part in expected.iter().chain(&[path.to_str().unwrap()]) {
                assert!(message.contains(part), "{text:?} gave {message:?}, which lacks {part:?}");
            }
        }
        check("log_level = 'info'\nlisten_on = '127.0.0.1:1'\n", &["line 2", "unknown field `listen_on`"]);
        check("\n\nlisten = 'localhost'\n", &["line 3", "listen = 'localhost'"]);
        check("listen = 8787\n", &["line 1", "listen = 8787"]);
        check("stale = 'maybe'\n", &["line 1", "stale = 'maybe'", "refuse"]);
        check("[gate]\nlisten = '127.0.0.1:1'\n", &["line 1", "unknown field `gate`"]);
        check("listen = '127.0.0.1:1'\nlisten = '127.0.0.1:2'\n", &["line 2", "listen"]);
        check("listen = \n", &["line 1"]);
    }

    #[test]
    fn an_error_elsewhere_names_its_place() {
        fn check(name: &str, value: &str, expected: &str) {
            let environment = |asked: &str| (asked == name).then(|| value.to_owned());
            let error = Settings::load(Overrides::default(), None, &environment).expect_err(name);
            let message = format!("{error:#}");
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains("s3cret"), "{message}");
        }
        check("COUNTERSIGN_LISTEN", "localhost", "COUNTERSIGN_LISTEN");
        check("COUNTERSIGN_MAX_CONNECTIONS", "many", "COUNTERSIGN_MAX_CONNECTIONS");
        check("COUNTERSIGN_MAX_CONNECTIONS", "0", "max_connections must be at least 1");
        check("COUNTERSIGN_RATE_LIMIT", "-1", "COUNTERSIGN_RATE_LIMIT");
        check("COUNTERSIGN_TLS_KEY", "k.pem", "tls_key is set, and tls_certificate is not");
        check("COUNTERSIGN_GATE_TLS_CERTIFICATE", "c.pem", "gate_tls_certificate is set, and gate_tls_key is not");
        check("COUNTERSIGN_GATE_CLIENT_CA", "ca.pem", "gate_client_ca is set, and gate_tls_certificate is not");
        check("COUNTERSIGN_SECRET_FORMAT", "base64", "COUNTERSIGN_SECRET_FORMAT");
        check("COUNTERSIGN_AUDIT_RETENTION", "a year", "audit_retention is wrong");
        check("COUNTERSIGN_AUDIT_RETENTION", "23h", "audit_retention must be at least 86400 s");
        check("COUNTERSIGN_AUDIT_HEAD_INTERVAL", "forever", "audit_head_interval must have an end");
        check("COUNTERSIGN_AUDIT_HEAD_INTERVAL", "10ms", "audit_head_interval must be at least 1 s");
        check("COUNTERSIGN_AUDIT_HEAD_URL", "log.internal", "audit_head_url is wrong");
        check("COUNTERSIGN_AUDIT_HEAD_URL", "https://u:s3cret@log.internal/", "audit_head_url is wrong");
        check("COUNTERSIGN_DATABASE_URL", "mysql://u:s3cret@h/d", "database_url");
        check("COUNTERSIGN_OTLP_ENDPOINT", "https://u:s3cret@collector/", "otlp_endpoint is wrong");
        check("COUNTERSIGN_INSTALLATION_KEY", "s3cret", "COUNTERSIGN_INSTALLATION_KEY");
        let missing = Settings::load(Overrides::default(), Some(Path::new("/nowhere/c.toml")), &nowhere);
        assert!(format!("{:#}", missing.expect_err("no file")).contains("/nowhere/c.toml"));
    }

    #[test]
    fn certificates_go_with_their_keys() {
        let text = "tls_certificate = 'c'\ntls_key = 'k'\ngate_tls_certificate = 'gc'\ngate_client_ca = 'ca'\n";
        let (_dir, path) = file(text);
        let environment = |name: &str| match name {
            "COUNTERSIGN_GATE_TLS_KEY" => Some("gk".to_owned()),
            "COUNTERSIGN_MAX_CONNECTIONS" => Some("7".to_owned()),
            _ => None,
        };
        let settings = Settings::load(Overrides::default(), Some(&path), &environment).unwrap();
        let files = |certificate: &str, key: &str, client_ca: Option<&str>| TlsFiles {
            certificate: certificate.into(),
            key: key.into(),
            client_ca: client_ca.map(PathBuf::from),
        };
        assert_eq!(settings.tls, Some(files("c", "k", None)));
        assert_eq!(settings.gate_tls, Some(files("gc", "gk", Some("ca"))));
        assert_eq!(settings.max_connections, 7);
    }

    #[test]
    fn a_key_in_the_environment_wins_and_is_not_shown() {
        let hex = "0123456789abcdef".repeat(4);
        let environment = |name: &str| (name == key::VARIABLE).then(|| hex.clone());
        let flags = Overrides { installation_key_file: Some("elsewhere".into()), ..Overrides::default() };
        let settings = Settings::load(flags, None, &environment).unwrap();
        assert_eq!(settings.installation_key.load().unwrap()[0].to_hex().expose(), hex);
        let shown = format!("{settings:?} {:?} {}", settings.installation_key, settings.installation_key);
        assert!(!shown.contains("0123456789"), "{shown}");
    }
}
