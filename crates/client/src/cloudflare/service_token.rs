//! Service tokens: what they are on the wire, and the seven operations.

use countersign_token::duration::TokenDuration;
use countersign_token::id::ServiceTokenId;
use countersign_token::secret::Secret;
use countersign_token::time::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize, Serializer};

use super::{Client, Error, Scope};
use crate::connection::NOTHING;
use crate::text;

/// How many tokens a page of a list asks for: the most that the dialect gives.
const PER_PAGE: &str = "1000";

/// A service token as the server describes it. The secret is never part of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ServiceToken {
    /// What operations name the token by.
    #[serde(deserialize_with = "text::parsed", serialize_with = "text::displayed")]
    pub id: ServiceTokenId,
    /// What the token's holder sends beside the secret. It never changes.
    pub client_id: String,
    /// Free text, not unique.
    pub name: String,
    /// How long the token lives from its creation or from a change of this text; kept as it was given.
    pub duration: String,
    /// Whether the token admits. `None` where the server does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Counts the secrets that the token has had. `None` where the server does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_version: Option<u32>,
    /// Until when the secret before this one admits too, or admitted. `None` when there was none.
    #[serde(
        default,
        deserialize_with = "text::time_if_any",
        serialize_with = "text::displayed_if_any",
        skip_serializing_if = "Option::is_none"
    )]
    pub previous_client_secret_expires_at: Option<Timestamp>,
    /// When the token was made.
    #[serde(deserialize_with = "text::time", serialize_with = "text::displayed")]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[serde(deserialize_with = "text::time", serialize_with = "text::displayed")]
    pub updated_at: Timestamp,
    /// From when on it admits nobody. For `forever` a time far away that nobody judges by.
    #[serde(deserialize_with = "text::time", serialize_with = "text::displayed")]
    pub expires_at: Timestamp,
    /// When it last admitted somebody. `None` before the first time.
    #[serde(
        default,
        deserialize_with = "text::time_if_any",
        serialize_with = "text::displayed_if_any",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_seen_at: Option<Timestamp>,
}

/// A token with the secret that was made for it. The server shows it this once.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: ServiceToken,
    /// Its secret.
    pub client_secret: Secret,
}

/// A token after an update, with a new secret if the update rotated it.
#[derive(Debug)]
pub struct Updated {
    /// The token.
    pub token: ServiceToken,
    /// Its new secret; `None` when the old one still holds.
    pub client_secret: Option<Secret>,
}

/// What a new token is to be. What is `None` is left to the server.
#[derive(Clone, Debug, Serialize)]
pub struct NewServiceToken {
    /// 1 to 350 characters.
    pub name: String,
    /// How long it lives; the server's default is a year.
    #[serde(serialize_with = "duration_if_any", skip_serializing_if = "Option::is_none")]
    pub duration: Option<TokenDuration>,
    /// Whether it admits from the start; the server's default is that it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The number of its first secret, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_version: Option<u32>,
}

impl NewServiceToken {
    /// A token of that name, everything else as the server does by default.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), duration: None, enabled: None, client_secret_version: None }
    }
}

/// What is to change. What is `None` stays.
#[derive(Clone, Debug, Default, Serialize)]
pub struct UpdateServiceToken {
    /// A new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A new duration, counted from now if it differs from the present text.
    #[serde(serialize_with = "duration_if_any", skip_serializing_if = "Option::is_none")]
    pub duration: Option<TokenDuration>,
    /// Whether the token admits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// A number above the present one makes a new secret; any other changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_version: Option<u32>,
    /// When the secret before the present one ends, or the present one if this update makes a new one.
    #[serde(rename = "previous_client_secret_expires_at", skip_serializing_if = "Option::is_none")]
    pub grace: Option<Grace>,
}

/// When a superseded secret stops admitting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// At once.
    Ends,
    /// At that time, of which the server keeps whole seconds. It never outlives the token.
    Until(Timestamp),
}

/// `null` ends the grace on an update.
impl Serialize for Grace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Ends => serializer.serialize_none(),
            Self::Until(time) => serializer.collect_str(time),
        }
    }
}

