//! CSV as RFC 4180 has it, read record by record.

use std::ops::Range;

/// A record longer than this is a broken file: a quote that nobody closes, or no text at all.
pub(super) const RECORD_MAX: usize = 64 * 1024;

/// The records of a CSV text (RFC 4180), each with the line on which it begins.
pub(super) struct Records<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl<'t> Records<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { text, at: 0, line: 1 }
    }
}

impl Iterator for Records<'_> {
    type Item = (usize, Result<Vec<String>, &'static str>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = self.at;
            let range = self.record()?;
            let line = self.line;
            let record = self.text.get(range.clone()).unwrap_or_default();
            self.line += self.text.get(start..self.at).unwrap_or_default().matches('\n').count();
            if record.len() > RECORD_MAX {
                return Some((line, Err("is longer than 64 KiB")));
            }
            if !record.trim().is_empty() {
                return Some((line, split(record)));
            }
        }
    }
}

impl Records<'_> {
    /// The next record without its end: a line break outside of quotes.
    fn record(&mut self) -> Option<Range<usize>> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let mut quoted = false;
        for (place, byte) in rest.bytes().enumerate() {
            match byte {
                b'"' => quoted = !quoted,
                b'\n' if !quoted => {
                    let range = self.at..self.at + place;
                    self.at = range.end + 1;
                    return Some(range);
                }
                // A quote that is not closed on this line or soon after belongs to this line alone.
                _ if quoted && place > RECORD_MAX => break,
                _ => {}
            }
        }
        let end = if quoted { rest.find('\n').unwrap_or(rest.len()) } else { rest.len() };
        let range = self.at..self.at + end;
        self.at = (range.end + 1).min(self.text.len());
        Some(range)
    }
}

fn split(record: &str) -> Result<Vec<String>, &'static str> {
    let record = record.strip_suffix('\r').unwrap_or(record);
    let mut values = Vec::new();
    let mut rest = record;
    loop {
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted)?,
            None => {
                let (value, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
                if value.contains('"') {
                    return Err("has a quote within a field that does not begin with one");
                }
                (value.to_owned(), after)
            }
        };
        values.push(value);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(values),
            None => return Err("has something between a closing quote and the next comma"),
        }
    }
}

/// What stands up to the closing quote, and what comes after it. Two quotes are one.
fn quoted_value(quoted: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"').ok_or("has a quote that is not closed")?;
        value.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                value.push('"');
                rest = more;
            }
            None => return Ok((value, after)),
        }
    }
}
