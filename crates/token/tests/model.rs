//! `verify` against a naive model, over random histories of everything that can happen to a credential.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

use std::borrow::Cow;
use std::net::IpAddr;

use countersign_token::api_token::ApiTokenStatus;
use countersign_token::credential::Credential;
use countersign_token::demand::Demand;
use countersign_token::digest::{BearerKind, Digest, DigestKey, InstallationKey};
use countersign_token::duration::TokenDuration;
use countersign_token::entropy::Entropy;
use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::{
    AccountId, AccountPfid, ApiTokenId, ClientId, EnvironmentId, Partition, ServiceTokenId, ZoneId,
};
use countersign_token::index::{Detail, Index};
use countersign_token::service_token::{Name, NewServiceToken, Owner, Patch, ServiceToken, Update};
use countersign_token::time::Timestamp;
use countersign_token::verify::{Decision, Reason, verify};
use proptest::prelude::*;

const SERVICE_TOKENS: usize = 5;
const API_TOKENS: usize = 4;
const SECRETS: [&str; 4] = ["one", "two", "three", "four"];

/// Where credentials come from.
const ADDRESSES: [Option<&str>; 5] =
    [Some("10.1.1.1"), Some("::ffff:10.1.1.1"), Some("192.0.2.7"), Some("2001:db8::1"), None];

/// Where they may come from, and whether each of the addresses is there.
const LISTS: [(Option<&str>, [bool; 5]); 5] = [
    (None, [true; 5]),
    (Some("10.0.0.0/8"), [true, true, false, false, false]),
    (Some("192.0.2.7,2001:db8::/32"), [false, false, true, true, false]),
    (Some("10.0.0.0/9,10.128.0.0/9,2001:db8::1"), [true, true, false, true, false]),
    (Some("0.0.0.0/0,::/0"), [true, true, true, true, false]),
];

