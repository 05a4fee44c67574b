//! The Cloudflare dialect, as far as it is about service tokens.

mod envelope;
mod refusal;
mod scope;
mod service_token;

pub use countersign_token::duration::TokenDuration;
pub use countersign_token::id::{AccountId, ServiceTokenId, ZoneId};
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::refusal::{Problem, Refusal};
pub use self::scope::Scope;
pub use self::service_token::{
    Grace, Issued, ListFilter, NewServiceToken, Pages, ServiceToken, UpdateServiceToken, Updated,
};
use crate::connection::Connection;
use crate::credential::Credential;

/// Why a call of this dialect gave no result.
pub type Error = crate::error::Error<Refusal>;

/// A caller's connection to one server. Cloning is cheap and shares the connections.
#[derive(Clone, Debug)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// A client of the server at `address`, an `http://` or `https://` address. An address without a path means the
    /// usual `/client/v4`; any other path is taken as it is.
    pub fn new(address: &str, credential: &Credential) -> Result<Self, Error> {
        Ok(Self { connection: Connection::new(address, "/client/v4", credential)? })
    }

    /// Sends one request, once, and opens the envelope of its answer.
    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<(T, Option<envelope::ResultInfo>), Error> {
        envelope::parse(self.connection.send(method, path, query, body, None).await?)
    }

    /// Sends a change, once. With an idempotency key it may be sent again.
    async fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &(impl Serialize + Sync),
        idempotency_key: Option<&str>,
    ) -> Result<T, Error> {
        let (result, _) = envelope::parse(self.connection.send(method, path, &[], Some(body), idempotency_key).await?)?;
        Ok(result)
    }
}
