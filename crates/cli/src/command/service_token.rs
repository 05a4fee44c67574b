//! `countersign service-token`

mod allow_from;
mod import;
mod rotation;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use countersign_client::cloudflare::{
    Client, Error, Grace, ListFilter, NewServiceToken, Scope, ServiceToken, ServiceTokenId, TokenDuration,
    UpdateServiceToken,
};
use countersign_client::{Clock, Secret, Timestamp, admin};
use serde::Serialize;

use crate::confirm::Confirm;
use crate::failure::Usage;
use crate::flag::{self, Shown};
use crate::output::{Output, Table};
use crate::remote::{self, Remote, Whose};

const EXAMPLES: &str = "\
Examples:
  export COUNTERSIGN_URL=http://127.0.0.1:8787 COUNTERSIGN_API_TOKEN=csat_… COUNTERSIGN_ACCOUNT_ID=…
  countersign service-token create --name deploy --duration 2160h
  countersign service-token list --search deploy
  countersign service-token rotate 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --grace 24h
  countersign service-token rotation 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --finish-when-quiet 24h
  countersign service-token delete 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --yes
  countersign service-token import tokens.csv --account 2f0c5b1be6f84e7f8a2d3c4b5a697887 --dry-run";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the tokens of an account or a zone, oldest first
    #[command(after_help = "\
Examples:
  countersign service-token list --account 2f0c5b1be6f84e7f8a2d3c4b5a697887
  countersign service-token list --zone 7d3e9a00c1b24f5f9b1f0a2b3c4d5e6f --json | jq -r '.[].id'")]
    List {
        /// Only tokens of exactly this name
        #[arg(long)]
        name: Option<String>,
        /// Only tokens with this text in their name, client id or id
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Show one token
    #[command(after_help = "\
Examples:
  countersign service-token show 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")]
    Show {
        #[command(flatten)]
        one: One,
    },
    /// Make a token; its secret is shown once
    #[command(after_help = "\
The same --idempotency-key gives the same token and secret for 24 hours, however often the
command is repeated: choose one where an answer may get lost.

Examples:
  countersign service-token create --name deploy
  countersign service-token create --name deploy --duration forever --json | jq -r .client_secret
  countersign service-token create --name deploy --idempotency-key deploy-42")]
    Create {
        /// What to call it; 1 to 350 characters, not necessarily unique
        #[arg(long)]
        name: String,
        /// How long it lives: `30m`, `2160h`, `forever` [default: a year, 8760h]
        #[arg(long, value_parser = flag::parse_duration)]
        duration: Option<TokenDuration>,
        /// Make it disabled, to be enabled later
        #[arg(long)]
        disabled: bool,
        #[command(flatten)]
        repeatable: Repeatable,
        #[command(flatten)]
        common: Common,
    },
    /// Change what is named, and nothing else
    #[command(after_help = "\
A secret version above the present one makes a new secret, which is shown once; any other changes
nothing. With an --idempotency-key the command may be repeated for 24 hours, and shows the same
secret again.

Examples:
  countersign service-token update 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --name deploy-eu
  countersign service-token update 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --duration 17520h
  countersign service-token update 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --end-grace")]
    Update {
        /// A new name
        #[arg(long)]
        name: Option<String>,
        /// A new duration, counted from now
        #[arg(long, value_parser = flag::parse_duration)]
        duration: Option<TokenDuration>,
        /// A number above the present version makes a new secret
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
        secret_version: Option<u32>,
        #[command(flatten)]
        grace: GraceFlags,
        /// End the superseded secret now
        #[arg(long, conflicts_with_all = ["grace", "previous_expires_at"])]
        end_grace: bool,
        #[command(flatten)]
        repeatable: Repeatable,
        #[command(flatten)]
        one: One,
    },
    /// Make a new secret, which is shown once
    #[command(after_help = "\
Without --grace the old secret is refused as soon as the command returns. With it both are good for
that long: give the new one to every holder meanwhile.

With an --idempotency-key the command may be repeated for 24 hours, and shows the same secret again.
Say --previous-expires-at then: --grace counts from now.

Examples:
  countersign service-token rotate 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --grace 24h
  countersign service-token rotate 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --json
  countersign service-token rotate 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b \\
    --previous-expires-at 2027-01-31T12:00:00Z --idempotency-key january")]
    Rotate {
        #[command(flatten)]
        grace: GraceFlags,
        #[command(flatten)]
        repeatable: Repeatable,
        #[command(flatten)]
        one: One,
    },
    /// Say whether anybody still comes with the secret before, and end it
    Rotation(rotation::Arguments),
    /// Let a token live a year from now, if it would not live longer anyway
    #[command(after_help = "\
Examples:
  countersign service-token refresh 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")]
    Refresh {
        #[command(flatten)]
        one: One,
    },
    /// Admit a token again
    #[command(after_help = "\
Examples:
  countersign service-token enable 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")]
    Enable {
        #[command(flatten)]
        one: One,
    },
    /// Refuse a token until it is enabled again
    #[command(after_help = "\
It is refused everywhere when the command returns.

Examples:
  countersign service-token disable 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")]
    Disable {
        #[command(flatten)]
        one: One,
    },
    /// Say from which networks a token may come
    AllowFrom(allow_from::Arguments),
    /// Delete a token for good
    #[command(after_help = "\
It is refused everywhere when the command returns.

Examples:
  countersign service-token delete 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --yes")]
    Delete {
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        one: One,
    },
    /// Add tokens that another system has issued, on the store itself
    Import(import::Arguments),
}

