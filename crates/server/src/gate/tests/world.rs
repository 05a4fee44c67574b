//! A gate with an account of everything, and a client that sends exactly the bytes it is told to.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_token::allow_from::AllowFrom;
use countersign_token::api_token::{self, ApiTokenStatus, Claims, FIRST_KEY_ID, ScopeKind};
use countersign_token::digest::{BearerKind, Digest, DigestKey, InstallationKey, MacKey};
use countersign_token::entropy::Entropy;
use countersign_token::feed::{Change, Freshness, Revision, Subject};
use countersign_token::id::{
    AccountId, AccountPfid, ApiTokenId, ClientId, EnvironmentId, InstallationId, Pfid, ServiceTokenId, ZoneId,
};
use countersign_token::index::Index;
use countersign_token::secret::{Secret, SecretFormat};
use countersign_token::service_token::Owner;
use countersign_token::time::{Clock, ManualClock, Timestamp};
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::Stale;
use crate::gate::{Gate, Tallies, listener};
use crate::lifecycle::CONNECTION;
use crate::lifecycle::accept::Room;
use crate::lifecycle::stop::Stop;
use crate::tls::Tls;

pub(super) const MAX_STALENESS: Duration = Duration::from_secs(5);

/// An account with one of everything.
pub(super) struct Place {
    pub(super) account: AccountId,
    pub(super) pfid: AccountPfid,
    pub(super) zone: ZoneId,
    pub(super) environment: EnvironmentId,
}

/// A service token and what its client knows.
#[derive(Clone)]
pub(super) struct ServiceToken {
    pub(super) id: ServiceTokenId,
    pub(super) owner: Owner,
    pub(super) client_id: ClientId,
    pub(super) name: String,
    pub(super) secret: Arc<Secret>,
    pub(super) previous: Option<(Digest, Timestamp)>,
    pub(super) allow_from: Option<AllowFrom>,
    pub(super) enabled: bool,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) deleted: bool,
}

/// An API token and the bearer that its client knows.
#[derive(Clone)]
pub(super) struct ApiToken {
    pub(super) id: ApiTokenId,
    pub(super) account: AccountId,
    pub(super) environment: Option<EnvironmentId>,
    pub(super) bearer: Arc<Secret>,
    pub(super) status: ApiTokenStatus,
    pub(super) expires_at: Timestamp,
    pub(super) deleted: bool,
}

pub(super) struct World {
    pub(super) clock: ManualClock,
    pub(super) index: Arc<Index>,
    pub(super) freshness: Arc<Freshness>,
    pub(super) tallies: Tallies,
    pub(super) entropy: Entropy,
    pub(super) here: Place,
    pub(super) elsewhere: Place,
    pub(super) stop: StopOnDrop,
    pub(super) threads: listener::Threads,
    address: std::net::SocketAddr,
    digest_key: DigestKey,
    jwt_key: MacKey,
    revision: Cell<i64>,
}

/// Ends the gate's threads with the test.
pub(super) struct StopOnDrop(Stop);

impl StopOnDrop {
    pub(super) fn request(&self) {
        self.0.request();
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.request();
    }
}

pub(super) const OPTIONS: listener::Options = listener::Options { threads: 1, http: CONNECTION };

impl World {
    pub(super) async fn new() -> Self {
        Self::with(OPTIONS, Stale::Refuse, None).await
    }

    pub(super) async fn with_tls(tls: Tls) -> Self {
        Self::with_shared_tls(Arc::new(tls)).await
    }

