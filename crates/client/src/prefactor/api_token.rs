//! API tokens: what they are on the wire, and the seven operations.

use countersign_token::api_token::{ApiTokenStatus, ScopeKind};
use countersign_token::id::{AccountPfid, AgentDeploymentId, AgentId, ApiTokenId, EnvironmentId, UserPfid};
use countersign_token::secret::Secret;
use countersign_token::time::Timestamp;
use reqwest::Method;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Client, Error};
use crate::connection::NOTHING;
use crate::text;

const PATH: &str = "api_token";

/// How many tokens a page of a list asks for: the most that the dialect gives.
const PAGE_SIZE: &str = "100";

/// An API token as the server describes it. The secret is never part of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "api_token")]
pub struct ApiToken {
    /// What operations name the token by.
    #[serde(deserialize_with = "text::parsed", serialize_with = "text::displayed")]
    pub id: ApiTokenId,
    /// The account that it belongs to.
    #[serde(deserialize_with = "text::parsed", serialize_with = "text::displayed")]
    pub account_id: AccountPfid,
    /// What kind of thing it reaches.
    #[serde(deserialize_with = "scope", serialize_with = "scope_text")]
    pub token_scope: ScopeKind,
    /// The environment that it reaches. `None` if it reaches all of the account.
    #[serde(default, deserialize_with = "text::parsed_if_any", serialize_with = "text::displayed_if_any")]
    pub environment_id: Option<EnvironmentId>,
    /// The deployment of an agent that it is for, if it is for one.
    #[serde(default, deserialize_with = "text::parsed_if_any", serialize_with = "text::displayed_if_any")]
    pub agent_deployment_id: Option<AgentDeploymentId>,
    /// The agent of that deployment.
    #[serde(default, deserialize_with = "text::parsed_if_any", serialize_with = "text::displayed_if_any")]
    pub agent_id: Option<AgentId>,
    /// The user who made it. `None` when another token did.
    #[serde(default, deserialize_with = "text::parsed_if_any", serialize_with = "text::displayed_if_any")]
    pub created_by_admin_user_id: Option<UserPfid>,
    /// Where in its life it is. A token that has expired keeps its status.
    #[serde(deserialize_with = "status", serialize_with = "status_text")]
    pub status: ApiTokenStatus,
    /// From when on it admits nobody.
    #[serde(deserialize_with = "text::time", serialize_with = "text::displayed")]
    pub expires_at: Timestamp,
    /// When it last admitted somebody. `None` before the first time.
    #[serde(default, deserialize_with = "text::time_if_any", serialize_with = "text::displayed_if_any")]
    pub last_used_at: Option<Timestamp>,
    /// When it was made.
    #[serde(deserialize_with = "text::time", serialize_with = "text::displayed")]
    pub inserted_at: Timestamp,
    /// When its status last changed.
    #[serde(deserialize_with = "text::time", serialize_with = "text::displayed")]
    pub updated_at: Timestamp,
    /// What may be done to it next. `None` in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_actions: Option<AvailableActions>,
}

/// What may be done to a token next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct AvailableActions {
    /// To admit it again.
    pub activate: bool,
    /// To remove it.
    pub delete: bool,
    /// To end it for good.
    pub revoke: bool,
    /// To refuse it until it is activated.
    pub suspend: bool,
}

/// A token with its secret. The server shows it this once.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: ApiToken,
    /// The bearer: a JWT.
    pub secret: Secret,
}

/// What a new token is to be.
#[derive(Clone, Copy, Debug)]
pub struct NewApiToken {
    /// What it is to reach.
    pub scope: NewScope,
    /// From when on it is to admit nobody, in whole seconds; the server's default is 365 days from now.
    pub expires_at: Option<Timestamp>,
}

/// What a new token is to reach.
#[derive(Clone, Copy, Debug)]
pub enum NewScope {
    /// The whole account.
    Account,
    /// One environment.
    Environment(EnvironmentId),
    /// One agent in one environment. The server deploys the agent there, if it is not.
    AgentDeployment {
        /// The agent.
        agent: AgentId,
        /// The environment.
        environment: EnvironmentId,
    },
}

