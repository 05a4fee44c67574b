//! Service tokens, by the pair of client id and secret.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, RwLock};

use countersign_token::credential::Credential;
use countersign_token::demand::Demand;
use countersign_token::digest::{Digest, DigestKey, InstallationKey};
use countersign_token::entropy::Entropy;
use countersign_token::id::{AccountId, ClientId};
use countersign_token::index::Index;
use countersign_token::time::Timestamp;
use countersign_token::verify::{Decision, verify};

use crate::comparison::compare;
use crate::presented::{Presented, allow, fill, scattered};
use crate::{ACCOUNT, NOW};

/// How long an admission takes, to its digest alone and to the same by a standard map; how many refusals there are in the
/// time of one admission; and the bytes of the index's tables for each token.
pub(crate) struct Figures {
    pub(crate) to_digest: f64,
    pub(crate) to_map: f64,
    pub(crate) wrong: f64,
    pub(crate) unknown: f64,
    pub(crate) garbage: f64,
    pub(crate) unknown_to_wrong: f64,
    pub(crate) table_bytes: f64,
}

struct Row {
    digest: Digest,
    account: AccountId,
    enabled: bool,
    expires_at: Timestamp,
}

type Map = RwLock<Arc<HashMap<ClientId, Row>>>;

fn fill_map(presented: &Presented<ClientId>, key: &DigestKey) -> Map {
    let tokens = presented.ids.len();
    let mut map = HashMap::with_capacity(tokens);
    for token in scattered(tokens) {
        let client_id = *presented.ids.get(token).unwrap();
        let digest = key.pair(&client_id, presented.text(token));
        map.insert(client_id, Row { digest, account: ACCOUNT, enabled: true, expires_at: Timestamp::MAX });
    }
    RwLock::new(Arc::new(map))
}

pub(crate) fn measure(tokens: usize) -> Figures {
    let entropy = Entropy::seeded(1);
    let key = InstallationKey::generate(&entropy).digest_key();
    let mut presented = Presented::pairs(tokens, &entropy);
    let resident_before = memory("Rss:");
    let index = fill(&presented, &key, &entropy);
    let resident = memory("Rss:").saturating_sub(resident_before);
    let huge = memory("AnonHugePages:");
    let map = fill_map(&presented, &key);
    let demand = Demand::default().with_account(&index, &ACCOUNT);

    let admitted = |client_id: &ClientId, secret: &str| allow(&index, &demand, client_id, secret);
    let digested = |client_id: &ClientId, secret: &str| {
        black_box(key.pair(client_id, secret));
    };
    let mapped = |client_id: &ClientId, secret: &str| {
        let map = Arc::clone(&map.read().unwrap());
        let presented = key.pair(client_id, secret);
        let row = map.get(client_id).unwrap();
        let good = row.digest.matches(&presented) && row.enabled && NOW < row.expires_at && row.account == ACCOUNT;
        assert!(black_box(good));
    };
    let wrong = |client_id: &ClientId, secret: &str| {
        refuse(&index, &demand, client_id, secret.get(1..).unwrap());
    };
    let unknown = |client_id: &ClientId, secret: &str| {
        let mut bytes = *client_id.as_bytes();
        bytes.reverse();
        refuse(&index, &demand, &ClientId::from_bytes(bytes), secret.get(1..).unwrap());
    };
    let garbage = |_: &ClientId, secret: &str| {
        let credential = Credential::UnknownPair { secret: Cow::Borrowed(secret.get(1..).unwrap()) };
        assert!(matches!(black_box(verify(&index, &credential, &demand, NOW)), Decision::Refuse(_)));
    };
    println!("{tokens} service tokens, by pair");
    let each = |bytes: usize| bytes as f64 / tokens as f64;
    let table_bytes = each(index.table_size());
    println!(
        "  bytes a token: tables {table_bytes:.1}, with records {:.1}, resident {:.1}; {} MiB of the process in huge pages",
        each(index.size()),
        each(resident),
        huge >> 20,
    );
    Figures {
        to_digest: compare("admitted, its digest alone", &mut presented, admitted, digested),
        to_map: compare("admitted, a std map", &mut presented, admitted, mapped),
        wrong: compare("admitted, wrong secret", &mut presented, admitted, wrong),
        unknown: compare("admitted, unknown id", &mut presented, admitted, unknown),
        garbage: compare("admitted, garbage", &mut presented, admitted, garbage),
        unknown_to_wrong: compare("unknown id, wrong secret", &mut presented, unknown, wrong),
        table_bytes,
    }
}

fn refuse(index: &Index, demand: &Demand, client_id: &ClientId, secret: &str) {
    let credential = Credential::Pair { client_id: *client_id, secret: Cow::Borrowed(secret) };
    assert!(matches!(black_box(verify(index, &credential, demand, NOW)), Decision::Refuse(_)));
}

/// A figure of this process's memory, in bytes; 0 where the system doesn't tell.
fn memory(name: &str) -> usize {
    let all = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = all.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.trim_end_matches("kB").trim().parse::<usize>().ok());
    kibibytes.unwrap_or_default() * 1_024
}
