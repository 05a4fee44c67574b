//! Asking before something is destroyed.

use std::io::{self, BufRead, IsTerminal as _, Write};

use anyhow::bail;
use clap::Args;

use crate::failure::Usage;

/// The flag of commands that destroy something.
#[derive(Args)]
pub(crate) struct Confirm {
    /// Do it without asking. Needed where there is no terminal to ask on
    #[arg(long)]
    yes: bool,
}

impl Confirm {
    /// Goes on only if the flag is there or the person at the terminal agrees to `question`.
    pub(crate) fn ask(&self, question: &str) -> anyhow::Result<()> {
        let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        ask(self.yes, terminal, question, &mut io::stdin().lock(), &mut io::stderr().lock())
    }
}

fn ask(yes: bool, terminal: bool, question: &str, from: &mut impl BufRead, to: &mut impl Write) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !terminal {
        return Err(Usage(format!("{question} There is no terminal to ask on: say --yes to go ahead")).into());
    }
    write!(to, "{question} [y/N] ")?;
    to.flush()?;
    let mut answer = String::new();
    from.read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!("nothing was done"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yes: bool, terminal: bool, typed: &str, expected: Result<(), &str>) {
        let mut asked = Vec::new();
        let outcome = ask(yes, terminal, "Delete it?", &mut typed.as_bytes(), &mut asked);
        assert_eq!(outcome.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
        let asks = terminal && !yes;
        assert_eq!(String::from_utf8(asked).unwrap(), if asks { "Delete it? [y/N] " } else { "" });
    }

    #[test]
    fn answers() {
        check(true, false, "", Ok(()));
        check(true, true, "n\n", Ok(()));
        check(false, true, "y\n", Ok(()));
        check(false, true, "YES\n", Ok(()));
        check(false, true, "\n", Err("nothing was done"));
        check(false, true, "", Err("nothing was done"));
        check(false, true, "yeah\n", Err("nothing was done"));
        check(false, false, "y\n", Err("Delete it? There is no terminal to ask on: say --yes to go ahead"));
    }
}
