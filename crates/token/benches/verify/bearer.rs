//! API tokens as they are minted, by bearer.

use std::hint::black_box;

use countersign_token::api_token::{ApiTokenStatus, Claims, FIRST_KEY_ID, LIFETIME_DEFAULT_SECS, ScopeKind, mint};
use countersign_token::credential::Credential;
use countersign_token::demand::Demand;
use countersign_token::digest::{BearerKind, InstallationKey};
use countersign_token::entropy::Entropy;
use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::{AccountPfid, ApiTokenId, InstallationId, Partition};
use countersign_token::index::Index;
use countersign_token::time::Timestamp;
use countersign_token::verify::{Decision, verify};

use crate::comparison::compare;
use crate::presented::{BATCH, Presented, scattered};
use crate::{ACCOUNT, NOW};

/// Good bearers and revoked ones take turns by batches, so that only whole turns are presented.
pub(crate) const TURN: usize = 2 * BATCH;

/// How long an admission takes, to its digest alone; and how many refusals there are in the time of one admission.
pub(crate) struct Figures {
    pub(crate) to_digest: f64,
    pub(crate) unknown: f64,
    pub(crate) revoked: f64,
}

pub(crate) fn measure(tokens: usize) -> Figures {
    let entropy = Entropy::seeded(3);
    let installation_key = InstallationKey::generate(&entropy);
    let (key, jwt_key) = (installation_key.digest_key(), installation_key.jwt_key(FIRST_KEY_ID));
    let partition = Partition::MAX;
    let claims = Claims {
        installation: InstallationId::generate(&entropy),
        id: ApiTokenId::generate(NOW, partition, &entropy),
        account: AccountPfid::generate(NOW, partition, &entropy),
        scope: ScopeKind::Account,
        issued_at: NOW,
        expires_at: Timestamp::from_secs(NOW.as_secs() + LIFETIME_DEFAULT_SECS),
    };
    let minted = |id: ApiTokenId| mint(&jwt_key, &Claims { id, ..claims });
    let ids: Vec<_> = (0..tokens).map(|_| ApiTokenId::generate(NOW, partition, &entropy)).collect();
    let index = Index::with_capacity(key.clone(), &entropy, tokens);
    for (revision, token) in (1..).zip(scattered(tokens)) {
        let id = *ids.get(token).unwrap();
        let subject = Subject::ApiToken {
            id,
            account: ACCOUNT,
            environment: None,
            digest: key.bearer(BearerKind::ApiToken, minted(id).expose()),
            replaced: None,
            status: if is_revoked(token) { ApiTokenStatus::Revoked } else { ApiTokenStatus::Active },
            expires_at: claims.expires_at,
            last_used_at: None,
            deleted: false,
        };
        index.apply(&Change { revision: Revision::new(revision), subject });
    }
    let mut presented = Presented::bearers(&ids, minted);
    let demand = Demand::default().with_account(&index, &ACCOUNT);

    let admitted = |_: &ApiTokenId, token: &str| {
        let credential = Credential::Bearer { kind: BearerKind::ApiToken, token };
        let Decision::Allow(verified) = verify(&index, &credential, &demand, NOW) else {
            panic!("a good credential was refused");
        };
        black_box(verified);
    };
    let digested = |_: &ApiTokenId, token: &str| {
        black_box(key.bearer(BearerKind::ApiToken, token));
    };
    let revoked = |_: &ApiTokenId, token: &str| {
        let credential = Credential::Bearer { kind: BearerKind::ApiToken, token };
        assert!(matches!(black_box(verify(&index, &credential, &demand, NOW)), Decision::Refuse(_)));
    };
    let unknown = |_: &ApiTokenId, token: &str| {
        let credential = Credential::Bearer { kind: BearerKind::ApiToken, token: token.get(1..).unwrap() };
        assert!(matches!(black_box(verify(&index, &credential, &demand, NOW)), Decision::Refuse(_)));
    };
    println!("{tokens} API tokens of {} characters, by bearer", presented.length);
    // The first batch is of good ones, the second of revoked ones, and so on.
    Figures {
        to_digest: compare("admitted, its digest alone", &mut presented, admitted, digested),
        unknown: compare("admitted, unknown", &mut presented, admitted, unknown),
        revoked: compare("admitted, revoked", &mut presented, admitted, revoked),
    }
}

fn is_revoked(token: usize) -> bool {
    token / BATCH % 2 == 1
}