#[derive(Args)]
struct Common {
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    whose: Whose,
}

/// Last among a command's flags: its heading holds for whatever follows.
#[derive(Args)]
struct One {
    /// The token's id, a UUID
    id: ServiceTokenId,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct GraceFlags {
    /// How long the superseded secret stays good: `30m`, `24h`
    // It counts from now: a command that is repeated later would be another request.
    #[arg(long, value_name = "DURATION", value_parser = flag::parse_duration, conflicts_with = "idempotency_key")]
    grace: Option<TokenDuration>,
    /// Until when the superseded secret stays good, RFC 3339: `2027-01-31T12:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = flag::parse_time, conflicts_with = "grace")]
    previous_expires_at: Option<Timestamp>,
}

#[derive(Args)]
struct Repeatable {
    /// 1 to 64 characters of your own, the same when you repeat the command
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    idempotency_key: Option<String>,
}

/// What a header can carry; how long it may be is the server's to say.
fn parse_key(text: &str) -> Result<String, &'static str> {
    let fits = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    fits.then(|| text.to_owned()).ok_or("an idempotency key has only characters of ASCII")
}

impl GraceFlags {
    /// The moment that is meant; `None` if none was given.
    fn until(&self) -> Result<Option<Timestamp>, Usage> {
        match (&self.grace, self.previous_expires_at) {
            (Some(grace), _) if grace.is_forever() => {
                Err(Usage("--grace can't be forever: say how long the superseded secret stays good".to_owned()))
            }
            (Some(grace), _) => Ok(Some(grace.expires_at(Clock::System.now()))),
            (None, time) => Ok(time),
        }
    }
}

/// A token as `--json` prints it: the server's own words, with the secret if one was made.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    token: &'a ServiceToken,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
}

/// A caller, what they call about, and where the answer goes.
struct Call {
    client: Client,
    scope: Scope,
    url: String,
    output: Output,
    /// What to do when an answer got lost.
    lost: &'static str,
}

impl Call {
    fn new(common: &Common) -> anyhow::Result<Self> {
        let remote = &common.remote;
        Ok(Self {
            scope: common.whose.scope()?,
            client: remote.cloudflare()?,
            url: remote.url().to_owned(),
            output: Output::stdout(common.shown.json),
            lost: "look with `countersign service-token list` before you repeat it",
        })
    }

