//! What `quickstart` prints: what there is, and commands that work when they are pasted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use countersign_server::lifecycle::Listening;
use countersign_server::ops::Issued;
use countersign_server::token::id::{AccountId, EnvironmentId};
use countersign_server::token::secret::Secret;
use countersign_server::token::time::Timestamp;

use crate::output::Output;

/// For how long the pasted rotation leaves the old secret good.
const GRACE_SECS: i64 = 12 * 3600;

/// What the commands are made of.
pub(crate) struct Things<'a> {
    /// The first account.
    pub account: AccountId,
    /// Its first environment.
    pub environment: EnvironmentId,
    /// A management token that may do everything there.
    pub management_token: &'a Secret,
    /// An account-scoped API token.
    pub account_token: &'a Secret,
    /// A service token to try things with.
    pub demonstration: &'a Issued,
    /// What is bound.
    pub bound: &'a [Listening],
    /// What this program was called by.
    pub program: &'a str,
    /// The time of printing.
    pub now: Timestamp,
}

/// The first time: everything that was made, and commands.
pub(crate) fn welcome(output: &mut Output, made: &[(&str, String)], things: &Things<'_>) -> io::Result<()> {
    let style = output.style();
    let token = &things.demonstration.token;
    let lifetime = token.duration.as_str();
    output.gap()?;
    output.line(&style.strong("Countersign is ready."))?;
    output.gap()?;
    output.fields(made)?;
    output.gap()?;
    output.fields(&[
        ("Service token", format!("{}  {}, good for {lifetime}", token.id, token.name.as_str())),
        ("Client id", token.client_id.to_string()),
        ("Client secret", things.demonstration.secret.expose().to_owned()),
    ])?;
    output.once("The key, the tokens and the client secret are shown this once.")?;
    output.gap()?;
    output.line(&style.bold("Paste these into another terminal:"))?;
    for (what, command) in commands(things) {
        output.gap()?;
        output.line(&style.dim(&format!("# {what}")))?;
        output.line(&command)?;
    }
    output.gap()?;
    output.line(&style.dim("# Ctrl-C stops the server; the same command starts it again."))
}

/// Every other time: how to make new secrets, with `program` on the store that `place` names.
pub(crate) fn welcome_back(
    output: &mut Output,
    bound: &[Listening],
    program: &str,
    place: &str,
    account: Option<&AccountId>,
    email: Option<&str>,
) -> io::Result<()> {
    let style = output.style();
    output.gap()?;
    output.line(&style.strong("Countersign is ready."))?;
    output.gap()?;
    output.line("This installation's secrets were shown once, when it was made, and are stored nowhere.")?;
    let Some(account) = account else { return Ok(()) };
    let user = email.map(|email| format!(" --user {}", quoted(email))).unwrap_or_default();
    let management = url(bound, "management");
    output
        .line(&format!("For a new account token, log in at {management}/cli/connect with an address and its key."))?;
    output.line("For a new management token, paste this into another terminal:")?;
    output.gap()?;
    output.line(&format!(
        "{} token create --account {account} --name laptop \\\n  --permission Everything{user}{place}",
        quoted(program)
    ))
}