fn address(number: usize) -> Option<IpAddr> {
    ADDRESSES[number].map(|address| address.parse().unwrap())
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Create {
        token: usize,
        secret: usize,
        duration: &'static str,
        enabled: bool,
    },
    Update {
        token: usize,
        duration: Option<&'static str>,
        enabled: Option<bool>,
        grace: Patch<i64>,
    },
    UpdateVersion {
        token: usize,
        secret: usize,
        grace: Patch<i64>,
    },
    Rotate {
        token: usize,
        secret: usize,
        grace: Option<i64>,
    },
    Refresh {
        token: usize,
    },
    AllowFrom {
        token: usize,
        list: usize,
    },
    Rename {
        token: usize,
        length: usize,
    },
    Delete {
        token: usize,
    },
    SetApiToken {
        token: usize,
        status: ApiTokenStatus,
        lives: i64,
        deleted: bool,
    },
    DeleteEnvironment {
        environment: usize,
    },
    /// A change that was delivered before, perhaps long ago.
    Replay {
        change: usize,
    },
    Wait {
        secs: i64,
    },
    /// Enough others that tables must grow.
    Crowd {
        number: u16,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let token = || 0..SERVICE_TOKENS;
    let secret = || 0..SECRETS.len();
    let duration = || prop::sample::select(vec!["10s", "100s", "8760h", "forever"]);
    let grace = || prop_oneof![Just(Patch::Keep), Just(Patch::Clear), (-20..100_i64).prop_map(Patch::Set)];
    let status = prop::sample::select(vec![ApiTokenStatus::Active, ApiTokenStatus::Suspended, ApiTokenStatus::Revoked]);
    prop_oneof![
        6 => (token(), secret(), duration(), prop::bool::weighted(0.9))
            .prop_map(|(token, secret, duration, enabled)| Step::Create { token, secret, duration, enabled }),
        4 => (token(), prop::option::of(duration()), prop::option::of(any::<bool>()), grace())
            .prop_map(|(token, duration, enabled, grace)| Step::Update { token, duration, enabled, grace }),
        2 => (token(), secret(), grace())
            .prop_map(|(token, secret, grace)| Step::UpdateVersion { token, secret, grace }),
        4 => (token(), secret(), prop::option::of(-20..100_i64))
            .prop_map(|(token, secret, grace)| Step::Rotate { token, secret, grace }),
        1 => token().prop_map(|token| Step::Refresh { token }),
        4 => (token(), 0..LISTS.len()).prop_map(|(token, list)| Step::AllowFrom { token, list }),
        2 => (token(), prop_oneof![1..70_usize, 1..=350_usize])
            .prop_map(|(token, length)| Step::Rename { token, length }),
        1 => token().prop_map(|token| Step::Delete { token }),
        6 => (0..API_TOKENS, status, 1..100_i64, prop::bool::weighted(0.1))
            .prop_map(|(token, status, lives, deleted)| Step::SetApiToken { token, status, lives, deleted }),
        1 => (0..2_usize).prop_map(|environment| Step::DeleteEnvironment { environment }),
        4 => any::<prop::sample::Index>().prop_map(|change| Step::Replay { change: change.index(1_000) }),
        3 => (0..40_i64).prop_map(|secs| Step::Wait { secs }),
        1 => (0..1_500_u16).prop_map(|number| Step::Crowd { number }),
    ]
}

struct ApiToken {
    status: ApiTokenStatus,
    expires_at: Timestamp,
    deleted: bool,
}

/// Everything that is so, told twice: to the index, as changes, and kept in the plainest form.
struct World {
    key: DigestKey,
    index: Index,
    history: Vec<Change>,
    now: Timestamp,
    service_tokens: [Option<ServiceToken>; SERVICE_TOKENS],
    service_token_deleted: [bool; SERVICE_TOKENS],
    /// Which of the lists each has.
    service_token_list: [usize; SERVICE_TOKENS],
    api_tokens: [Option<ApiToken>; API_TOKENS],
    environment_deleted: [bool; 2],
    crowd: u16,
}

fn account(number: usize) -> AccountId {
    AccountId::from_bytes([u8::try_from(number).unwrap() + 1; 16])
}

fn zone(number: usize) -> ZoneId {
    ZoneId::from_bytes([u8::try_from(number).unwrap() + 11; 16])
}

fn pfid<T: From<countersign_token::id::Pfid>>(number: usize) -> T {
    let millis = i64::try_from(number).unwrap();
    let now = Timestamp::from_micros(millis * 1_000);
    countersign_token::id::Pfid::generate_related(now, Partition::new(5).unwrap(), &Entropy::seeded(1)).into()
}

fn environment(number: usize) -> EnvironmentId {
    pfid(100 + number)
}

fn client_id(token: usize) -> ClientId {
    ClientId::from_bytes([u8::try_from(token).unwrap() + 21; 16])
}

/// Tokens 0 and 1 are the first account's, 2 is its zone's, 3 the second account's, 4 its zone's.
fn owner(token: usize) -> Owner {
    let (of, in_zone) = [(0, false), (0, false), (0, true), (1, false), (1, true)][token];
    Owner { account: account(of), zone: in_zone.then(|| zone(of)) }
}

/// Tokens 0 and 1 are the first account's and its environment's, 2 and 3 the second's.
fn scope(token: usize) -> (usize, bool) {
    (token / 2, token % 2 == 1)
}

fn bearer(token: usize) -> String {
    format!("aaa.bbb{token}.ccc")
}

impl World {
    fn new() -> Self {
        let entropy = Entropy::seeded(9);
        let key = InstallationKey::generate(&entropy).digest_key();
        let mut world = Self {
            index: Index::new(key.clone(), &entropy),
            key,
            history: Vec::new(),
            now: Timestamp::from_micros(1_767_225_600_123_456),
            service_tokens: [const { None }; SERVICE_TOKENS],
            service_token_deleted: [false; SERVICE_TOKENS],
            service_token_list: [0; SERVICE_TOKENS],
            api_tokens: [const { None }; API_TOKENS],
            environment_deleted: [false; 2],
            crowd: 0,
        };
        for number in 0..2 {
            world.apply(Subject::Account { id: account(number), pfid: pfid::<AccountPfid>(200 + number) });
            world.apply(Subject::Zone { id: zone(number), account: account(number) });
            world.apply(Subject::Environment { id: environment(number), account: account(number), deleted: false });
        }
        world
    }

    fn apply(&mut self, subject: Subject) {
        let revision = Revision::new(i64::try_from(self.history.len()).unwrap() + 1);
        let change = Change { revision, subject };
        self.index.apply(&change);
        self.history.push(change);
    }

    fn take(&mut self, step: Step) {
        let now = self.now;
        let after = |secs: i64| Timestamp::from_micros(now.as_micros() + secs * 1_000_000);
        let digest = |token, secret: usize| self.key.pair(&client_id(token), SECRETS[secret]);
        match step {
            Step::Create { token, secret, duration, enabled } => {
                if self.service_tokens[token].is_none() {
                    let new = NewServiceToken {
                        id: ServiceTokenId::from_bytes([u8::try_from(token).unwrap(); 16]),
                        owner: owner(token),
                        client_id: client_id(token),
                        name: Name::parse("x").unwrap(),
                        duration: TokenDuration::parse(duration).unwrap(),
                        enabled,
                        secret_version: 1,
                        digest: digest(token, secret),
                        previous_expires_at: None,
                    };
                    self.put(token, ServiceToken::create(new, now));
                }
            }
            Step::Update { token, duration, enabled, grace } => self.change(token, |before| {
                let duration = duration.map(|text| TokenDuration::parse(text).unwrap());
                let previous_expires_at = patch(grace, after);
                before.updated(&Update { duration, enabled, previous_expires_at, ..Update::default() }, None, now)
            }),
            Step::UpdateVersion { token, secret, grace } => {
                let digest = digest(token, secret);
                self.change(token, |before| {
                    let update = Update {
                        secret_version: Some(before.secret_version + 1),
                        previous_expires_at: patch(grace, after),
                        ..Update::default()
                    };
                    before.updated(&update, Some(&digest), now)
                });
            }
            Step::Rotate { token, secret, grace } => {
                let digest = digest(token, secret);
                self.change(token, |before| before.rotated(grace.map(after), digest, now));
            }
            Step::Refresh { token } => self.change(token, |before| before.refreshed(now)),
            Step::AllowFrom { token, list } => {
                let is_there = self.service_tokens[token].is_some() && !self.service_token_deleted[token];
                if is_there {
                    self.service_token_list[token] = list;
                }
                let allow_from = LISTS[list].0.map(|text| text.parse().unwrap());
                self.change(token, |before| before.allowed_from(allow_from, now));
            }
            Step::Rename { token, length } => {
                let letter = if length % 3 == 0 { "ü" } else { "x" };
                let name = Some(Name::parse(&letter.repeat(length)).unwrap());
                self.change(token, |before| before.updated(&Update { name, ..Update::default() }, None, now));
            }
            Step::Delete { token } => {
                if let Some(service_token) = self.service_tokens[token].clone() {
                    self.service_token_deleted[token] = true;
                    self.apply(subject(&service_token, true));
                }
            }
            Step::SetApiToken { token, status, lives, deleted } => {
                let gone = self.api_tokens[token].as_ref().is_some_and(|token| token.deleted);
                if !gone {
                    let (of, confined) = scope(token);
                    self.apply(Subject::ApiToken {
                        id: pfid::<ApiTokenId>(300 + token),
                        account: account(of),
                        environment: confined.then(|| environment(of)),
                        digest: self.key.bearer(BearerKind::ApiToken, &bearer(token)),
                        replaced: None,
                        status,
                        expires_at: after(lives),
                        last_used_at: None,
                        deleted,
                    });
                    self.api_tokens[token] = Some(ApiToken { status, expires_at: after(lives), deleted });
                }
            }
            Step::DeleteEnvironment { environment: number } => {
                self.environment_deleted[number] = true;
                let (id, account) = (environment(number), account(number));
                self.apply(Subject::Environment { id, account, deleted: true });
            }
            Step::Replay { change } => {
                let change = &self.history[change % self.history.len()];
                self.index.apply(change);
            }
            Step::Wait { secs } => self.now = after(secs),
            Step::Crowd { number } => {
                for _ in 0..number {
                    self.crowd += 1;
                    let token = Entropy::seeded(self.crowd.into());
                    self.apply(crowd(&token, &self.key));
                }
            }
        }
    }

    fn change(&mut self, token: usize, change: impl FnOnce(&ServiceToken) -> ServiceToken) {
        if let Some(before) = self.service_tokens[token].as_ref().filter(|_| !self.service_token_deleted[token]) {
            let after = change(before);
            self.put(token, after);
        }
    }

    fn put(&mut self, token: usize, service_token: ServiceToken) {
        self.apply(subject(&service_token, false));
        self.service_tokens[token] = Some(service_token);
    }

    /// What verification says of a service token, in so many words.
    fn judge_pair(&self, token: usize, secret: &str, from: usize) -> Result<(), Reason> {
        let digest = self.key.pair(&client_id(token), secret);
        let known = self.service_tokens[token].as_ref().filter(|_| !self.service_token_deleted[token]);
        let service_token = known.ok_or(Reason::Invalid)?;
        let previous = service_token.previous_digest.filter(|_| service_token.previous_expires_at.unwrap() > self.now);
        if !service_token.digest.matches(&digest) && !previous.is_some_and(|previous| previous.matches(&digest)) {
            return Err(Reason::Invalid);
        }
        if !service_token.enabled {
            return Err(Reason::Disabled);
        }
        if !service_token.duration.is_forever() && self.now >= service_token.expires_at {
            return Err(Reason::Expired);
        }
        if !LISTS[self.service_token_list[token]].1[from] {
            return Err(Reason::AddressNotAllowed);
        }
        Ok(())
    }

    fn judge_bearer(&self, token: usize) -> Result<(), Reason> {
        let (of, confined) = scope(token);
        let known = self.api_tokens[token].as_ref().filter(|token| !token.deleted);
        let api_token = known.filter(|_| !(confined && self.environment_deleted[of])).ok_or(Reason::Invalid)?;
        match api_token.status {
            ApiTokenStatus::Revoked => Err(Reason::Revoked),
            ApiTokenStatus::Suspended => Err(Reason::Disabled),
            ApiTokenStatus::Active if self.now >= api_token.expires_at => Err(Reason::Expired),
            ApiTokenStatus::Active => Ok(()),
        }
    }

    /// Compares every credential under every demand.
    fn check(&self, index: &Index) {
        let demands = self.demands(index);
        for token in 0..SERVICE_TOKENS {
            for secret in SECRETS {
                let credential = Credential::Pair { client_id: client_id(token), secret: Cow::Borrowed(secret) };
                for (number, (name, demand, meets_pair, _)) in demands.iter().enumerate() {
                    // Each by itself in its turn: all of them every time would take long.
                    let from = (number + token + secret.len() + self.history.len()) % ADDRESSES.len();
                    let state = self.judge_pair(token, secret, from);
                    let expected = state.and(if meets_pair(token) { Ok(()) } else { Err(Reason::NotPermitted) });
                    let decided = self.decide(index, &credential, demand, from);
                    assert_eq!(decided, expected, "token {token}, secret {secret}, demand {name}, from {from}");
                }
            }
        }
        for token in 0..API_TOKENS {
            let text = bearer(token);
            let credential = Credential::Bearer { kind: BearerKind::ApiToken, token: &text };
            let state = self.judge_bearer(token);
            for (name, demand, _, meets_bearer) in &demands {
                let expected = state.and(if meets_bearer(token) { Ok(()) } else { Err(Reason::NotPermitted) });
                assert_eq!(self.decide(index, &credential, demand, 2), expected, "bearer {token}, demand {name}");
            }
            let authenticated = index.authenticate_bearer(BearerKind::ApiToken, &text, self.now);
            assert_eq!(authenticated.is_some(), state.is_ok());
        }
    }

    fn decide(&self, index: &Index, credential: &Credential<'_>, demand: &Demand, from: usize) -> Result<(), Reason> {
        let demand = demand.clone().presented_from(address(from));
        match verify(index, credential, &demand, self.now) {
            Decision::Allow(verified) => {
                let detail = index.describe(verified.handle).unwrap();
                let same = match (credential, &detail) {
                    (Credential::Pair { client_id, .. }, Detail::ServiceToken { .. }) => {
                        let known = self.service_tokens.iter().flatten().find(|token| token.client_id == *client_id);
                        let ServiceToken { id, owner, name, .. } = known.unwrap();
                        matches!(&detail, Detail::ServiceToken { id: of, owner: at, client_id: by, name: called }
                            if (of, at, by, called.as_str()) == (id, owner, client_id, name.as_str()))
                    }
                    (Credential::Bearer { token, .. }, Detail::ApiToken { id, account: of, environment: within }) => {
                        (0..API_TOKENS).filter(|number| bearer(*number) == *token).any(|number| {
                            let (place, confined) = scope(number);
                            let expected = (pfid(300 + number), account(place), confined.then(|| environment(place)));
                            (*id, *of, *within) == expected
                        })
                    }
                    _ => false,
                };
                assert!(same, "{credential:?} was described as {detail:?}");
                Ok(())
            }
            Decision::Refuse(refusal) => {
                assert_eq!(refusal.handle.is_none(), refusal.reason == Reason::Invalid);
                Err(refusal.reason)
            }
        }
    }

    /// Demands, and which service and API tokens meet them.
    #[expect(clippy::type_complexity, reason = "a table of closures")]
    fn demands(&self, index: &Index) -> Vec<(String, Demand, Box<dyn Fn(usize) -> bool>, Box<dyn Fn(usize) -> bool>)> {
        let mut demands: Vec<(String, Box<dyn Fn(usize) -> bool>, Box<dyn Fn(usize) -> bool>)> = Vec::new();
        for number in 0..2 {
            let of = account(number);
            let deleted = self.environment_deleted[number];
            demands.push((
                format!("account_id={of}"),
                Box::new(move |token| owner(token).account == of),
                Box::new(move |token| scope(token).0 == number),
            ));
            demands.push((
                format!("zone_id={}", zone(number)),
                Box::new(move |token| owner(token).account == of),
                Box::new(|_| false),
            ));
            demands.push((
                format!("environment_id={}", environment(number)),
                Box::new(|_| false),
                Box::new(move |token| scope(token).0 == number && !deleted),
            ));
        }
        let first = account(0);
        // An assertion can be made of service tokens only.
        demands.push((
            format!("account_id={first}&aud=app"),
            Box::new(move |token| owner(token).account == first),
            Box::new(|_| false),
        ));
        demands.push((
            format!("account_id={first}&service_token_id={}", ServiceTokenId::from_bytes([2; 16])),
            Box::new(|token| token == 2),
            Box::new(|_| false),
        ));
        demands.push((
            format!("account_id={}&zone_id={}", account(1), zone(0)),
            Box::new(|_| false),
            Box::new(|_| false),
        ));
        let parse = |query: &str| Demand::parse(query, index).unwrap().0;
        let parsed = demands.into_iter().map(|(query, pair, bearer)| (query.clone(), parse(&query), pair, bearer));
        let none: (_, _, Box<dyn Fn(usize) -> bool>, Box<dyn Fn(usize) -> bool>) =
            ("none".to_owned(), Demand::default(), Box::new(|_| false), Box::new(|_| false));
        parsed.chain([none]).collect()
    }
}

fn patch(grace: Patch<i64>, after: impl Fn(i64) -> Timestamp) -> Patch<Timestamp> {
    match grace {
        Patch::Keep => Patch::Keep,
        Patch::Clear => Patch::Clear,
        Patch::Set(secs) => Patch::Set(after(secs)),
    }
}

fn subject(token: &ServiceToken, deleted: bool) -> Subject {
    Subject::ServiceToken {
        id: token.id,
        owner: token.owner,
        client_id: token.client_id,
        name: token.name.as_str().to_owned(),
        allow_from: token.allow_from.clone(),
        digest: token.digest,
        secret_version: token.secret_version,
        previous: token.previous(),
        previous_version: token.previous_version,
        enabled: token.enabled,
        expires_at: token.ends_at(),
        last_seen_at: token.last_seen_at,
        deleted,
    }
}

/// Somebody else's token.
fn crowd(entropy: &Entropy, key: &DigestKey) -> Subject {
    let client_id = ClientId::generate(entropy);
    Subject::ServiceToken {
        id: ServiceTokenId::from_bytes(entropy.bytes()),
        owner: owner(0),
        client_id,
        name: "crowd".to_owned(),
        allow_from: None,
        digest: key.pair(&client_id, "crowd"),
        secret_version: 1,
        previous: None,
        previous_version: None,
        enabled: true,
        expires_at: None,
        last_seen_at: None,
        deleted: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn decisions_are_those_of_the_model(steps in prop::collection::vec(step(), 1..60), order in any::<u64>()) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            world.check(&world.index);
        }
        for service_token in world.service_tokens.iter().flatten() {
            prop_assert!(!service_token.narrows(service_token, world.now));
        }

        // In any order, and some of it twice, the same changes come to the same.
        let entropy = Entropy::seeded(order);
        let index = Index::new(world.key.clone(), &entropy);
        let mut shuffled: Vec<_> = world.history.iter().map(|change| (u64::from_be_bytes(entropy.bytes()), change)).collect();
        shuffled.sort_by_key(|(place, _)| *place);
        for (_, change) in shuffled.iter().chain(shuffled.iter().take(5)) {
            index.apply(change);
        }
        world.check(&index);
        prop_assert_eq!(index.len(), world.index.len());

        // A reload that names all keeps all.
        world.index.retain(&world.history);
        world.check(&world.index);
    }

    #[test]
    fn narrowing_is_told(steps in prop::collection::vec(step(), 1..40)) {
        // Whatever was admitted before a change and isn't after, at any later time, was announced by `narrows`.
        let mut world = World::new();
        for step in steps {
            let before = world.service_tokens.clone();
            world.take(step);
            let tokens = before.iter().zip(&world.service_tokens).enumerate();
            for (number, (before, after)) in tokens.filter_map(|(number, pair)| Some((number, (pair.0.as_ref()?, pair.1.as_ref()?)))) {
                let announced = before.narrows(after, world.now);
                let digests = SECRETS.map(|secret| world.key.pair(&client_id(number), secret));
                let lost = (0..150).any(|secs| {
                    let now = Timestamp::from_micros(world.now.as_micros() + secs * 1_000_000);
                    let admits = |token: &ServiceToken, digest: &Digest, from: Option<IpAddr>| {
                        let may = token.allow_from.as_ref().is_none_or(|list| from.is_some_and(|from| list.contains(from)));
                        let previous = token.previous().filter(|(_, until)| *until > now);
                        let right = token.digest.matches(digest) || previous.is_some_and(|(previous, _)| previous.matches(digest));
                        right && may && token.enabled && token.ends_at().is_none_or(|end| end > now)
                    };
                    digests.iter().any(|digest| {
                        (0..ADDRESSES.len()).map(address).any(|from| admits(before, digest, from) && !admits(after, digest, from))
                    })
                });
                prop_assert!(announced || !lost, "{before:?} became {after:?}");
            }
        }
    }
}

#[test]
fn a_reload_drops_what_it_does_not_name() {
    let mut world = World::new();
    for token in 0..2 {
        world.take(Step::Create { token, secret: 0, duration: "forever", enabled: true });
    }
    let named: Vec<_> = world
        .history
        .iter()
        .filter(|change| !matches!(&change.subject, Subject::ServiceToken { client_id: id, .. } if *id == client_id(1)))
        .cloned()
        .collect();
    world.index.retain(&named);
    for change in &named {
        world.index.apply(change);
    }
    world.service_token_deleted[1] = true;
    world.check(&world.index);
    assert_eq!(world.index.len(), 1);
    assert!(world.index.account_exists(&account(0)));

    world.index.retain(&[]);
    assert!(world.index.is_empty());
    assert!(!world.index.account_exists(&account(0)));
    assert_eq!(world.index.zone_account(&zone(0)), None);
    assert_eq!(world.index.environment_account(&environment(0)), None);
}
