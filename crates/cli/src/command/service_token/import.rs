//! `countersign service-token import`

mod csv;
mod file;
#[cfg(test)]
mod property;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use countersign_client::cloudflare::{AccountId, ZoneId};
use countersign_server::caller::{Caller, Origin, Permit, Write};
use countersign_server::ops::{self, Import, Ops};
use serde::Serialize;

use self::file::{Problem, Tokens};
use crate::command::{account, zone};
use crate::flag::{Place, Shown};
use crate::local;
use crate::output::Output;
use crate::progress::Progress;

/// A file longer than this holds more than one import takes.
const FILE_MAX: u64 = 256 << 20;

/// Which tokens, and where they go.
#[derive(Args)]
#[command(after_help = "\
The file is CSV with a header row, or JSON objects, one a line. Columns, or members:
  name                  what to call the token
  client_id             32 hexadecimal digits and `.access`
  client_secret         the secret, or instead of it
  client_secret_sha256  its SHA-256, 64 hexadecimal digits
  expires_at            until when it lives, RFC 3339
  duration              how long it lives from now on, or is said to live: `2160h`, `forever`
                        [default: a year, 8760h]
  enabled               `true` or `false` [default: true]

Every line is looked at before anything is done, and everything that is wrong is said. All tokens
are added, or none: up to 100000 at once.

Examples:
  countersign service-token import tokens.csv --account 2f0c5b1be6f84e7f8a2d3c4b5a697887 --dry-run
  countersign service-token import - --zone 7d3e9a00c1b24f5f9b1f0a2b3c4d5e6f --json <tokens.jsonl")]
pub(super) struct Arguments {
    /// The file; `-` is standard input
    file: PathBuf,
    /// Account that the tokens are for
    #[arg(long, value_name = "ID", required_unless_present = "zone", conflicts_with = "zone")]
    account: Option<AccountId>,
    /// Zone that the tokens are for
    #[arg(long, value_name = "ID")]
    zone: Option<ZoneId>,
    /// Look whether all could be added, and add nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    place: Place,
}

/// What came of it.
#[derive(Serialize)]
struct Report<'a> {
    /// How many tokens were added.
    imported: usize,
    /// How many there are in the file that are in order.
    tokens: usize,
    dry_run: bool,
    problems: &'a [Problem],
}

/// Does what the arguments say.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { file, account, zone, dry_run, shown, place } = arguments;
    let bytes = read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let tokens = file::read(&bytes);
    let mut output = Output::stdout(shown.json);
    local::with_ops(place, async |ops| {
        let permit = permit(ops, account, zone).await?;
        import(ops, &permit, tokens, dry_run, &mut output).await
    })
    .await
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let from: Box<dyn Read> = if file == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(file)?) };
    let mut bytes = Vec::new();
    let length = from.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(length).unwrap_or(u64::MAX) > FILE_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 256 MiB: import it in parts"));
    }
    Ok(bytes)
}

async fn permit(ops: &Ops, account: Option<AccountId>, zone: Option<ZoneId>) -> anyhow::Result<Permit<Write>> {
    if let Some(id) = zone {
        let (zone, account) = ops.find_zone(&Caller::Operator, &id).await.map_err(|error| zone::absent(error, &id))?;
        return Ok(Permit::of_operator_at(&account, Some(&zone)));
    }
    let id = account.ok_or_else(|| anyhow!("say where the tokens go: --account ID or --zone ID"))?;
    let account = ops.find_account(&Caller::Operator, &id).await.map_err(|error| account::absent(error, &id))?;
    Ok(Permit::of_operator(&account))
}

async fn import(
    ops: &Ops,
    permit: &Permit<Write>,
    file: Tokens,
    dry_run: bool,
    output: &mut Output,
) -> anyhow::Result<()> {
    let Tokens { tokens, lines, mut problems } = file;
    let count = tokens.len();
    // With problems of its own the file is tried nevertheless: all that is wrong is said at once.
    let trial = dry_run || !problems.is_empty();
    let progress = Progress::new(if trial { "tokens are looked up" } else { "tokens are added" });
    progress.show(u64::try_from(count).unwrap_or(u64::MAX));
    let outcome = ops.import_service_tokens(permit, tokens, trial, &Origin::default()).await;
    drop(progress);
    match outcome {
        Ok(Import::Done) => {}
        Ok(Import::Taken(taken)) => {
            let problem = "client_id: the installation has a token with it, or had one within the last week";
            let line = |id| lines.get(id).copied().unwrap_or_default();
            problems.extend(taken.iter().map(|id| Problem { line: line(id), problem: problem.to_owned() }));
            problems.sort_by_key(|problem| problem.line);
        }
        Err(ops::Error::Invalid { .. }) => {
            return Err(anyhow!("the file has {count} tokens, and {} at once is the most: split it", Ops::IMPORT_MAX));
        }
        Err(error) => return Err(error.into()),
    }
    let imported = if trial || !problems.is_empty() { 0 } else { count };
    if output.is_json() {
        output.document(&Report { imported, tokens: count, dry_run, problems: &problems })?;
    }
    if !problems.is_empty() {
        let said = format!("nothing was imported: {} problem(s)", problems.len());
        if output.is_json() {
            return Err(anyhow!("{said}"));
        }
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return Err(anyhow!("{said}\n{}", lines.join("\n")));
    }
    if !output.is_json() {
        let words = if dry_run { "can be imported. Nothing was done yet" } else { "imported" };
        output.line(&format!("{count} service token(s) {words}."))?;
    }
    Ok(())
}