impl Client {
    /// The tokens of the caller's account, page by page. `sorting` is a field, such as `created_at`, with a `-` before it
    /// for the other direction; without it they come oldest first. Nothing is asked before [`Pages::next`].
    pub fn list_api_tokens(&self, sorting: Option<String>) -> Pages<'_> {
        Pages { client: self, sorting, next: Some(0) }
    }

    /// One token.
    pub async fn find_api_token(&self, id: &ApiTokenId) -> Result<ApiToken, Error> {
        self.send(Method::GET, &path(id), &[], NOTHING).await.map(Wrapped::open)
    }

    /// Makes a token. A lost answer leaves open whether one was made. With an `idempotency_key`, of 1 to 64 characters,
    /// the same call may be repeated within a day, and gives that same token.
    pub async fn create_api_token(&self, new: &NewApiToken, idempotency_key: Option<&str>) -> Result<Issued, Error> {
        let body = Creation { details: Details::from(new), idempotency_key };
        let made: WithSecret = self.send(Method::POST, PATH, &[], Some(&body)).await?;
        Ok(Issued { token: made.details, secret: Secret::from(made.token) })
    }

    /// Refuses the token until it is activated.
    pub async fn suspend_api_token(&self, id: &ApiTokenId) -> Result<ApiToken, Error> {
        self.act(id, "suspend").await
    }

    /// Admits a suspended token again.
    pub async fn activate_api_token(&self, id: &ApiTokenId) -> Result<ApiToken, Error> {
        self.act(id, "activate").await
    }

    /// Ends the token for good. It stays listed until it is deleted.
    pub async fn revoke_api_token(&self, id: &ApiTokenId) -> Result<ApiToken, Error> {
        self.act(id, "revoke").await
    }

    /// Removes a revoked token and gives it back as it was.
    pub async fn delete_api_token(&self, id: &ApiTokenId) -> Result<ApiToken, Error> {
        self.send(Method::DELETE, &path(id), &[], NOTHING).await.map(Wrapped::open)
    }

    async fn act(&self, id: &ApiTokenId, action: &str) -> Result<ApiToken, Error> {
        let path = format!("{}/{action}", path(id));
        self.send(Method::POST, &path, &[], NOTHING).await.map(Wrapped::open)
    }
}

/// A list that is being read, page by page.
#[derive(Debug)]
pub struct Pages<'c> {
    client: &'c Client,
    sorting: Option<String>,
    next: Option<u64>,
}

impl Pages<'_> {
    /// The next page; `None` after the last. After an error the same page is asked for again.
    pub async fn next(&mut self) -> Result<Option<Vec<ApiToken>>, Error> {
        let Some(offset) = self.next else {
            return Ok(None);
        };
        let start = offset.to_string();
        let mut query = vec![("pagination[offset]", start.as_str()), ("pagination[page_size]", PAGE_SIZE)];
        query.extend(self.sorting.as_deref().map(|sorting| ("sorting", sorting)));
        let list: List = self.client.send(Method::GET, PATH, &query, NOTHING).await?;
        let next = list.pagination.and_then(|page| page.next_page_offset);
        if next.is_some_and(|next| next <= offset) {
            // It would lead round and round.
            return Err(Error::Unexpected { status: 200, problem: "`next_page_offset` leads backwards".to_owned() });
        }
        self.next = next;
        Ok((!list.summaries.is_empty()).then_some(list.summaries))
    }

    /// Everything that is left, in one.
    pub async fn all(mut self) -> Result<Vec<ApiToken>, Error> {
        let mut tokens = Vec::new();
        while let Some(page) = self.next().await? {
            tokens.extend(page);
        }
        Ok(tokens)
    }
}

fn path(id: &ApiTokenId) -> String {
    format!("{PATH}/{id}")
}

#[derive(Serialize)]
struct Creation<'a> {
    details: Details,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
}

