//! `countersign audit`

use std::io;

use anyhow::bail;
use clap::{Args, Subcommand};
use countersign_server::caller::Caller;
use countersign_server::ops::Ops;
use countersign_server::store::{AuditFilter, RecordedEvent};
use countersign_server::token::id::AccountId;
use serde::Serialize;
use serde_json::Value;

use crate::flag::{Place, Shown};
use crate::local;
use crate::output::{Output, Table};
use crate::progress::Progress;

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
  countersign audit list --action api_token.revoke
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
    /// Check the whole chain; exit status 1 where it breaks
    #[command(after_help = "\
Examples:
  countersign audit verify
  countersign audit verify --json")]
    Verify {
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// Print all events, one JSON object a line, oldest first
    #[command(after_help = "\
Examples:
  countersign audit export > audit.jsonl
  countersign audit export --after 1200 >> audit.jsonl")]
    Export {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        place: Place,
    },
}

/// Which events are meant.
#[derive(Args)]
struct Which {
    /// Only what concerns this account
    #[arg(long, value_name = "ID")]
    account: Option<AccountId>,
    /// Only what was done to the thing with this id
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// Only this action, such as `service_token.create` or `api_token.revoke`
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only events after this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: i64,
}

impl From<Which> for AuditFilter {
    fn from(which: Which) -> Self {
        Self { account: which.account, subject_id: which.subject, action: which.action, after: which.after }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    seq: i64,
    at: String,
    actor: ActorDocument<'a>,
    action: &'a str,
    subject: SubjectDocument<'a>,
    account_id: Option<String>,
    address: Option<&'a str>,
    request_id: Option<&'a str>,
    detail: Value,
}

#[derive(Serialize)]
struct ActorDocument<'a> {
    kind: &'a str,
    id: Option<&'a str>,
}

#[derive(Serialize)]
struct SubjectDocument<'a> {
    kind: &'a str,
    id: &'a str,
}

impl<'a> Document<'a> {
    fn new(event: &'a RecordedEvent) -> serde_json::Result<Self> {
        Ok(Self {
            seq: event.seq,
            at: event.at.to_string(),
            actor: ActorDocument {
                kind: &event.actor_kind,
                id: Some(event.actor_id.as_str()).filter(|id| !id.is_empty()),
            },
            action: &event.action,
            subject: SubjectDocument { kind: &event.subject_kind, id: &event.subject_id },
            account_id: event.account.as_ref().map(AccountId::to_string),
            address: event.address.as_deref(),
            request_id: event.request_id.as_deref(),
            detail: serde_json::from_str(&event.detail)?,
        })
    }
}

#[derive(Serialize)]
struct Verdict {
    events: u64,
    intact: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    broken_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.action {
        Action::List { which, limit, shown, place } => {
            let filter = AuditFilter::from(which);
            local::with_ops(place, async |ops| list(ops, &filter, limit, &mut Output::stdout(shown.json)).await).await
        }
        Action::Verify { shown, place } => {
            local::with_ops(place, async |ops| verify(ops, &mut Output::stdout(shown.json)).await).await
        }
        Action::Export { which, place } => {
            let filter = AuditFilter::from(which);
            local::with_ops(place, async |ops| {
                let mut output = Output::stdout(true);
                read(ops, filter, |event| output.document(&Document::new(&event)?)).await
            })
            .await
        }
    }
}

/// Hands over every event that `filter` lets through, in order.
async fn read(
    ops: &Ops,
    mut filter: AuditFilter,
    mut each: impl FnMut(RecordedEvent) -> io::Result<()>,
) -> anyhow::Result<()> {
    loop {
        let page = ops.list_audit(&Caller::Operator, &filter, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        filter.after = last.seq;
        page.into_iter().try_for_each(&mut each)?;
    }
}

async fn list(ops: &Ops, filter: &AuditFilter, limit: u32, output: &mut Output) -> anyhow::Result<()> {
    let newest = ops.list_newest_audit(&Caller::Operator, filter, limit).await?;
    let documents = newest.iter().map(Document::new).collect::<Result<Vec<_>, _>>()?;
    let heading = ["no", "at", "action", "subject", "actor", "address", "request"];
    let mut table = Table::new(&heading, "There are no such events.");
    for event in &documents {
        table.row([
            event.seq.to_string(),
            event.at.clone(),
            event.action.to_owned(),
            event.subject.id.to_owned(),
            [event.actor.kind, event.actor.id.unwrap_or_default()].join(" ").trim_end().to_owned(),
            event.address.unwrap_or_default().to_owned(),
            event.request_id.unwrap_or_default().to_owned(),
        ]);
    }
    Ok(output.list(&documents, &table)?)
}

async fn verify(ops: &Ops, output: &mut Output) -> anyhow::Result<()> {
    let chain = {
        let progress = Progress::new("events walked");
        ops.verify_audit(&Caller::Operator, &mut |walked| progress.show(walked)).await?
    };
    let verdict = Verdict {
        events: chain.events,
        intact: chain.broken.is_none(),
        broken_at: chain.broken.map(|broken| broken.seq),
        problem: chain.broken.map(|broken| broken.problem.to_string()),
    };
    if output.is_json() {
        output.document(&verdict)?;
    } else if verdict.intact {
        output.line(&format!("Events, every one as it was recorded: {}", verdict.events))?;
    }
    match chain.broken {
        Some(broken) => bail!(
            "the audit log is broken at event {}: {}. The {} events before it are as they were recorded",
            broken.seq,
            broken.problem,
            chain.events,
        ),
        None => Ok(()),
    }
}
