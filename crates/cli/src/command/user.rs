//! `countersign user`

use anyhow::anyhow;
use clap::{Args, Subcommand};
use countersign_server::caller::Caller;
use countersign_server::ops::{self, Ops};
use countersign_server::store::User;
use countersign_server::token::id::{AccountId, UserId};
use serde::Serialize;

use super::account;
use crate::flag::{Place, Shown};
use crate::local;
use crate::output::{Output, Table};

const EXAMPLES: &str = "\
Examples:
  countersign user create --email ops@example.com --account 2f0c5b1be6f84e7f8a2d3c4b5a697887
  countersign user grant --email ops@example.com --account 91b5d2c47a6e4f0c8d1e2f3a4b5c6d7e
  countersign user list";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a user with every right on one account, and a global API key that is shown once
    #[command(after_help = "\
Examples:
  countersign user create --email ops@example.com --account 2f0c5b1be6f84e7f8a2d3c4b5a697887")]
    Create {
        /// The user's address; one user each
        #[arg(long)]
        email: String,
        /// The account on which the user gets every right
        #[arg(long, value_name = "ID")]
        account: AccountId,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// Give a user every right on one more account
    #[command(after_help = "\
Examples:
  countersign user grant --email ops@example.com --account 91b5d2c47a6e4f0c8d1e2f3a4b5c6d7e")]
    Grant {
        /// The user's address
        #[arg(long)]
        email: String,
        /// The account on which the user gets every right
        #[arg(long, value_name = "ID")]
        account: AccountId,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// List the users
    #[command(after_help = "\
Examples:
  countersign user list
  countersign user list --json | jq -r '.[].email'")]
    List {
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// Show one user
    #[command(after_help = "\
Examples:
  countersign user show ops@example.com
  countersign user show 5a0c1b2d3e4f4a5b8c6d7e8f9a0b1c2d --json")]
    Show {
        /// The user's id or address
        #[arg(value_name = "ID|EMAIL")]
        user: String,
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
    email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<String>,
    installation_owner: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_ids: Option<Vec<String>>,
    created_at: String,
}

impl From<&User> for Document {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            pfid: user.pfid.to_string(),
            email: user.email.clone(),
            api_key: None,
            installation_owner: user.installation_owner,
            account_ids: None,
            created_at: user.created_at.to_string(),
        }
    }
}

impl Document {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("User", self.id.clone()), ("PFID", self.pfid.clone()), ("E-mail", self.email.clone())];
        fields.extend(self.api_key.clone().map(|key| ("Global API key", key)));
        fields.push(("Rights on", self.rights()));
        fields.push(("Created", self.created_at.clone()));
        fields
    }

    fn rights(&self) -> String {
        match &self.account_ids {
            _ if self.installation_owner => "every account".to_owned(),
            Some(accounts) => accounts.join(" "),
            None => String::new(),
        }
    }
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.action {
        Action::Create { email, account, shown, place } => {
            local::with_ops(place, async |ops| create(ops, &email, &account, &mut Output::stdout(shown.json)).await)
                .await
        }
        Action::Grant { email, account, shown, place } => {
            local::with_ops(place, async |ops| grant(ops, &email, &account, &mut Output::stdout(shown.json)).await)
                .await
        }
        Action::List { shown, place } => {
            local::with_ops(place, async |ops| list(ops, &mut Output::stdout(shown.json)).await).await
        }
        Action::Show { user, shown, place } => {
            local::with_ops(place, async |ops| show(ops, &user, &mut Output::stdout(shown.json)).await).await
        }
    }
}

async fn create(ops: &Ops, email: &str, account: &AccountId, output: &mut Output) -> anyhow::Result<()> {
    let (user, api_key) =
        ops.create_user(&Caller::Operator, email, account).await.map_err(|error| account::absent(error, account))?;
    let document = Document {
        api_key: Some(api_key.expose().to_owned()),
        account_ids: Some(vec![account.to_string()]),
        ..Document::from(&user)
    };
    output.show(&document, &document.fields())?;
    if !output.is_json() {
        output.once("The global API key is shown this once.")?;
    }
    Ok(())
}

async fn grant(ops: &Ops, email: &str, account: &AccountId, output: &mut Output) -> anyhow::Result<()> {
    // The operation can't tell which of the two is missing.
    ops.find_account(&Caller::Operator, account).await.map_err(|error| account::absent(error, account))?;
    let user = ops.grant_account(&Caller::Operator, email, account).await.map_err(|error| absent(error, email))?;
    describe(ops, &user, output).await
}

async fn list(ops: &Ops, output: &mut Output) -> anyhow::Result<()> {
    let users = ops.list_users(&Caller::Operator).await?;
    let documents: Vec<Document> = users.iter().map(|(user, accounts)| with_accounts(user, accounts)).collect();
    let mut table = Table::new(&["id", "email", "rights on", "created"], "There are no users.");
    for user in &documents {
        table.row([user.id.clone(), user.email.clone(), user.rights(), user.created_at.clone()]);
    }
    Ok(output.list(&documents, &table)?)
}

async fn show(ops: &Ops, named: &str, output: &mut Output) -> anyhow::Result<()> {
    let user = match named.parse::<UserId>() {
        Ok(id) => ops.find_user(&id).await?.ok_or(ops::Error::NotFound),
        Err(_no_id) => ops.find_user_by_email(&Caller::Operator, named).await,
    };
    describe(ops, &user.map_err(|error| absent(error, named))?, output).await
}

async fn describe(ops: &Ops, user: &User, output: &mut Output) -> anyhow::Result<()> {
    let users = ops.list_users(&Caller::Operator).await?;
    let accounts = users.iter().find(|(other, _)| other.id == user.id).map(|(_, accounts)| accounts.as_slice());
    let document = with_accounts(user, accounts.unwrap_or_default());
    Ok(output.show(&document, &document.fields())?)
}

fn with_accounts(user: &User, accounts: &[AccountId]) -> Document {
    Document { account_ids: Some(accounts.iter().map(AccountId::to_string).collect()), ..Document::from(user) }
}

fn absent(error: ops::Error, named: &str) -> anyhow::Error {
    match error {
        ops::Error::NotFound | ops::Error::Forbidden => {
            anyhow!("there is no user {named}. `countersign user list` shows those there are")
        }
        ops::Error::Invalid { .. }
        | ops::Error::WrongKind { .. }
        | ops::Error::Conflict(_)
        | ops::Error::InvalidAction(_)
        | ops::Error::IdempotencyKeyUsed
        | ops::Error::Store(_) => error.into(),
    }
}
