//! Commands that work over HTTP, as their caller: which server they ask, and what to do when it does not do it.

use std::env;
use std::error;

use anyhow::anyhow;
use clap::Args;
use countersign_client::cloudflare::Scope;
use countersign_client::{Credential, Error, admin, cloudflare, prefactor};

use crate::failure::Usage;

/// Which server is asked, and as whom.
#[derive(Args, Clone)]
#[command(next_help_heading = "Server")]
pub(crate) struct Remote {
    /// Address of the management API
    #[arg(
        long,
        value_name = "URL",
        env = "COUNTERSIGN_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8787"
    )]
    url: String,
    /// API token to call with; better given in the environment, where other users of the machine can't see it
    #[arg(long, value_name = "TOKEN", env = "COUNTERSIGN_API_TOKEN", hide_env_values = true)]
    api_token: Option<String>,
}

/// Whose service tokens are meant.
#[derive(Args, Clone)]
#[command(next_help_heading = "Server")]
pub(crate) struct Whose {
    /// Account whose tokens are meant [env: COUNTERSIGN_ACCOUNT_ID]
    #[arg(long, value_name = "ID", conflicts_with = "zone")]
    account: Option<String>,
    /// Zone whose tokens are meant
    #[arg(long, value_name = "ID")]
    zone: Option<String>,
}

impl Remote {
    /// The address as it was given.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A client of that server in the dialect of service tokens. No message from here names the token.
    pub(crate) fn cloudflare(&self) -> anyhow::Result<cloudflare::Client> {
        let credential = self.credential("`countersign token create` makes one")?;
        Ok(cloudflare::Client::new(&self.url, &credential).map_err(usage)?)
    }

    /// A client of that server's own API. No message from here names the token.
    pub(crate) fn admin(&self) -> anyhow::Result<admin::Client> {
        let credential = self.credential("`countersign token create` makes one")?;
        Ok(admin::Client::new(&self.url, &credential).map_err(usage)?)
    }

    /// A client of that server in the dialect of API tokens. No message from here names the token.
    pub(crate) fn prefactor(&self) -> anyhow::Result<prefactor::Client> {
        let credential =
            self.credential("`countersign init` and `countersign account create` print an account's first")?;
        Ok(prefactor::Client::new(&self.url, &credential).map_err(usage)?)
    }

    /// Whether the caller's token is, by its looks, a management token.
    pub(crate) fn holds_management_token(&self) -> bool {
        self.token().is_some_and(|token| token.starts_with("csat_"))
    }

    fn credential(&self, origin: &str) -> Result<Credential, Usage> {
        match self.token() {
            Some(token) => Ok(Credential::bearer(token)),
            None => {
                Err(Usage(format!("an API token is needed: set COUNTERSIGN_API_TOKEN, or give --api-token. {origin}")))
            }
        }
    }

    fn token(&self) -> Option<&str> {
        self.api_token.as_deref().map(str::trim).filter(|token| !token.is_empty())
    }
}

impl Whose {
    /// The account or zone that is meant. A zone that is named wins over an account in the environment.
    pub(crate) fn scope(&self) -> anyhow::Result<Scope> {
        if let Some(zone) = &self.zone {
            return Ok(Scope::zone(zone).map_err(usage)?);
        }
        let environment = || env::var("COUNTERSIGN_ACCOUNT_ID").ok().filter(|id| !id.is_empty());
        match self.account.clone().or_else(environment) {
            Some(account) => Ok(Scope::account(&account).map_err(usage)?),
            None => Err(Usage(
                "say whose tokens are meant: --account ID, --zone ID, or COUNTERSIGN_ACCOUNT_ID. \
                 `countersign account list` and `countersign zone list` show the ids"
                    .to_owned(),
            )
            .into()),
        }
    }
}

/// A value that can't be sent is a slip on the command line.
fn usage(error: impl error::Error + Send + Sync + 'static) -> Usage {
    Usage(format!("{:#}", anyhow::Error::from(error)))
}

/// The error of a call to the server at `url`, with what to do about it: `lost` where the answer never came, and what
/// `refused` says to a refusal.
pub(crate) fn explain<R: error::Error + Send + Sync + 'static>(
    error: Error<R>,
    url: &str,
    lost: &str,
    refused: impl FnOnce(&R) -> Option<String>,
) -> anyhow::Error {
    let hint = match &error {
        Error::Transport { source, .. } if source.is_connect() => {
            return anyhow!(
                "no server answers at {url}: {}. Start one with `countersign serve`, or name it with --url",
                anyhow::Error::from(error).root_cause(),
            );
        }
        Error::Transport { .. } => Some(format!("The server may have done it all the same: {lost}")),
        Error::Refused(refusal) => refused(refusal),
        Error::Unexpected { .. } => {
            Some("Is --url the address of the management API, not of the gate or of a proxy?".to_owned())
        }
        Error::Address { .. }
        | Error::Credential
        | Error::IdempotencyKey
        | Error::Id { .. }
        | Error::Setup(_)
        | Error::Encryption(_) => None,
    };
    let error = anyhow::Error::from(error);
    match hint {
        Some(hint) => anyhow!("{error:#}. {hint}"),
        None => error,
    }
}
