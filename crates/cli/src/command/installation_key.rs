//! `countersign installation-key`

use anyhow::bail;
use clap::{Args, Subcommand};
use countersign_server::caller::Caller;
use countersign_server::config::key::KeySource;
use countersign_server::ops::{Finish, KeyStatus, Ops, Remains};
use countersign_server::store::KeyRecord;
use countersign_server::token::digest::{InstallationKey, KeyId};
use countersign_server::token::entropy::Entropy;
use serde::Serialize;

use crate::confirm::Confirm;
use crate::flag::{Place, Shown};
use crate::local;
use crate::output::Output;

/// How many holders of each kind `status` names.
const LISTED: u32 = 20;

const EXAMPLES: &str = "\
Nothing is refused and nothing is restarted meanwhile. One after the other:

Examples:
  countersign installation-key prepare    # makes the next key, beside the one in the key file
                                          # (copy the file to the other servers' machines)
  countersign installation-key rotate     # makes it the current one
  countersign installation-key status     # shows what still stands under the key before
  countersign installation-key finish     # ends the key before

docs/key-rotation.md says what this protects from, and what not.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the keys, which servers hold them, and what still stands under the key before
    #[command(after_help = "\
Examples:
  countersign installation-key status
  countersign installation-key status --json | jq .remains")]
    Status {
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// Make the next key, and put it into the key file beside the current one
    #[command(after_help = "\
Where the key comes from the environment, put both into the variable first, with a space between
them.

Examples:
  countersign installation-key prepare
  countersign installation-key prepare --again")]
    Prepare {
        /// Drop a key that was prepared before, and make another one
        #[arg(long)]
        again: bool,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// Make the prepared key the current one; the one before stays good until `finish`
    #[command(after_help = "\
It is refused while a server does not hold the prepared key. It can't be taken back: afterwards
both keys are needed until `finish`.

Examples:
  countersign installation-key rotate")]
    Rotate {
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// End the key before, and take it out of the key file
    #[command(after_help = "\
It is refused while something still depends on the key before, unless --void-the-rest says that it
is to be void.

Examples:
  countersign installation-key finish
  countersign installation-key finish --void-the-rest --yes")]
    Finish {
        /// End the key before although secrets that were not seen since, links of invitations, and repeated requests of the
        /// last day depend on it
        #[arg(long)]
        void_the_rest: bool,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let by = Caller::Operator;
    match arguments.action {
        Action::Status { shown, place } => {
            local::with_ops(place, async |ops| {
                let status = ops.installation_key_status(&by, LISTED).await?;
                print_status(&status, &mut Output::stdout(shown.json))
            })
            .await
        }
        Action::Prepare { again, shown, place } => {
            let settings = place.settings()?;
            let source = &settings.installation_key;
            local::with_ops_of(&settings, async |ops| {
                let id = prepare(ops, source, again).await?;
                let mut output = Output::stdout(shown.json);
                print_key(&mut output, id)?;
                if !output.is_json() {
                    output.line(&format!(
                        "\nIt is in {source}, beside the current key, and not in use. Copy that to every machine on which a \
                         server runs (mode 0600, the server's own file); servers notice by themselves. Copy it to where you \
                         keep the key for backups, too. Then: countersign installation-key rotate"
                    ))?;
                }
                Ok(())
            })
            .await
        }
        Action::Rotate { shown, place } => {
            local::with_ops(place, async |ops| {
                let id = ops.rotate_installation_key(&by).await?;
                let mut output = Output::stdout(shown.json);
                print_key(&mut output, id)?;
                if !output.is_json() {
                    output.line(
                    "\nIt is the current key. The one before is still needed: secrets move to the current key as they \
                         are used. Make a backup, and see: countersign installation-key status",
                )?;
                }
                Ok(())
            })
            .await
        }
        Action::Finish { void_the_rest, confirm, shown, place } => {
            let settings = place.settings()?;
            let source = &settings.installation_key;
            if void_the_rest {
                confirm.ask(
                    "Whatever still depends on the key before will be void, and no one can bring it back. Go on?",
                )?;
            }
            local::with_ops_of(&settings, async |ops| {
                finish(ops, source, void_the_rest, &mut Output::stdout(shown.json)).await
            })
            .await
        }
    }
}

/// Makes the next key known, once it is on this machine's disk. No key leaves the file before the database says that it is
/// over: another operator may have made it current meanwhile.
async fn prepare(ops: &Ops, source: &KeySource, again: bool) -> anyhow::Result<KeyId> {
    let by = Caller::Operator;
    // Two at once would each write a key that the other doesn't know.
    let _lock = source.lock()?;
    let KeyStatus { live, keys: records, .. } = ops.installation_key_status(&by, 0).await?;
    if let Some(before) = live.before {
        bail!(
            "the change from key {before} to key {} is not finished yet: `countersign installation-key finish` ends it",
            live.current
        );
    }
    let keys = source.load()?;
    if let (Some(next), false) = (live.next, again) {
        if keys.iter().any(|key| record_of(key, &records).is_some_and(|record| record.id == next)) {
            return Ok(next);
        }
        bail!(
            "key {next} is prepared, and is not in {source}: copy it from the machine where it was prepared, or make another \
             one with --again"
        );
    }
    // A key that nobody knows was left by a run that was cut short, or put there on purpose: it is the next one.
    if let Some(next) = keys.iter().find(|key| record_of(key, &records).is_none()) {
        let id = ops.prepare_installation_key(&by, next, again).await?;
        drop_retired(ops, source).await?;
        return Ok(id);
    }
    if let KeySource::Environment(_) = source {
        bail!(
            "{source} gives the installation key, and it can't be changed from here. Make a key (`openssl rand -hex 32`), put \
             both keys into {source} with a space between them, for every server and for this command, and do this again"
        );
    }
    let next = InstallationKey::generate(&Entropy::System);
    let mut all = kept(&keys, &records);
    all.push(&next);
    source.replace(&all)?;
    let id = ops.prepare_installation_key(&by, &next, again).await?;
    drop_retired(ops, source).await?;
    Ok(id)
}

async fn finish(ops: &Ops, source: &KeySource, void_the_rest: bool, output: &mut Output) -> anyhow::Result<()> {
    let by = Caller::Operator;
    let live = ops.installation_key_status(&by, 0).await?.live;
    if let Some(next) = live.next {
        bail!("key {next} is prepared, and not current yet: `countersign installation-key rotate` makes it current");
    }
    if live.before.is_some() {
        match ops.finish_installation_key(&by, void_the_rest).await? {
            Finish::Done(_) => {}
            Finish::Remains(remains) => {
                bail!(
                    "nothing was done: {}. Wait until it is used or over, replace it, or say --void-the-rest. \
                     `countersign installation-key status` names what it is",
                    words(&remains)
                );
            }
        }
    }
    // From here on, a run that was cut short is completed by another one.
    ops.forget_old_digests(&by).await?;
    let message = match source {
        KeySource::File(_) => {
            let _lock = source.lock()?;
            drop_retired(ops, source).await?;
            format!(
                "{source} holds it alone. Take the old key out of the key files of the other servers' machines, too"
            )
        }
        KeySource::Environment(_) => format!("take the old key out of {source}, for every server"),
    };
    print_key(output, live.current)?;
    if !output.is_json() {
        output.line(&format!(
            "\nIt is the only key that is live; {message}. Keep the old key with the backups that were made under it, and \
             make a new backup now."
        ))?;
    }
    Ok(())
}

/// Takes keys that are over out of the key file, which the caller has locked. The database is asked now: what it says of
/// them is final.
async fn drop_retired(ops: &Ops, source: &KeySource) -> anyhow::Result<()> {
    if let KeySource::Environment(_) = source {
        return Ok(());
    }
    let status = ops.installation_key_status(&Caller::Operator, 0).await?;
    let keys = source.load()?;
    let kept = kept(&keys, &status.keys);
    if kept.len() < keys.len() && !kept.is_empty() {
        source.replace(&kept)?;
    }
    Ok(())
}

/// The keys without those that are over. What nobody knows is not ours to take away.
fn kept<'k>(keys: &'k [InstallationKey], records: &[KeyRecord]) -> Vec<&'k InstallationKey> {
    keys.iter().filter(|key| record_of(key, records).is_none_or(|record| record.retired_at.is_none())).collect()
}

fn record_of<'r>(key: &InstallationKey, records: &'r [KeyRecord]) -> Option<&'r KeyRecord> {
    records.iter().find(|record| key.known_by(&record.check_value).is_some())
}

