//! Those who change tokens: each keeps some places, makes one change after the other, and looks at once whether the gates
//! follow it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use countersign_server::token::time::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::ask::judge;
use crate::model::{ApiToken, Held, ServiceToken, Status, Token};
use crate::wire::{Answer, Connection, request};
use crate::{Dice, Soak};

const HOUR_MICROS: i64 = 3_600_000_000;
const API_TOKENS: &str = "/api/v1/api_token";

/// A kind of token that a place is for: a service token of the account or the zone, or an API token of either scope.
#[derive(Clone, Copy)]
enum Kind {
    Account,
    Zone,
    ApiToken,
    EnvironmentApiToken,
}

fn kind(place: usize) -> Kind {
    match place % 8 {
        0..=3 => Kind::Account,
        4 | 5 => Kind::Zone,
        6 => Kind::ApiToken,
        _ => Kind::EnvironmentApiToken,
    }
}

pub(crate) struct Keeper {
    soak: Arc<Soak>,
    dice: Dice,
    places: Range<usize>,
    /// One of each node.
    management: Vec<Connection>,
    gates: Vec<Connection>,
}

impl Keeper {
    pub(crate) async fn new(soak: Arc<Soak>, dice: Dice, places: Range<usize>) -> Result<Self, String> {
        let (mut management, mut gates) = (Vec::new(), Vec::new());
        for node in &soak.nodes {
            management.push(Connection::open(node.management).await?);
            gates.push(Connection::open(node.gate).await?);
        }
        Ok(Self { soak, dice, places, management, gates })
    }

    /// Puts a token into every place.
    pub(crate) async fn fill(&mut self) -> Result<(), String> {
        for place in self.places.clone() {
            let node = self.dice.below(self.management.len());
            self.create(place, node).await?;
        }
        Ok(())
    }