#[derive(Serialize)]
struct Details {
    #[serde(serialize_with = "scope_text")]
    token_scope: ScopeKind,
    #[serde(serialize_with = "text::displayed_if_any", skip_serializing_if = "Option::is_none")]
    environment_id: Option<EnvironmentId>,
    #[serde(serialize_with = "text::displayed_if_any", skip_serializing_if = "Option::is_none")]
    agent_id: Option<AgentId>,
    #[serde(serialize_with = "text::displayed_if_any", skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

impl From<&NewApiToken> for Details {
    fn from(new: &NewApiToken) -> Self {
        let (token_scope, environment_id, agent_id) = match new.scope {
            NewScope::Account => (ScopeKind::Account, None, None),
            NewScope::Environment(environment) => (ScopeKind::Environment, Some(environment), None),
            NewScope::AgentDeployment { agent, environment } => {
                (ScopeKind::AgentDeployment, Some(environment), Some(agent))
            }
        };
        Self { token_scope, environment_id, agent_id, expires_at: new.expires_at }
    }
}

#[derive(Deserialize)]
struct Wrapped {
    details: ApiToken,
}

impl Wrapped {
    fn open(self) -> ApiToken {
        self.details
    }
}

#[derive(Deserialize)]
struct WithSecret {
    details: ApiToken,
    token: String,
}

#[derive(Deserialize)]
struct List {
    summaries: Vec<ApiToken>,
    pagination: Option<Pagination>,
}

#[derive(Deserialize)]
struct Pagination {
    next_page_offset: Option<u64>,
}

fn scope<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ScopeKind, D::Error> {
    let text = String::deserialize(deserializer)?;
    ScopeKind::parse(&text).ok_or_else(|| D::Error::custom(format!("there is no scope `{text}`")))
}

fn scope_text<S: Serializer>(scope: &ScopeKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(scope.text())
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ApiTokenStatus, D::Error> {
    let text = String::deserialize(deserializer)?;
    ApiTokenStatus::parse(&text).ok_or_else(|| D::Error::custom(format!("there is no status `{text}`")))
}

fn status_text<S: Serializer>(status: &ApiTokenStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVIRONMENT: &str = "013xrzp12g3nqk8n7f8f9jbg8d18q7tm";
    const AGENT: &str = "013xrzp12g3nqk8ngskn1wtxgka5b0nf";

    const MADE: &str = r#"{"status":"success","token":"eyJhbGciOiJIUzI1NiJ9.e30.c2VjcmV0","details":{
        "type":"api_token","id":"01kdvdna003nqk8n000g40r40m30e209","account_id":"013xrzp12g3nqk8ngskn1wtxgka5b0nf",
        "token_scope":"environment","environment_id":"013xrzp12g3nqk8n7f8f9jbg8d18q7tm","agent_deployment_id":null,
        "agent_id":null,"created_by_admin_user_id":null,"status":"active","expires_at":"2027-01-01T00:00:00Z",
        "last_used_at":null,"inserted_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z",
        "available_actions":{"activate":false,"delete":false,"revoke":true,"suspend":true}}}"#;

    #[test]
    fn a_token_is_given_back_as_it_came_and_without_its_secret() {
        let made: WithSecret = serde_json::from_str(MADE).unwrap();
        let issued = Issued { token: made.details, secret: Secret::from(made.token) };
        assert!(!format!("{issued:?}").contains("c2VjcmV0"));
        let sent: serde_json::Value = serde_json::from_str(MADE).unwrap();
        assert_eq!(serde_json::to_value(&issued.token).unwrap(), sent["details"]);
    }

    #[test]
    fn a_token_of_the_first_generation_is_read() {
        let text = MADE.replace(r#""agent_deployment_id":null,"#, "").replace(r#""agent_id":null,"#, "");
        let made: WithSecret = serde_json::from_str(&text).unwrap();
        assert_eq!((made.details.agent_deployment_id, made.details.agent_id), (None, None));
    }

    fn check(scope: NewScope, expires_at: Option<Timestamp>, idempotency_key: Option<&str>, expected: &str) {
        let new = NewApiToken { scope, expires_at };
        let body = Creation { details: Details::from(&new), idempotency_key };
        assert_eq!(serde_json::to_string(&body).unwrap(), expected);
    }

    #[test]
    fn bodies_name_only_what_is_meant() {
        let environment: EnvironmentId = ENVIRONMENT.parse().unwrap();
        let agent = AGENT.parse().unwrap();
        let year = Timestamp::parse_rfc3339("2031-01-02T03:04:05Z").unwrap();
        check(NewScope::Account, None, None, r#"{"details":{"token_scope":"account"}}"#);
        check(
            NewScope::Environment(environment),
            Some(year),
            Some("k"),
            &format!(
                r#"{{"details":{{"token_scope":"environment","environment_id":"{ENVIRONMENT}","expires_at":"2031-01-02T03:04:05Z"}},"idempotency_key":"k"}}"#
            ),
        );
        check(
            NewScope::AgentDeployment { agent, environment },
            None,
            None,
            &format!(
                r#"{{"details":{{"token_scope":"agent_deployment","environment_id":"{ENVIRONMENT}","agent_id":"{AGENT}"}}}}"#
            ),
        );
    }
}
