//! `countersign token`

use anyhow::anyhow;
use clap::{Args, Subcommand};
use countersign_server::caller::Caller;
use countersign_server::ops::{self, NewManagementToken, Ops};
use countersign_server::store::ManagementToken;
use countersign_server::token::feed::TokenOwner;
use countersign_server::token::id::{AccountId, ManagementTokenId};
use countersign_server::token::permission::Permission;
use countersign_server::token::time::Timestamp;
use serde::Serialize;

use super::account;
use crate::confirm::Confirm;
use crate::flag::{Place, Shown};
use crate::local;
use crate::output::{Output, Table};

const EXAMPLES: &str = "\
Examples:
  countersign token create --account ID --name terraform --permission \"Access: Service Tokens Write\"
  countersign token list
  countersign token revoke 0c7d9e1f2a3b4c5d8e9f0a1b2c3d4e5f --yes";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a management API token, which is shown once
    #[command(after_help = "\
Permissions:
  \"Access: Service Tokens Read\"    look at service tokens
  \"Access: Service Tokens Write\"   look at them and change them
  \"Countersign: Verification Feed Read\"
                                   verify its credentials in another program, and nothing else
  \"Everything\"                     every right on the account

Examples:
  countersign token create --account 2f0c5b1be6f84e7f8a2d3c4b5a697887 --name terraform \\
      --permission \"Access: Service Tokens Write\"
  countersign token create --account 2f0c5b1be6f84e7f8a2d3c4b5a697887 --name laptop \\
      --permission Everything --user admin@example.com --json | jq -r .token")]
    Create {
        /// The account on which it holds its permissions
        #[arg(long, value_name = "ID")]
        account: AccountId,
        /// What to call it
        #[arg(long)]
        name: String,
        /// What it may do there; give it again for more
        #[arg(long = "permission", value_name = "PERMISSION", required = true, value_parser = parse_permission)]
        permissions: Vec<Permission>,
        /// Make it this user's own instead of the account's
        #[arg(long, value_name = "EMAIL")]
        user: Option<String>,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// List the management API tokens; their secrets are not kept
    #[command(after_help = "\
Examples:
  countersign token list
  countersign token list --account 2f0c5b1be6f84e7f8a2d3c4b5a697887 --json")]
    List {
        /// Only tokens with a permission on this account
        #[arg(long, value_name = "ID")]
        account: Option<AccountId>,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// End a management API token; it is refused everywhere when the command returns
    #[command(after_help = "\
Examples:
  countersign token revoke 0c7d9e1f2a3b4c5d8e9f0a1b2c3d4e5f
  countersign token revoke 0c7d9e1f2a3b4c5d8e9f0a1b2c3d4e5f --yes --json")]
    Revoke {
        /// The token's id, 32 hex digits
        id: ManagementTokenId,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Serialize)]
struct Document<'a> {
    id: String,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    /// Whose it is; exactly one of the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
    permissions: Vec<GrantDocument>,
    status: &'static str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    propagation: Option<String>,
}

#[derive(Serialize)]
struct GrantDocument {
    account_id: String,
    permission: &'static str,
}

impl<'a> Document<'a> {
    fn new(token: &'a ManagementToken) -> Self {
        let (user_id, account_id) = match &token.owner {
            TokenOwner::User(id) => (Some(id.to_string()), None),
            TokenOwner::Account(id) => (None, Some(id.to_string())),
        };
        let grants = token
            .grants
            .iter()
            .map(|grant| GrantDocument { account_id: grant.account.to_string(), permission: grant.permission.text() });
        Self {
            id: token.id.to_string(),
            name: &token.name,
            token: None,
            user_id,
            account_id,
            permissions: grants.collect(),
            status: if token.revoked_at.is_some() { "revoked" } else { "active" },
            created_at: token.created_at.to_string(),
            revoked_at: token.revoked_at.as_ref().map(Timestamp::to_string),
            propagation: None,
        }
    }

