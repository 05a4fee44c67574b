//! The commands: one module each, with its flags, its help and what it does.

use clap::{Parser, Subcommand};

mod account;
mod api_token;
mod audit;
mod backup;
mod completions;
mod doctor;
mod init;
mod installation_key;
mod quickstart;
mod restore;
mod serve;
mod service_token;
mod signing_key;
mod token;
mod user;
mod validate_config;
mod zone;

const EXAMPLES: &str = "\
Examples:
  countersign quickstart
  countersign init --data-dir /var/lib/countersign --email ops@example.com
  countersign serve --data-dir /var/lib/countersign
  countersign token create --account ID --name terraform --permission \"Access: Service Tokens Write\"
  countersign service-token create --account ID --name deploy --duration 2160h
  countersign api-token create --scope environment --environment ID

Exit status: 0 done, 1 refused or failed (the reason is on standard error), 2 wrong usage.";

/// Issues credentials to machines and decides, for every request, whether a presented credential is good.
#[derive(Parser)]
#[command(name = "countersign", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make an installation if there is none, serve it, and print commands to try
    Quickstart(quickstart::Arguments),
    /// Make an installation: keys, account, zone, environment, first user, tokens
    Init(init::Arguments),
    /// Run the server
    Serve(serve::Arguments),
    /// Accounts, which own everything else
    Account(account::Arguments),
    /// Zones, the second kind of place that holds service tokens
    Zone(zone::Arguments),
    /// Users, the people who own management tokens
    User(user::Arguments),
    /// Management API tokens, the credentials of those who manage credentials
    Token(token::Arguments),
    /// Service tokens, over HTTP with the caller's own credential
    ServiceToken(service_token::Arguments),
    /// API tokens, over HTTP with the caller's own credential
    ApiToken(api_token::Arguments),
    /// The key that signs new API tokens
    SigningKey(signing_key::Arguments),
    /// The installation key, and its change while everything goes on
    InstallationKey(installation_key::Arguments),
    /// The audit log: who changed what, when and from where
    Audit(audit::Arguments),
    /// Put everything into one file, while servers run
    Backup(backup::Arguments),
    /// Put a backup into an empty store
    Restore(restore::Arguments),
    /// Look whether an installation is in order, and say what to do where it is not
    Doctor(doctor::Arguments),
    /// Show every setting and where it comes from, or what is wrong with it
    ValidateConfig(validate_config::Arguments),
    /// Shell completions of these commands
    Completions(completions::Arguments),
}

impl CommandLine {
    /// Whether this starts a server.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self.command, Command::Quickstart(_) | Command::Serve(_))
    }

    /// Does what the command line says.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        // Each future is boxed: the largest would otherwise be the size of all.
        match self.command {
            Command::Quickstart(arguments) => Box::pin(quickstart::run(arguments)).await,
            Command::Init(arguments) => Box::pin(init::run(arguments)).await,
            Command::Serve(arguments) => Box::pin(serve::run(arguments)).await,
            Command::Account(arguments) => Box::pin(account::run(arguments)).await,
            Command::Zone(arguments) => Box::pin(zone::run(arguments)).await,
            Command::User(arguments) => Box::pin(user::run(arguments)).await,
            Command::Token(arguments) => Box::pin(token::run(arguments)).await,
            Command::ServiceToken(arguments) => Box::pin(service_token::run(arguments)).await,
            Command::ApiToken(arguments) => Box::pin(api_token::run(arguments)).await,
            Command::SigningKey(arguments) => Box::pin(signing_key::run(arguments)).await,
            Command::InstallationKey(arguments) => Box::pin(installation_key::run(arguments)).await,
            Command::Audit(arguments) => Box::pin(audit::run(arguments)).await,
            Command::Backup(arguments) => Box::pin(backup::run(arguments)).await,
            Command::Restore(arguments) => Box::pin(restore::run(arguments)).await,
            Command::Doctor(arguments) => Box::pin(doctor::run(arguments)).await,
            Command::ValidateConfig(arguments) => validate_config::run(arguments),
            Command::Completions(arguments) => completions::run(&arguments),
        }
    }
}
