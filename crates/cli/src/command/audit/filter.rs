//! The flags that say which events are meant.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use countersign_server::caller::Caller;
use countersign_server::ops::{self, Ops};
use countersign_server::store::{AuditFilter, Network};
use countersign_server::token::id::AccountId;
use countersign_server::token::time::{Clock, Timestamp};

use crate::flag::{parse_duration, parse_time};

/// Which events are meant.
#[derive(Args)]
#[command(next_help_heading = "Which events; all that are named must hold")]
pub(super) struct Which {
    /// Only what was done by this user, by id or e-mail address, or by the credential with this id
    #[arg(long, value_name = "ID|EMAIL")]
    actor: Option<String>,
    /// Only what was done by actors of this kind: `user`, `management_token`, `api_token`, `service_token`,
    /// `admin_user_invite`, `operator`, `server` or `unknown`
    #[arg(long, value_name = "KIND")]
    actor_kind: Option<String>,
    /// Only this action, such as `service_token.create`, or all that begin alike, such as `service_token.*`
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only what was done to the thing with this id
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// Only what concerns this account
    #[arg(long, value_name = "ID")]
    account: Option<AccountId>,
    /// Only what came from this address, or from a range such as `192.0.2.0/24`
    #[arg(long, value_name = "ADDRESS")]
    address: Option<Network>,
    /// Only from this time on (RFC 3339), or from so long ago on, such as `24h`
    #[arg(long, value_name = "TIME|DURATION", value_parser = parse_moment)]
    since: Option<Moment>,
    /// Only before this time, or before so long ago
    #[arg(long, value_name = "TIME|DURATION", value_parser = parse_moment)]
    until: Option<Moment>,
    /// Only events after this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: i64,
}

/// A point in time, as somebody names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    At(Timestamp),
    Ago(Duration),
}

impl Moment {
    fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => {
                now.saturating_add_micros(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX).saturating_neg())
            }
        }
    }
}

fn parse_moment(text: &str) -> Result<Moment, String> {
    if let Ok(at) = parse_time(text) {
        return Ok(Moment::At(at));
    }
    let nanos = parse_duration(text).ok().and_then(|duration| duration.nanos());
    match nanos {
        Some(nanos) => Ok(Moment::Ago(Duration::from_nanos(nanos.unsigned_abs()))),
        None => Err("neither a time such as 2026-05-01T12:00:00Z nor a duration such as 24h".to_owned()),
    }
}

impl Which {
    /// The filter that the flags describe. An address of a user is looked up.
    pub(super) async fn filter(self, ops: &Ops) -> anyhow::Result<AuditFilter> {
        let actor_id = match self.actor {
            Some(email) if email.contains('@') => match ops.find_user_by_email(&Caller::Operator, &email).await {
                Ok(user) => Some(user.id.to_string()),
                Err(ops::Error::NotFound) => {
                    bail!("no user has the address {email}: `countersign user list` shows those there are")
                }
                Err(error) => return Err(error.into()),
            },
            id => id,
        };
        let now = Clock::System.now();
        Ok(AuditFilter {
            account: self.account,
            subject_id: self.subject,
            actor_kind: self.actor_kind,
            actor_id,
            action: self.action,
            since: self.since.map(|since| since.resolve(now)),
            until: self.until.map(|until| until.resolve(now)),
            network: self.address,
            after: self.after,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let now = Timestamp::from_secs(1_000_000);
        let check = |text: &str, secs: Option<i64>| {
            let moment = parse_moment(text).ok().map(|moment| moment.resolve(now));
            assert_eq!(moment, secs.map(Timestamp::from_secs), "{text}");
        };
        check("1970-01-01T00:00:10Z", Some(10));
        check("1970-01-01T01:00:10+01:00", Some(10));
        check("24h", Some(1_000_000 - 86_400));
        check("1h30m", Some(1_000_000 - 5_400));
        for text in ["", "forever", "yesterday", "1970-01-01", "-1h", "24"] {
            check(text, None);
        }
    }
}
