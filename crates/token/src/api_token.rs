//! API tokens: what they reach, what can be done to them, and their texts: JWTs that are the same, byte for byte,
//! whenever they are minted from the same claims.

use zeroize::Zeroizing;

use crate::digest::{Digest, MacKey};
use crate::id::{
    AccountId, AccountPfid, AgentDeploymentId, AgentId, ApiTokenId, EnvironmentId, InstallationId, UserPfid,
};
use crate::secret::Secret;
use crate::time::Timestamp;

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// The id of the first signing key of an installation.
pub const FIRST_KEY_ID: &str = "1";

/// How long a token lives whose creator doesn't say: 365 days, in seconds.
pub const LIFETIME_DEFAULT_SECS: i64 = 365 * 24 * 3_600;

/// An API token. Only its digest is kept, and what it takes to mint the same string again.
#[derive(Clone, Debug)]
pub struct ApiToken {
    /// Its id.
    pub id: ApiTokenId,
    /// The account that it belongs to.
    pub account: AccountId,
    /// What it reaches.
    pub scope: ApiTokenScope,
    /// Whether it is admitted.
    pub status: ApiTokenStatus,
    /// The digest of the token.
    pub digest: Digest,
    /// The id of the key that it is signed with.
    pub key_id: String,
    /// The time that it says it was issued at.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The user who made it, if it was a user.
    pub created_by: Option<UserPfid>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// When it was made.
    pub inserted_at: Timestamp,
    /// When its status last changed; use doesn't count.
    pub updated_at: Timestamp,
}

impl ApiToken {
    /// The token with a status that it has from now on.
    pub fn changed(&self, status: ApiTokenStatus, now: Timestamp) -> Self {
        Self { status, updated_at: now, ..self.clone() }
    }
}

/// What a token reaches, with the ids of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiTokenScope {
    /// The whole account.
    Account,
    /// One environment.
    Environment(EnvironmentId),
    /// One agent's deployment in one environment.
    AgentDeployment {
        /// The deployment.
        deployment: AgentDeploymentId,
        /// The agent that is deployed.
        agent: AgentId,
        /// The environment that it is deployed in.
        environment: EnvironmentId,
    },
}

impl ApiTokenScope {
    /// The kind of scope.
    pub const fn kind(self) -> ScopeKind {
        match self {
            Self::Account => ScopeKind::Account,
            Self::Environment(_) => ScopeKind::Environment,
            Self::AgentDeployment { .. } => ScopeKind::AgentDeployment,
        }
    }

    /// The environment that the token is confined to; `None` is the whole account.
    pub const fn environment(self) -> Option<EnvironmentId> {
        match self {
            Self::Account => None,
            Self::Environment(environment) | Self::AgentDeployment { environment, .. } => Some(environment),
        }
    }

    /// The deployment that the token is confined to.
    pub const fn deployment(self) -> Option<AgentDeploymentId> {
        match self {
            Self::Account | Self::Environment(_) => None,
            Self::AgentDeployment { deployment, .. } => Some(deployment),
        }
    }

    /// The agent that the token is confined to.
    pub const fn agent(self) -> Option<AgentId> {
        match self {
            Self::Account | Self::Environment(_) => None,
            Self::AgentDeployment { agent, .. } => Some(agent),
        }
    }
}

/// A kind of scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScopeKind {
    /// The whole account.
    Account,
    /// One environment.
    Environment,
    /// One agent's deployment in one environment.
    AgentDeployment,
}

impl ScopeKind {
    /// The name that the wire and the store know it by.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Environment => "environment",
            Self::AgentDeployment => "agent_deployment",
        }
    }

    /// The kind with this name; `None` if there is none.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Account, Self::Environment, Self::AgentDeployment].into_iter().find(|kind| kind.text() == text)
    }
}

/// Whether a token is admitted. That it has expired is no status: an expired token keeps the one that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiTokenStatus {
    /// It is.
    Active,
    /// It isn't, until somebody activates it again.
    Suspended,
    /// It isn't, for good.
    Revoked,
}