#[derive(Serialize)]
struct Document {
    id: u32,
}

fn print_key(output: &mut Output, id: KeyId) -> anyhow::Result<()> {
    output.show(&Document { id: id.get() }, &[("Installation key", id.to_string())])?;
    Ok(())
}

#[derive(Serialize)]
struct StatusDocument {
    current: u32,
    before: Option<u32>,
    next: Option<u32>,
    held: Vec<u32>,
    servers: Vec<Server>,
    remains: Option<RemainsDocument>,
    holders: Vec<Holder>,
}

#[derive(Serialize)]
struct Server {
    id: String,
    newest_key: u32,
}

#[derive(Serialize)]
struct RemainsDocument {
    service_tokens: u64,
    previous_secrets: u64,
    api_tokens: u64,
    management_tokens: u64,
    users: u64,
    invites: u64,
    answers_until: Option<String>,
}

#[derive(Serialize)]
struct Holder {
    kind: &'static str,
    id: String,
    name: String,
    account_id: Option<String>,
    last_seen_at: Option<String>,
}

fn print_status(status: &KeyStatus, output: &mut Output) -> anyhow::Result<()> {
    let KeyStatus { live, held, nodes, remains, holders, .. } = status;
    let document = StatusDocument {
        current: live.current.get(),
        before: live.before.map(KeyId::get),
        next: live.next.map(KeyId::get),
        held: held.iter().map(|id| id.get()).collect(),
        servers: nodes
            .iter()
            .map(|node| Server { id: node.id.to_string(), newest_key: node.installation_key.get() })
            .collect(),
        remains: remains.map(|remains| RemainsDocument {
            service_tokens: remains.standing.service_tokens,
            previous_secrets: remains.standing.previous_secrets,
            api_tokens: remains.standing.api_tokens,
            management_tokens: remains.standing.management_tokens,
            users: remains.standing.users,
            invites: remains.invites,
            answers_until: remains.answers_until.map(|until| until.to_string()),
        }),
        holders: holders
            .iter()
            .map(|holder| Holder {
                kind: holder.kind,
                id: holder.id.clone(),
                name: holder.name.clone(),
                account_id: holder.account.map(|account| account.to_string()),
                last_seen_at: holder.last_seen_at.map(|at| at.to_string()),
            })
            .collect(),
    };
    let here = |id: KeyId| if held.contains(&id) { "" } else { ", not in the key file here" };
    let mut fields = vec![("Current key", format!("{}{}", live.current, here(live.current)))];
    if let Some(before) = live.before {
        fields.push(("Key before", format!("{before}{}, still needed", here(before))));
    }
    if let Some(next) = live.next {
        fields.push(("Next key", format!("{next}{}, prepared", here(next))));
    }
    for server in &document.servers {
        fields.push(("Server", format!("{} holds keys up to {}", server.id, server.newest_key)));
    }
    if let Some(remains) = remains {
        fields.push(("Under the key before", words(remains)));
    }
    output.show(&document, &fields)?;
    if output.is_json() {
        return Ok(());
    }
    for Holder { kind, id, name, last_seen_at, .. } in &document.holders {
        let seen = last_seen_at.as_deref().map_or_else(|| "never seen".to_owned(), |at| format!("last seen {at}"));
        output.line(&format!("  {kind} {id} {name:?}, {seen}"))?;
    }
    let next = match (live.before, live.next, remains) {
        (Some(_), _, Some(remains)) if remains.is_empty() => {
            "nothing depends on the key before: countersign installation-key finish"
        }
        (Some(_), ..) => "secrets move to the current key as they are used; see again later",
        (None, Some(_), _) => "when every server holds the next key: countersign installation-key rotate",
        (None, None, _) => "countersign installation-key prepare makes a new key",
    };
    output.line(&format!("\nWhat next: {next}."))?;
    Ok(())
}

