//! Just enough of JSON to find strings in an object: strict as to what is JSON, indifferent to what else is in it.

use std::borrow::Cow;

/// How deep arrays and objects nest at most.
const DEPTH_MAX: usize = 16;

/// The values of some keys of a JSON object; `None` if the text is no object, a key of it stands there twice, one of the
/// wanted is absent, or its value is no string. Strings without escapes are borrowed.
pub(super) fn find_strings<'t, const N: usize>(text: &'t str, wanted: [&str; N]) -> Option<[Cow<'t, str>; N]> {
    let mut scanner = Scanner { text };
    let mut found = [const { None }; N];
    scanner.space();
    scanner.object(0, &mut |scanner, key| {
        let Some((_, place)) = wanted.iter().zip(&mut found).find(|(wanted, _)| **wanted == key) else {
            return scanner.value(1);
        };
        *place = Some(scanner.string()?);
        Some(())
    })?;
    scanner.space();
    if !scanner.text.is_empty() || found.iter().any(Option::is_none) {
        return None;
    }
    Some(found.map(Option::unwrap_or_default))
}

struct Scanner<'t> {
    text: &'t str,
}

type Member<'m, 't> = &'m mut dyn FnMut(&mut Scanner<'t>, &str) -> Option<()>;

impl<'t> Scanner<'t> {
    fn space(&mut self) {
        self.text = self.text.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn literal(&mut self, literal: &str) -> Option<()> {
        self.text = self.text.strip_prefix(literal)?;
        Some(())
    }

    /// An object, each of whose values is left to `member`.
    fn object(&mut self, depth: usize, member: Member<'_, 't>) -> Option<()> {
        let mut keys: Vec<Cow<'t, str>> = Vec::new();
        self.list(depth, ['{', '}'], &mut |scanner| {
            let key = scanner.string()?;
            if keys.contains(&key) {
                return None;
            }
            scanner.space();
            scanner.literal(":")?;
            scanner.space();
            member(scanner, &key)?;
            keys.push(key);
            Some(())
        })
    }

    /// Brackets with items between commas.
    fn list(
        &mut self,
        depth: usize,
        [open, close]: [char; 2],
        item: &mut dyn FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        if depth >= DEPTH_MAX {
            return None;
        }
        self.text = self.text.strip_prefix(open)?;
        self.space();
        if let Some(rest) = self.text.strip_prefix(close) {
            self.text = rest;
            return Some(());
        }
        loop {
            self.space();
            item(self)?;
            self.space();
            if let Some(rest) = self.text.strip_prefix(close) {
                self.text = rest;
                return Some(());
            }
            self.literal(",")?;
        }
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        match self.text.as_bytes().first()? {
            b'"' => self.string().map(drop),
            b'{' => self.object(depth, &mut |scanner, _| scanner.value(depth + 1)),
            b'[' => self.list(depth, ['[', ']'], &mut |scanner| scanner.value(depth + 1)),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Option<()> {
        let _ = self.literal("-");
        if self.literal("0").is_none() {
            self.digits()?;
        }
        if self.literal(".").is_some() {
            self.digits()?;
        }
        if self.literal("e").or_else(|| self.literal("E")).is_some() {
            let _ = self.literal("+").or_else(|| self.literal("-"));
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let rest = self.text.trim_start_matches(|c: char| c.is_ascii_digit());
        (rest.len() < self.text.len()).then(|| self.text = rest)
    }

    fn string(&mut self) -> Option<Cow<'t, str>> {
        self.literal("\"")?;
        let mut unescaped = String::new();
        loop {
            let length = self.text.find(|c: char| c == '"' || c == '\\' || c < ' ')?;
            let (plain, rest) = self.text.split_at_checked(length)?;
            let mut characters = rest.chars();
            match characters.next()? {
                '"' => {
                    self.text = characters.as_str();
                    if unescaped.is_empty() {
                        return Some(Cow::Borrowed(plain));
                    }
                    unescaped.push_str(plain);
                    return Some(Cow::Owned(unescaped));
                }
                '\\' => {
                    self.text = characters.as_str();
                    unescaped.push_str(plain);
                    unescaped.push(self.escape()?);
                }
                _ => return None,
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Option<char> {
        let mut characters = self.text.chars();
        let kind = characters.next()?;
        self.text = characters.as_str();
        Some(match kind {
            '"' | '\\' | '/' => kind,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let first = self.unit()?;
                if !(0xd800..0xdc00).contains(&first) {
                    // A second half alone is no character.
                    return char::from_u32(first);
                }
                self.literal("\\u")?;
                let second = self.unit().filter(|unit| (0xdc00..0xe000).contains(unit))?;
                return char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            }
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.text.split_at_checked(4)?;
        self.text = rest;
        digits.chars().try_fold(0, |unit, digit| Some(unit << 4 | digit.to_digit(16)?))
    }
}
