//! The binary `countersign`: the command line around the server and the client.

mod command;
mod confirm;
mod failure;
mod flag;
mod local;
mod logging;
mod output;
mod progress;
mod remote;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::command::CommandLine;
use crate::output::Style;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return explain_usage(&error),
    };
    if line.is_server() {
        countersign_server::lifecycle::without_huge_pages();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::from(error).context("cannot start the runtime")),
    };
    match runtime.block_on(line.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let (code, text) = failure::report(error);
    if let Some(text) = text {
        // Where standard error is closed, nobody is left to be told.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    code
}

/// Help goes to standard output with status 0, a mistake to standard error with status 2.
fn explain_usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        let rendered = error.render();
        let text = match Style::of(&std::io::stderr()) {
            Style::Colour => rendered.ansi().to_string(),
            Style::Plain => rendered.to_string(),
        };
        let _ = write!(std::io::stderr(), "{}", failure::redact(&text));
        return ExitCode::from(2);
    }
    match error.print() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.into()),
    }
}
