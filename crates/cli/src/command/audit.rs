//! `countersign audit`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use countersign_server::caller::Caller;
use countersign_server::ops::Ops;
use countersign_server::store::AuditFilter;

mod event;
mod filter;
mod verify;

use self::event::{Document, HEADING};
use self::filter::Which;
use crate::flag::{Place, Shown};
use crate::local;
use crate::output::{Output, Table};

/// How many events are read at once.
const PAGE: u32 = 1000;

const EXAMPLES: &str = "\
Examples:
  countersign audit list --action service_token.rotate
  countersign audit verify
  countersign audit export > audit.jsonl";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the newest events, in the order in which they happened
    #[command(after_help = "\
Examples:
  countersign audit list
  countersign audit list --subject 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --limit 10
  countersign audit list --actor ops@example.com --since 24h
  countersign audit list --action 'service_token.*' --address 192.0.2.0/24
  countersign audit list --action service_token.refused --since 2026-05-01T00:00:00Z
  countersign audit list --json | jq -r '.[].action'")]
    List {
        #[command(flatten)]
        which: Which,
        /// How many at most
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: u32,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// Check the whole chain; exit status 1 where it breaks, or where the log is not what was written down of it
    #[command(after_help = "\
Examples:
  countersign audit verify
  countersign audit verify --head-file /var/log/countersign/audit-heads.jsonl
  countersign audit verify --head-file audit.jsonl --json")]
    Verify {
        /// Hold the log against the heads in this file (`audit_head_file`), or against an earlier export
        #[arg(long, value_name = "FILE")]
        head_file: Option<PathBuf>,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// Print events, one JSON object a line, oldest first
    #[command(after_help = "\
Examples:
  countersign audit export > audit.jsonl
  countersign audit export --after 1200 >> audit.jsonl
  countersign audit export --since 720h --action 'api_token.*' > month.jsonl")]
    Export {
        #[command(flatten)]
        which: Which,
        /// How many at most; without it, all
        #[arg(long, value_name = "NUMBER")]
        limit: Option<u32>,
        #[command(flatten)]
        place: Place,
    },
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.action {
        Action::List { which, limit, shown, place } => {
            local::with_ops(place, async |ops| {
                let filter = which.filter(ops).await?;
                list(ops, &filter, limit, &mut Output::stdout(shown.json)).await
            })
            .await
        }
        Action::Verify { head_file, shown, place } => {
            let mut output = Output::stdout(shown.json);
            local::with_ops(place, async |ops| verify::run(ops, head_file.as_deref(), &mut output).await).await
        }
        Action::Export { which, limit, place } => {
            local::with_ops(place, async |ops| {
                let filter = which.filter(ops).await?;
                export(ops, &filter, limit, &mut Output::stdout(true)).await
            })
            .await
        }
    }
}

async fn list(ops: &Ops, filter: &AuditFilter, limit: u32, output: &mut Output) -> anyhow::Result<()> {
    let newest = ops.list_newest_audit(&Caller::Operator, filter, limit).await?;
    let documents = newest.iter().map(Document::new).collect::<Result<Vec<_>, _>>()?;
    let mut table = Table::new(&HEADING, "There are no such events.");
    for event in &documents {
        table.row(event.row());
    }
    Ok(output.list(&documents, &table)?)
}

/// Prints page after page, so that a log of any length is never in memory.
async fn export(ops: &Ops, filter: &AuditFilter, limit: Option<u32>, output: &mut Output) -> anyhow::Result<()> {
    let mut pages = ops.audit_pages(&Caller::Operator, filter).await?;
    let mut left = limit;
    loop {
        let wanted = left.map_or(PAGE, |left| left.min(PAGE));
        let page = pages.next(wanted).await?;
        if page.is_empty() {
            return Ok(());
        }
        for event in &page {
            output.document(&Document::new(event)?)?;
        }
        left = left.map(|left| left.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX)));
    }
}
