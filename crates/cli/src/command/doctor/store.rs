//! What the store says.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use countersign_server::config::Settings;
use countersign_server::config::key::KeySource;
use countersign_server::store::{
    AuditFilter, Database, Error, Expiring, KeyRecord, Options, Schema, Store, Tombstones,
};
use countersign_server::token::digest::{Keyring, LiveKeys};
use countersign_server::token::time::Timestamp;

use super::{Check, Report};
use crate::progress::Progress;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 24 * 3600 * SECOND;

/// How far two clocks may be apart.
const CLOCK_SLACK: i64 = 5 * SECOND;

/// What ends within this time is told.
const SOON_DAYS: i64 = 30;

/// Rows of deleted tokens are swept after a week; a day later they should be gone.
const SWEPT_DAYS: i64 = 8;

/// A change of the installation key should be finished within this time.
const CHANGE_DAYS: i64 = 7;

/// A server counts its heartbeat every second. One that has not for this long is not there.
const HEARTBEAT: Duration = Duration::from_secs(4);

/// Everything that can be found out from the database, as far as it can be opened.
pub(super) async fn look(
    settings: &Settings,
    keys: Option<&Keyring>,
    now: Timestamp,
    report: &mut Report,
) -> io::Result<()> {
    const NAME: &str = "schema";
    if let Database::Sqlite(path) = &settings.database
        && !path.exists()
    {
        return Ok(());
    }
    let schema = match Schema::find(&settings.database).await {
        Ok(schema) => schema,
        Err(error) => return report.add(unreachable(&error)),
    };
    let known = schema.known;
    report.add(match schema.found {
        Some(found) if found == known => Check::ok(NAME, format!("version {found}")),
        Some(found) if found > known => Check::problem(
            NAME,
            format!("version {found}, and this countersign knows versions up to {known}"),
            "use the version of countersign that wrote it, or a newer one",
        ),
        Some(found) => Check::warning(
            NAME,
            format!("version {found}, and this countersign works with version {known}"),
            "the next start brings it up to date; take a backup before, with the version that wrote it",
        ),
        None => Check::problem(
            NAME,
            format!("there is no installation in {}", settings.database),
            "`countersign init` makes one, `countersign restore` brings one back",
        ),
    })?;
    let (Some(keys), true) = (keys, schema.found == Some(known)) else { return Ok(()) };
    let options = Options { database: settings.database.clone(), readers: 2 };
    match Store::connect_reader(options, keys).await {
        Ok(store) => {
            Looking { store: &store, source: &settings.installation_key, now, report }.all().await?;
            store.close().await;
            Ok(())
        }
        Err(Error::KeyMismatch) => report.add(Check::problem(
            "key and database",
            "the installation key is not the one of this database: every secret would be refused",
            "put the installation's own key back from a backup, or name its place with --installation-key-file",
        )),
        Err(error @ Error::KeyMissing(_)) => report.add(Check::problem(
            "key and database",
            error.to_string(),
            "copy the key file of a server that runs, see docs/key-rotation.md",
        )),
        Err(error) => report.add(unreachable(&error)),
    }
}

fn unreachable(error: &Error) -> Check {
    let advice = match error {
        Error::Foreign { .. } | Error::Address { .. } => "name the right database with --database-url or --data-dir",
        Error::ReadOnly { .. } | Error::Open { .. } => "run this as the user that runs the server; see owner and mode",
        _ => "see whether the database runs and can be reached from here, and the password and the rights of its user",
    };
    Check::problem("database", error.to_string(), advice)
}

struct Looking<'a> {
    store: &'a Store,
    source: &'a KeySource,
    now: Timestamp,
    report: &'a mut Report,
}

