//! Logs, on standard error.

use std::env;
use std::io;

use anyhow::Context as _;
use countersign_server::config::{LogFormat, Settings};
use tracing_subscriber::EnvFilter;

/// The logs of a server, whose level can be changed while it runs.
pub(crate) struct Logs(Box<dyn Fn(EnvFilter) -> anyhow::Result<()>>);

impl Logs {
    /// Takes over the level in `settings`. After an error the old one stays.
    pub(crate) fn reload(&self, settings: &Settings) -> anyhow::Result<()> {
        (self.0)(filter(settings)?)
    }
}

/// Sets up the logs of a server.
pub(crate) fn serve(settings: &Settings) -> anyhow::Result<Logs> {
    install(filter(settings)?, settings.log_format)
}

/// Whether a server could set up its logs like this.
pub(crate) fn check(settings: &Settings) -> anyhow::Result<()> {
    filter(settings).map(drop)
}

/// Sets up the logs of a command, which is silent unless something is wrong or `RUST_LOG` asks for more.
pub(crate) fn command() -> anyhow::Result<()> {
    let filter = match env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => {
            EnvFilter::try_new(&filter).with_context(|| format!("RUST_LOG={filter} is no filter"))?
        }
        Ok(_) | Err(_) => EnvFilter::new("warn"),
    };
    install(filter, LogFormat::Human).map(drop)
}

fn filter(settings: &Settings) -> anyhow::Result<EnvFilter> {
    let level = settings.log_level.trim();
    // What libraries say at that level is about themselves.
    let filter = if level.eq_ignore_ascii_case("info") { "warn,countersign=info" } else { level };
    EnvFilter::try_new(filter)
        .with_context(|| format!("`{}` is no log level and no filter as in RUST_LOG", settings.log_level))
}

fn install(filter: EnvFilter, format: LogFormat) -> anyhow::Result<Logs> {
    let colour = crate::output::Style::of(&io::stderr()) == crate::output::Style::Colour;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colour);
    let (installed, logs) = match format {
        LogFormat::Human => {
            let builder = builder.with_target(false).with_filter_reloading();
            let filter = builder.reload_handle();
            (builder.try_init(), Logs(Box::new(move |new| filter.reload(new).context("cannot change the log level"))))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let filter = builder.reload_handle();
            (builder.try_init(), Logs(Box::new(move |new| filter.reload(new).context("cannot change the log level"))))
        }
    };
    installed.map_err(|error| anyhow::anyhow!(error)).context("cannot set up the logs")?;
    Ok(logs)
}