/// Which tokens to list. The default lists all of the scope.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// Exactly this name.
    pub name: Option<String>,
    /// This text somewhere in name, client id or id, case aside.
    pub search: Option<String>,
}

impl Client {
    /// The tokens of `scope`, oldest first, page by page. Nothing is asked before [`Pages::next`].
    pub fn list_service_tokens<'c>(&'c self, scope: &Scope, filter: ListFilter) -> Pages<'c> {
        Pages { client: self, path: format!("{scope}/access/service_tokens"), filter, next: Some(1) }
    }

    /// One token.
    pub async fn find_service_token(&self, scope: &Scope, id: &ServiceTokenId) -> Result<ServiceToken, Error> {
        let (wire, _) = self.send::<ServiceToken>(Method::GET, &path(scope, id), &[], NOTHING).await?;
        Ok(wire)
    }

    /// Makes a token. A lost answer leaves open whether one was made, so nothing is repeated here. With an
    /// `idempotency_key`, of 1 to 64 characters of ASCII, the same call may be repeated within a day, and gives that same
    /// token and secret.
    pub async fn create_service_token(
        &self,
        scope: &Scope,
        new: &NewServiceToken,
        idempotency_key: Option<&str>,
    ) -> Result<Issued, Error> {
        let path = format!("{scope}/access/service_tokens");
        self.change::<WithSecret>(Method::POST, &path, new, idempotency_key).await?.issued()
    }

    /// Changes what `update` names and nothing else. An `idempotency_key` is as for
    /// [`create_service_token`](Self::create_service_token).
    pub async fn update_service_token(
        &self,
        scope: &Scope,
        id: &ServiceTokenId,
        update: &UpdateServiceToken,
        idempotency_key: Option<&str>,
    ) -> Result<Updated, Error> {
        let wire: WithSecret = self.change(Method::PUT, &path(scope, id), update, idempotency_key).await?;
        Ok(Updated { token: wire.token, client_secret: wire.client_secret.map(Secret::from) })
    }

    /// Makes a new secret. The old one ends as `grace` says. An `idempotency_key` is as for
    /// [`create_service_token`](Self::create_service_token): with it a lost answer does not cost the new secret.
    pub async fn rotate_service_token(
        &self,
        scope: &Scope,
        id: &ServiceTokenId,
        grace: Grace,
        idempotency_key: Option<&str>,
    ) -> Result<Issued, Error> {
        let body = match grace {
            Grace::Ends => Rotation { grace: None },
            Grace::Until(_) => Rotation { grace: Some(grace) },
        };
        let path = format!("{}/rotate", path(scope, id));
        self.change::<WithSecret>(Method::POST, &path, &body, idempotency_key).await?.issued()
    }

    /// Makes the token live a year from now, if it would not live longer anyway.
    pub async fn refresh_service_token(&self, scope: &Scope, id: &ServiceTokenId) -> Result<ServiceToken, Error> {
        let path = format!("{}/refresh", path(scope, id));
        let (wire, _) = self.send::<ServiceToken>(Method::POST, &path, &[], NOTHING).await?;
        Ok(wire)
    }

    /// Deletes the token and gives it back as it was.
    pub async fn delete_service_token(&self, scope: &Scope, id: &ServiceTokenId) -> Result<ServiceToken, Error> {
        let (wire, _) = self.send::<ServiceToken>(Method::DELETE, &path(scope, id), &[], NOTHING).await?;
        Ok(wire)
    }
}

/// A list that is being read, page by page.
#[derive(Debug)]
pub struct Pages<'c> {
    client: &'c Client,
    path: String,
    filter: ListFilter,
    next: Option<u64>,
}

