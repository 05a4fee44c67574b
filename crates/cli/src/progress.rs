//! How far a long work has come, for whoever watches a terminal.

use std::io::{self, IsTerminal as _, Write as _};

/// A line on standard error that is written again and again. Without a terminal nothing is shown.
pub(crate) struct Progress {
    what: &'static str,
    watched: bool,
}

impl Progress {
    /// Shows nothing yet. `what` stands after the number.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, watched: io::stderr().is_terminal() }
    }

    /// Shows a number. Losing a line of progress harms nobody.
    pub(crate) fn show(&self, number: u64) {
        if self.watched {
            drop(write!(io::stderr(), "\r{number} {} ", self.what));
        }
    }
}

/// Takes the line away.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.watched {
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
    }
}
