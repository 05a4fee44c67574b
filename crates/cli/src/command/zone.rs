//! `countersign zone`

use anyhow::anyhow;
use clap::{Args, Subcommand};
use countersign_server::caller::Caller;
use countersign_server::ops::{self, Ops};
use countersign_server::store::{Page, Zone};
use countersign_server::token::id::{AccountId, ZoneId};
use serde::Serialize;

use super::account;
use crate::flag::{Place, Shown};
use crate::local;
use crate::output::{Output, Table};

const EXAMPLES: &str = "\
Examples:
  countersign zone create --account 2f0c5b1be6f84e7f8a2d3c4b5a697887 --name example.org
  countersign zone list";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a zone in an account
    #[command(after_help = "\
Examples:
  countersign zone create --account 2f0c5b1be6f84e7f8a2d3c4b5a697887 --name example.org")]
    Create {
        /// The account that owns it
        #[arg(long, value_name = "ID")]
        account: AccountId,
        /// What to call it, usually a domain
        #[arg(long)]
        name: String,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// List the zones
    #[command(after_help = "\
Examples:
  countersign zone list
  countersign zone list --account 2f0c5b1be6f84e7f8a2d3c4b5a697887 --json")]
    List {
        /// Only the zones of this account
        #[arg(long, value_name = "ID")]
        account: Option<AccountId>,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// Show one zone
    #[command(after_help = "\
Examples:
  countersign zone show 7d3e9a00c1b24f5f9b1f0a2b3c4d5e6f")]
    Show {
        /// The zone's id, 32 hex digits
        id: ZoneId,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Serialize)]
struct Document {
    id: String,
    name: String,
    account_id: String,
    created_at: String,
}

impl From<&Zone> for Document {
    fn from(zone: &Zone) -> Self {
        Self {
            id: zone.id.to_string(),
            name: zone.name.clone(),
            account_id: zone.account.to_string(),
            created_at: zone.created_at.to_string(),
        }
    }
}

impl Document {
    fn fields(&self) -> [(&'static str, String); 4] {
        [
            ("Zone", self.id.clone()),
            ("Name", self.name.clone()),
            ("Account", self.account_id.clone()),
            ("Created", self.created_at.clone()),
        ]
    }
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.action {
        Action::Create { account, name, shown, place } => {
            local::with_ops(place, async |ops| create(ops, &account, &name, &mut Output::stdout(shown.json)).await)
                .await
        }
        Action::List { account, shown, place } => {
            local::with_ops(place, async |ops| list(ops, account.as_ref(), &mut Output::stdout(shown.json)).await).await
        }
        Action::Show { id, shown, place } => {
            local::with_ops(place, async |ops| show(ops, &id, &mut Output::stdout(shown.json)).await).await
        }
    }
}

async fn create(ops: &Ops, account: &AccountId, name: &str, output: &mut Output) -> anyhow::Result<()> {
    let zone =
        ops.create_zone(&Caller::Operator, account, name).await.map_err(|error| account::absent(error, account))?;
    let document = Document::from(&zone);
    Ok(output.show(&document, &document.fields())?)
}

async fn list(ops: &Ops, account: Option<&AccountId>, output: &mut Output) -> anyhow::Result<()> {
    if let Some(id) = account {
        ops.find_account(&Caller::Operator, id).await.map_err(|error| account::absent(error, id))?;
    }
    let (zones, _total) = ops.list_zones(&Caller::Operator, account, None, Page::ALL).await?;
    let documents: Vec<Document> = zones.iter().map(|(zone, _account)| Document::from(zone)).collect();
    let mut table = Table::new(&["id", "name", "account", "created"], "There are no zones.");
    for zone in &documents {
        table.row([zone.id.clone(), zone.name.clone(), zone.account_id.clone(), zone.created_at.clone()]);
    }
    Ok(output.list(&documents, &table)?)
}

async fn show(ops: &Ops, id: &ZoneId, output: &mut Output) -> anyhow::Result<()> {
    let (zone, _account) = ops.find_zone(&Caller::Operator, id).await.map_err(|error| absent(error, id))?;
    let document = Document::from(&zone);
    Ok(output.show(&document, &document.fields())?)
}

/// The same error, in words if it means that there is no such zone.
pub(crate) fn absent(error: ops::Error, id: &ZoneId) -> anyhow::Error {
    match error {
        ops::Error::NotFound | ops::Error::Forbidden => {
            anyhow!("there is no zone {id}. `countersign zone list` shows those there are")
        }
        ops::Error::Invalid { .. }
        | ops::Error::WrongKind { .. }
        | ops::Error::Conflict(_)
        | ops::Error::InvalidAction(_)
        | ops::Error::IdempotencyKeyUsed
        | ops::Error::Store(_) => error.into(),
    }
}