    pub(crate) async fn run(mut self) -> Result<(), String> {
        while !self.soak.is_over() {
            let node = self.dice.below(self.management.len());
            if self.dice.below(100) < 4 {
                self.list(node).await?;
                continue;
            }
            let place = self.places.start + self.dice.below(self.places.len());
            match self.soak.places[place].token().ok_or("a place is empty")? {
                Token::Service(token) => self.change_service_token(place, node, token).await?,
                Token::Api(token) => self.change_api_token(place, node, token).await?,
            }
            self.soak.counts.changes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn change_service_token(&mut self, place: usize, node: usize, token: ServiceToken) -> Result<(), String> {
        let path = format!("{}/{}", token.path, token.id);
        let now = Clock::System.now();
        let lives_long = token.expires_at > now.saturating_add_micros(HOUR_MICROS);
        match self.dice.below(100) {
            0..28 => {
                self.delete(place, node, &path, Token::Service(token)).await?;
                self.create(place, node).await
            }
            28..42 => self.rotate(place, node, token, &json!({})).await,
            42..54 if lives_long => {
                let seconds = i64::try_from(self.dice.below(4)).unwrap_or_default() + 1;
                let until = now.saturating_add_micros(seconds * 1_000_000).to_string();
                self.rotate(place, node, token, &json!({"previous_client_secret_expires_at": until})).await
            }
            54..58 => {
                let body = json!({"client_secret_version": token.version + 1 + (now.as_secs() & 1).unsigned_abs()});
                let changed = self.change(place, node, "PUT", &path, &body).await?;
                self.rotated(place, node, token, &changed["result"], None).await
            }
            58..63 => {
                self.change(place, node, "PUT", &path, &json!({"previous_client_secret_expires_at": null})).await?;
                let dead = token.previous.clone().map(|(secret, _)| secret).or(token.dead.clone());
                self.now(place, node, Token::Service(ServiceToken { previous: None, dead, ..token })).await
            }
            63..77 => {
                let enabled = !token.enabled;
                self.change(place, node, "PUT", &path, &json!({"enabled": enabled})).await?;
                self.now(place, node, Token::Service(ServiceToken { enabled, ..token })).await
            }
            77..84 => {
                let name = format!("soaked {:x}", self.dice.next());
                let changed = self.change(place, node, "PUT", &path, &json!({"name": name})).await?;
                if changed["result"]["name"] != name.as_str() {
                    return Err(format!("renamed to {name}: {changed}"));
                }
                self.now(place, node, Token::Service(token)).await
            }
            // A grace period would end with the token: two ends at once are more than the model knows.
            84..88 if token.previous.is_none() => {
                let duration = format!("{}ms", 1_000 + self.dice.below(2_000));
                let changed = self.change(place, node, "PUT", &path, &json!({"duration": duration})).await?;
                let expires_at = time(&changed["result"]["expires_at"])?;
                self.now(place, node, Token::Service(ServiceToken { expires_at, ..token })).await
            }
            84..94 => {
                let changed = self.change(place, node, "POST", &format!("{path}/refresh"), &Value::Null).await?;
                let expires_at = time(&changed["result"]["expires_at"])?;
                self.now(place, node, Token::Service(ServiceToken { expires_at, ..token })).await
            }
            _ => {
                let found = self.call(node, "GET", &path, "", "").await?.json()?;
                let result = &found["result"];
                let right = result["enabled"] == token.enabled && result["client_secret_version"] == token.version;
                if right { Ok(()) } else { Err(format!("{token:?} is shown as {found}")) }
            }
        }
    }

    async fn rotate(&mut self, place: usize, node: usize, token: ServiceToken, body: &Value) -> Result<(), String> {
        let path = format!("{}/{}/rotate", token.path, token.id);
        let rotated = self.change(place, node, "POST", &path, body).await?;
        let until = body["previous_client_secret_expires_at"]
            .as_str()
            .map(|_| time(&body["previous_client_secret_expires_at"]));
        self.rotated(place, node, token, &rotated["result"], until.transpose()?).await
    }

    async fn rotated(
        &mut self,
        place: usize,
        node: usize,
        token: ServiceToken,
        result: &Value,
        until: Option<Timestamp>,
    ) -> Result<(), String> {
        let secret = text(&result["client_secret"])?;
        let version = result["client_secret_version"].as_u64().ok_or("no version")?;
        let older = token.previous.clone().map(|(secret, _)| secret);
        let (previous, dead) = match until {
            Some(until) => (Some((token.secret.clone(), until)), older.or(token.dead.clone())),
            None => (None, Some(token.secret.clone())),
        };
        self.now(place, node, Token::Service(ServiceToken { secret, version, previous, dead, ..token })).await
    }

    async fn change_api_token(&mut self, place: usize, node: usize, token: ApiToken) -> Result<(), String> {
        let path = format!("{API_TOKENS}/{}", token.id);
        let number = self.dice.below(10);
        let (action, status) = match (token.status, number) {
            (Status::Active, 0..5) => ("suspend", Status::Suspended),
            (Status::Suspended, 0..6) => ("activate", Status::Active),
            (Status::Active | Status::Suspended, ..9) => ("revoke", Status::Revoked),
            (Status::Revoked, 0..8) => {
                self.delete(place, node, &path, Token::Api(token)).await?;
                return self.create(place, node).await;
            }
            (Status::Revoked, _) => {
                let answer = self.call(node, "POST", &format!("{path}/activate"), "", "{}").await?;
                return if answer.status == 409 {
                    Ok(())
                } else {
                    Err(format!("activating what is revoked: {answer:?}"))
                };
            }
            _ => {
                let found = self.call(node, "GET", &path, "", "").await?.json()?;
                let status = if token.status == Status::Active { "active" } else { "suspended" };
                let right = found["details"]["status"] == status;
                return if right { Ok(()) } else { Err(format!("{token:?} is shown as {found}")) };
            }
        };
        self.change(place, node, "POST", &format!("{path}/{action}"), &json!({})).await?;
        self.now(place, node, Token::Api(ApiToken { status, ..token })).await
    }

    async fn create(&mut self, place: usize, node: usize) -> Result<(), String> {
        let name = format!("soaked {:x}", self.dice.next());
        let path = match kind(place) {
            Kind::Account => self.soak.account_tokens(),
            Kind::Zone => self.soak.zone_tokens(),
            Kind::ApiToken | Kind::EnvironmentApiToken => API_TOKENS.to_owned(),
        };
        let body = match kind(place) {
            Kind::Account | Kind::Zone => json!({"name": name}),
            Kind::ApiToken => json!({"details": {"token_scope": "account"}}),
            Kind::EnvironmentApiToken => {
                json!({"details": {"token_scope": "environment", "environment_id": self.soak.environment}})
            }
        };
        let made = self.change(place, node, "POST", &path, &body).await?;
        let token = if path == API_TOKENS {
            let (id, token) = (text(&made["details"]["id"])?, text(&made["token"])?);
            Token::Api(ApiToken { id, token, status: Status::Active })
        } else {
            let result = &made["result"];
            Token::Service(ServiceToken {
                path,
                id: text(&result["id"])?,
                client_id: text(&result["client_id"])?,
                secret: text(&result["client_secret"])?,
                previous: None,
                dead: None,
                version: result["client_secret_version"].as_u64().ok_or("no version")?,
                enabled: true,
                expires_at: time(&result["expires_at"])?,
            })
        };
        self.now(place, node, token).await
    }

    async fn delete(&mut self, place: usize, node: usize, path: &str, token: Token) -> Result<(), String> {
        let buried = token.buried();
        self.change(place, node, "DELETE", path, &Value::Null).await?;
        self.soak.places[place].end(None, node);
        self.look(place, &buried).await?;
        self.soak.graveyard.bury(buried);
        Ok(())
    }

    /// Notes what the place holds since the call returned, and looks at it.
    async fn now(&mut self, place: usize, node: usize, token: Token) -> Result<(), String> {
        let held = token.held();
        self.soak.places[place].end(Some(token), node);
        self.look(place, &held).await
    }

    /// Asks every node's gate what it says to these credentials of a place. Nobody else changes it.
    async fn look(&mut self, place: usize, held: &[Held]) -> Result<(), String> {
        let verify = format!("/verify?account_id={}", self.soak.account);
        let (known, _) = self.soak.places[place].known();
        for (node, gate) in self.gates.iter_mut().enumerate() {
            if gate.is_old() {
                *gate = Connection::open(self.soak.nodes[node].gate).await?;
            }
            for held in held {
                let answer = gate.send(&request("GET", &verify, &held.headers, "")).await?;
                let sure = judge(&known, false, node, held, &answer)?;
                self.soak.counts.followed.fetch_add(u64::from(sure), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Makes a change that must succeed, sometimes with a key and then once more.
    async fn change(
        &mut self,
        place: usize,
        node: usize,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<Value, String> {
        self.soak.places[place].begin();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let has_key = self.dice.below(4) == 0;
        let key = if has_key { format!("idempotency-key: soak-{:x}\r\n", self.dice.next()) } else { String::new() };
        let first = self.call(node, method, path, &key, &body).await?;
        if !matches!(first.status, 200 | 201) {
            return Err(format!("{method} {path} {body}: {first:?}"));
        }
        if has_key {
            let other = self.dice.below(self.management.len());
            let again = self.call(other, method, path, &key, &body).await?;
            if again.header("idempotency-replayed") != Some("true") || again.body != first.body {
                return Err(format!("{method} {path} {body} with a key: {first:?}, and again: {again:?}"));
            }
            self.soak.counts.replays.fetch_add(1, Ordering::Relaxed);
        }
        first.json()
    }

    /// A page of a list: the population may lack what is exchanged at the moment, and never has more.
    async fn list(&mut self, node: usize) -> Result<(), String> {
        let page = 1 + self.dice.below(3);
        let (name, path, total) = match self.dice.below(4) {
            0 => (
                "account",
                format!("{}?per_page=50&page={page}", self.soak.account_tokens()),
                "/result_info/total_count",
            ),
            1 => ("zone", format!("{}?per_page=50&search=soaked", self.soak.zone_tokens()), "/result_info/total_count"),
            2 => ("api", format!("{API_TOKENS}?pagination[page_size]=50"), "/pagination/item_count"),
            _ => ("api", format!("{API_TOKENS}?sorting=-last_used_at"), "/pagination/item_count"),
        };
        let answer = self.call(node, "GET", &path, "", "").await?;
        let total = answer.json()?.pointer(total).and_then(Value::as_u64);
        let wanted = self.soak.expected(name);
        match total {
            Some(total) if answer.status == 200 && wanted.contains(&total) => {}
            _ => return Err(format!("{path} counts {total:?}, not {wanted:?}")),
        }
        self.soak.counts.lists.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn call(
        &mut self,
        node: usize,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Result<Answer, String> {
        if self.management[node].is_old() {
            self.management[node] = Connection::open(self.soak.nodes[node].management).await?;
        }
        let bearer = if path.starts_with(API_TOKENS) { &self.soak.account_token } else { &self.soak.management_token };
        let headers = format!("authorization: Bearer {bearer}\r\n{headers}");
        let answer = self.management[node].send(&request(method, path, &headers, body)).await?;
        if answer.status >= 500 { Err(format!("{method} {path}: {answer:?}")) } else { Ok(answer) }
    }
}

/// How many places there are of what a list shows.
pub(crate) fn population(name: &str, places: usize) -> u64 {
    let of = |place: &usize| match kind(*place) {
        Kind::Account => "account",
        Kind::Zone => "zone",
        Kind::ApiToken | Kind::EnvironmentApiToken => "api",
    };
    (0..places).map(|place| u64::from(of(&place) == name)).sum()
}

fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("not a text: {value}"))
}

fn time(value: &Value) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(&text(value)?).map_err(|error| error.to_string())
}
