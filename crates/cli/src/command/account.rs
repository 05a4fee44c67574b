//! `countersign account`

use anyhow::anyhow;
use clap::{Args, Subcommand};
use countersign_server::caller::Caller;
use countersign_server::ops::{self, Counts, Ops};
use countersign_server::store::{Account, Page};
use countersign_server::token::id::AccountId;
use serde::Serialize;

use crate::flag::{Place, Shown};
use crate::local;
use crate::output::{Output, Table};

const EXAMPLES: &str = "\
Examples:
  countersign account create --name \"Platform team\"
  countersign account list --json
  countersign account show 2f0c5b1be6f84e7f8a2d3c4b5a697887";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make an account, with a first environment and an API token that is shown once
    #[command(after_help = "\
Examples:
  countersign account create --name \"Platform team\"
  countersign account create --name staging --json | jq -r .id")]
    Create {
        /// What to call it; 1 to 350 characters, not necessarily unique
        #[arg(long)]
        name: String,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// List the accounts
    #[command(after_help = "\
Examples:
  countersign account list
  countersign account list --json | jq -r '.[].id'")]
    List {
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// Show one account, and how much it has
    #[command(after_help = "\
Examples:
  countersign account show 2f0c5b1be6f84e7f8a2d3c4b5a697887")]
    Show {
        /// The account's id, 32 hex digits
        id: AccountId,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Serialize)]
struct Document {
    id: String,
    pfid: String,
    name: String,
    created_at: String,
}

/// An account with how much it has.
#[derive(Serialize)]
struct CountedDocument {
    #[serde(flatten)]
    account: Document,
    service_tokens: u64,
    api_tokens: u64,
    environments: u64,
}

/// What `init` prints of an account, with the one secret that comes with it.
#[derive(Serialize)]
struct CreatedDocument<'a> {
    id: String,
    pfid: String,
    name: &'a str,
    account_token: &'a str,
}

impl From<&Account> for Document {
    fn from(account: &Account) -> Self {
        Self {
            id: account.id.to_string(),
            pfid: account.pfid.to_string(),
            name: account.name.clone(),
            created_at: account.created_at.to_string(),
        }
    }
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.action {
        Action::Create { name, shown, place } => {
            local::with_ops(place, async |ops| create(ops, &name, &mut Output::stdout(shown.json)).await).await
        }
        Action::List { shown, place } => {
            local::with_ops(place, async |ops| list(ops, &mut Output::stdout(shown.json)).await).await
        }
        Action::Show { id, shown, place } => {
            local::with_ops(place, async |ops| show(ops, &id, &mut Output::stdout(shown.json)).await).await
        }
    }
}

async fn create(ops: &Ops, name: &str, output: &mut Output) -> anyhow::Result<()> {
    let created = ops.create_account(&Caller::Operator, name).await?;
    let document = CreatedDocument {
        id: created.account.id.to_string(),
        pfid: created.account.pfid.to_string(),
        name: &created.account.name,
        account_token: created.account_token.expose(),
    };
    let fields = [
        ("Account", document.id.clone()),
        ("PFID", document.pfid.clone()),
        ("Name", document.name.to_owned()),
        ("Account token", document.account_token.to_owned()),
    ];
    output.show(&document, &fields)?;
    if !output.is_json() {
        output.once("The account token is shown this once.")?;
    }
    Ok(())
}

async fn list(ops: &Ops, output: &mut Output) -> anyhow::Result<()> {
    let (accounts, _total) = ops.list_accounts(&Caller::Operator, None, Page::ALL).await?;
    let documents: Vec<Document> = accounts.iter().map(Document::from).collect();
    let mut table = Table::new(&["id", "pfid", "name", "created"], "There are no accounts.");
    for account in &documents {
        table.row([account.id.clone(), account.pfid.clone(), account.name.clone(), account.created_at.clone()]);
    }
    Ok(output.list(&documents, &table)?)
}

async fn show(ops: &Ops, id: &AccountId, output: &mut Output) -> anyhow::Result<()> {
    let by = Caller::Operator;
    let account = ops.find_account(&by, id).await.map_err(|error| absent(error, id))?;
    let Counts { service_tokens, api_tokens, environments } = ops.count_credentials(&by, id).await?;
    let document = CountedDocument { account: Document::from(&account), service_tokens, api_tokens, environments };
    let fields = [
        ("Account", document.account.id.clone()),
        ("PFID", document.account.pfid.clone()),
        ("Name", document.account.name.clone()),
        ("Created", document.account.created_at.clone()),
        ("Service tokens", service_tokens.to_string()),
        ("API tokens", api_tokens.to_string()),
        ("Environments", environments.to_string()),
    ];
    Ok(output.show(&document, &fields)?)
}

/// The same error, in words if it means that there is no such account.
pub(crate) fn absent(error: ops::Error, id: &AccountId) -> anyhow::Error {
    match error {
        ops::Error::NotFound | ops::Error::Forbidden => {
            anyhow!("there is no account {id}. `countersign account list` shows those there are")
        }
        ops::Error::Invalid { .. }
        | ops::Error::WrongKind { .. }
        | ops::Error::Conflict(_)
        | ops::Error::InvalidAction(_)
        | ops::Error::IdempotencyKeyUsed
        | ops::Error::Store(_) => error.into(),
    }
}
