//! `countersign service-token allow-from`

use clap::Args;
use countersign_client::admin::AllowFrom;

use super::{Call, One, explain_own};

const EXAMPLES: &str = "\
Without networks it shows those that are set. A list takes the place of the one before. Whoever
comes from elsewhere is refused everywhere when the command returns. The gate learns from your
proxies where a request came from: name them with --trusted-proxies.

Examples:
  countersign service-token allow-from 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b
  countersign service-token allow-from 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b \\
      203.0.113.0/24 2001:db8::7
  countersign service-token allow-from 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --anywhere";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Networks and addresses that the token may come from
    #[arg(index = 2, value_name = "NETWORK")]
    networks: Vec<String>,
    /// Take the list away
    #[arg(long, conflicts_with = "networks")]
    anywhere: bool,
    #[command(flatten)]
    one: One,
}

/// Does what the arguments say.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { networks, anywhere, one } = arguments;
    let mut call = Call::new(&one.common)?;
    let client = one.common.remote.admin()?;
    let wanted = AllowFrom { networks: (!anywhere).then_some(networks) };
    let asks_only = wanted.networks.as_ref().is_some_and(Vec::is_empty);
    let allow_from = if asks_only {
        client.find_allow_from(&call.scope, &one.id).await
    } else {
        client.put_allow_from(&call.scope, &one.id, &wanted).await
    };
    let allow_from = allow_from.map_err(|error| explain_own(error, &call.url))?;
    let networks = allow_from.networks.as_ref().map_or_else(|| "anywhere".to_owned(), |networks| networks.join(", "));
    Ok(call.output.show(&allow_from, &[("Service token", one.id.to_string()), ("May come from", networks)])?)
}