impl Looking<'_> {
    async fn all(mut self) -> io::Result<()> {
        let check = self.database().await;
        self.take(check)?;
        let check = self.settings().await;
        self.take(check)?;
        let check = self.installation().await;
        self.take(check)?;
        let check = self.damage().await;
        self.take(check)?;
        let check = self.audit_log().await;
        self.take(check)?;
        let check = self.clock().await;
        self.take(check)?;
        let check = self.installation_keys().await;
        self.take(check)?;
        let check = self.signing_key().await;
        self.take(check)?;
        let check = self.nodes().await;
        self.take(check)?;
        let check = self.tombstones().await;
        self.take(check)?;
        let check = self.expiring().await;
        self.take(check)?;
        Ok(())
    }

    fn take(&mut self, check: Result<Option<Check>, Error>) -> io::Result<()> {
        match check {
            Ok(Some(check)) => self.report.add(check),
            Ok(None) => Ok(()),
            Err(error) => self.report.add(unreachable(&error)),
        }
    }

    async fn database(&mut self) -> Result<Option<Check>, Error> {
        Ok(Some(Check::ok("database", self.store.version().await?)))
    }

    /// Settings of PostgreSQL by which acknowledged changes could be lost.
    async fn settings(&mut self) -> Result<Option<Check>, Error> {
        const NAME: &str = "durability";
        let Some(commit) = self.store.setting("synchronous_commit").await? else { return Ok(None) };
        if self.store.setting("fsync").await?.as_deref() == Some("off") {
            return Ok(Some(Check::problem(
                NAME,
                "PostgreSQL has fsync off: a loss of power may damage everything",
                "set fsync = on in PostgreSQL's configuration",
            )));
        }
        Ok(Some(if commit == "off" {
            Check::warning(
                NAME,
                "PostgreSQL has synchronous_commit off, and Countersign switches it on for itself",
                "set it on for other writers of this database, if there are any",
            )
        } else {
            Check::ok(NAME, format!("fsync on, synchronous_commit {commit}"))
        }))
    }

    async fn installation(&mut self) -> Result<Option<Check>, Error> {
        const NAME: &str = "installation";
        Ok(Some(match self.store.installation().await? {
            Some(installation) => Check::ok(NAME, format!("{}, made {}", installation.id, installation.created_at)),
            None => Check::problem(
                NAME,
                "there are tables and no installation in them",
                "`countersign init` makes one, `countersign restore` brings one back",
            ),
        }))
    }

    async fn damage(&mut self) -> Result<Option<Check>, Error> {
        const NAME: &str = "database integrity";
        if !self.store.is_embedded() {
            return Ok(None);
        }
        let advice = "stop the server, keep a copy of the file, and restore the last backup";
        Ok(Some(match self.store.find_damage().await {
            Ok(damage) if damage.is_empty() => Check::ok(NAME, "SQLite finds nothing wrong with the file"),
            Ok(damage) => Check::problem(NAME, format!("the file is damaged: {}", damage.join("; ")), advice),
            Err(error) => Check::problem(NAME, format!("the file can't be read through: {error}"), advice),
        }))
    }

    async fn audit_log(&mut self) -> Result<Option<Check>, Error> {
        const NAME: &str = "audit log";
        let progress = Progress::new("events walked");
        let chain = self.store.verify_audit_chain(&mut |walked| progress.show(walked)).await?;
        Ok(Some(match chain.broken {
            None => Check::ok(NAME, format!("{} events, every one as it was recorded", chain.events)),
            Some(broken) => Check::problem(
                NAME,
                format!("broken at event {}: {}", broken.seq, broken.problem),
                "somebody has changed the database: keep a copy of it, and see docs/security-model.md",
            ),
        }))
    }

    async fn clock(&mut self) -> Result<Option<Check>, Error> {
        let newest = self.store.list_newest_audit(&AuditFilter::default(), 1).await?;
        let started = self.store.list_nodes().await?.into_iter().map(|node| node.started_at);
        Ok(Some(judge_clock(self.now, newest.iter().map(|event| event.at).chain(started).max())))
    }

    /// A change of the installation key that goes on, and keys that one has left behind. `None` if there is neither.
    async fn installation_keys(&mut self) -> Result<Option<Check>, Error> {
        // That the file can be read was said before.
        let keys = self.source.load().unwrap_or_default();
        let records = self.store.list_installation_keys().await?;
        let checks = records.iter().map(|record| record.check_value);
        let held: Vec<_> = checks.filter(|check| keys.iter().any(|key| key.known_by(check).is_some())).collect();
        Ok(judge_keys(self.now, self.store.live_keys().await?, &records, &held))
    }

    async fn signing_key(&mut self) -> Result<Option<Check>, Error> {
        if self.store.installation().await?.is_none() {
            return Ok(None);
        }
        let id = self.store.signing_key_id().await?;
        Ok(Some(Check::ok("signing key", format!("{id} signs new API tokens"))))
    }

    /// Which of the servers on the list are alive: two looks, some time apart.
    async fn nodes(&mut self) -> Result<Option<Check>, Error> {
        const NAME: &str = "servers";
        let first = self.store.list_nodes().await?;
        if first.is_empty() {
            return Ok(Some(Check::ok(NAME, "none runs on this database")));
        }
        let heartbeats: HashMap<_, _> = first.iter().map(|node| (node.id, node.heartbeat)).collect();
        let looks = HEARTBEAT.as_millis() / 100;
        let mut silent = Vec::new();
        let mut nodes = first;
        for _ in 0..looks {
            tokio::time::sleep(Duration::from_millis(100)).await;
            nodes = self.store.list_nodes().await?;
            silent = nodes
                .iter()
                .filter(|node| heartbeats.get(&node.id) == Some(&node.heartbeat))
                .map(|node| node.id)
                .collect();
            if silent.is_empty() {
                break;
            }
        }
        let serving = nodes.iter().filter(|node| node.serves_stale).count();
        let alive = nodes.len() - silent.len();
        Ok(Some(if !silent.is_empty() {
            let names: Vec<String> = silent.iter().map(ToString::to_string).collect();
            Check::warning(
                NAME,
                format!("{alive} alive, and silent: {}", names.join(", ")),
                "whoever was killed is taken off the list after a minute, with stale = \"serve\" after 10, on SQLite at \
                 the next start; until then a revocation may wait for it. If it should run, start it",
            )
        } else if serving > 0 {
            Check::warning(
                NAME,
                format!("{alive} alive, of which {serving} serve stale answers (stale = \"serve\")"),
                "while they do, no revocation is reported as complete: see docs/configuration.md",
            )
        } else {
            Check::ok(NAME, format!("{alive} alive"))
        }))
    }

    async fn tombstones(&mut self) -> Result<Option<Check>, Error> {
        Ok(Some(judge_tombstones(self.now, self.store.tombstones().await?)))
    }

    async fn expiring(&mut self) -> Result<Option<Check>, Error> {
        let until = self.now.saturating_add_micros(SOON_DAYS * DAY);
        Ok(Some(judge_expiring(self.store.count_expiring(self.now, until).await?)))
    }
}

