//! Any headers: no panic, and what is accepted is within its bounds.

use countersign_token::credential::{Credential, Presented};

const NAMES: [&str; 6] =
    ["cf-access-client-id", "CF-Access-Client-Secret", "authorization", "Authorization", "x-token", "host"];

/// Lines of input are headers: the first byte chooses the name, the rest is the value.
pub(crate) fn check(input: &[u8]) {
    let headers = input.split(|byte| *byte == b'\n').filter_map(|line| {
        let (name, value) = line.split_first()?;
        Some((*NAMES.get(usize::from(name % 8))?, value))
    });
    for single_header in [None, Some("x-token"), Some("authorization")] {
        let presented = Presented::from_headers(headers.clone(), single_header);
        if let Presented::Credential(credential) = presented {
            let (text, length_max) = match &credential {
                Credential::Pair { secret, .. } | Credential::UnknownPair { secret } => (secret.as_ref(), 512),
                Credential::Bearer { token, .. } => (*token, 4_096),
            };
            assert!((1..=length_max).contains(&text.len()), "{}", text.len());
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
            let names: Vec<_> = headers.clone().map(|(name, _)| name.to_ascii_lowercase()).collect();
            let times = |name: &str| names.iter().filter(|known| *known == name).count();
            assert!(times("cf-access-client-id") <= 1 && times("cf-access-client-secret") <= 1);
            assert_eq!(times("cf-access-client-id"), times("cf-access-client-secret"));
        }
    }
}
