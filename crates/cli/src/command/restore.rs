//! `countersign restore`

use std::fs::File;
use std::io::Seek as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use countersign_server::lifecycle;
use countersign_server::store::backup;
use countersign_server::token::time::Clock;
use serde::Serialize;

use super::backup::Document as BackupDocument;
use crate::flag::{Place, Shown};
use crate::logging;
use crate::output::Output;
use crate::progress::Progress;

const EXAMPLES: &str = "\
Stop every server first. The store must be empty: a new file, or a new database. The whole backup is
checked before anything is written, and everything is written in one transaction. Whatever changed
after the backup is lost, REVOCATIONS TOO: docs/operations.md says what to do then.

Examples:
  countersign restore everything.backup --data-dir /var/lib/countersign
  countersign restore it.backup --installation-key-file installation.key
  countersign restore it.backup --database-url postgres://countersign@db/countersign";

/// What is restored, and where to.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A file that `countersign backup` made
    file: PathBuf,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    backup: BackupDocument,
    restored_at_revision: i64,
    installation_key_written: bool,
    audit_intact: bool,
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    logging::command()?;
    let settings = arguments.place.settings()?;
    let context = || format!("cannot restore {}", arguments.file.display());
    let mut file = File::open(&arguments.file).with_context(context)?;
    let contents = {
        let progress = Progress::new("rows checked");
        backup::check(&mut file, &mut |rows| progress.show(rows)).with_context(context)?
    };
    file.rewind().with_context(context)?;
    let done = {
        let progress = Progress::new("rows restored");
        lifecycle::restore_store(&settings, &contents, &mut file, &Clock::System, &mut |rows| progress.show(rows))
            .await
            .with_context(context)?
    };

    let mut output = Output::stdout(arguments.shown.json);
    let document = Document {
        backup: BackupDocument::new(&contents),
        restored_at_revision: done.restored.revision.get(),
        installation_key_written: done.is_key_written,
        audit_intact: done.chain.broken.is_none(),
    };
    let mut fields = BackupDocument::fields(&contents);
    fields.push(("Restored into", settings.database.to_string()));
    fields.push(("At revision", document.restored_at_revision.to_string()));
    if done.is_key_written {
        fields.push(("Installation key", format!("written to {}", settings.installation_key)));
    }
    output.show(&document, &fields)?;
    if !output.is_json() {
        output.gap()?;
        let words = format!(
            "Everything is as it was at {}. WHAT CHANGED SINCE IS LOST: a secret that was revoked since is good again. \
             See docs/operations.md.",
            contents.taken_at
        );
        let words = output.style().warning(&words);
        output.line(&words)?;
        if done.restored.nodes > 0 {
            output.line(&format!(
                "Servers that run on this database: {}. They read everything anew; restart them all the same.",
                done.restored.nodes
            ))?;
        }
    }
    match done.chain.broken {
        Some(broken) => bail!(
            "everything was restored, and the audit log was broken already when the backup was made: event {}: {}",
            broken.seq,
            broken.problem
        ),
        None => Ok(()),
    }
}