    pub(super) async fn with_shared_tls(tls: Arc<Tls>) -> Self {
        Self::listening(OPTIONS, Stale::Refuse, None, Some(tls)).await
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(super) async fn with(options: listener::Options, stale: Stale, unix: Option<UnixListener>) -> Self {
        Self::listening(options, stale, unix, None).await
    }

    async fn listening(
        options: listener::Options,
        stale: Stale,
        unix: Option<UnixListener>,
        tls: Option<Arc<Tls>>,
    ) -> Self {
        let entropy = Entropy::seeded(7);
        let key = InstallationKey::generate(&entropy);
        let clock = ManualClock::new(Timestamp::parse_rfc3339("2026-01-02T03:04:05Z").unwrap());
        let index = Arc::new(Index::new(key.digest_key(), &entropy));
        let freshness = Arc::new(Freshness::new(Clock::Manual(clock.clone()).boot()));
        let tallies = Tallies::default();
        let gate = Gate::new(
            Arc::clone(&index),
            Arc::clone(&freshness),
            MAX_STALENESS,
            stale,
            Clock::Manual(clock.clone()),
            tallies.clone(),
        );
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let stop = Stop::default();
        let (tcp_room, unix_room) = (Room::new(1000), Room::new(1000));
        let listeners = listener::Listeners { tcp, tcp_room, tls, unix, unix_room };
        let threads = listener::start(&gate, listeners, options, &stop, &Counter::default()).unwrap();
        let place = || {
            let now = Clock::Manual(clock.clone()).now();
            let pfid = AccountPfid::from(Pfid::generate_root(now, &entropy));
            Place {
                account: AccountId::generate(&entropy),
                pfid,
                zone: ZoneId::generate(&entropy),
                environment: EnvironmentId::generate(now, pfid.as_pfid().partition(), &entropy),
            }
        };
        let (here, elsewhere) = (place(), place());
        let world = Self {
            index,
            freshness,
            tallies,
            here,
            elsewhere,
            stop: StopOnDrop(stop),
            threads,
            address,
            digest_key: key.digest_key(),
            jwt_key: key.jwt_key(FIRST_KEY_ID),
            revision: Cell::new(0),
            clock,
            entropy,
        };
        for Place { account, pfid, zone, environment } in [&world.here, &world.elsewhere] {
            world.apply(Subject::Account { id: *account, pfid: *pfid });
            world.apply(Subject::Zone { id: *zone, account: *account });
            world.apply(Subject::Environment { id: *environment, account: *account, deleted: false });
        }
        world
    }

    pub(super) fn now(&self) -> Timestamp {
        Clock::Manual(self.clock.clone()).now()
    }

    /// Moves the time without letting the node go stale.
    pub(super) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.freshness.renew(Clock::Manual(self.clock.clone()).boot());
    }

    pub(super) fn apply(&self, subject: Subject) {
        self.revision.set(self.revision.get() + 1);
        self.index.apply(&Change { revision: Revision::new(self.revision.get()), subject });
    }

    pub(super) fn service_token(&self, owner: Owner, name: &str) -> ServiceToken {
        let token = ServiceToken {
            id: ServiceTokenId::generate(self.now(), &self.entropy),
            owner,
            client_id: ClientId::generate(&self.entropy),
            name: name.to_owned(),
            secret: Arc::new(Secret::service_token(SecretFormat::Scannable, &self.entropy)),
            previous: None,
            allow_from: None,
            enabled: true,
            expires_at: None,
            deleted: false,
        };
        self.put(&token);
        token
    }

    /// A token of the first account itself.
    pub(super) fn account_token(&self) -> ServiceToken {
        self.service_token(Owner { account: self.here.account, zone: None }, "ci deploy")
    }

    pub(super) fn zone_token(&self) -> ServiceToken {
        self.service_token(Owner { account: self.here.account, zone: Some(self.here.zone) }, "Zürich")
    }

    pub(super) fn digest(&self, token: &ServiceToken) -> Digest {
        self.digest_key.pair(&token.client_id, token.secret.expose())
    }

    /// Gives the token a new secret; the one before stays good until `previous_expires_at`.
    pub(super) fn rotate(&self, token: &ServiceToken, previous_expires_at: Timestamp) -> ServiceToken {
        let rotated = ServiceToken {
            secret: Arc::new(Secret::service_token(SecretFormat::Scannable, &self.entropy)),
            previous: Some((self.digest(token), previous_expires_at)),
            ..token.clone()
        };
        self.put(&rotated);
        rotated
    }

    pub(super) fn put(&self, token: &ServiceToken) {
        self.apply(Subject::ServiceToken {
            id: token.id,
            owner: token.owner,
            client_id: token.client_id,
            name: token.name.clone(),
            allow_from: token.allow_from.clone(),
            digest: self.digest(token),
            secret_version: 2,
            previous: token.previous,
            previous_version: Some(1),
            enabled: token.enabled,
            expires_at: token.expires_at,
            last_seen_at: None,
            deleted: token.deleted,
        });
    }

    pub(super) fn api_token(&self, environment: Option<EnvironmentId>) -> ApiToken {
        let account = self.here.pfid;
        let issued_at = self.now();
        let expires_at = issued_at.saturating_add_micros(3_600_000_000);
        let id = ApiTokenId::generate(issued_at, account.as_pfid().partition(), &self.entropy);
        let scope = if environment.is_some() { ScopeKind::Environment } else { ScopeKind::Account };
        let installation = InstallationId::generate(&self.entropy);
        let claims = Claims { installation, id, account, scope, issued_at, expires_at };
        let token = ApiToken {
            id,
            account: self.here.account,
            environment,
            bearer: Arc::new(api_token::mint(&self.jwt_key, &claims)),
            status: ApiTokenStatus::Active,
            expires_at,
            deleted: false,
        };
        self.put_api_token(&token);
        token
    }

