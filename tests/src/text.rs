//! Facts and lines of an output.
//!
//! A fact is a word `key=value`; words are separated by blanks, and a comma after a value belongs to the text.

/// A piece of output.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// This output.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// As it is.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Its lines.
    pub fn lines(self) -> impl Iterator<Item = &'a str> {
        self.0.lines()
    }

    /// Whether one of its lines is `line`.
    #[must_use]
    pub fn has_line(self, line: &str) -> bool {
        self.lines().any(|other| other == line)
    }

    /// Fails unless one of its lines is `line`.
    #[track_caller]
    pub fn assert_line(self, line: &str) {
        assert!(self.has_line(line), "no line {line:?} in\n{}", self.0);
    }

    /// The lines that contain `part`, as a piece of output each.
    #[must_use]
    pub fn lines_with(self, part: &str) -> Vec<Text<'a>> {
        self.lines().filter(|line| line.contains(part)).map(Text).collect()
    }

    /// The one line that contains `part`.
    #[track_caller]
    #[must_use]
    pub fn line_with(self, part: &str) -> Text<'a> {
        let lines = self.lines_with(part);
        assert_eq!(lines.len(), 1, "lines with {part:?} in\n{}", self.0);
        lines[0]
    }

    fn facts(self, key: &str) -> impl Iterator<Item = &'a str> {
        let words = self.0.split_whitespace().filter_map(|word| word.split_once('='));
        words.filter(move |(name, _)| *name == key).map(|(_, value)| value.trim_end_matches(','))
    }

    /// The first value of `key`.
    #[must_use]
    pub fn find(self, key: &str) -> Option<&'a str> {
        self.facts(key).next()
    }

    /// The first value of `key`, which is there.
    #[track_caller]
    #[must_use]
    pub fn fact(self, key: &str) -> &'a str {
        self.find(key).unwrap_or_else(|| panic!("no fact {key:?} in\n{}", self.0))
    }

    /// The first value of `key` as a number, decimal or 0x.
    #[track_caller]
    #[must_use]
    pub fn number(self, key: &str) -> u64 {
        let value = self.fact(key);
        number(value).unwrap_or_else(|| panic!("{key}={value} is no number in\n{}", self.0))
    }

    /// Every value of `key` as a number.
    #[track_caller]
    #[must_use]
    pub fn numbers(self, key: &str) -> Vec<u64> {
        let parse =
            |value| number(value).unwrap_or_else(|| panic!("{key}={value} is no number in\n{}", self.0));
        self.facts(key).map(parse).collect()
    }
}

/// A number, decimal or hexadecimal after `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests;
