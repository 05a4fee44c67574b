//! The rotation of a service token's secret.

use countersign_token::duration::TokenDuration;
use countersign_token::id::ServiceTokenId;
use countersign_token::time::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{Client, Error};
use crate::cloudflare::Scope;
use crate::connection::NOTHING;
use crate::text;

/// How far the last rotation of a token's secret has come.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Rotation {
    /// The token.
    #[serde(deserialize_with = "text::parsed", serialize_with = "text::displayed")]
    pub service_token_id: ServiceTokenId,
    /// When its secret was last replaced. `None` if it never was, or if that is not known.
    #[serde(deserialize_with = "text::time_if_any", serialize_with = "text::displayed_if_any")]
    pub rotated_at: Option<Timestamp>,
    /// The secret that was made last.
    pub current_secret: CurrentSecret,
    /// The secret before, while it is good.
    pub previous_secret: Option<PreviousSecret>,
    /// Since when certainly nobody has come with the secret before; at the earliest since the rotation. `None` if it isn't
    /// good any more.
    #[serde(deserialize_with = "text::time_if_any", serialize_with = "text::displayed_if_any")]
    pub quiet_since: Option<Timestamp>,
    /// That the secret before is to end by itself.
    pub finish_when_quiet: Option<Wish>,
    /// How many programs verify by themselves, and tell the server nothing of whom they admit.
    pub verifiers: u64,
    /// The server's time.
    #[serde(deserialize_with = "text::time", serialize_with = "text::displayed")]
    pub as_of: Timestamp,
}

/// The secret that was made last.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CurrentSecret {
    /// Its number, from 1.
    pub version: u32,
    /// Its last use.
    #[serde(flatten)]
    pub last_use: Use,
}

/// The secret before.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PreviousSecret {
    /// Its number. `None` where that is not known.
    pub version: Option<u32>,
    /// When it ends.
    #[serde(deserialize_with = "text::time", serialize_with = "text::displayed")]
    pub expires_at: Timestamp,
    /// Its last use.
    #[serde(flatten)]
    pub last_use: Use,
}

/// The last use of a secret.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Use {
    /// When; `None` if there was none.
    #[serde(deserialize_with = "text::time_if_any", serialize_with = "text::displayed_if_any")]
    pub last_seen_at: Option<Timestamp>,
    /// When the visitor came that is known of: as a rule then, and a while before where a busy server could not take down
    /// everybody.
    #[serde(deserialize_with = "text::time_if_any", serialize_with = "text::displayed_if_any")]
    pub visited_at: Option<Timestamp>,
    /// Where that visitor came from. `None` for a Unix socket.
    pub address: Option<String>,
    /// What that visitor said of itself: the client's own words, made harmless.
    pub user_agent: Option<String>,
}

/// That a secret is to end once nobody has come with it for a while.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Wish {
    /// For how long.
    pub quiet: String,
    /// When this was asked for.
    #[serde(deserialize_with = "text::time", serialize_with = "text::displayed")]
    pub asked_at: Timestamp,
    /// When it comes true, if nobody comes until then.
    #[serde(deserialize_with = "text::time", serialize_with = "text::displayed")]
    pub due_at: Timestamp,
}

#[derive(Serialize)]
struct UpdateRotation<'a> {
    finish_when_quiet: Option<&'a str>,
}

impl Client {
    /// Who still comes with the secret before.
    pub async fn find_rotation(&self, scope: &Scope, id: &ServiceTokenId) -> Result<Rotation, Error> {
        self.send(Method::GET, &path(scope, id), NOTHING).await
    }

    /// Ends the secret before by itself once nobody has come with it for that long; `None` takes that back.
    pub async fn finish_rotation_when_quiet(
        &self,
        scope: &Scope,
        id: &ServiceTokenId,
        quiet: Option<&TokenDuration>,
    ) -> Result<Rotation, Error> {
        let update = UpdateRotation { finish_when_quiet: quiet.map(TokenDuration::as_str) };
        self.send(Method::PUT, &path(scope, id), Some(&update)).await
    }
}

fn path(scope: &Scope, id: &ServiceTokenId) -> String {
    format!("{scope}/service_tokens/{id}/rotation")
}
