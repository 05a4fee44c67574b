//! The Prefactor dialect, as far as it is about API tokens.

mod api_token;
mod envelope;
mod refusal;

pub use countersign_token::api_token::{ApiTokenStatus, ScopeKind};
pub use countersign_token::id::{AccountPfid, AgentDeploymentId, AgentId, ApiTokenId, EnvironmentId, UserPfid};
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::api_token::{ApiToken, AvailableActions, Issued, NewApiToken, NewScope, Pages};
pub use self::refusal::{FieldProblem, Refusal};
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
    /// usual `/api/v1`; any other path is taken as it is.
    pub fn new(address: &str, credential: &Credential) -> Result<Self, Error> {
        Ok(Self { connection: Connection::new(address, "/api/v1", credential)? })
    }

    /// Sends one request, once, and opens its answer.
    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, Error> {
        envelope::parse(self.connection.send(method, path, query, body, None).await?)
    }
}
