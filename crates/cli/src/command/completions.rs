//! `countersign completions`

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use super::CommandLine;
use crate::output::Output;

const EXAMPLES: &str = "\
The Debian package has them in their places. Elsewhere, put them where the shell looks for them.

Examples:
  countersign completions bash > ~/.local/share/bash-completion/completions/countersign
  countersign completions zsh > ~/.zfunc/_countersign
  countersign completions fish > ~/.config/fish/completions/countersign.fish";

/// Which shell is to learn the commands.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints what the shell reads.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // Generated whole before any of it is written: the generator takes a reader that goes away for a bug.
    let mut script = Vec::new();
    generate(arguments.shell, &mut CommandLine::command(), "countersign", &mut script);
    Output::stdout(false).line(String::from_utf8(script)?.trim_end())?;
    Ok(())
}