fn judge_clock(now: Timestamp, latest: Option<Timestamp>) -> Check {
    const NAME: &str = "clock";
    let ahead = latest.map_or(0, |latest| latest.as_micros().saturating_sub(now.as_micros()));
    if ahead > CLOCK_SLACK {
        Check::problem(
            NAME,
            format!("{now} here, and the store knows of something {} s later", ahead / SECOND),
            "set this machine's clock (and those of the other servers): tokens would end at the wrong time",
        )
    } else {
        Check::ok(NAME, format!("{now}, not before anything in the store"))
    }
}

fn judge_keys(now: Timestamp, live: LiveKeys, records: &[KeyRecord], held: &[[u8; 32]]) -> Option<Check> {
    const NAME: &str = "change of the key";
    let over = records.iter().find(|record| record.retired_at.is_some() && held.contains(&record.check_value));
    if let Some(over) = over {
        return Some(Check::warning(
            NAME,
            format!("key {} is over, and still where the installation key is", over.id),
            "keep it with the backups that were made under it only; `countersign installation-key finish` takes it out of \
             the file, a variable is yours to change",
        ));
    }
    let since = |id| {
        records.iter().find(|record| record.id == id).map(|record| record.current_at.unwrap_or(record.prepared_at))
    };
    let (message, since, advice) = match (live.before, live.next) {
        (Some(before), _) => (
            format!("key {} has taken the place of key {before}, which is still needed", live.current),
            since(live.current),
            "see `countersign installation-key status`: use or replace what stands under the key before, then finish",
        ),
        (None, Some(next)) => (
            format!("key {next} is prepared, and not in use"),
            since(next),
            "go on with `countersign installation-key rotate`: a key that waits can only be seen by others",
        ),
        (None, None) => return None,
    };
    let days = since.map_or(0, |since| now.as_micros().saturating_sub(since.as_micros()) / DAY);
    Some(if days >= CHANGE_DAYS {
        Check::warning(NAME, format!("{message}, for {days} days"), advice)
    } else {
        Check::ok(NAME, message)
    })
}

