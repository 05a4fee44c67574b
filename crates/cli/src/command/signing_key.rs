//! `countersign signing-key`

use clap::{Args, Subcommand};
use countersign_server::caller::Caller;
use countersign_server::ops::Ops;
use serde::Serialize;

use crate::flag::{Place, Shown};
use crate::local;
use crate::output::Output;

const EXAMPLES: &str = "\
API tokens are JWTs. The key that signs them is derived from the installation key and an id, so
there is nothing to keep but the installation key.

Examples:
  countersign signing-key show
  countersign signing-key rotate";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the id of the key that signs new API tokens
    #[command(after_help = "\
Examples:
  countersign signing-key show
  countersign signing-key show --json | jq -r .id")]
    Show {
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// Sign new API tokens with a new key; the tokens that there are stay good
    #[command(after_help = "\
It takes nothing away: a token is looked up as a whole, whatever key signed it. To end a token, use
`countersign api-token revoke`.

Examples:
  countersign signing-key rotate")]
    Rotate {
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Serialize)]
struct Document {
    id: String,
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (place, shown, rotate) = match arguments.action {
        Action::Show { shown, place } => (place, shown, false),
        Action::Rotate { shown, place } => (place, shown, true),
    };
    local::with_ops(place, async |ops| print(ops, rotate, &mut Output::stdout(shown.json)).await).await
}

async fn print(ops: &Ops, rotate: bool, output: &mut Output) -> anyhow::Result<()> {
    let by = Caller::Operator;
    let id = if rotate { ops.rotate_signing_key(&by).await? } else { ops.signing_key_id(&by).await? };
    let document = Document { id };
    output.show(&document, &[("Signing key", document.id.clone())])?;
    if !output.is_json() {
        output.line("\nIt signs new API tokens. Those that an earlier key signed stay good.")?;
    }
    Ok(())
}