    /// A call that may be repeated, if there is a key.
    fn under(common: &Common, key: Option<&str>) -> anyhow::Result<Self> {
        let call = Self::new(common)?;
        let lost = key.map(|_| "repeat the command with the same --idempotency-key, and it gives that same secret");
        Ok(Self { lost: lost.unwrap_or(call.lost), ..call })
    }

    fn show(&mut self, token: &ServiceToken, secret: Option<&Secret>) -> anyhow::Result<()> {
        let document = Document { token, client_secret: secret.map(Secret::expose) };
        self.output.show(&document, &fields(token, document.client_secret))?;
        if secret.is_some() && !self.output.is_json() {
            self.output.once("The client secret is shown this once.")?;
        }
        Ok(())
    }

    async fn update(
        mut self,
        id: &ServiceTokenId,
        update: &UpdateServiceToken,
        key: Option<&str>,
    ) -> anyhow::Result<()> {
        let updated = self.client.update_service_token(&self.scope, id, update, key).await;
        let updated = updated.map_err(|error| self.explain(error))?;
        self.show(&updated.token, updated.client_secret.as_ref())
    }

    /// The error with what to do about it.
    fn explain(&self, error: Error) -> anyhow::Error {
        remote::explain(error, &self.url, self.lost, |refusal| {
            let hint = if refusal.has_code(12135) {
                "There is no such token in that account or zone: `countersign service-token list` shows those there are"
            } else if refusal.status == 401 {
                "The server does not know the API token, or it was revoked: `countersign token create` makes one"
            } else if refusal.status == 403 {
                "The API token has no right to do this there: look at the ids, and at its permissions with \
                 `countersign token list`"
            } else if refusal.has_code(6003) {
                "The API token is not in the form of one"
            } else {
                return None;
            };
            Some(hint.to_owned())
        })
    }
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.action {
        Action::List { name, search, common } => list(Call::new(&common)?, ListFilter { name, search }).await,
        Action::Show { one } => {
            let mut call = Call::new(&one.common)?;
            let token = call.client.find_service_token(&call.scope, &one.id).await.map_err(|e| call.explain(e))?;
            call.show(&token, None)
        }
        Action::Create { name, duration, disabled, repeatable, common } => {
            let key = repeatable.idempotency_key.as_deref();
            let mut call = Call::under(&common, key)?;
            let enabled = disabled.then_some(false);
            let new = NewServiceToken { duration, enabled, ..NewServiceToken::named(name) };
            let issued = call.client.create_service_token(&call.scope, &new, key).await;
            let issued = issued.map_err(|error| call.explain(error))?;
            call.show(&issued.token, Some(&issued.client_secret))
        }
        Action::Update { one, name, duration, secret_version, grace, end_grace, repeatable } => {
            let key = repeatable.idempotency_key.as_deref();
            let grace = if end_grace { Some(Grace::Ends) } else { grace.until()?.map(Grace::Until) };
            if name.is_none() && duration.is_none() && secret_version.is_none() && grace.is_none() {
                return Err(
                    Usage("say what to change: --name, --duration, --secret-version, --grace".to_owned()).into()
                );
            }
            let update =
                UpdateServiceToken { name, duration, enabled: None, client_secret_version: secret_version, grace };
            Call::under(&one.common, key)?.update(&one.id, &update, key).await
        }
        Action::Rotate { one, grace, repeatable } => {
            let key = repeatable.idempotency_key.as_deref();
            let grace = grace.until()?.map_or(Grace::Ends, Grace::Until);
            let mut call = Call::under(&one.common, key)?;
            let rotated = call.client.rotate_service_token(&call.scope, &one.id, grace, key).await;
            let issued = rotated.map_err(|e| call.explain(e))?;
            call.show(&issued.token, Some(&issued.client_secret))
        }
        Action::Refresh { one } => {
            let mut call = Call::new(&one.common)?;
            let token = call.client.refresh_service_token(&call.scope, &one.id).await.map_err(|e| call.explain(e))?;
            call.show(&token, None)
        }
        Action::Enable { one } => set_enabled(&one, true).await,
        Action::Disable { one } => set_enabled(&one, false).await,
        Action::Delete { one, confirm } => {
            let mut call = Call::new(&one.common)?;
            confirm.ask(&format!("Delete the service token {} for good?", one.id))?;
            let token = call.client.delete_service_token(&call.scope, &one.id).await.map_err(|e| call.explain(e))?;
            call.show(&token, None)
        }
        Action::AllowFrom(arguments) => allow_from::run(arguments).await,
        Action::Rotation(arguments) => rotation::run(arguments).await,
        Action::Import(arguments) => import::run(arguments).await,
    }
}

