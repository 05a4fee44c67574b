//! `countersign serve`

use clap::Args;
use countersign_server::lifecycle::{self, Listening};

use crate::flag::Serving;
use crate::logging;
use crate::output::Output;

const EXAMPLES: &str = "\
What is bound is printed, one line each, before the first request is served:
  listening management http://127.0.0.1:8787
  listening gate http://127.0.0.1:8788

SIGHUP reads the certificates and the log level again. SIGTERM and SIGINT let the requests under way finish and exit with 0; a second signal aborts.

Examples:
  countersign serve --data-dir /var/lib/countersign
  countersign serve --config /etc/countersign.toml --log-format json
  countersign serve --listen 0.0.0.0:8787 --tls-certificate fullchain.pem --tls-key key.pem \\
      --gate-unix /run/countersign/gate.sock
  COUNTERSIGN_DATABASE_URL=postgres://countersign@db/countersign countersign serve";

/// What a server is told.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    serving: Serving,
}

/// Serves until a signal comes.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let settings = arguments.serving.clone().settings()?;
    let logs = logging::serve(&settings)?;
    let reload = || {
        let settings = arguments.serving.clone().settings()?;
        logs.reload(&settings)?;
        Ok(settings)
    };
    let mut output = Output::stdout(false);
    lifecycle::serve(&settings, Some(&reload), |listening| announce(&mut output, listening)).await
}

/// The line that scripts wait for. A server does not stop because nobody reads it.
pub(crate) fn announce(output: &mut Output, listening: &Listening) {
    if let Err(error) = output.line(&format!("listening {} {}", listening.name, listening.url)) {
        tracing::debug!(error = %error, "nobody reads standard output");
    }
}
