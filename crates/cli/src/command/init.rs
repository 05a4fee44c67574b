//! `countersign init`

use anyhow::anyhow;
use clap::Args;
use countersign_server::ops::{self, Initialised, NewInstallation, Ops};
use countersign_server::store;
use serde::Serialize;

use crate::flag::{Place, Shown};
use crate::output::Output;
use crate::{local, logging};

const EXAMPLES: &str = "\
The ids and secrets are printed once. `countersign token create` makes another management token,
`countersign api-token create` another account token.

Examples:
  countersign init --data-dir /var/lib/countersign --email ops@example.com --zone example.com
  countersign init --json > installation.json
  countersign init --database-url postgres://countersign@db/countersign";

/// What the installation is made of.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    first: First,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    place: Place,
}

/// Who and what comes first in a new installation.
#[derive(Args, Clone)]
pub(crate) struct First {
    /// Address of the first user, who owns the installation
    #[arg(long, default_value = "admin@example.com")]
    email: String,
    /// Name of the first zone
    #[arg(long, value_name = "NAME", default_value = "example.com")]
    zone: String,
}

impl First {
    /// The installation that is to be made.
    pub(crate) fn installation(&self) -> NewInstallation {
        NewInstallation { email: self.email.clone(), zone_name: self.zone.clone() }
    }
}

/// What `--json` prints, and scripts rely on.
#[derive(Serialize)]
struct Document<'a> {
    account: AccountDocument<'a>,
    zone: ZoneDocument<'a>,
    environment: EnvironmentDocument<'a>,
    user: UserDocument<'a>,
    api_token: &'a str,
    account_token: &'a str,
}

#[derive(Serialize)]
struct AccountDocument<'a> {
    id: String,
    pfid: String,
    name: &'a str,
}

#[derive(Serialize)]
struct ZoneDocument<'a> {
    id: String,
    name: &'a str,
}

#[derive(Serialize)]
struct EnvironmentDocument<'a> {
    id: String,
    name: &'a str,
}

#[derive(Serialize)]
struct UserDocument<'a> {
    id: String,
    pfid: String,
    email: &'a str,
    api_key: &'a str,
}

impl<'a> From<&'a Initialised> for Document<'a> {
    fn from(made: &'a Initialised) -> Self {
        Self {
            account: AccountDocument {
                id: made.account.id.to_string(),
                pfid: made.account.pfid.to_string(),
                name: &made.account.name,
            },
            zone: ZoneDocument { id: made.zone.id.to_string(), name: &made.zone.name },
            environment: EnvironmentDocument { id: made.environment.id.to_string(), name: &made.environment.name },
            user: UserDocument {
                id: made.user.id.to_string(),
                pfid: made.user.pfid.to_string(),
                email: &made.user.email,
                api_key: made.api_key.expose(),
            },
            api_token: made.api_token.expose(),
            account_token: made.account_token.expose(),
        }
    }
}

/// Names and values of everything that was made, for people.
pub(crate) fn fields(made: &Initialised) -> [(&'static str, String); 7] {
    let document = Document::from(made);
    [
        ("Account", format!("{}  {}", document.account.id, document.account.name)),
        ("Zone", format!("{}  {}", document.zone.id, document.zone.name)),
        ("Environment", format!("{}  {}", document.environment.id, document.environment.name)),
        ("User", format!("{}  {}", document.user.id, document.user.email)),
        ("Global API key", document.user.api_key.to_owned()),
        ("Management token", document.api_token.to_owned()),
        ("Account token", document.account_token.to_owned()),
    ]
}

/// Makes the installation, unless there is one.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    logging::command()?;
    let settings = arguments.place.settings()?;
    let place = settings.database.to_string();
    let new = arguments.first.installation();
    let made = local::with_new_store(&settings, async |ops| initialise(ops, &new, &place).await).await?;
    let mut output = Output::stdout(arguments.shown.json);
    output.show(&Document::from(&made), &fields(&made))?;
    if !output.is_json() {
        output.once("The API key and the tokens are shown this once.")?;
        output.line(&format!(
            "The installation key is in {}: keep a copy of it apart from the database.",
            settings.installation_key
        ))?;
    }
    Ok(())
}

async fn initialise(ops: &Ops, new: &NewInstallation, place: &str) -> anyhow::Result<Initialised> {
    ops.initialise(new).await.map_err(|error| match error {
        ops::Error::Conflict(_) | ops::Error::Store(store::Error::Initialised) => anyhow!(
            "there is an installation in {place} already, and nothing was changed. Serve it with `countersign serve`, \
             or name another place with --data-dir"
        ),
        other => other.into(),
    })
}