/// The error of a call of Countersign's own API, with what to do about it.
fn explain_own(error: admin::Error, url: &str) -> anyhow::Error {
    let lost = "look with the same command, without what it is to change, before you repeat it";
    remote::explain(error, url, lost, |refusal| {
        let hint = match (refusal.status, refusal.code.as_str()) {
            (404, "not_found") => {
                "There is no such token in that account or zone: `countersign service-token list` shows those there are"
            }
            (409, _) => {
                "Wait for less, or see to it that the old secret is good for longer: rotate with --grace, or move its end \
                 with `countersign service-token update ID --grace 48h`"
            }
            (401, _) => {
                "The server does not know the API token, or it was revoked: `countersign token create` makes one"
            }
            (403, _) => {
                "The API token has no right to do this there: look at the ids, and at its permissions with \
                 `countersign token list`"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    })
}

async fn set_enabled(one: &One, enabled: bool) -> anyhow::Result<()> {
    let update = UpdateServiceToken { enabled: Some(enabled), ..UpdateServiceToken::default() };
    Call::new(&one.common)?.update(&one.id, &update, None).await
}

async fn list(mut call: Call, filter: ListFilter) -> anyhow::Result<()> {
    let tokens = call.client.list_service_tokens(&call.scope, filter).all().await.map_err(|e| call.explain(e))?;
    let now = Clock::System.now();
    let heading = ["id", "name", "state", "version", "expires", "last seen", "client id"];
    let mut table = Table::new(&heading, "There are no service tokens here.");
    for token in &tokens {
        table.row([
            token.id.to_string(),
            token.name.clone(),
            state(token, now).to_owned(),
            token.client_secret_version.map(|version| version.to_string()).unwrap_or_default(),
            expiry(token),
            token.last_seen_at.map(|time| time.to_string()).unwrap_or_default(),
            token.client_id.clone(),
        ]);
    }
    call.output.list(&tokens, &table).context("cannot print the list")
}

fn state(token: &ServiceToken, now: Timestamp) -> &'static str {
    match token.enabled {
        Some(false) => "disabled",
        Some(true) | None if token.duration != "forever" && token.expires_at <= now => "expired",
        Some(true) | None => "enabled",
    }
}

fn expiry(token: &ServiceToken) -> String {
    if token.duration == "forever" { "never".to_owned() } else { token.expires_at.to_string() }
}

fn fields(token: &ServiceToken, secret: Option<&str>) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("Service token", token.id.to_string()),
        ("Name", token.name.clone()),
        ("Client id", token.client_id.clone()),
    ];
    fields.extend(secret.map(|secret| ("Client secret", secret.to_owned())));
    fields.push(("State", state(token, Clock::System.now()).to_owned()));
    fields.extend(token.client_secret_version.map(|version| ("Secret version", version.to_string())));
    fields.extend(token.previous_client_secret_expires_at.map(|time| ("Old secret until", time.to_string())));
    fields.push(("Duration", token.duration.clone()));
    fields.push(("Expires", expiry(token)));
    fields.push(("Created", token.created_at.to_string()));
    fields.push(("Updated", token.updated_at.to_string()));
    fields.push(("Last seen", token.last_seen_at.map(|time| time.to_string()).unwrap_or_default()));
    fields
}
