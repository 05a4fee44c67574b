//! Typed HTTP client of Countersign's management API, and verification inside a program of your own.
//!
//! # Verification
//!
//! A [`verifier`] keeps every credential of its accounts in memory, by following a server's feed, and decides about requests
//! as Countersign's gate does: no proxy, and no question to a server for each request. [`VerifyLayer`](verifier::VerifyLayer)
//! puts it before a service of [`tower`].
//!
//! ```no_run
//! use countersign_client::Credential;
//! use countersign_client::verifier::{Decision, Demand, Verifier};
//!
//! # async fn example(headers: &http::HeaderMap) -> Result<(), Box<dyn std::error::Error>> {
//! // Returns when everything is known. The token may follow the feed, and nothing else.
//! let verifier = Verifier::connect("http://127.0.0.1:8787", &Credential::bearer("csat_…")).await?;
//! let demand = Demand::parse("account_id=2f0c5b1be6f84e7f8a2d3c4b5a697887")?;
//! match verifier.check(headers, &demand) {
//!     Decision::Admit(identity) => println!("{:?}", identity.detail),
//!     Decision::Refuse(refusal) => println!("{} {refusal}", refusal.status()),
//! }
//! // The server waits for it no more.
//! verifier.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Management
//!
//! [`cloudflare`] is about service tokens, [`prefactor`] about API tokens, [`admin`] about what those have no words for.
//! Each of the first two works against Countersign and against every server that keeps the same contract. All send each
//! request once: a create that is repeated after a lost answer may make a second token, and only the caller can tell
//! whether that is wanted.
//!
//! ```no_run
//! use countersign_client::Credential;
//! use countersign_client::cloudflare::{Client, NewServiceToken, Scope};
//!
//! # async fn example() -> Result<(), countersign_client::cloudflare::Error> {
//! let client = Client::new("http://127.0.0.1:8787", &Credential::bearer("csat_…"))?;
//! let scope = Scope::account("2f0c5b1be6f84e7f8a2d3c4b5a697887")?;
//! let issued = client.create_service_token(&scope, &NewServiceToken::named("deploy"), None).await?;
//! // The secret leaves the server only now. It has no `Display`, and its `Debug` shows nothing.
//! let secret: &str = issued.client_secret.expose();
//! # let _ = secret;
//! # Ok(())
//! # }
//! ```
//!
//! ```no_run
//! use countersign_client::Credential;
//! use countersign_client::prefactor::{Client, NewApiToken, NewScope};
//!
//! # async fn example() -> Result<(), countersign_client::prefactor::Error> {
//! let client = Client::new("http://127.0.0.1:8787", &Credential::bearer("eyJ…"))?;
//! let new = NewApiToken { scope: NewScope::Account, expires_at: None };
//! // With a key the call may be repeated: the same key gives the same token.
//! let issued = client.create_api_token(&new, Some("5d1f…")).await?;
//! let token: &str = issued.secret.expose();
//! # let _ = token;
//! # Ok(())
//! # }
//! ```

pub mod admin;
pub mod cloudflare;
mod connection;
mod credential;
mod error;
pub mod prefactor;
mod text;
pub mod verifier;

pub use countersign_token::secret::Secret;
pub use countersign_token::time::{Clock, Timestamp};

pub use crate::credential::Credential;
pub use crate::error::Error;