    pub(super) fn put_api_token(&self, token: &ApiToken) {
        self.apply(Subject::ApiToken {
            id: token.id,
            account: token.account,
            environment: token.environment,
            digest: self.digest_key.bearer(BearerKind::ApiToken, token.bearer.expose()),
            replaced: None,
            status: token.status,
            expires_at: token.expires_at,
            last_used_at: None,
            deleted: token.deleted,
        });
    }

    /// A demand that every credential of the first account meets.
    pub(super) fn demand(&self) -> String {
        format!("account_id={}", self.here.account)
    }

    pub(super) async fn connect(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// Asks `/verify` on a connection of its own. `headers` are whole lines, each with its line end.
    pub(super) async fn ask(&self, query: &str, headers: &str) -> Answer {
        let mut client = self.connect().await;
        client.ask(&get(query, headers)).await
    }

    /// What `/verify` answers, in short: the status and the reason.
    pub(super) async fn outcome(&self, query: &str, headers: &str) -> (u16, String) {
        let answer = self.ask(query, headers).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
        assert_eq!(answer.header("www-authenticate").is_some(), answer.status == 401, "{answer:?}");
        assert_eq!(answer.header("retry-after").is_some(), answer.status == 503, "{answer:?}");
        assert_eq!(answer.header("countersign-kind").is_some(), answer.status == 200, "{answer:?}");
        assert!(answer.body.is_empty(), "{answer:?}");
        (answer.status, answer.header("countersign-reason").unwrap_or_default().to_owned())
    }
}

pub(super) fn get(query: &str, headers: &str) -> String {
    format!("GET /verify?{query} HTTP/1.1\r\nHost: gate\r\n{headers}\r\n")
}

/// The header lines of a pair.
pub(super) fn pair(token: &ServiceToken) -> String {
    pair_of(&token.client_id.to_string(), token.secret.expose())
}

pub(super) fn pair_of(client_id: &str, secret: &str) -> String {
    format!("CF-Access-Client-Id: {client_id}\r\nCF-Access-Client-Secret: {secret}\r\n")
}

pub(super) fn bearer(token: &ApiToken) -> String {
    format!("Authorization: Bearer {}\r\n", token.bearer.expose())
}

/// An answer as it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// All headers but the date, in order.
    pub(super) fn text(&self) -> String {
        let mut lines: Vec<String> = self
            .headers
            .iter()
            .filter(|(name, _)| name != "date")
            .map(|(name, value)| format!("{name}: {value}\n"))
            .collect();
        lines.sort_unstable();
        format!("{}\n{}{}", self.status, lines.concat(), self.body)
    }
}

/// One end of a connection.
pub(super) struct Client<S>(BufReader<S>);

impl Client<UnixStream> {
    pub(super) async fn connect(path: &Path) -> Self {
        Self::new(UnixStream::connect(path).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Sends as much as the other side takes.
    pub(super) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
    }

    pub(super) async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request).await;
        self.answer().await.expect("an answer")
    }

    /// The next answer; `None` when the connection ends instead.
    pub(super) async fn answer(&mut self) -> Option<Answer> {
        let mut line = String::new();
        if !matches!(self.0.read_line(&mut line).await, Ok(1..)) {
            return None;
        }
        let status = line.strip_prefix("HTTP/1.1 ").expect("a status line")[..3].parse().unwrap();
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.0.read_line(&mut line).await.unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let mut answer = Answer { status, headers, body: String::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
        answer.body = String::from_utf8(body).unwrap();
        Some(answer)
    }

    /// The next answer's status line and its fields in order of their names, but for the value of the date, which must be
    /// there; `None` when the connection ends instead.
    pub(super) async fn head(&mut self) -> Option<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if !matches!(self.0.read_line(&mut line).await, Ok(1..)) {
                return None;
            }
            match line.strip_suffix("\r\n").expect("a whole line") {
                "" => break,
                date if date.starts_with("date: ") => lines.push("date".to_owned()),
                line => lines.push(line.to_owned()),
            }
        }
        lines.sort_unstable();
        Some(lines)
    }

    /// Says that nothing more will be sent.
    pub(super) async fn shut(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// Reads to the end, which must come, and must begin with `start`.
    pub(super) async fn raw_until_closed(&mut self, start: &str) {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).await.unwrap();
        assert!(rest.starts_with(start), "{rest:?}");
    }

    /// Whether the other side has ended the connection, without another byte.
    pub(super) async fn is_closed(&mut self) -> bool {
        self.0.read_u8().await.is_err()
    }
}
