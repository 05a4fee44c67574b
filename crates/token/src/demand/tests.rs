use super::{Demand, DemandError};
use crate::digest::InstallationKey;
use crate::entropy::Entropy;
use crate::feed::{Change, Revision, Subject};
use crate::id::{AccountId, AccountPfid, EnvironmentId, ZoneId};
use crate::index::{Index, NOBODY};

const ACCOUNT: &str = "00000000000000000000000000000001";
const PFID: &str = "013xrzp12g3nqk8ngskn1wtxgka5b0nf";
const ZONE: &str = "00000000000000000000000000000002";
const ENVIRONMENT: &str = "013xrzp12g3nqk8nzxvq7jm2arsfg5h1";
const TOKEN: &str = "3537a672-e4d8-4d89-aab9-26cb622918a1";

fn index() -> Index {
    let entropy = Entropy::seeded(1);
    let index = Index::new(InstallationKey::generate(&entropy).digest_key(), &entropy);
    let account: AccountId = ACCOUNT.parse().unwrap();
    let pfid: AccountPfid = PFID.parse().unwrap();
    let zone: ZoneId = ZONE.parse().unwrap();
    let environment: EnvironmentId = ENVIRONMENT.parse().unwrap();
    let other = AccountId::from_bytes([9; 16]);
    let other_pfid = "013xrzp12g3nqk8nh0qrc2b1jfanmvb9".parse().unwrap();
    for (number, subject) in [
        (1, Subject::Account { id: other, pfid: other_pfid }),
        (2, Subject::Account { id: account, pfid }),
        (3, Subject::Zone { id: zone, account }),
        (4, Subject::Environment { id: environment, account, deleted: false }),
    ] {
        index.apply(&Change { revision: Revision::new(number), subject });
    }
    index
}

fn refused(query: &str, expected: DemandError) {
    assert_eq!(Demand::parse(query, &index()).map(|_| ()), Err(expected), "{query}");
}

#[test]
fn names_are_resolved() {
    let index = index();
    let number = index.account_number(&ACCOUNT.parse().unwrap());
    assert_ne!(number, Some(NOBODY));
    let parse = |query: &str| Demand::parse(query, &index).unwrap().0;
    assert_eq!(parse(&format!("account_id={ACCOUNT}")).account, number);
    assert_eq!(parse(&format!("account_id={PFID}")).account, number);
    assert_eq!(parse(&format!("zone_id={ZONE}")).zone, Some((ZONE.parse().unwrap(), number.unwrap())));
    let environment = parse(&format!("environment_id={ENVIRONMENT}")).environment;
    assert_eq!(environment, Some((ENVIRONMENT.parse().unwrap(), number.unwrap())));
    let all = parse(&format!("&zone_id={ZONE}&&account_id={PFID}&service_token_id={TOKEN}&service_token_id={TOKEN}&"));
    assert!(all.zone.is_some() && all.account == number && all.environment.is_none());
    assert_eq!(all.service_tokens, [TOKEN.parse().unwrap(); 2]);
}

#[test]
fn a_proxy_says_whether_it_carries_429() {
    let carries =
        |query: &str| Demand::parse(&format!("account_id={ACCOUNT}{query}"), &index()).unwrap().0.carries_429();
    assert!(carries("&throttle_status=429"));
    assert!(!carries(""));
    for value in ["", "401", "4290", "yes"] {
        refused(&format!("account_id={ACCOUNT}&throttle_status={value}"), DemandError::ThrottleStatus);
    }
    let twice = format!("account_id={ACCOUNT}&throttle_status=429&throttle_status=429");
    refused(&twice, DemandError::Repeated("throttle_status"));
    refused("throttle_status=429", DemandError::Missing);
}

#[test]
fn ids_that_nobody_has_are_well_formed() {
    let index = index();
    for query in [
        "account_id=ffffffffffffffffffffffffffffffff",
        "account_id=013xrzp12g3nqk8n7f8f9jbg8d18q7tm",
        "zone_id=ffffffffffffffffffffffffffffffff",
        "environment_id=013xrzp12g3nqk8n7f8f9jbg8d18q7tm",
    ] {
        let demand = Demand::parse(query, &index).unwrap().0;
        let account = demand.account.or(demand.zone.map(|zone| zone.1)).or(demand.environment.map(|zone| zone.1));
        assert_eq!(account, Some(NOBODY), "{query}");
    }
}