    fn owner(&self) -> String {
        match (&self.user_id, &self.account_id) {
            (Some(id), _) => format!("user {id}"),
            (None, Some(id)) => format!("account {id}"),
            (None, None) => String::new(),
        }
    }

    fn granted(&self) -> String {
        let mut words: Vec<&str> = self.permissions.iter().map(|grant| grant.permission).collect();
        words.dedup();
        words.join(", ")
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("Token id", self.id.clone()), ("Name", self.name.to_owned())];
        fields.extend(self.token.map(|token| ("Token", token.to_owned())));
        fields.push(("Owner", self.owner()));
        for grant in &self.permissions {
            fields.push(("Permission", format!("{} on {}", grant.permission, grant.account_id)));
        }
        fields.push(("Status", self.status.to_owned()));
        fields.push(("Created", self.created_at.clone()));
        fields.extend(self.revoked_at.clone().map(|time| ("Revoked", time)));
        fields.extend(self.propagation.clone().map(|words| ("In force", words)));
        fields
    }
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.action {
        Action::Create { account, name, permissions, user, shown, place } => {
            let new = NewManagementToken { account, name, permissions, user_email: user };
            local::with_ops(place, async |ops| create(ops, new.clone(), &mut Output::stdout(shown.json)).await).await
        }
        Action::List { account, shown, place } => {
            local::with_ops(place, async |ops| list(ops, account.as_ref(), &mut Output::stdout(shown.json)).await).await
        }
        Action::Revoke { id, confirm, shown, place } => {
            confirm.ask(&format!("Revoke the management token {id} for good?"))?;
            local::with_ops(place, async |ops| revoke(ops, &id, &mut Output::stdout(shown.json)).await).await
        }
    }
}

async fn create(ops: &Ops, new: NewManagementToken, output: &mut Output) -> anyhow::Result<()> {
    let account = new.account;
    // The operation can't tell whether it is the account or the user that is missing.
    ops.find_account(&Caller::Operator, &account).await.map_err(|error| account::absent(error, &account))?;
    let user = new.user_email.clone().unwrap_or_default();
    let (token, secret) = ops.create_management_token(&Caller::Operator, new).await.map_err(|error| match error {
        ops::Error::NotFound => anyhow!("there is no user {user}. `countersign user list` shows those there are"),
        other => other.into(),
    })?;
    let document = Document { token: Some(secret.expose()), ..Document::new(&token) };
    output.show(&document, &document.fields())?;
    if !output.is_json() {
        output.once("The token is shown this once.")?;
    }
    Ok(())
}

async fn list(ops: &Ops, account: Option<&AccountId>, output: &mut Output) -> anyhow::Result<()> {
    if let Some(id) = account {
        ops.find_account(&Caller::Operator, id).await.map_err(|error| account::absent(error, id))?;
    }
    let tokens = ops.list_management_tokens(&Caller::Operator, account).await?;
    let documents: Vec<Document<'_>> = tokens.iter().map(Document::new).collect();
    let heading = ["id", "name", "status", "permissions", "owner", "created"];
    let mut table = Table::new(&heading, "There are no management tokens.");
    for token in &documents {
        table.row([
            token.id.clone(),
            token.name.to_owned(),
            token.status.to_owned(),
            token.granted(),
            token.owner(),
            token.created_at.clone(),
        ]);
    }
    Ok(output.list(&documents, &table)?)
}

async fn revoke(ops: &Ops, id: &ManagementTokenId, output: &mut Output) -> anyhow::Result<()> {
    let (token, propagation) =
        ops.revoke_management_token(&Caller::Operator, id).await.map_err(|error| match error {
            ops::Error::NotFound => {
                anyhow!("there is no management token {id}. `countersign token list` shows those there are")
            }
            other => other.into(),
        })?;
    let document =
        Document { propagation: propagation.map(|propagation| propagation.to_string()), ..Document::new(&token) };
    Ok(output.show(&document, &document.fields())?)
}

fn parse_permission(text: &str) -> Result<Permission, String> {
    Permission::parse(text).map_err(|error| error.to_string())
}
