//! Columns under a heading.

use super::Style;

/// A table for people.
pub(crate) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    empty: &'static str,
}

impl Table {
    /// A table with these columns, and what is said when there are no rows.
    pub(crate) fn new(heading: &[&'static str], empty: &'static str) -> Self {
        Self { heading: heading.to_vec(), rows: Vec::new(), empty }
    }

    /// Adds a row, one cell a column. An empty cell shows as a dash.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| shown(&cell)).collect());
    }

    /// The text, a line each row.
    pub(crate) fn render(&self, style: Style) -> String {
        if self.rows.is_empty() {
            return format!("{}\n", style.dim(self.empty));
        }
        let heading: Vec<String> = self.heading.iter().map(|name| name.to_uppercase()).collect();
        let mut widths: Vec<usize> = heading.iter().map(|name| name.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = style.dim(&line(&heading, &widths));
        text.push('\n');
        for row in &self.rows {
            text.push_str(&line(row, &widths));
            text.push('\n');
        }
        text
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let padding = width.saturating_sub(cell.chars().count());
        text.push_str(cell);
        text.push_str(&" ".repeat(padding + 2));
    }
    text.trim_end().to_owned()
}

/// A cell as it is shown. A name is whatever its owner typed: control characters must neither break the table nor reach
/// the terminal.
pub(super) fn shown(cell: &str) -> String {
    match cell {
        "" => "-".to_owned(),
        cell => cell.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[[&str; 2]], expected: &str) {
        let mut table = Table::new(&["id", "name"], "There are none.");
        for row in rows {
            table.row(row.map(str::to_owned));
        }
        assert_eq!(table.render(Style::Plain), expected);
    }

    #[test]
    fn tables() {
        check(&[], "There are none.\n");
        check(&[["1", "a"]], "ID  NAME\n1   a\n");
        check(&[["1", ""], ["234", "größer"]], "ID   NAME\n1    -\n234  größer\n");
        check(&[["1", "a\u{1b}[31m\nb"]], "ID  NAME\n1   a\u{fffd}[31m\u{fffd}b\n");
    }
}
