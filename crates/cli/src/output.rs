//! What a command says on standard output, for people or as JSON.

use std::env;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

mod table;

pub(crate) use self::table::Table;

/// A command's standard output.
pub(crate) struct Output {
    to: Box<dyn Write + Send>,
    json: bool,
    style: Style,
}

/// Whether emphasis is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Text only.
    Plain,
    /// Terminal colours.
    Colour,
}

impl Style {
    /// Colours only where a terminal shows them and nobody has said otherwise (<https://no-color.org>).
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
        if stream.is_terminal() && !refused && !dumb { Self::Colour } else { Self::Plain }
    }

    /// A heading.
    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// What may be overlooked.
    pub(crate) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// What should be noticed.
    pub(crate) fn strong(self, text: &str) -> String {
        self.wrap("1;32", text)
    }

    /// What should be heeded.
    pub(crate) fn warning(self, text: &str) -> String {
        self.wrap("1;33", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}

impl Output {
    /// Standard output, as one JSON document if `json`, else for people.
    pub(crate) fn stdout(json: bool) -> Self {
        Self { to: Box::new(io::stdout()), json, style: Style::of(&io::stdout()) }
    }

    /// Whether a JSON document is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// How emphasis is shown.
    pub(crate) fn style(&self) -> Style {
        self.style
    }

    /// One line.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.to, "{text}")?;
        self.to.flush()
    }

    /// One JSON document, on a line of its own.
    pub(crate) fn document(&mut self, document: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(document)?;
        line.push(b'\n');
        self.to.write_all(&line)?;
        self.to.flush()
    }

    /// What one thing is: the JSON document or the lines, as was asked for.
    pub(crate) fn show(&mut self, document: &impl Serialize, fields: &[(&str, String)]) -> io::Result<()> {
        if self.json { self.document(document) } else { self.fields(fields) }
    }

    /// A list of things: the JSON document or the table, as was asked for.
    pub(crate) fn list(&mut self, document: &impl Serialize, table: &Table) -> io::Result<()> {
        if self.json {
            return self.document(document);
        }
        let text = table.render(self.style);
        self.to.write_all(text.as_bytes())?;
        self.to.flush()
    }

    /// Names and values, one each line. A value that is empty shows as a dash.
    pub(crate) fn fields(&mut self, fields: &[(&str, String)]) -> io::Result<()> {
        let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in fields {
            let padding = " ".repeat(width.saturating_sub(name.chars().count()));
            writeln!(self.to, "{}{padding}  {}", self.style.dim(name), table::shown(value))?;
        }
        self.to.flush()
    }

    /// What must be kept now or never.
    pub(crate) fn once(&mut self, text: &str) -> io::Result<()> {
        let text = self.style.warning(&format!("{text} Keep what you need: nothing of it is stored."));
        self.line(&format!("\n{text}"))
    }

    /// Room between two parts.
    pub(crate) fn gap(&mut self) -> io::Result<()> {
        writeln!(self.to)
    }
}
