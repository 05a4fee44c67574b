//! What a caller shows to the management API.

use countersign_token::secret::Secret;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::error::Error;

const AUTH_EMAIL: HeaderName = HeaderName::from_static("x-auth-email");
const AUTH_KEY: HeaderName = HeaderName::from_static("x-auth-key");

/// The caller's own credential. `Debug` shows no secret.
#[derive(Debug)]
pub enum Credential {
    /// A token that is sent as a bearer: a management token, or an API token of an account.
    Bearer(Secret),
    /// A user's e-mail address and global key, which only the Cloudflare dialect knows.
    GlobalKey {
        /// The user's address.
        email: String,
        /// The user's global key.
        key: Secret,
    },
}

impl Credential {
    /// A management token, or an API token of an account.
    pub fn bearer(token: impl Into<String>) -> Self {
        Self::Bearer(Secret::from(token.into()))
    }

    /// The headers that carry the credential, marked so that nothing on the way prints or indexes them.
    pub(crate) fn headers<R>(&self) -> Result<HeaderMap, Error<R>> {
        let mut headers = HeaderMap::new();
        match self {
            Self::Bearer(token) => {
                let text = Secret::from(format!("Bearer {}", token.expose()));
                headers.insert(AUTHORIZATION, sensitive(text.expose())?);
            }
            Self::GlobalKey { email, key } => {
                headers.insert(AUTH_EMAIL, sensitive(email)?);
                headers.insert(AUTH_KEY, sensitive(key.expose())?);
            }
        }
        Ok(headers)
    }
}

fn sensitive<R>(text: &str) -> Result<HeaderValue, Error<R>> {
    let mut value = HeaderValue::from_str(text).map_err(|_invalid| Error::Credential)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefactor::Refusal;

    #[test]
    fn no_secret_is_shown() {
        let credential = Credential::bearer("csat_0123456789");
        assert!(!format!("{credential:?}").contains("0123456789"));
        let headers = credential.headers::<Refusal>().unwrap();
        assert!(!format!("{headers:?}").contains("0123456789"));
        assert_eq!(headers[AUTHORIZATION], "Bearer csat_0123456789");
    }

    #[test]
    fn a_token_that_is_no_header_value_is_refused_without_being_named() {
        let error = Credential::bearer("csat_\n0123456789").headers::<Refusal>().unwrap_err();
        assert!(!error.to_string().contains("0123456789"), "{error}");
    }
}
