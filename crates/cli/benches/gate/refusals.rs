//! P7: refusals over HTTP, each beside the allow path of the same form of credential.

use std::time::Duration;

use crate::cpu::Cores;
use crate::figure::median;
use crate::load::{Clients, Requests};
use crate::server::{Connection, Installation, Pair, get};
use crate::{CONNECTIONS, TOKENS};

const ROUND: Duration = Duration::from_secs(1);
const ROUNDS: usize = 5;
const API_TOKENS: usize = 2000;

pub(crate) fn measure(cores: &Cores) {
    let half = TOKENS / 2;
    let tokens: Vec<Pair> = (0..half).map(Pair::numbered).collect();
    let disabled: Vec<Pair> = (half..TOKENS).map(Pair::numbered).collect();
    let unknown: Vec<Pair> = (TOKENS..TOKENS + half).map(Pair::numbered).collect();
    let wrong: Vec<Pair> = tokens
        .iter()
        .zip(&unknown)
        .map(|(known, other)| Pair { secret: other.secret.clone(), ..known.clone() })
        .collect();
    let installation = cores.on_all(|| {
        let installation = Installation::make();
        installation.import(&tokens, true);
        installation.import(&disabled, false);
        installation
    });
    let server = cores.on_servers(|| installation.start());
    let mut api_tokens = create_api_tokens(&installation, &mut Connection::open(server.management));
    let revoked = api_tokens.split_off(API_TOKENS / 2);
    revoke(&installation, &mut Connection::open(server.management), &revoked);

    let bearers = |tokens: &[ApiToken], status| {
        let head =
            |token: &ApiToken| get(&installation.verify(), &format!("Authorization: Bearer {}\r\n", token.bearer));
        Requests::new(tokens.iter().map(head), status)
    };
    // As long as a pair, and nothing that is one.
    let garbage = (0..half).map(|number| {
        let noise = format!("CF-Access-Client-Id: {number:0>45}\r\nCF-Access-Client-Secret: {number:0>64}\r\n");
        get(&installation.verify(), &noise)
    });
    // Each with the name of what it is measured against.
    let mut kinds = [
        ("pair, admitted", 0, installation.requests(&tokens, 200)),
        ("garbage", 0, Requests::new(garbage, 401)),
        ("unknown", 0, installation.requests(&unknown, 401)),
        ("wrong secret", 0, installation.requests(&wrong, 401)),
        ("disabled", 0, installation.requests(&disabled, 401)),
        ("bearer, admitted", 5, bearers(&api_tokens, 200)),
        ("revoked", 5, bearers(&revoked, 401)),
    ];
    let mut cpus = vec![Vec::new(); kinds.len()];
    let mut rates = cpus.clone();
    for round in 0..=ROUNDS {
        for ((_, _, requests), (cpus, rates)) in kinds.iter_mut().zip(cpus.iter_mut().zip(&mut rates)) {
            let outcome = Clients::round(server.gate, requests, ROUND, &[server.id()]);
            // The first round warms up.
            if round > 0 {
                cpus.push(outcome.cpu_micros());
                rates.push(outcome.rate());
            }
        }
    }
    println!(
        "<!-- figures: P7 over HTTP -->
{CONNECTIONS} connections, one core; medians of {ROUNDS} rounds in turns.

| credential | CPU a request | requests a second | to the admitted one, by CPU | by the clock |
| --- | --- | --- | --- | --- |"
    );
    let mut ratios = Vec::new();
    for (number, (name, to, _)) in kinds.iter().enumerate() {
        let ratio = |of: &[f64], to: &[f64]| median(&of.iter().zip(to).map(|(of, to)| of / to).collect::<Vec<_>>());
        let (cpu, rate) = (ratio(&cpus[*to], &cpus[number]), ratio(&rates[number], &rates[*to]));
        let (each, second) = (median(&cpus[number]), median(&rates[number]));
        println!("| {name} | {each:.2} µs | {second:.0} | {cpu:.2} × | {rate:.2} × |");
        if *to != number {
            ratios.push(format!("{name} {cpu:.2} ×"));
        }
    }
    println!("<!-- end of figures: P7 over HTTP -->\nreached P7 over HTTP: {}", ratios.join(", "));
}

/// An API token of which its client knows everything.
pub(crate) struct ApiToken {
    pub(crate) id: String,
    pub(crate) bearer: String,
}

impl ApiToken {
    pub(crate) fn create(installation: &Installation, management: &mut Connection) -> Self {
        let body = r#"{"details":{"token_scope":"account"}}"#;
        let answer = management.call("POST", "/api/v1/api_token", installation.text(&["account_token"]), body);
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let text = |pointer| answer.pointer(pointer).and_then(serde_json::Value::as_str).expect(pointer).to_owned();
        Self { id: text("/details/id"), bearer: text("/token") }
    }

    pub(crate) fn revoke(&self, installation: &Installation, management: &mut Connection) {
        let path = format!("/api/v1/api_token/{}/revoke", self.id);
        management.call("POST", &path, installation.text(&["account_token"]), "{}");
    }
}

fn create_api_tokens(installation: &Installation, management: &mut Connection) -> Vec<ApiToken> {
    (0..API_TOKENS).map(|_| ApiToken::create(installation, management)).collect()
}

fn revoke(installation: &Installation, management: &mut Connection, tokens: &[ApiToken]) {
    for token in tokens {
        token.revoke(installation, management);
    }
}