impl ApiTokenStatus {
    /// The name that the wire and the store know it by.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
        }
    }

    /// The status with this name; `None` if there is none.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Revoked].into_iter().find(|status| status.text() == text)
    }

    /// What an action makes of a token with this status; `None` if it isn't allowed. What would change nothing isn't.
    pub const fn after(self, action: Action) -> Option<After> {
        match (self, action) {
            (Self::Active, Action::Suspend) => Some(After::Status(Self::Suspended)),
            (Self::Suspended, Action::Activate) => Some(After::Status(Self::Active)),
            (Self::Active | Self::Suspended, Action::Revoke) => Some(After::Status(Self::Revoked)),
            (Self::Revoked, Action::Delete) => Some(After::Deleted),
            (Self::Active, Action::Activate | Action::Delete)
            | (Self::Suspended, Action::Suspend | Action::Delete)
            | (Self::Revoked, Action::Activate | Action::Suspend | Action::Revoke) => None,
        }
    }

    /// Whether an action is allowed on a token with this status.
    pub const fn allows(self, action: Action) -> bool {
        self.after(action).is_some()
    }
}

/// What can be done to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Admit it again.
    Activate,
    /// Take it off the list.
    Delete,
    /// Refuse it for good.
    Revoke,
    /// Refuse it until it is activated.
    Suspend,
}

impl Action {
    /// The name that the wire knows it by.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Delete => "delete",
            Self::Revoke => "revoke",
            Self::Suspend => "suspend",
        }
    }
}

/// What a token is after an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum After {
    /// A token with this status.
    Status(ApiTokenStatus),
    /// Gone.
    Deleted,
}

/// What a token says about itself. None of it authorises anything: the token's row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The issuer.
    pub installation: InstallationId,
    /// The token.
    pub id: ApiTokenId,
    /// The account that it belongs to.
    pub account: AccountPfid,
    /// The kind of what it reaches.
    pub scope: ScopeKind,
    /// When it was made; the text has whole seconds.
    pub issued_at: Timestamp,
    /// When it ends; the text has whole seconds.
    pub expires_at: Timestamp,
}

/// The signed token of some claims.
pub fn mint(key: &MacKey, claims: &Claims) -> Secret {
    let Claims { installation, id, account, scope, issued_at, expires_at } = claims;
    let payload = format!(
        r#"{{"iss":"countersign:{installation}","sub":"{id}","jti":"{id}","iat":{},"exp":{},"account_id":"{account}","token_scope":"{}"}}"#,
        issued_at.as_secs(),
        expires_at.as_secs(),
        scope.text(),
    );
    // Nothing up to the signature is secret. The capacity holds all: a string that grew would leave a copy behind.
    let signed = format!("{}.{}", base64url(HEADER.as_bytes()), base64url(payload.as_bytes()));
    let signature = Zeroizing::new(base64url(Zeroizing::new(key.mac(&[signed.as_bytes()])).as_slice()));
    let mut token = String::with_capacity(signed.len() + 1 + signature.len());
    token.push_str(&signed);
    token.push('.');
    token.push_str(&signature);
    Secret::from(token)
}

