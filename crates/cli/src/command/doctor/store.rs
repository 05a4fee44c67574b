//! What the store says.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use countersign_server::config::Settings;
use countersign_server::store::{AuditFilter, Database, Error, Expiring, Options, Schema, Store, Tombstones};
use countersign_server::token::digest::Keyring;
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
            Looking { store: &store, now, report }.all().await?;
            store.close().await;
            Ok(())
        }
        Err(Error::KeyMismatch) => report.add(Check::problem(
            "key and database",
            "the installation key is not the one of this database: every secret would be refused",
            "put the installation's own key back from a backup, or name its place with --installation-key-file",
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
    use super::*;
    use crate::command::doctor::Status;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(1_800_000_000 * SECOND + micros)
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
