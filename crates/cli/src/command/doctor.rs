//! `countersign doctor`

mod machine;
mod store;

use std::fmt;

use anyhow::bail;
use clap::Args;
use countersign_server::config::Settings;
use countersign_server::token::time::Clock;
use serde::Serialize;

use crate::flag::{Serving, Shown};
use crate::logging;
use crate::output::{Output, Style};

const EXAMPLES: &str = "\
Nothing is changed, and servers may run. Each line is ok, a warning or a problem, with what to do
about it. With a problem, the exit status is 1. Give the flags and the file that `serve` gets.

Examples:
  countersign doctor --data-dir /var/lib/countersign
  countersign doctor --config /etc/countersign.toml
  countersign doctor --json | jq -r '.checks[] | select(.status != \"ok\").message'";

/// Which installation is looked at.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    serving: Serving,
}

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warning,
    Problem,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "PROBLEM",
        })
    }
}

/// What was found out about one thing.
#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    status: Status,
    message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Check {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, status: Status::Ok, message: message.into(), advice: None }
    }

    fn warning(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, status: Status::Warning, message: message.into(), advice: Some(advice.into()) }
    }

    fn problem(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, status: Status::Problem, message: message.into(), advice: Some(advice.into()) }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    problems: usize,
    warnings: usize,
    checks: &'a [Check],
}

/// Where the results go, one by one.
struct Report {
    checks: Vec<Check>,
    output: Output,
}

impl Report {
    /// Takes a result; people see it at once, since the next may take a while.
    fn add(&mut self, check: Check) -> std::io::Result<()> {
        if !self.output.is_json() {
            let style = self.output.style();
            let status = paint(style, check.status);
            self.output.line(&format!("{status}  {:<18}  {}", check.check, check.message))?;
            if let Some(advice) = &check.advice {
                self.output.line(&style.dim(&format!("{:9}{:<18}  → {advice}", "", "")))?;
            }
        }
        self.checks.push(check);
        Ok(())
    }

    fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|check| check.status == status).count()
    }
}

fn paint(style: Style, status: Status) -> String {
    let text = format!("{status:<7}");
    match status {
        Status::Ok => style.strong(&text),
        Status::Warning | Status::Problem => style.warning(&text),
    }
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    logging::command()?;
    let mut report = Report { checks: Vec::new(), output: Output::stdout(arguments.shown.json) };
    match arguments.serving.settings() {
        Ok(settings) => look(&settings, &mut report).await?,
        Err(error) => {
            let advice = "`countersign validate-config` shows every setting and where it comes from";
            report.add(Check::problem("configuration", crate::failure::redact(&format!("{error:#}")), advice))?;
        }
    }
    let (problems, warnings) = (report.count(Status::Problem), report.count(Status::Warning));
    if report.output.is_json() {
        report.output.document(&Document { problems, warnings, checks: &report.checks })?;
    } else {
        report.output.line(&format!("\nProblems: {problems}. Warnings: {warnings}."))?;
    }
    if problems > 0 {
        bail!("the installation is not in order: {problems} of {} checks found a problem", report.checks.len());
    }
    Ok(())
}

async fn look(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    report.add(match logging::check(settings) {
        Ok(()) => Check::ok("configuration", "every setting can be read"),
        Err(error) => Check::problem("configuration", format!("{error:#}"), "set log_level to `info`"),
    })?;
    machine::directories(settings, report)?;
    let key = machine::installation_key(settings, report)?;
    Box::pin(store::look(settings, key.as_ref(), Clock::System.now(), report)).await?;
    machine::listeners(settings, report)?;
    Ok(())
}
