//! HTML that is put together of two kinds of text: ours, and what came from elsewhere.

/// A piece of HTML.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Begins with markup.
    pub(super) fn new(markup: &'static str) -> Self {
        Self(markup.to_owned())
    }

    /// Adds markup. It is part of the program, so that nothing which came from elsewhere can be mistaken for it.
    pub(super) fn markup(mut self, markup: &'static str) -> Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text, escaped for the inside of an element and for an attribute's value in quotes.
    pub(super) fn text(mut self, text: &str) -> Self {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other => self.0.push(other),
            }
        }
        self
    }

    /// Adds another piece.
    pub(super) fn then(mut self, Self(other): Self) -> Self {
        self.0.push_str(&other);
        self
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Html;

    #[test]
    fn text_is_no_markup() {
        let check = |text: &str, expected: &str| assert_eq!(Html::default().text(text).into_string(), expected);
        check("Ünïcode & 1 < 2", "Ünïcode &amp; 1 &lt; 2");
        check("&amp;", "&amp;amp;");
        check(r#""><script>alert('x')</script>"#, "&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;");
        let whole = Html::new("<p>").text("</p>").then(Html::new("<b>").text("'").markup("</b>")).markup("</p>");
        assert_eq!(whole.into_string(), "<p>&lt;/p&gt;<b>&#39;</b></p>");
    }
}