/// What each command does, and the command.
fn commands(things: &Things<'_>) -> Vec<(&'static str, String)> {
    let Things { account, environment, demonstration, .. } = things;
    let management = url(things.bound, "management");
    let gate = url(things.bound, "gate");
    let management_token = things.management_token.expose();
    let account_token = things.account_token.expose();
    let id = demonstration.token.id;
    let client_id = demonstration.token.client_id;
    let client_secret = demonstration.secret.expose();
    let tokens = format!("{management}/client/v4/accounts/{account}/access/service_tokens");
    let ends_at = Timestamp::from_secs(things.now.as_secs() + GRACE_SECS);
    let curl = "curl -sS -w '\\n'";
    let caller = format!("-H 'Authorization: Bearer {management_token}'");
    // An API token is long: where it stands in a command, the command can't be read.
    let own = "-H \"Authorization: Bearer $COUNTERSIGN_API_TOKEN\"";
    let program = quoted(things.program);
    vec![
        (
            "Ask the gate, as a reverse proxy does: 200 with the token's id and name in headers",
            format!(
                "curl -sS -i '{gate}/verify?account_id={account}' \\\n  \
                 -H 'CF-Access-Client-Id: {client_id}' \\\n  \
                 -H 'CF-Access-Client-Secret: {client_secret}'"
            ),
        ),
        (
            "Make a service token",
            format!(
                "{curl} {tokens} \\\n  {caller} \\\n  -H 'Content-Type: application/json' \\\n  \
                 -d '{{\"name\":\"my-service\",\"duration\":\"8760h\"}}'"
            ),
        ),
        (
            "Give the first one a new secret, and leave the old one good for 12 hours",
            format!(
                "{curl} {tokens}/{id}/rotate \\\n  {caller} \\\n  -H 'Content-Type: application/json' \\\n  \
                 -d '{{\"previous_client_secret_expires_at\":\"{ends_at}\"}}'"
            ),
        ),
        ("Check the management token", format!("{curl} {management}/client/v4/user/tokens/verify \\\n  {caller}")),
        (
            "Point the official SDKs and the command line here; what follows needs it",
            format!(
                "export CLOUDFLARE_BASE_URL={management}/client/v4\n\
                 export CLOUDFLARE_API_TOKEN={management_token}\n\
                 export CLOUDFLARE_ACCOUNT_ID={account}\n\
                 export PREFACTOR_API_URL={management}\n\
                 export PREFACTOR_API_TOKEN={account_token}\n\
                 export COUNTERSIGN_URL={management}\n\
                 export COUNTERSIGN_API_TOKEN=$PREFACTOR_API_TOKEN\n\
                 export COUNTERSIGN_ACCOUNT_ID={account}"
            ),
        ),
        ("Check the account token", format!("{curl} {management}/api/v1/ping \\\n  {own}")),
        (
            "Make an API token for the environment, good for a year, and keep it",
            format!(
                "API_TOKEN=$(curl -sS {management}/api/v1/api_token \\\n  {own} \\\n  \
                 -H 'Content-Type: application/json' \\\n  \
                 -d '{{\"details\":{{\"token_scope\":\"environment\",\"environment_id\":\"{environment}\"}}}}' \\\n  \
                 | grep -o 'eyJ[^\"]*')"
            ),
        ),
        (
            "Ask the gate with it: 200 with its id and its environment in headers",
            format!(
                "curl -sS -i '{gate}/verify?environment_id={environment}' \\\n  -H \"Authorization: Bearer $API_TOKEN\""
            ),
        ),
        ("See the tokens of both kinds", format!("{program} service-token list\n{program} api-token list")),
    ]
}

/// The address to reach a listener at from this machine: where all addresses are bound, the loopback one.
fn url(bound: &[Listening], name: &str) -> String {
    let url = bound.iter().find(|listening| listening.name == name).map_or("", |listening| listening.url.as_str());
    let Some(Ok(address)) = url.strip_prefix("http://").map(str::parse::<SocketAddr>) else { return url.to_owned() };
    let loopback = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(loopback, address.port()))
}

/// `text` as one word of a shell.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_reachable() {
        let check = |bound: &str, expected: &str| {
            let bound = [Listening { name: "gate", url: bound.to_owned() }];
            assert_eq!(url(&bound, "gate"), expected);
        };
        check("http://127.0.0.1:8788", "http://127.0.0.1:8788");
        check("http://0.0.0.0:1", "http://127.0.0.1:1");
        check("http://[::]:1", "http://[::1]:1");
        check("http://10.0.0.1:1", "http://10.0.0.1:1");
    }

    #[test]
    fn words_of_a_shell() {
        let check = |text: &str, expected: &str| assert_eq!(quoted(text), expected);
        check("target/debug/countersign", "target/debug/countersign");
        check("", "''");
        check("a b", "'a b'");
        check("it's $HOME", r"'it'\''s $HOME'");
    }
}
