//! `countersign backup`

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use countersign_server::lifecycle;
use countersign_server::store::backup::{self, Contents};
use countersign_server::token::time::Clock;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::flag::{Place, Shown};
use crate::logging;
use crate::output::Output;
use crate::progress::Progress;

const EXAMPLES: &str = "\
A backup is one file, of one moment, taken while servers run. SQLite and PostgreSQL restore from it
alike. Without --with-key the installation key is not inside, and the file is void without it: keep
a copy of the key elsewhere. With --with-key, whoever reads the file can forge secrets.

Examples:
  countersign backup /backup/countersign-$(date +%F).backup
  countersign backup everything.backup --with-key --json";

/// What is backed up, and where to.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The file to make, readable by its owner only. One that is there already is not replaced
    file: PathBuf,
    /// Put the installation key inside
    #[arg(long)]
    with_key: bool,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    place: Place,
}

/// What is in a backup, for scripts.
#[derive(Serialize)]
pub(super) struct Document {
    installation_id: String,
    taken_at: String,
    revision: i64,
    schema_version: i64,
    installation_key: bool,
    /// How many rows of each table.
    rows: Map<String, Value>,
}

impl Document {
    pub(super) fn new(contents: &Contents) -> Self {
        Self {
            installation_id: contents.installation.to_string(),
            taken_at: contents.taken_at.to_string(),
            revision: contents.revision.get(),
            schema_version: contents.schema,
            installation_key: contents.key.is_some(),
            rows: contents.rows.iter().map(|(table, rows)| (table.clone(), Value::from(*rows))).collect(),
        }
    }

    /// The same for people.
    pub(super) fn fields(contents: &Contents) -> Vec<(&'static str, String)> {
        let rows = |table| contents.rows_of(table).to_string();
        vec![
            ("Installation", contents.installation.to_string()),
            ("Taken at", contents.taken_at.to_string()),
            ("Revision", contents.revision.get().to_string()),
            ("Accounts", rows("account")),
            ("Service tokens", rows("service_token")),
            ("API tokens", rows("api_token")),
            ("Management tokens", rows("management_token")),
            ("Audit events", rows("audit_event")),
        ]
    }
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    logging::command()?;
    let settings = arguments.place.settings()?;
    let path = &arguments.file;
    refuse_existing(path)?;
    let store = lifecycle::open_reader(&settings).await?;
    let mut draft = Draft::create(path)?;
    let context = || format!("no backup was made at {}", path.display());
    let contents = {
        let progress = Progress::new("rows written");
        let now = Clock::System.now();
        let with_key = arguments.with_key;
        backup::create(&store, with_key, now, &mut draft.file, &mut |rows| progress.show(rows))
            .await
            .with_context(context)?
    };
    store.close().await;
    draft.finish(path).with_context(context)?;

    let mut output = Output::stdout(arguments.shown.json);
    output.show(&Document::new(&contents), &Document::fields(&contents))?;
    if !output.is_json() {
        let words = if arguments.with_key {
            "THE INSTALLATION KEY IS INSIDE. Whoever reads this file can forge secrets: keep it as you keep the key."
                .to_owned()
        } else {
            format!(
                "THE INSTALLATION KEY IS NOT INSIDE, and without it this backup is void. It is in {}: keep a copy of it \
                 elsewhere.",
                settings.installation_key
            )
        };
        output.gap()?;
        let words = output.style().warning(&words);
        output.line(&words)?;
    }
    Ok(())
}

fn refuse_existing(path: &Path) -> anyhow::Result<()> {
    if path.symlink_metadata().is_ok() {
        bail!("{} is there already, and is not replaced. Name another file", path.display());
    }
    Ok(())
}

/// A file under a name of its own until it is whole. Dropping it removes it.
struct Draft {
    file: File,
    path: PathBuf,
    is_finished: bool,
}

impl Draft {
    fn create(target: &Path) -> anyhow::Result<Self> {
        let mut path = target.as_os_str().to_owned();
        // Another backup to the same place has another draft.
        path.push(format!(".{}.new", std::process::id()));
        let path = PathBuf::from(path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { file, path, is_finished: false })
    }

    /// Gives the file its name. It is on the disk when this returns.
    fn finish(mut self, target: &Path) -> anyhow::Result<()> {
        self.file.sync_all()?;
        refuse_existing(target)?;
        std::fs::rename(&self.path, target)?;
        self.is_finished = true;
        let directory = target.parent().filter(|directory| !directory.as_os_str().is_empty());
        match File::open(directory.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all()) {
            // Some file systems can't do that for a directory.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => Ok(other?),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_finished {
            // The failure that led here is told.
            drop(std::fs::remove_file(&self.path));
        }
    }
}