fn judge_tombstones(now: Timestamp, found: Tombstones) -> Check {
    const NAME: &str = "deleted tokens";
    let oldest = found.oldest.map_or(0, |oldest| now.as_micros().saturating_sub(oldest.as_micros()));
    let message = format!("{} rows wait to be swept", found.tokens);
    if oldest > SWEPT_DAYS * DAY {
        Check::warning(
            NAME,
            format!("{message}, the first for {} days", oldest / DAY),
            "a server sweeps what was deleted a week ago: let one run, and see its log",
        )
    } else {
        Check::ok(NAME, message)
    }
}

fn judge_expiring(found: Expiring) -> Check {
    const NAME: &str = "expiring tokens";
    let Expiring { service_tokens, api_tokens, management_tokens } = found;
    let message = format!(
        "within {SOON_DAYS} days: service tokens {service_tokens}, API tokens {api_tokens}, management tokens \
         {management_tokens}"
    );
    if service_tokens + api_tokens + management_tokens == 0 {
        Check::ok(NAME, message)
    } else {
        Check::warning(
            NAME,
            message,
            "refresh or rotate what is still needed: `countersign service-token list`, `countersign api-token list`",
        )
    }
}

#[cfg(test)]
mod tests {
    use countersign_server::token::digest::KeyId;

    use super::*;
    use crate::command::doctor::Status;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(1_800_000_000 * SECOND + micros)
    }

    #[test]
    fn changes_of_the_key_are_judged() {
        let record = |number: u32, current_at, retired_at| KeyRecord {
            id: KeyId::new(number).unwrap(),
            check_value: [u8::try_from(number).unwrap(); 32],
            prepared_at: at(0),
            current_at,
            retired_at,
        };
        let live = |before, current, next| LiveKeys {
            before: KeyId::new(before),
            current: KeyId::new(current).unwrap(),
            next: KeyId::new(next),
        };
        let check = |now: i64, live, records: &[KeyRecord], held: &[[u8; 32]], expected: Option<Status>| {
            assert_eq!(judge_keys(at(now), live, records, held).map(|check| check.status), expected, "{live:?}");
        };
        let first = record(1, Some(at(0)), None);
        check(99 * DAY, live(0, 1, 0), &[first], &[[1; 32]], None);
        let next = [first, record(2, None, None)];
        check(DAY, live(0, 1, 2), &next, &[[1; 32], [2; 32]], Some(Status::Ok));
        check(7 * DAY, live(0, 1, 2), &next, &[[1; 32], [2; 32]], Some(Status::Warning));
        let rotated = [first, record(2, Some(at(5 * DAY)), None)];
        check(11 * DAY, live(1, 2, 0), &rotated, &[[1; 32], [2; 32]], Some(Status::Ok));
        check(12 * DAY, live(1, 2, 0), &rotated, &[[1; 32], [2; 32]], Some(Status::Warning));
        let finished = [record(1, Some(at(0)), Some(at(DAY))), rotated[1]];
        check(12 * DAY, live(0, 2, 0), &finished, &[[1; 32], [2; 32]], Some(Status::Warning));
        check(12 * DAY, live(0, 2, 0), &finished, &[[2; 32]], None);
    }

    #[test]
    fn clocks_are_judged() {
        let check = |latest: Option<i64>, expected| {
            assert_eq!(judge_clock(at(0), latest.map(at)).status, expected, "{latest:?}");
        };
        check(None, Status::Ok);
        check(Some(-DAY), Status::Ok);
        check(Some(CLOCK_SLACK), Status::Ok);
        check(Some(CLOCK_SLACK + 1), Status::Problem);
    }

    #[test]
    fn tombstones_are_judged() {
        let check = |days: Option<i64>, expected| {
            let found = Tombstones { tokens: 1, oldest: days.map(|days| at(-days * DAY)) };
            assert_eq!(judge_tombstones(at(0), found).status, expected, "{days:?}");
        };
        check(None, Status::Ok);
        check(Some(7), Status::Ok);
        check(Some(9), Status::Warning);
    }

    #[test]
    fn expiring_tokens_are_counted_by_kind() {
        let check = |counts: [u64; 3], expected| {
            let [service_tokens, api_tokens, management_tokens] = counts;
            let found = judge_expiring(Expiring { service_tokens, api_tokens, management_tokens });
            assert_eq!(found.status, expected, "{counts:?}");
            for count in counts {
                assert!(found.message.contains(&count.to_string()), "{}", found.message);
            }
        };
        check([0, 0, 0], Status::Ok);
        check([7, 0, 0], Status::Warning);
        check([0, 8, 0], Status::Warning);
        check([0, 0, 9], Status::Warning);
    }
}