#[test]
fn a_deleted_environment_is_nobodys() {
    let index = index();
    let account = ACCOUNT.parse().unwrap();
    let id = ENVIRONMENT.parse().unwrap();
    index.apply(&Change { revision: Revision::new(5), subject: Subject::Environment { id, account, deleted: true } });
    let demand = Demand::parse(&format!("environment_id={ENVIRONMENT}"), &index).unwrap().0;
    assert_eq!(demand.environment, Some((id, NOBODY)));
}

#[test]
fn queries_are_percent_decoded() {
    let index = index();
    let query = format!("account%5fid=%30{}&header=X%2DTok%65n", &ACCOUNT[1..]);
    let (demand, header) = Demand::parse(&query, &index).unwrap();
    assert_eq!(demand.account, index.account_number(&ACCOUNT.parse().unwrap()));
    assert_eq!(header.as_deref(), Some("X-Token"));
    for broken in ["%", "%4", "%g0", "%+4", "%ff"] {
        refused(&format!("account_id={ACCOUNT}&header={broken}"), DemandError::Encoding);
    }
}

#[test]
fn an_audience_is_kept_as_it_stands() {
    let index = index();
    let demand = |value: &str| {
        Demand::parse(&format!("account_id={ACCOUNT}&aud={value}"), &index).map(|(demand, _header)| demand)
    };
    let hex = "f".repeat(64);
    for (value, expected) in [
        (hex.as_str(), hex.as_str()),
        ("https://app.example.com/a?b", "https://app.example.com/a?b"),
        ("a%2Bb", "a+b"),
        (&"a".repeat(128), &"a".repeat(128)),
    ] {
        assert_eq!(demand(value).unwrap().audience(), Some(expected));
    }
    assert_eq!(Demand::parse(&format!("account_id={ACCOUNT}"), &index).unwrap().0.audience(), None);
    for value in ["", "a+b", "a%00", "%22", "%5c", "%C3%BC", "%7f", &"a".repeat(129)] {
        assert_eq!(demand(value).map(|_| ()), Err(DemandError::Audience), "{value}");
    }
    refused(&format!("account_id={ACCOUNT}&aud=a&aud=a"), DemandError::Repeated("aud"));
    refused("aud=a", DemandError::Missing);
}

#[test]
fn whatever_is_unclear_is_no_demand() {
    let account = format!("account_id={ACCOUNT}");
    for query in ["", "&", &format!("service_token_id={TOKEN}"), "header=x"] {
        refused(query, DemandError::Missing);
    }
    for (name, value) in [("account_id", ACCOUNT), ("zone_id", ZONE), ("environment_id", ENVIRONMENT), ("header", "x")]
    {
        refused(
            &format!("{account}&{name}={value}&{name}={value}"),
            DemandError::Repeated(if name == "account_id" {
                "account_id"
            } else {
                ["zone_id", "environment_id", "header"].into_iter().find(|known| *known == name).unwrap()
            }),
        );
    }
    for value in ["", "x", &ACCOUNT[1..], &ZONE.replace('0', "A"), &PFID.to_uppercase(), "%00"] {
        refused(&format!("account_id={value}"), DemandError::AccountId);
    }
    for value in ["", "x", PFID] {
        refused(&format!("zone_id={value}"), DemandError::ZoneId);
    }
    for value in ["", "x", &"f".repeat(32)] {
        refused(&format!("environment_id={value}"), DemandError::EnvironmentId);
    }
    for value in ["", "x", &TOKEN.to_uppercase(), &TOKEN.replace('-', "")] {
        refused(&format!("{account}&service_token_id={value}"), DemandError::ServiceTokenId);
    }
    for value in ["", "a+b", "a%20b", "a:b", "é", "CF-Access-Client-Id", "cf-access-client-secret", &"x".repeat(65)] {
        refused(&format!("{account}&header={value}"), DemandError::Header);
    }
    for parameter in ["acount_id=x", "Account_id=x", "x", "=", "service_token_id[]=x", "account_id%00=x"] {
        refused(&format!("{account}&{parameter}"), DemandError::Unknown);
    }
    refused("account_id", DemandError::AccountId);
}