impl Pages<'_> {
    /// The next page; `None` after the last. After an error the same page is asked for again.
    pub async fn next(&mut self) -> Result<Option<Vec<ServiceToken>>, Error> {
        let Some(page) = self.next else {
            return Ok(None);
        };
        let number = page.to_string();
        let mut query = vec![("page", number.as_str()), ("per_page", PER_PAGE)];
        query.extend(self.filter.name.as_deref().map(|name| ("name", name)));
        query.extend(self.filter.search.as_deref().map(|search| ("search", search)));
        let (tokens, info) = self.client.send::<Vec<ServiceToken>>(Method::GET, &self.path, &query, NOTHING).await?;
        // Where the server counts no pages, the one after the last is empty.
        let last = tokens.is_empty() || info.and_then(|info| info.total_pages).is_some_and(|pages| page >= pages);
        self.next = (!last).then(|| page.saturating_add(1));
        Ok((!tokens.is_empty()).then_some(tokens))
    }

    /// Everything that is left, in one.
    pub async fn all(mut self) -> Result<Vec<ServiceToken>, Error> {
        let mut tokens = Vec::new();
        while let Some(page) = self.next().await? {
            tokens.extend(page);
        }
        Ok(tokens)
    }
}

fn path(scope: &Scope, id: &ServiceTokenId) -> String {
    format!("{scope}/access/service_tokens/{id}")
}

#[derive(Serialize)]
struct Rotation {
    #[serde(rename = "previous_client_secret_expires_at", skip_serializing_if = "Option::is_none")]
    grace: Option<Grace>,
}

#[derive(Deserialize)]
struct WithSecret {
    #[serde(flatten)]
    token: ServiceToken,
    client_secret: Option<String>,
}

impl WithSecret {
    fn issued(self) -> Result<Issued, Error> {
        match self.client_secret {
            Some(secret) => Ok(Issued { token: self.token, client_secret: Secret::from(secret) }),
            None => Err(Error::Unexpected { status: 200, problem: "the answer has no `client_secret`".to_owned() }),
        }
    }
}

fn duration_if_any<S: Serializer>(value: &Option<TokenDuration>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(duration) => serializer.serialize_str(duration.as_str()),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUED: &str = r#"{"client_id":"88bf3b6d86161464f6509f7219099e57.access","client_secret":"csec_secret",
        "created_at":"2025-09-25T22:26:26Z","updated_at":"2025-09-25T22:26:26Z","expires_at":"2026-09-25T22:26:26Z",
        "id":"3537a672-e4d8-4d89-aab9-26cb622918a1","name":"CI/CD token","duration":"8760h",
        "client_secret_version":1,"enabled":true}"#;

    #[test]
    fn the_secret_is_apart_from_the_token_and_never_shown() {
        let issued = serde_json::from_str::<WithSecret>(ISSUED).unwrap().issued().unwrap();
        assert_eq!(issued.client_secret.expose(), "csec_secret");
        assert!(!format!("{issued:?}").contains("csec_secret"));
        assert!(!serde_json::to_string(&issued.token).unwrap().contains("csec_secret"));
        assert_eq!(issued.token.created_at.to_string(), "2025-09-25T22:26:26Z");
        assert_eq!(issued.token.last_seen_at, None);
    }

    fn check(body: &impl Serialize, expected: &str) {
        assert_eq!(serde_json::to_string(body).unwrap(), expected);
    }

    #[test]
    fn bodies_name_only_what_is_meant() {
        let year = Timestamp::parse_rfc3339("2031-01-02T03:04:05Z").unwrap();
        check(&NewServiceToken::named("x"), r#"{"name":"x"}"#);
        check(
            &NewServiceToken { duration: Some(TokenDuration::parse("1h").unwrap()), ..NewServiceToken::named("x") },
            r#"{"name":"x","duration":"1h"}"#,
        );
        check(&UpdateServiceToken::default(), "{}");
        check(
            &UpdateServiceToken { grace: Some(Grace::Ends), ..UpdateServiceToken::default() },
            r#"{"previous_client_secret_expires_at":null}"#,
        );
        check(
            &UpdateServiceToken {
                grace: Some(Grace::Until(year)),
                enabled: Some(false),
                ..UpdateServiceToken::default()
            },
            r#"{"enabled":false,"previous_client_secret_expires_at":"2031-01-02T03:04:05Z"}"#,
        );
        check(&Rotation { grace: None }, "{}");
    }
}
