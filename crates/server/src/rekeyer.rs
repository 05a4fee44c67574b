//! While one installation key takes the place of another: hands the digests of secrets that were seen to the operations,
//! which give their rows new ones.

use std::sync::Arc;
use std::time::Duration;

use countersign_token::digest::KeyId;
use countersign_token::index::Index;
use tokio_util::sync::CancellationToken;

use crate::ops::{Error, Ops};
use crate::ticks::Ticks;

/// How often to look.
const EVERY: Duration = Duration::from_secs(2);

/// Works until `stop`. What fails is tried again the next time.
pub async fn run(ops: Ops, index: Arc<Index>, stop: CancellationToken) {
    let mut ticks = Ticks::every(EVERY, stop);
    let mut minted = None;
    while ticks.next().await {
        if let Err(error) = look(&ops, &index, &mut minted).await {
            tracing::warn!(error = %error, "rows could not be moved to the current installation key; trying again");
        }
    }
}

async fn look(ops: &Ops, index: &Index, minted: &mut Option<KeyId>) -> Result<(), Error> {
    let live = ops.keys().live();
    if live.before.is_none() {
        return Ok(());
    }
    let seen = ops.rekey(index.take_old_digests()).await?;
    if seen > 0 {
        tracing::debug!(seen, key = live.current.get(), "secrets that were seen stand under the current key now");
    }
    // Once is enough: new ones stand under the current key.
    if *minted != live.before {
        let tokens = ops.rekey_api_tokens().await?;
        tracing::info!(tokens, key = live.current.get(), "API tokens stand under the current installation key now");
        *minted = live.before;
    }
    Ok(())
}
