//! `countersign api-token`

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use countersign_client::cloudflare::TokenDuration;
use countersign_client::prefactor::{
    AgentId, ApiToken, ApiTokenId, ApiTokenStatus, AvailableActions, Client, EnvironmentId, Error, NewApiToken,
    NewScope,
};
use countersign_client::{Clock, Secret, Timestamp};
use countersign_server::token::service_token::fold;
use serde::Serialize;

use crate::confirm::Confirm;
use crate::failure::Usage;
use crate::flag::{self, Shown};
use crate::output::{Output, Table};
use crate::remote::{self, Remote};

const EXAMPLES: &str = "\
The caller's own API token says whose account it is about. It must have the scope `account`.

Examples:
  export COUNTERSIGN_URL=http://127.0.0.1:8787 COUNTERSIGN_API_TOKEN=eyJ…
  countersign api-token create --scope environment --environment 01kdvdna003nqk8n000g40r40m30e209
  countersign api-token list --search suspended --sort -created_at
  countersign api-token suspend 01kdvdna003nqk8n7f8f9jbg8d18q7tm
  countersign api-token revoke 01kdvdna003nqk8n7f8f9jbg8d18q7tm --yes";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the tokens of the caller's account
    #[command(after_help = "\
Fields to sort by: id, created_at, updated_at, expires_at, last_used_at, status, token_scope. A `-`
before the name turns the order round.

