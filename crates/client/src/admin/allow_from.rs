//! From where a service token may be presented.

use countersign_token::id::ServiceTokenId;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{Client, Error};
use crate::cloudflare::Scope;
use crate::connection::NOTHING;

/// The networks that a token may come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct AllowFrom {
    /// Addresses, and networks such as `10.0.0.0/8`; `None` is anywhere.
    pub networks: Option<Vec<String>>,
}

impl Client {
    /// From where a token may be presented.
    pub async fn find_allow_from(&self, scope: &Scope, id: &ServiceTokenId) -> Result<AllowFrom, Error> {
        self.send(Method::GET, &path(scope, id), NOTHING).await
    }

    /// Sets from where a token may be presented. The call returns when every node refuses what comes from elsewhere.
    pub async fn put_allow_from(
        &self,
        scope: &Scope,
        id: &ServiceTokenId,
        allow_from: &AllowFrom,
    ) -> Result<AllowFrom, Error> {
        self.send(Method::PUT, &path(scope, id), Some(allow_from)).await
    }
}

fn path(scope: &Scope, id: &ServiceTokenId) -> String {
    format!("{scope}/service_tokens/{id}/allow_from")
}
