//! Countersign's own API, for what the other dialects have no words for.

mod allow_from;
mod refusal;
mod rotation;

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::allow_from::AllowFrom;
pub use self::refusal::Refusal;
pub use self::rotation::{CurrentSecret, PreviousSecret, Rotation, Use, Wish};
use crate::connection::Connection;
use crate::credential::Credential;

/// Why a call of this API gave no result.
pub type Error = crate::error::Error<Refusal>;

/// A caller's connection to one server. Cloning is cheap and shares the connections.
#[derive(Clone, Debug)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// A client of the server at `address`, an `http://` or `https://` address. An address without a path means the
    /// usual `/admin/v1`; any other path is taken as it is.
    pub fn new(address: &str, credential: &Credential) -> Result<Self, Error> {
        Ok(Self { connection: Connection::new(address, "/admin/v1", credential)? })
    }

    /// Sends one request, once, and opens its answer.
    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, Error> {
        let answer = self.connection.send(method, path, &[], body, None).await?;
        if answer.is_success() {
            return serde_json::from_slice(&answer.body).map_err(|error| answer.unexpected(error.to_string()));
        }
        Err(refusal::parse(answer))
    }
}
