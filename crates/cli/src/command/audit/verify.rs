//! `countersign audit verify`

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use countersign_server::caller::Caller;
use countersign_server::ops::Ops;
use countersign_server::store::{AuditChain, MarkBreak};
use countersign_server::witness::Witnessed;
use serde::Serialize;

use crate::output::Output;
use crate::progress::Progress;

/// How many heads are checked at once.
const HEADS_AT_ONCE: usize = 1000;

#[derive(Serialize)]
struct Verdict {
    /// Whether the log is as it was recorded, and as the heads say.
    intact: bool,
    /// The number of the first event that is there.
    first: i64,
    events: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    broken_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heads: Option<Heads>,
}

/// What comes of the file of heads.
#[derive(Serialize)]
struct Heads {
    confirmed: u64,
    pruned: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    contradicted: Option<Contradicted>,
}

#[derive(Serialize)]
struct Contradicted {
    line: usize,
    seq: i64,
    at: String,
    problem: String,
}

/// Walks the chain, and holds it against the heads in `head_file`.
pub(super) async fn run(ops: &Ops, head_file: Option<&Path>, output: &mut Output) -> anyhow::Result<()> {
    let lines = match head_file {
        Some(path) => check_lines(ops, path).await?,
        None => 0,
    };
    let chain = {
        let progress = Progress::new("events walked");
        let mut progress = |walked| progress.show(walked);
        match head_file {
            None => ops.verify_audit(&Caller::Operator, &mut progress).await?,
            Some(path) => {
                // Lines that come meanwhile are of events that the walk does not see.
                let mut marks = heads(path)?.take(lines).map_while(Result::ok).map(|head| head.mark);
                ops.verify_audit_marks(&Caller::Operator, &mut marks, &mut progress).await?
            }
        }
    };
    let contradicted = match (&chain.contradicted, head_file) {
        (Some(found), Some(path)) => Some(Contradicted::new(found, path)?),
        _ => None,
    };
    let is_checked = head_file.is_some() && chain.broken.is_none();
    let verdict = Verdict {
        intact: chain.broken.is_none() && contradicted.is_none(),
        first: chain.first,
        events: chain.events,
        broken_at: chain.broken.map(|broken| broken.seq),
        problem: chain.broken.map(|broken| broken.problem.to_string()),
        heads: is_checked.then_some(Heads { confirmed: chain.confirmed, pruned: chain.pruned, contradicted }),
    };
    show(&verdict, output)?;
    judge(&chain, &verdict, head_file)
}

fn show(verdict: &Verdict, output: &mut Output) -> io::Result<()> {
    if output.is_json() {
        return output.document(verdict);
    }
    if verdict.broken_at.is_some() {
        return Ok(());
    }
    output.line(&format!("Events, every one as it was recorded: {}", verdict.events))?;
    if verdict.first > 1 {
        output.line(&format!("The log begins at event {}: what was before it was pruned", verdict.first))?;
    }
    if let Some(heads) = &verdict.heads {
        output.line(&format!("Heads that the log agrees with: {}", heads.confirmed))?;
        if heads.pruned > 0 {
            output.line(&format!(
                "Heads of events that were pruned since, of which nothing can be said: {}",
                heads.pruned
            ))?;
        }
    }
    Ok(())
}

fn judge(chain: &AuditChain, verdict: &Verdict, head_file: Option<&Path>) -> anyhow::Result<()> {
    if let Some(broken) = chain.broken {
        bail!(
            "the audit log is broken at event {}: {}. The {} events before it are as they were recorded",
            broken.seq,
            broken.problem,
            chain.events,
        );
    }
    let contradicted = verdict.heads.as_ref().and_then(|heads| heads.contradicted.as_ref());
    if let Some((found, path)) = contradicted.zip(head_file) {
        bail!(
            "{}, line {}: the audit log ended with event {} at {}, and it does not look like that any more: {}",
            path.display(),
            found.line,
            found.seq,
            found.at,
            found.problem,
        );
    }
    Ok(())
}

impl Contradicted {
    fn new(found: &MarkBreak, path: &Path) -> anyhow::Result<Self> {
        let line = heads(path)?.nth(found.index).context("the file was cut meanwhile")??;
        Ok(Self {
            line: found.index + 1,
            seq: found.mark.seq,
            at: line.at.to_string(),
            problem: found.problem.to_string(),
        })
    }
}

/// Makes sure that every line is a head of this installation, and returns how many there are.
async fn check_lines(ops: &Ops, path: &Path) -> anyhow::Result<usize> {
    let installation = ops.store().installation().await?.map(|installation| installation.id);
    let wrong = |line: usize, problem: &str| anyhow!("{}, line {line}: {problem}", path.display());
    let mut lines = heads(path)?.zip(1..).peekable();
    let mut count = 0;
    while lines.peek().is_some() {
        let mut sealed = Vec::new();
        let mut numbers = Vec::new();
        for (head, line) in lines.by_ref().take(HEADS_AT_ONCE) {
            let head = head.with_context(|| format!("{}, line {line}", path.display()))?;
            count = line;
            if let Some((head, seal)) = head.sealed {
                if Some(head.installation) != installation {
                    return Err(wrong(line, "it is a head of another installation"));
                }
                sealed.push((head, seal));
                numbers.push(line);
            }
        }
        let found = ops.are_audit_heads_sealed(&Caller::Operator, &sealed).await?;
        if let Some((line, _)) = numbers.iter().zip(found).find(|(_, is_sealed)| !is_sealed) {
            return Err(wrong(*line, "this installation has not written it so: somebody has changed the file"));
        }
    }
    Ok(count)
}

/// The heads in a file, one a line.
fn heads(path: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Witnessed>> + Send + use<>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BufReader::new(file).lines().map(|line| Witnessed::parse(&line?)))
}
