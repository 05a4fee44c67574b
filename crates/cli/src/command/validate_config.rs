//! `countersign validate-config`

use std::path::PathBuf;

use clap::Args;
use countersign_server::config::explain::Explained;
use serde::Serialize;

use crate::flag::{Serving, Shown};
use crate::logging;
use crate::output::{Output, Table};

const EXAMPLES: &str = "\
Nothing is opened and nothing is changed. A mistake names its file, line and key, or its variable,
and ends with 1. Otherwise each key is shown with its value and where that comes from. Passwords are
cut out.

Examples:
  countersign validate-config /etc/countersign.toml
  countersign validate-config --config /etc/countersign.toml --listen 0.0.0.0:8787
  countersign validate-config --json | jq -r '.[] | select(.source != \"default\").key'";

/// Which settings are looked at.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The configuration file; the same as --config
    file: Option<PathBuf>,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    serving: Serving,
}

#[derive(Serialize)]
struct Document<'a> {
    key: &'a str,
    value: Option<&'a str>,
    source: &'a str,
}

/// Does what the arguments say.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (settings, explained) = arguments.serving.explain(arguments.file)?;
    logging::check(&settings)?;
    let sources: Vec<String> = explained.iter().map(|explained| explained.source.to_string()).collect();
    let documents: Vec<Document<'_>> = explained
        .iter()
        .zip(&sources)
        .map(|(Explained { key, value, .. }, source)| Document { key, value: value.as_deref(), source })
        .collect();
    let mut table = Table::new(&["key", "value", "source"], "There are no keys.");
    for document in &documents {
        table.row([document.key, document.value.unwrap_or_default(), document.source].map(str::to_owned));
    }
    Ok(Output::stdout(arguments.shown.json).list(&documents, &table)?)
}