Examples:
  countersign api-token list
  countersign api-token list --search 01kdvdna003nqk8n000g40r40m30e209
  countersign api-token list --sort -last_used_at --json | jq -r '.[].id'")]
    List {
        /// Only tokens with this text in their id, scope, status, environment, agent, deployment or creator
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// In the order of this field [default: id, oldest first]
        #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
        sort: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Show one token
    #[command(after_help = "\
Examples:
  countersign api-token show 01kdvdna003nqk8n7f8f9jbg8d18q7tm")]
    Show {
        #[command(flatten)]
        one: One,
    },
    /// Make a token, which is shown once
    #[command(after_help = "\
Scopes:
  account            the whole account; calls every API of it
  environment        one environment; needs --environment
  agent_deployment   one agent in one environment; needs --agent and --environment

The same --idempotency-key gives the same token for 24 hours, however often the command is repeated:
choose one where an answer may get lost.

Examples:
  countersign api-token create --scope account --expires-in 2160h
  countersign api-token create --scope environment --environment 01kdvdna003nqk8n000g40r40m30e209
  countersign api-token create --scope account --idempotency-key deploy-42 --json | jq -r .token")]
    Create {
        /// What it reaches
        #[arg(long)]
        scope: ScopeFlag,
        /// The environment that it reaches
        #[arg(long, value_name = "ID")]
        environment: Option<EnvironmentId>,
        /// The agent that it is for; it is deployed in the environment if it is not yet
        #[arg(long, value_name = "ID")]
        agent: Option<AgentId>,
        #[command(flatten)]
        expiry: Expiry,
        /// 1 to 64 characters of your own, the same when you repeat the command
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Refuse a token until it is activated
    #[command(after_help = "\
It is refused everywhere when the command returns.

Examples:
  countersign api-token suspend 01kdvdna003nqk8n7f8f9jbg8d18q7tm")]
    Suspend {
        #[command(flatten)]
        one: One,
    },
    /// Admit a suspended token again
    #[command(after_help = "\
Examples:
  countersign api-token activate 01kdvdna003nqk8n7f8f9jbg8d18q7tm")]
    Activate {
        #[command(flatten)]
        one: One,
    },
    /// End a token for good
    #[command(after_help = "\
It is refused everywhere when the command returns, and stays listed until it is deleted.

Examples:
  countersign api-token revoke 01kdvdna003nqk8n7f8f9jbg8d18q7tm --yes")]
    Revoke {
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        one: One,
    },
    /// Remove a revoked token from the lists
    #[command(after_help = "\
Examples:
  countersign api-token delete 01kdvdna003nqk8n7f8f9jbg8d18q7tm --yes")]
    Delete {
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        one: One,
    },
}

#[derive(Args)]
struct Common {
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    remote: Remote,
}

/// Last among a command's flags: its heading holds for whatever follows.
#[derive(Args)]
struct One {
    /// The token's id, a PFID
    id: ApiTokenId,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum ScopeFlag {
    Account,
    Environment,
    AgentDeployment,
}

impl ScopeFlag {
    /// The scope with the things that it needs, and without others.
    fn with(self, environment: Option<EnvironmentId>, agent: Option<AgentId>) -> Result<NewScope, Usage> {
        let problem = match (self, environment, agent) {
            (Self::Account, None, None) => return Ok(NewScope::Account),
            (Self::Environment, Some(environment), None) => return Ok(NewScope::Environment(environment)),
            (Self::AgentDeployment, Some(environment), Some(agent)) => {
                return Ok(NewScope::AgentDeployment { agent, environment });
            }
            (Self::Account, ..) => {
                "--scope account reaches every environment: leave --environment and --agent out, or choose a scope \
                 that is narrower"
            }
            (Self::Environment, None, _) => "--scope environment needs --environment ID",
            (Self::Environment, Some(_), Some(_)) => "--agent belongs to --scope agent_deployment",
            (Self::AgentDeployment, ..) => "--scope agent_deployment needs --agent ID and --environment ID",
        };
        Err(Usage(problem.to_owned()))
    }
}

#[derive(Args)]
struct Expiry {
    /// How long it lives: `30m`, `2160h` [default: 365 days]
    #[arg(long, value_name = "DURATION", value_parser = flag::parse_duration)]
    expires_in: Option<TokenDuration>,
    /// Until when it lives, RFC 3339: `2027-01-31T12:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = flag::parse_time, conflicts_with = "expires_in")]
    expires_at: Option<Timestamp>,
}

impl Expiry {
    /// The moment that is meant; `None` if none was given.
    fn at(&self) -> Result<Option<Timestamp>, Usage> {
        match (&self.expires_in, self.expires_at) {
            (Some(duration), _) if duration.is_forever() => {
                Err(Usage("--expires-in can't be forever: every API token ends".to_owned()))
            }
            (Some(duration), _) => Ok(Some(duration.expires_at(Clock::System.now()))),
            (None, time) => Ok(time),
        }
    }
}

/// A token as `--json` prints it: the server's own words, with the secret if one was made.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    described: &'a ApiToken,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

/// A caller, and where the answer goes.
struct Call {
    client: Client,
    remote: Remote,
    output: Output,
    /// What to do where the answer never came.
    lost: &'static str,
}

impl Call {
    fn new(common: &Common) -> anyhow::Result<Self> {
        Ok(Self {
            client: common.remote.prefactor()?,
            remote: common.remote.clone(),
            output: Output::stdout(common.shown.json),
            lost: "look with `countersign api-token list` before you repeat it",
        })
    }

    fn show(&mut self, outcome: Result<ApiToken, Error>) -> anyhow::Result<()> {
        let token = outcome.map_err(|error| self.explain(error))?;
        self.print(&token, None)
    }

    fn print(&mut self, described: &ApiToken, secret: Option<&Secret>) -> anyhow::Result<()> {
        let document = Document { described, token: secret.map(Secret::expose) };
        self.output.show(&document, &fields(described, document.token))?;
        if secret.is_some() && !self.output.is_json() {
            self.output.once("The token is shown this once.")?;
        }
        Ok(())
    }

    /// The error with what to do about it.
    fn explain(&self, error: Error) -> anyhow::Error {
        let url = self.remote.url();
        remote::explain(error, url, self.lost, |refusal| match refusal.status {
            401 | 403 if self.remote.holds_management_token() => Some(format!(
                "A management token (csat_…) is no API token (eyJ…): `countersign init` and `countersign account create` \
                 print an account's first one, {url}/cli/connect makes another"
            )),
            401 => Some(format!(
                "The server does not know the API token, or it is suspended, revoked or expired: {url}/cli/connect \
                 makes another"
            )),
            403 => Some("It takes an API token with the scope account, and on no account but its own".to_owned()),
            404 => Some(
                "There is no such token, environment or agent in the caller's account: `countersign api-token list` \
                 shows its tokens"
                    .to_owned(),
            ),
            _ => None,
        })
    }
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.action {
        Action::List { search, sort, common } => list(Call::new(&common)?, search.as_deref(), sort).await,
        Action::Show { one } => {
            let mut call = Call::new(&one.common)?;
            let outcome = call.client.find_api_token(&one.id).await;
            call.show(outcome)
        }
        Action::Create { scope, environment, agent, expiry, idempotency_key, common } => {
            let new = NewApiToken { scope: scope.with(environment, agent)?, expires_at: expiry.at()? };
            let mut call = Call::new(&common)?;
            if idempotency_key.is_some() {
                call.lost = "repeat the command with the same --idempotency-key, and it gives that same token";
            }
            let issued = call.client.create_api_token(&new, idempotency_key.as_deref()).await;
            let issued = issued.map_err(|error| call.explain(error))?;
            call.print(&issued.token, Some(&issued.secret))
        }
        Action::Suspend { one } => {
            let mut call = Call::new(&one.common)?;
            let outcome = call.client.suspend_api_token(&one.id).await;
            call.show(outcome)
        }
        Action::Activate { one } => {
            let mut call = Call::new(&one.common)?;
            let outcome = call.client.activate_api_token(&one.id).await;
            call.show(outcome)
        }
        Action::Revoke { one, confirm } => {
            let mut call = Call::new(&one.common)?;
            confirm.ask(&format!("Revoke the API token {} for good?", one.id))?;
            let outcome = call.client.revoke_api_token(&one.id).await;
            call.show(outcome)
        }
        Action::Delete { one, confirm } => {
            let mut call = Call::new(&one.common)?;
            confirm.ask(&format!("Delete the API token {} for good?", one.id))?;
            let outcome = call.client.delete_api_token(&one.id).await;
            call.show(outcome)
        }
    }
}

async fn list(mut call: Call, search: Option<&str>, sort: Option<String>) -> anyhow::Result<()> {
    let mut tokens = call.client.list_api_tokens(sort).all().await.map_err(|error| call.explain(error))?;
    if let Some(text) = search.map(fold) {
        tokens.retain(|token| mentions(token, &text));
    }
    let now = Clock::System.now();
    let heading = ["id", "scope", "status", "environment", "agent", "expires", "last used"];
    let mut table = Table::new(&heading, "There are no such API tokens.");
    for token in &tokens {
        table.row([
            token.id.to_string(),
            token.token_scope.text().to_owned(),
            status(token, now),
            token.environment_id.map(|id| id.to_string()).unwrap_or_default(),
            token.agent_id.map(|id| id.to_string()).unwrap_or_default(),
            token.expires_at.to_string(),
            token.last_used_at.map(|time| time.to_string()).unwrap_or_default(),
        ]);
    }
    call.output.list(&tokens, &table).context("cannot print the list")
}

/// Whether a text, folded, stands anywhere in what the token is known by.
fn mentions(token: &ApiToken, text: &str) -> bool {
    let texts = [
        Some(token.id.to_string()),
        Some(token.token_scope.text().to_owned()),
        Some(token.status.text().to_owned()),
        token.environment_id.map(|id| id.to_string()),
        token.agent_id.map(|id| id.to_string()),
        token.agent_deployment_id.map(|id| id.to_string()),
        token.created_by_admin_user_id.map(|id| id.to_string()),
    ];
    texts.iter().flatten().any(|known| known.contains(text))
}

/// The status, and whether the token's time is over: it keeps its status then.
fn status(token: &ApiToken, now: Timestamp) -> String {
    let over = token.expires_at <= now && token.status != ApiTokenStatus::Revoked;
    format!("{}{}", token.status.text(), if over { " (expired)" } else { "" })
}

fn fields(token: &ApiToken, secret: Option<&str>) -> Vec<(&'static str, String)> {
    let mut fields = vec![("Token id", token.id.to_string())];
    fields.extend(secret.map(|secret| ("Token", secret.to_owned())));
    fields.push(("Scope", token.token_scope.text().to_owned()));
    fields.extend(token.environment_id.map(|id| ("Environment", id.to_string())));
    fields.extend(token.agent_id.map(|id| ("Agent", id.to_string())));
    fields.extend(token.agent_deployment_id.map(|id| ("Deployment", id.to_string())));
    fields.push(("Account", token.account_id.to_string()));
    fields.push(("Status", status(token, Clock::System.now())));
    fields.extend(token.available_actions.map(|actions| ("Next", next(actions))));
    fields.push(("Expires", token.expires_at.to_string()));
    fields.push(("Created", token.inserted_at.to_string()));
    fields.extend(token.created_by_admin_user_id.map(|id| ("Created by", id.to_string())));
    fields.push(("Updated", token.updated_at.to_string()));
    fields.push(("Last used", token.last_used_at.map(|time| time.to_string()).unwrap_or_default()));
    fields
}

/// The commands that may follow.
fn next(actions: AvailableActions) -> String {
    let AvailableActions { activate, delete, revoke, suspend } = actions;
    let all = [(suspend, "suspend"), (activate, "activate"), (revoke, "revoke"), (delete, "delete")];
    let possible: Vec<&str> = all.iter().filter(|(possible, _)| *possible).map(|(_, name)| *name).collect();
    possible.join(", ")
}
