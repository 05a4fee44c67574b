//! Typed HTTP client of Countersign's management API.
//!
//! [`Client`] speaks the Cloudflare dialect, so it works against Countersign and against every server that keeps the
//! same contract. It sends each request once: a create that is repeated after a lost answer makes a second token, and
//! only the caller can tell whether that is wanted.
//!
//! ```no_run
//! use countersign_client::{Client, Credential, NewServiceToken, Scope};
//!
//! # async fn example() -> Result<(), countersign_client::Error> {
//! let client = Client::new("http://127.0.0.1:8787", &Credential::api_token("csat_…"))?;
//! let scope = Scope::account("2f0c5b1be6f84e7f8a2d3c4b5a697887")?;
//! let issued = client.create_service_token(&scope, &NewServiceToken::named("deploy")).await?;
//! // The secret leaves the server only now. It has no `Display`, and its `Debug` shows nothing.
//! let secret: &str = issued.client_secret.expose();
//! # let _ = secret;
//! # Ok(())
//! # }
//! ```

mod client;
mod credential;
mod envelope;
mod error;
mod scope;
mod service_token;

pub use countersign_token::duration::TokenDuration;
pub use countersign_token::id::{AccountId, ServiceTokenId, ZoneId};
pub use countersign_token::secret::Secret;
pub use countersign_token::time::{Clock, Timestamp};

pub use crate::client::Client;
pub use crate::credential::Credential;
pub use crate::error::{Error, Problem, Refusal};
pub use crate::scope::Scope;
pub use crate::service_token::{
    Grace, Issued, ListFilter, NewServiceToken, Pages, ServiceToken, UpdateServiceToken, Updated,
};
