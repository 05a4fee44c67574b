//! `countersign quickstart`

mod text;

use std::env;
use std::path::Path;

use clap::Args;
use countersign_server::caller::{Caller, Origin, Permit, Write};
use countersign_server::config::Settings;
use countersign_server::config::key::KeySource;
use countersign_server::lifecycle::{self, Listening};
use countersign_server::ops::{CreateServiceToken, Initialised, Issued, Ops, Outcome};
use countersign_server::store::{Database, Page};
use countersign_server::token::duration::TokenDuration;
use countersign_server::token::id::AccountId;
use countersign_server::token::service_token::Name;
use countersign_server::token::time::Clock;

use self::text::Things;
use super::init::{self, First};
use super::serve;
use crate::flag::Serving;
use crate::output::Output;
use crate::{local, logging};

/// The service token that the printed commands use.
const DEMONSTRATION_NAME: &str = "quickstart";
const DEMONSTRATION_DURATION: &str = "24h";

const EXAMPLES: &str = "\
The first time it makes an installation and prints its ids and secrets, once, with commands to
paste. Every other time it just serves. SIGTERM and SIGINT stop it.

Examples:
  countersign quickstart
  countersign quickstart --data-dir /tmp/try --listen 127.0.0.1:0 --gate-listen 127.0.0.1:0";

/// What is made, and what the server is told.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    first: First,
    #[command(flatten)]
    serving: Serving,
}

/// What there is to say once the listeners are bound.
enum Greeting {
    /// The installation is new, and these are its secrets.
    New(Box<Initialised>, Box<Issued>),
    /// It was there already. How to make new secrets takes an account and its owner's address.
    Old(Option<AccountId>, Option<String>),
}

/// Makes an installation if there is none, and serves it until a signal comes.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let settings = arguments.serving.settings()?;
    logging::serve(&settings)?;
    let greeting = local::with_new_store(&settings, async |ops| prepare(ops, &arguments.first).await).await?;

    let mut output = Output::stdout(false);
    let names = 2 + usize::from(settings.gate_unix.is_some());
    let mut bound: Vec<Listening> = Vec::new();
    let mut greeted = Ok(());
    let served = lifecycle::serve(&settings, None, |listening| {
        serve::announce(&mut output, listening);
        bound.push(listening.clone());
        if bound.len() == names {
            greeted = greet(&mut output, &greeting, &bound, &settings);
        }
    })
    .await;
    if let Greeting::New(made, _) = &greeting
        && bound.len() < names
    {
        // It never came to serving, for instance because a port is in use. The secrets are shown all the same: there is
        // no other time.
        output.fields(&init::fields(made))?;
        output.once("The API key and the tokens are shown this once.")?;
    }
    if let Err(error) = greeted {
        tracing::debug!(error = %error, "nobody reads standard output");
    }
    served
}

async fn prepare(ops: &Ops, first: &First) -> anyhow::Result<Greeting> {
    if ops.store().installation().await?.is_some() {
        let (accounts, _total) = ops.list_accounts(&Caller::Operator, None, Page { offset: 0, limit: 1 }).await?;
        let users = ops.list_users(&Caller::Operator).await?;
        let owner = users.into_iter().map(|(user, _)| user).find(|user| user.installation_owner);
        return Ok(Greeting::Old(accounts.first().map(|account| account.id), owner.map(|owner| owner.email)));
    }
    let made = ops.initialise(&first.installation()).await?;
    let demonstration = demonstrate(ops, &made).await?;
    Ok(Greeting::New(Box::new(made), Box::new(demonstration)))
}

async fn demonstrate(ops: &Ops, made: &Initialised) -> anyhow::Result<Issued> {
    let permit = Permit::<Write>::of_operator(&made.account);
    let new = CreateServiceToken {
        name: Name::parse(DEMONSTRATION_NAME)?,
        duration: TokenDuration::parse(DEMONSTRATION_DURATION)?,
        enabled: true,
        secret_version: 1,
        previous_expires_at: None,
    };
    match ops.create_service_token(&permit, new, None, &Origin::default()).await?.outcome {
        Outcome::Done(issued) => Ok(issued),
        Outcome::Replayed(_) => anyhow::bail!("a request without an idempotency key can't be a replay"),
    }
}

fn greet(output: &mut Output, greeting: &Greeting, bound: &[Listening], settings: &Settings) -> std::io::Result<()> {
    // By the name it was called by, so that the commands work where they are pasted.
    let program = env::args().next().unwrap_or_else(|| "countersign".to_owned());
    match greeting {
        Greeting::New(made, demonstration) => {
            let things = Things {
                account: made.account.id,
                environment: made.environment.id,
                management_token: &made.api_token,
                account_token: &made.account_token,
                demonstration,
                bound,
                program: &program,
                now: Clock::System.now(),
            };
            text::welcome(output, &init::fields(made), &things)
        }
        Greeting::Old(account, email) => {
            let place = place(settings);
            text::welcome_back(output, bound, &program, &place, account.as_ref(), email.as_deref())
        }
    }
}

/// The flags that name the same store and key again, each after a space.
fn place(settings: &Settings) -> String {
    let flag = |name: &str, value: &Path| format!(" --{name} {}", text::quoted(&value.to_string_lossy()));
    let mut flags = flag("data-dir", &settings.data_dir);
    match &settings.database {
        Database::Sqlite(path) if *path == settings.data_dir.join("countersign.db") => {}
        Database::Sqlite(path) => {
            flags.push_str(&flag("database-url", Path::new(&format!("sqlite:{}", path.display()))))
        }
        // Its address may hold a password.
        Database::Postgres(_) => flags.push_str(" --database-url \"$COUNTERSIGN_DATABASE_URL\""),
    }
    match &settings.installation_key {
        KeySource::File(path) if *path != settings.data_dir.join("installation.key") => {
            flags.push_str(&flag("installation-key-file", path));
        }
        KeySource::File(_) | KeySource::Environment(_) => {}
    }
    flags
}
