//! Logs, on standard error.

use std::env;
use std::io;

use anyhow::Context as _;
use countersign_server::config::{LogFormat, Settings};
use tracing_subscriber::EnvFilter;

/// Sets up the logs of a server.
pub(crate) fn serve(settings: &Settings) -> anyhow::Result<()> {
    let level = settings.log_level.trim();
    // What libraries say at that level is about themselves.
    let filter = if level.eq_ignore_ascii_case("info") { "warn,countersign=info" } else { level };
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("`{}` is no log level and no filter as in RUST_LOG", settings.log_level))?;
    install(filter, settings.log_format)
}

/// Sets up the logs of a command, which is silent unless something is wrong or `RUST_LOG` asks for more.
pub(crate) fn command() -> anyhow::Result<()> {
    let filter = match env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => {
            EnvFilter::try_new(&filter).with_context(|| format!("RUST_LOG={filter} is no filter"))?
        }
        Ok(_) | Err(_) => EnvFilter::new("warn"),
    };
    install(filter, LogFormat::Human)
}

fn install(filter: EnvFilter, format: LogFormat) -> anyhow::Result<()> {
    let colour = crate::output::Style::of(&io::stderr()) == crate::output::Style::Colour;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colour);
    let installed = match format {
        LogFormat::Human => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!(error)).context("cannot set up the logs")
}
