//! `countersign service-token rotation`

use clap::Args;
use countersign_client::Timestamp;
use countersign_client::admin::{Client, Error, PreviousSecret, Rotation, Use};
use countersign_client::cloudflare::{Grace, Scope, TokenDuration, UpdateServiceToken};

use super::{Call, One, explain_own};
use crate::failure::{NotYet, Usage};
use crate::flag;
use crate::output::Output;

const EXAMPLES: &str = "\
The exit status is 0 if the old secret may end, or has ended, and 3 if somebody has come with it
not long ago, or if it is too early to say. With --finish-now and --finish-when-quiet it is 0 once
that is done.

A use is known after five seconds. Programs that verify by themselves tell of none.

Examples:
  countersign service-token rotation 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b
  countersign service-token rotation 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --quiet 1h --json
  countersign service-token rotation 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --finish-when-quiet 24h
  countersign service-token rotation 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --finish-now";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// For how long nobody must have come with the old secret to call it unused [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = flag::parse_duration)]
    quiet: Option<TokenDuration>,
    /// End the old secret now
    #[arg(long, conflicts_with_all = ["finish_when_quiet", "keep", "quiet"])]
    finish_now: bool,
    /// Let the server end the old secret once nobody has come with it for that long
    #[arg(long, value_name = "DURATION", value_parser = flag::parse_duration, conflicts_with_all = ["keep", "quiet"])]
    finish_when_quiet: Option<TokenDuration>,
    /// Take --finish-when-quiet back
    #[arg(long, conflicts_with = "quiet")]
    keep: bool,
    #[command(flatten)]
    one: One,
}

/// Does what the arguments say.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { quiet, finish_now, finish_when_quiet, keep, one } = arguments;
    if [&quiet, &finish_when_quiet].into_iter().flatten().any(TokenDuration::is_forever) {
        return Err(Usage("forever is no time for which nobody comes".to_owned()).into());
    }
    let mut call = Call::new(&one.common)?;
    let client = one.common.remote.admin()?;
    let explain = |error| explain_own(error, &call.url);
    if finish_now {
        let update = UpdateServiceToken { grace: Some(Grace::Ends), ..UpdateServiceToken::default() };
        let ended = call.client.update_service_token(&call.scope, &one.id, &update, None).await;
        ended.map_err(|error| call.explain(error))?;
    }
    let asks_for_change = finish_now || keep || finish_when_quiet.is_some();
    let rotation = if keep || finish_when_quiet.is_some() {
        client.finish_rotation_when_quiet(&call.scope, &one.id, finish_when_quiet.as_ref()).await
    } else {
        find(&client, &call.scope, &one).await
    };
    let rotation = rotation.map_err(explain)?;
    let verdict = Verdict::of(&rotation, quiet.as_ref());
    show(&mut call.output, &rotation, &verdict)?;
    if verdict.may_end || asks_for_change { Ok(()) } else { Err(NotYet.into()) }
}

async fn find(client: &Client, scope: &Scope, one: &One) -> Result<Rotation, Error> {
    client.find_rotation(scope, &one.id).await
}

/// What is to be thought of it.
struct Verdict {
    may_end: bool,
    words: String,
}

impl Verdict {
    fn of(rotation: &Rotation, quiet: Option<&TokenDuration>) -> Self {
        const DAY_NANOS: i64 = 24 * 3_600 * 1_000_000_000;
        let Some((previous, since)) = rotation.previous_secret.as_ref().zip(rotation.quiet_since) else {
            return Self { may_end: true, words: "There is no old secret that is still good.".to_owned() };
        };
        let needed = quiet.and_then(TokenDuration::nanos).unwrap_or(DAY_NANOS);
        let for_how_long = quiet.map_or("24h", TokenDuration::as_str);
        let has_been_quiet = since.saturating_add_nanos(needed) <= rotation.as_of;
        let last = previous.last_use.last_seen_at.filter(|at| rotation.rotated_at.is_none_or(|rotated| *at >= rotated));
        let words = match (last, has_been_quiet) {
            (Some(at), true) => {
                format!("Nobody has come with the old secret for {for_how_long}, the last one at {at}: it may end.")
            }
            (Some(at), false) => format!("Somebody still comes with the old secret, last at {at}: don't end it yet."),
            (None, true) => {
                format!(
                    "Nobody has come with the old secret since {since}, for longer than {for_how_long}: it may end."
                )
            }
            (None, false) => format!(
                "Nobody has come with the old secret since {since}. That is less than {for_how_long} ago: it is too early \
                 to say."
            ),
        };
        if rotation.verifiers == 0 {
            return Self { may_end: has_been_quiet, words };
        }
        let blind = "Programs that verify by themselves may have admitted it, and tell nobody: ask those who run them.";
        let held =
            if rotation.finish_when_quiet.is_some() { " As long as one runs, it ends at its time only." } else { "" };
        Self { may_end: false, words: format!("{words} {blind}{held}") }
    }
}

fn show(output: &mut Output, rotation: &Rotation, verdict: &Verdict) -> anyhow::Result<()> {
    output.show(rotation, &fields(rotation))?;
    if !output.is_json() {
        output.line(&format!("\n{}", verdict.words))?;
    }
    Ok(())
}

fn fields(rotation: &Rotation) -> Vec<(&'static str, String)> {
    let shown = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let mut fields = vec![
        ("Service token", rotation.service_token_id.to_string()),
        ("Rotated", shown(rotation.rotated_at)),
        ("New secret seen", last_use(&rotation.current_secret.last_use)),
    ];
    if let Some(PreviousSecret { expires_at, last_use: old, .. }) = &rotation.previous_secret {
        fields.push(("Old secret seen", last_use(old)));
        fields.push(("Old secret until", expires_at.to_string()));
    }
    if let Some(wish) = &rotation.finish_when_quiet {
        fields.push(("Ends when quiet", format!("for {}, not before {}", wish.quiet, wish.due_at)));
    }
    fields
}

fn last_use(last: &Use) -> String {
    let Some(at) = last.last_seen_at else { return "never".to_owned() };
    let Some(visited_at) = last.visited_at else { return at.to_string() };
    let address = last.address.as_deref().unwrap_or("a Unix socket");
    let agent = last.user_agent.as_deref().map(|agent| format!(" by {agent}")).unwrap_or_default();
    let when = if visited_at == at { String::new() } else { format!(" (at {visited_at})") };
    format!("{at} from {address}{agent}{when}")
}
