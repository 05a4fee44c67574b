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

#[cfg(test)]
mod tests {
    use super::{ApiTokenScope, Claims, base64url, mint};
    use crate::digest::MacKey;
    use crate::id::InstallationId;
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
            scope: ApiTokenScope::Account,
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
    fn scopes_have_names() {
        for scope in [ApiTokenScope::Account, ApiTokenScope::Environment, ApiTokenScope::AgentDeployment] {
            assert_eq!(ApiTokenScope::parse(scope.text()), Some(scope));
        }
        assert_eq!(ApiTokenScope::parse("galaxy"), None);
    }
}
