//! Runs one kind of verification over and over, for a tool that counts instructions: `benches/instructions` starts it.
//!
//! Whoever is counted must do the same each time: one seed, one thread, a table as dense as one gets.

#![expect(clippy::panic, reason = "a benchmark may stop at the first surprise")]

use std::borrow::Cow;
use std::hint::black_box;

use countersign_token::credential::Credential;
use countersign_token::demand::Demand;
use countersign_token::digest::{DigestKey, InstallationKey};
use countersign_token::entropy::Entropy;
use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::{AccountId, ClientId, ServiceTokenId};
use countersign_token::index::Index;
use countersign_token::service_token::Owner;
use countersign_token::time::Timestamp;
use countersign_token::verify::{Decision, Reason, verify};

const TOKENS: usize = 5_000;
const CHECKS: usize = 1_000;
const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const ACCOUNT: AccountId = AccountId::from_bytes([1; 16]);
const RIGHT: &str = "csec_0123456789012345678901234567890123456789abcdef";
const WRONG: &str = "csec_0123456789012345678901234567890123456789abcdeg";

/// What is counted, under this name.
#[inline(never)]
fn counted_verification(index: &Index, credential: &Credential<'_>, demand: &Demand) -> Decision {
    verify(index, credential, demand, NOW)
}

/// What every verification costs at least.
#[inline(never)]
fn counted_digest(key: &DigestKey, client_id: &ClientId) {
    black_box(key.pair(client_id, RIGHT));
}

fn main() {
    let kind = std::env::args().skip(1).find(|argument| argument != "--bench").unwrap_or_default();
    let entropy = Entropy::seeded(1);
    let key = InstallationKey::generate(&entropy).digest_key();
    let index = Index::with_capacity(key.clone(), &entropy, TOKENS);
    let clients: Vec<_> = (0..TOKENS).map(|_| ClientId::generate(&entropy)).collect();
    for (revision, client_id) in (1..).zip(&clients) {
        let subject = Subject::ServiceToken {
            id: ServiceTokenId::from_bytes(*client_id.as_bytes()),
            owner: Owner { account: ACCOUNT, zone: None },
            client_id: *client_id,
            name: "a service token".to_owned(),
            allow_from: None,
            digest: key.pair(client_id, RIGHT),
            secret_version: 1,
            previous: None,
            previous_version: None,
            enabled: kind != "disabled",
            expires_at: Some(Timestamp::MAX),
            last_seen_at: None,
            deleted: false,
        };
        index.apply(&Change { revision: Revision::new(revision), subject });
    }
    let demand = Demand::default().with_account(&index, &ACCOUNT);
    let pair = |client_id, secret| Credential::Pair { client_id, secret: Cow::Borrowed(secret) };
    // The first one makes room for what the thread keeps.
    let unknown = ClientId::generate(&entropy);
    verify(&index, &pair(unknown, WRONG), &demand, NOW);
    for client_id in clients.into_iter().take(CHECKS) {
        let (credential, expected) = match kind.as_str() {
            "digest" => {
                counted_digest(&key, &client_id);
                continue;
            }
            "admitted" => (pair(client_id, RIGHT), None),
            "disabled" => (pair(client_id, RIGHT), Some(Reason::Disabled)),
            "wrong" => (pair(client_id, WRONG), Some(Reason::Invalid)),
            "unknown" => (pair(ClientId::generate(&entropy), WRONG), Some(Reason::Invalid)),
            "garbage" => (Credential::UnknownPair { secret: Cow::Borrowed(WRONG) }, Some(Reason::Invalid)),
            "" => return,
            _ => panic!("there is no kind {kind}"),
        };
        let reason = match counted_verification(&index, &credential, &demand) {
            Decision::Allow(_) => None,
            Decision::Refuse(refusal) => Some(refusal.reason),
        };
        assert_eq!(reason, expected);
    }
    assert_eq!(index.len(), TOKENS);
}
