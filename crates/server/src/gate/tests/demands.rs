//! What the proxy demands, and what meets it.

use countersign_token::id::{AccountId, EnvironmentId, ServiceTokenId, ZoneId};

use super::world::{World, bearer, pair};

#[tokio::test]
async fn who_meets_which_demand() {
    let world = World::new().await;
    let (here, elsewhere) = (&world.here, &world.elsewhere);
    let other_zone = ZoneId::generate(&world.entropy);
    world.apply(countersign_token::feed::Subject::Zone { id: other_zone, account: here.account });
    let of_account = pair(&world.account_token());
    let of_zone = pair(&world.zone_token());
    let api_token = bearer(&world.api_token(None));
    let of_environment = bearer(&world.api_token(Some(here.environment)));
    let other_environment = EnvironmentId::generate(world.now(), here.pfid.as_pfid().partition(), &world.entropy);
    let environment =
        countersign_token::feed::Subject::Environment { id: other_environment, account: here.account, deleted: false };
    world.apply(environment);

    // Whether it admits: the account's token, the zone's token, the account's API token, the environment's.
    let admits = [
        (format!("account_id={}", here.account), [true, true, true, true]),
        (format!("account_id={}", here.pfid), [true, true, true, true]),
        (format!("account_id={}", elsewhere.account), [false; 4]),
        (format!("zone_id={}", here.zone), [true, true, false, false]),
        (format!("zone_id={other_zone}"), [true, false, false, false]),
        (format!("zone_id={}", elsewhere.zone), [false; 4]),
        (format!("environment_id={}", here.environment), [false, false, true, true]),
        (format!("environment_id={other_environment}"), [false, false, true, false]),
        (format!("environment_id={}", elsewhere.environment), [false; 4]),
        (format!("account_id={}&zone_id={}", here.account, here.zone), [true, true, false, false]),
        (format!("zone_id={}&account_id={}", elsewhere.zone, here.account), [false; 4]),
        (format!("account_id={}&environment_id={}", here.account, here.environment), [false, false, true, true]),
        (format!("zone_id={}&environment_id={}", here.zone, here.environment), [false; 4]),
        (format!("account_id={}&environment_id={}", elsewhere.account, here.environment), [false; 4]),
        // Well-formed, and nobody's.
        (format!("account_id={}", AccountId::generate(&world.entropy)), [false; 4]),
        (format!("zone_id={}", ZoneId::generate(&world.entropy)), [false; 4]),
        (format!("account_id={}&zone_id={}", here.account, ZoneId::generate(&world.entropy)), [false; 4]),
        (
            format!(
                "environment_id={}",
                EnvironmentId::generate(world.now(), here.pfid.as_pfid().partition(), &world.entropy)
            ),
            [false; 4],
        ),
    ];
    for (query, expected) in admits {
        for (headers, expected) in [&of_account, &of_zone, &api_token, &of_environment].into_iter().zip(expected) {
            let expected = if expected { (200, "") } else { (403, "not_permitted") };
            let (status, reason) = world.outcome(&query, headers).await;
            assert_eq!((status, reason.as_str()), expected, "{query} {headers}");
        }
    }
}

#[tokio::test]
async fn only_the_named_tokens() {
    let world = World::new().await;
    let (token, other) = (world.account_token(), world.account_token());
    let api_token = world.api_token(None);
    let nobody = ServiceTokenId::generate(world.now(), &world.entropy);
    let demand = world.demand();
    for (list, expected) in [
        (format!("&service_token_id={}", token.id), [200, 403, 403]),
        (format!("&service_token_id={}", other.id), [403, 200, 403]),
        (format!("&service_token_id={}&service_token_id={}", other.id, token.id), [200, 200, 403]),
        (format!("&service_token_id={nobody}&service_token_id={}", token.id), [200, 403, 403]),
        (format!("&service_token_id={nobody},{}", token.id), [200, 403, 403]),
        (format!("&service_token_id={nobody}"), [403, 403, 403]),
    ] {
        for (headers, expected) in [pair(&token), pair(&other), bearer(&api_token)].iter().zip(expected) {
            assert_eq!(world.outcome(&format!("{demand}{list}"), headers).await.0, expected, "{list} {headers}");
        }
    }
    let of_another = format!("account_id={}&service_token_id={}", world.elsewhere.account, token.id);
    assert_eq!(world.outcome(&of_another, &pair(&token)).await.0, 403);
}

#[tokio::test]
async fn a_demand_that_is_none_admits_nobody() {
    let world = World::new().await;
    let token = world.account_token();
    let demand = world.demand();
    let account = world.here.account.to_string();
    let queries = [
        String::new(),
        "account_id=".to_owned(),
        "account_id".to_owned(),
        "account_id=x".to_owned(),
        format!("account_id={}", account.to_ascii_uppercase().replace(|c: char| c.is_ascii_digit(), "A")),
        format!("account_id={account}0"),
        format!("account_id={account}%00"),
        format!("account_id={account}%ff"),
        format!("account_id={account}%"),
        format!("account_id=%20{account}"),
        format!("Account_id={account}"),
        format!("{demand}&{demand}"),
        format!("{demand}&account_id={}", world.here.pfid),
        format!("{demand}&zone_id={0}&zone_id={0}", world.here.zone),
        format!("{demand}&environment_id={0}&environment_id={0}", world.here.environment),
        format!("{demand}&header=A&header=B"),
        format!("{demand}&header="),
        format!("{demand}&header=a%20b"),
        format!("{demand}&header=a%0D%0Ab"),
        format!("{demand}&zone_id="),
        format!("{demand}&zone_id={}", "z".repeat(32)),
        format!("{demand}&environment_id={}", "f".repeat(32)),
        format!("{demand}&service_token_id="),
        format!("{demand}&service_token_id={},", token.id),
        format!("{demand}&service_token_id={}", token.client_id),
        format!("{demand}&service_token_ids={}", token.id),
        format!("service_token_id={}", token.id),
        "header=Authorization".to_owned(),
        // A proxy with a path prefix: what follows is the client's own.
        format!("{demand}/admin?zone_id={}", world.here.zone),
        format!("{demand}?environment_id={}", world.here.environment),
    ];
    let mut expected = 0;
    for query in queries {
        assert_eq!(world.outcome(&query, &pair(&token)).await, (403, "no_demand".to_owned()), "{query}");
        assert_eq!(world.outcome(&query, "").await, (403, "no_demand".to_owned()), "{query}");
        expected += 2;
    }
    let mut client = world.connect().await;
    let rest = format!("?{demand} HTTP/1.1\r\n{}\r\n", pair(&token));
    for path in ["/verify/", "/verify/x", "/verifyx", "/verify//", "/verify%2F", "/verify/../verify"] {
        let answer = client.ask(format!("GET {path}{rest}")).await;
        assert_eq!((answer.status, answer.header("countersign-reason")), (403, Some("no_demand")), "{path}");
        expected += 1;
    }
    assert_eq!(world.tallies.answers("no_demand"), expected);
}

#[tokio::test]
async fn encoded_demands_are_understood() {
    let world = World::new().await;
    let token = world.account_token();
    let account = world.here.account.to_string();
    let digit = account.as_bytes()[0];
    let encoded = format!("account_id=%{digit:02X}{}", &account[1..]);
    assert_eq!(world.outcome(&encoded, &pair(&token)).await.0, 200);
    let encoded = format!("%61ccount_id={account}");
    assert_eq!(world.outcome(&encoded, &pair(&token)).await.0, 200);
}
