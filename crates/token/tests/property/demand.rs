//! Any query as a demand: no panic, and what is accepted names what must hold, in letters that a header may have.

use countersign_token::demand::Demand;
use countersign_token::digest::InstallationKey;
use countersign_token::entropy::Entropy;
use countersign_token::index::Index;

thread_local! {
    static INDEX: Index = {
        let entropy = Entropy::seeded(1);
        Index::new(InstallationKey::generate(&entropy).digest_key(), &entropy)
    };
}

/// The input is the query.
pub(crate) fn check(input: &[u8]) {
    let Ok(query) = str::from_utf8(input) else { return };
    INDEX.with(|index| {
        if let Ok((demand, header)) = Demand::parse(query, index) {
            assert!(query.contains('='), "{query}");
            if let Some(audience) = demand.audience() {
                assert!((1..=128).contains(&audience.len()));
                assert!(audience.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'));
            }
            if let Some(header) = header {
                assert!((1..=64).contains(&header.len()));
                assert!(header.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'), "{header:?}");
            }
            // The order of parameters means nothing.
            let reversed: Vec<_> = query.rsplit('&').collect();
            assert!(Demand::parse(&reversed.join("&"), index).is_ok(), "{query}");
        }
    });
}
