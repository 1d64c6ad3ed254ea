//! Splits a command line into words.
//!
//! Owns the quoting rule; allocates nothing: every token borrows from the command line. What a name means
//! stays outside. Source: Linux `lib/cmdline.c` (`next_arg`): blanks separate, double quotes group, a quote
//! at the start and the end of the value (or of the whole word) is dropped, `--` ends the parameters.

/// One word of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// The word as written, quotes included.
    pub text: &'a str,
    /// What stands before the first `=`, without the opening quote of a quoted word.
    pub name: &'a str,
    /// What follows the first `=`, without quotes around it; `None` for a bare name.
    pub value: Option<&'a str>,
}

/// Iterator over the words of a command line, up to a bare `--`.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    /// The words of `cmdline`.
    #[must_use]
    pub const fn new(cmdline: &'a str) -> Self {
        Self { rest: cmdline }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let start = self.rest.trim_start_matches(is_blank);
        let mut in_quotes = false;
        let end = start.find(|c: char| {
            if c == '"' {
                in_quotes = !in_quotes;
            }
            is_blank(c) && !in_quotes
        });
        let (text, rest) = start.split_at_checked(end.unwrap_or(start.len()))?;
        if text.is_empty() || text == "--" {
            self.rest = "";
            return None;
        }
        self.rest = rest;
        Some(split(text))
    }
}

fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

fn split(text: &str) -> Token<'_> {
    let word = match text.strip_prefix('"') {
        Some(inner) => inner.strip_suffix('"').unwrap_or(inner),
        None => text,
    };
    match word.split_once('=') {
        None => Token { text, name: word, value: None },
        Some((name, value)) => {
            let value = match value.strip_prefix('"') {
                Some(inner) => inner.strip_suffix('"').unwrap_or(inner),
                None => value,
            };
            Token { text, name, value: Some(value) }
        }
    }
}
