//! API tokens: JWTs that are the same, byte for byte, whenever they are minted from the same claims.

use zeroize::Zeroizing;

use crate::digest::MacKey;
use crate::id::{AccountPfid, ApiTokenId, InstallationId};
use crate::secret::Secret;
use crate::time::Timestamp;

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// The id of the first signing key of an installation.
pub const FIRST_KEY_ID: &str = "1";

/// How long a token lives whose creator doesn't say: 365 days, in seconds.
pub const LIFETIME_DEFAULT_SECS: i64 = 365 * 24 * 3_600;

/// What a token reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiTokenScope {
    /// The whole account.
    Account,
    /// One environment.
    Environment,
    /// One agent's deployment in one environment.
    AgentDeployment,
}

impl ApiTokenScope {
    /// The name that the wire and the store know it by.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Environment => "environment",
            Self::AgentDeployment => "agent_deployment",
        }
    }

    /// The scope with this name; `None` if there is none.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Account, Self::Environment, Self::AgentDeployment].into_iter().find(|scope| scope.text() == text)
    }
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
    /// What it reaches.
    pub scope: ApiTokenScope,
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
fn base64url(bytes: &[u8]) -> String {
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