/// Base 64 in the alphabet for URLs, without padding.
pub fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index| u32::from(chunk.get(index).copied().unwrap_or_default());
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..=chunk.len() {
            let digit = usize::try_from(group >> (18 - 6 * place) & 63).unwrap_or_default();
            text.push(ALPHABET.get(digit).copied().map_or('A', char::from));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Action, After, ApiToken, ApiTokenScope, ApiTokenStatus, Claims, ScopeKind, base64url, mint};
    use crate::digest::{Digest, MacKey};
    use crate::id::{AccountId, InstallationId};
    use crate::time::Timestamp;

    #[test]
    fn base64url_has_no_padding() {
        for (bytes, text) in [
            (b"".as_slice(), ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg"),
            (b"fooba", "Zm9vYmE"),
            (b"foobar", "Zm9vYmFy"),
            (&[0xff, 0xef, 0xbf], "_--_"),
        ] {
            assert_eq!(base64url(bytes), text);
        }
    }

    #[test]
    fn a_token_is_the_same_whenever_it_is_minted() {
        let key = MacKey::from_bytes([1; 32]);
        let claims = Claims {
            installation: InstallationId::from_bytes([0xab; 16]),
            id: "013xrzp12g3nqk8n7f8f9jbg8d18q7tm".parse().unwrap(),
            account: "013xrzp12g3nqk8ngskn1wtxgka5b0nf".parse().unwrap(),
            scope: ScopeKind::Account,
            issued_at: Timestamp::from_micros(1_767_225_600_999_999),
            expires_at: Timestamp::from_secs(1_798_761_600),
        };
        let token = mint(&key, &claims);
        let parts: Vec<&str> = token.expose().split('.').collect();
        let payload = concat!(
            r#"{"iss":"countersign:abababababababababababababababab","sub":"013xrzp12g3nqk8n7f8f9jbg8d18q7tm","#,
            r#""jti":"013xrzp12g3nqk8n7f8f9jbg8d18q7tm","iat":1767225600,"exp":1798761600,"#,
            r#""account_id":"013xrzp12g3nqk8ngskn1wtxgka5b0nf","token_scope":"account"}"#,
        );
        assert_eq!(parts[0], "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9");
        assert_eq!(parts[1], base64url(payload.as_bytes()));
        let signed = format!("{}.{}", parts[0], parts[1]);
        assert_eq!(parts[2], base64url(&key.mac(&[signed.as_bytes()])));
        assert_eq!(parts.len(), 3);
        assert_eq!(mint(&key, &claims).expose(), token.expose());
    }

    #[test]
    fn minted_tokens_are_those_of_other_implementations() {
        let check = |key: [u8; 32], scope: ScopeKind, expected: &str| {
            let claims = Claims {
                installation: InstallationId::from_bytes([0xab; 16]),
                id: "013xrzp12g3nqk8n7f8f9jbg8d18q7tm".parse().unwrap(),
                account: "013xrzp12g3nqk8ngskn1wtxgka5b0nf".parse().unwrap(),
                scope,
                issued_at: Timestamp::from_secs(1_767_225_600),
                expires_at: Timestamp::from_secs(1_798_761_600),
            };
            assert_eq!(mint(&MacKey::from_bytes(key), &claims).expose(), expected);
        };
        check(
            [1; 32],
            ScopeKind::Account,
            concat!(
                "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJjb3VudGVyc2lnbjphYmFiYWJhYmFiYWJhYmFiYWJhY",
                "mFiYWJhYmFiYWJhYiIsInN1YiI6IjAxM3hyenAxMmczbnFrOG43ZjhmOWpiZzhkMThxN3RtIiwianRpIjoiMDEzeHJ",
                "6cDEyZzNucWs4bjdmOGY5amJnOGQxOHE3dG0iLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc5ODc2MTYwMCwiYWNjb",
                "3VudF9pZCI6IjAxM3hyenAxMmczbnFrOG5nc2tuMXd0eGdrYTViMG5mIiwidG9rZW5fc2NvcGUiOiJhY2NvdW50In0",
                ".9bhzWh0-aaBN8MGoLguFUz_a6qlj42R7UkXu5OKrF7E",
            ),
        );
        check(
            [2; 32],
            ScopeKind::Environment,
            concat!(
                "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJjb3VudGVyc2lnbjphYmFiYWJhYmFiYWJhYmFiYWJhY",
                "mFiYWJhYmFiYWJhYiIsInN1YiI6IjAxM3hyenAxMmczbnFrOG43ZjhmOWpiZzhkMThxN3RtIiwianRpIjoiMDEzeHJ",
                "6cDEyZzNucWs4bjdmOGY5amJnOGQxOHE3dG0iLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc5ODc2MTYwMCwiYWNjb",
                "3VudF9pZCI6IjAxM3hyenAxMmczbnFrOG5nc2tuMXd0eGdrYTViMG5mIiwidG9rZW5fc2NvcGUiOiJlbnZpcm9ubWV",
                "udCJ9.Ose8_Bz7ClJKpBzD6Yg8SV_RrnaCp1pS3S0k54wPagI",
            ),
        );
        check(
            [255; 32],
            ScopeKind::AgentDeployment,
            concat!(
                "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJjb3VudGVyc2lnbjphYmFiYWJhYmFiYWJhYmFiYWJhY",
                "mFiYWJhYmFiYWJhYiIsInN1YiI6IjAxM3hyenAxMmczbnFrOG43ZjhmOWpiZzhkMThxN3RtIiwianRpIjoiMDEzeHJ",
                "6cDEyZzNucWs4bjdmOGY5amJnOGQxOHE3dG0iLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc5ODc2MTYwMCwiYWNjb",
                "3VudF9pZCI6IjAxM3hyenAxMmczbnFrOG5nc2tuMXd0eGdrYTViMG5mIiwidG9rZW5fc2NvcGUiOiJhZ2VudF9kZXB",
                "sb3ltZW50In0.ndELLJDzyA4TmNZEufay_37uuDSsliR5ufkfsGjU7jc",
            ),
        );
    }

    #[test]
    fn every_action_on_every_status() {
        use Action::{Activate, Delete, Revoke, Suspend};
        use ApiTokenStatus::{Active, Revoked, Suspended};
        let check = |status: ApiTokenStatus, action: Action, expected: Option<After>| {
            assert_eq!(status.after(action), expected, "{} a token that is {}", action.text(), status.text());
            assert_eq!(status.allows(action), expected.is_some());
        };
        check(Active, Suspend, Some(After::Status(Suspended)));
        check(Active, Activate, None);
        check(Active, Revoke, Some(After::Status(Revoked)));
        check(Active, Delete, None);
        check(Suspended, Suspend, None);
        check(Suspended, Activate, Some(After::Status(Active)));
        check(Suspended, Revoke, Some(After::Status(Revoked)));
        check(Suspended, Delete, None);
        check(Revoked, Suspend, None);
        check(Revoked, Activate, None);
        check(Revoked, Revoke, None);
        check(Revoked, Delete, Some(After::Deleted));
    }

    #[test]
    fn kinds_of_scope_and_statuses_have_names() {
        for (kind, text) in [
            (ScopeKind::Account, "account"),
            (ScopeKind::Environment, "environment"),
            (ScopeKind::AgentDeployment, "agent_deployment"),
        ] {
            assert_eq!(kind.text(), text);
            assert_eq!(ScopeKind::parse(text), Some(kind));
        }
        for (status, text) in [
            (ApiTokenStatus::Active, "active"),
            (ApiTokenStatus::Suspended, "suspended"),
            (ApiTokenStatus::Revoked, "revoked"),
        ] {
            assert_eq!(status.text(), text);
            assert_eq!(ApiTokenStatus::parse(text), Some(status));
        }
        for text in ["", "galaxy", "Account", "active ", "deleted", "expired"] {
            assert_eq!((ScopeKind::parse(text), ApiTokenStatus::parse(text)), (None, None), "{text:?}");
        }
    }

    #[test]
    fn a_scope_names_what_it_reaches() {
        let environment = "013xrzp12g3nqk8n7f8f9jbg8d18q7tm".parse().unwrap();
        let agent = "013xrzp12g3nqk8ngskn1wtxgka5b0nf".parse().unwrap();
        let deployment = "013xrzp12g3nqk8nh0qrc2b1jfanmvb9".parse().unwrap();
        let parts = |scope: ApiTokenScope| (scope.kind(), scope.environment(), scope.agent(), scope.deployment());
        assert_eq!(parts(ApiTokenScope::Account), (ScopeKind::Account, None, None, None));
        let of_environment = ApiTokenScope::Environment(environment);
        assert_eq!(parts(of_environment), (ScopeKind::Environment, Some(environment), None, None));
        let of_deployment = ApiTokenScope::AgentDeployment { deployment, agent, environment };
        let expected = (ScopeKind::AgentDeployment, Some(environment), Some(agent), Some(deployment));
        assert_eq!(parts(of_deployment), expected);
    }

    #[test]
    fn a_change_of_status_is_an_update() {
        let at = Timestamp::from_secs;
        let before = ApiToken {
            id: "013xrzp12g3nqk8n7f8f9jbg8d18q7tm".parse().unwrap(),
            account: AccountId::from_bytes([1; 16]),
            scope: ApiTokenScope::Account,
            status: ApiTokenStatus::Active,
            digest: Digest::from_bytes([2; 32]),
            key_id: "1".to_owned(),
            issued_at: at(10),
            expires_at: at(20),
            created_by: None,
            last_used_at: Some(at(12)),
            inserted_at: at(10),
            updated_at: at(10),
        };
        let after = before.changed(ApiTokenStatus::Suspended, at(15));
        assert_eq!((after.status, after.updated_at), (ApiTokenStatus::Suspended, at(15)));
        assert_eq!((after.id, after.expires_at, after.last_used_at), (before.id, before.expires_at, Some(at(12))));
        assert_eq!((after.inserted_at, after.issued_at), (at(10), at(10)));
    }
}
