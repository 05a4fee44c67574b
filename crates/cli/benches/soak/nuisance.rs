//! Those who only take up room: connections that say nothing, too little, too slowly, or nonsense.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Dice, PATIENCE, Soak};

/// One connection after the other, on any listener. Whatever it did, the server lets go of it in the end.
pub(crate) async fn run(soak: Arc<Soak>, mut dice: Dice) -> Result<(), String> {
    while !soak.is_over() {
        let node = &soak.nodes[dice.below(soak.nodes.len())];
        let address = if dice.below(2) == 0 { node.gate } else { node.management };
        let mut stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
        let kind = dice.below(5);
        let ended = tokio::time::timeout(PATIENCE, annoy(&mut stream, kind)).await;
        if ended.is_err() && !soak.is_over() {
            return Err(format!("a connection of kind {kind} to {address} was not ended in {PATIENCE:?}"));
        }
        soak.counts.nuisances.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Errors are the server's good right.
async fn annoy(stream: &mut TcpStream, kind: usize) {
    let mut taken = [0; 512];
    match kind {
        // Says nothing, and waits for the end.
        0 => drop(stream.read(&mut taken).await),
        // A head that never ends, a byte now and then.
        1 => {
            for byte in b"GET /verify?account_id=0 HTTP/1.1\r\nx-slow: " {
                if stream.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
            drop(stream.read(&mut taken).await);
        }
        // Nonsense.
        2 => {
            drop(stream.write_all(&[0x16, 3, 1, 0, 255, b'\r', b'\n', b'\r', b'\n']).await);
            drop(stream.read(&mut taken).await);
        }
        // Many requests, and no answer is taken for a while.
        3 => {
            let requests = "GET /livez HTTP/1.1\r\nhost: soak\r\n\r\n".repeat(500);
            drop(stream.write_all(requests.as_bytes()).await);
            tokio::time::sleep(Duration::from_secs(2)).await;
            drop(stream.read(&mut taken).await);
        }
        // A body that is announced and does not come.
        _ => {
            drop(stream.write_all(b"POST /verify HTTP/1.1\r\nhost: soak\r\ncontent-length: 100\r\n\r\nabc").await);
            drop(stream.read(&mut taken).await);
        }
    }
}