/// What would be void, for people.
fn words(remains: &Remains) -> String {
    let Remains { standing, invites, answers_until } = remains;
    let mut parts: Vec<String> = [
        (standing.service_tokens, "service tokens"),
        (standing.previous_secrets, "previous secrets of service tokens"),
        (standing.api_tokens, "API tokens"),
        (standing.management_tokens, "management tokens"),
        (standing.users, "global API keys"),
        (*invites, "links of pending invitations"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{what}: {count}"))
    .collect();
    if let Some(until) = answers_until {
        parts.push(format!("answers to repeated requests: until {until}"));
    }
    if parts.is_empty() { "nothing".to_owned() } else { format!("still depending on it are {}", parts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use countersign_server::token::time::Timestamp;

    use super::*;

    #[test]
    fn only_keys_that_are_over_leave_the_file() {
        let keys: Vec<_> = (0..4).map(|seed| InstallationKey::generate(&Entropy::seeded(seed))).collect();
        let at = Timestamp::from_micros(1);
        let record = |number: u32, key: &InstallationKey, retired_at| KeyRecord {
            id: KeyId::new(number).unwrap(),
            check_value: key.check_value(),
            prepared_at: at,
            current_at: Some(at),
            retired_at,
        };
        let records = [record(1, &keys[0], Some(at)), record(2, &keys[1], None), record(3, &keys[2], None)];
        let checks = |keys: Vec<&InstallationKey>| keys.iter().map(|key| key.check_value()).collect::<Vec<_>>();
        let expected = [&keys[1], &keys[2], &keys[3]].map(InstallationKey::check_value);
        assert_eq!(checks(kept(&keys, &records)), expected);
    }
}
