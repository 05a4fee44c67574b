//! A service that checks its callers' credentials itself: no proxy before it, no question to a server for each request.
//!
//! ```console
//! $ export COUNTERSIGN_URL=http://127.0.0.1:8787 COUNTERSIGN_API_TOKEN=csat_…
//! $ cargo run --example service -- 'account_id=…' 127.0.0.1:9000
//! ```
//!
//! The token needs `Countersign: Verification Feed Read` on the account, and nothing else. See `docs/in-process.md`.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::{Extension, Router};
use countersign_client::Credential;
use countersign_client::verifier::{Demand, Detail, Identity, Verifier, VerifyLayer};
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let demand = arguments.next().context("say what a caller's credential must belong to: 'account_id=…'")?;
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let url = std::env::var("COUNTERSIGN_URL").context("COUNTERSIGN_URL")?;
    let token = std::env::var("COUNTERSIGN_API_TOKEN").context("COUNTERSIGN_API_TOKEN")?;

    // Returns when every credential is known. From here on the verifier follows by itself.
    let verifier = Verifier::connect(&url, &Credential::bearer(token)).await?;
    let checked = VerifyLayer::new(verifier.clone(), Demand::parse(&demand)?)
        // No proxy is before this service, so whoever connects is the caller.
        .locating(|_headers, extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()));

    let ready = verifier.clone();
    let service = Router::new()
        .route("/", get(greet))
        .layer(checked)
        // Behind the layer nobody but admitted callers; what stands here is for everybody.
        .route(
            "/readyz",
            get(async move || if ready.is_fresh() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }),
        );
    let listener = TcpListener::bind(listen).await?;
    say(&format!("listening http://{}", listener.local_addr()?));
    let mut terminated = signal(SignalKind::terminate())?;
    axum::serve(listener, service.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async move {
            terminated.recv().await;
        })
        .await?;
    // The server waits for this verifier no more.
    verifier.stop().await;
    Ok(())
}

/// Who calls is in the request's extensions.
async fn greet(Extension(identity): Extension<Identity>) -> String {
    match &identity.detail {
        Detail::ServiceToken { name, .. } => format!("hello, {name}\n"),
        Detail::ApiToken { id, .. } => format!("hello, {id}\n"),
        Detail::ManagementToken { .. } | Detail::User { .. } => String::new(),
    }
}

#[expect(clippy::print_stdout, reason = "whoever started the service reads there where it listens")]
fn say(line: &str) {
    println!("{line}");
}
