//! Splitting command lines; no allocation. Scripts are split by `shared::script`.

/// The words of a command: separated by blanks, double quotes group.
pub struct Args<'a> {
    rest: &'a str,
}

impl<'a> Args<'a> {
    /// The words of `line`.
    pub fn new(line: &'a str) -> Self {
        Self { rest: line.trim_start() }
    }

    /// The next word, taken.
    pub fn next_word(&mut self) -> Option<&'a str> {
        let text = self.rest;
        if text.is_empty() {
            return None;
        }
        let (word, rest) = match text.strip_prefix('"') {
            Some(inner) => inner.split_once('"').unwrap_or((inner, "")),
            None => text.split_once(char::is_whitespace).unwrap_or((text, "")),
        };
        self.rest = rest.trim_start();
        Some(word)
    }

    /// The next word, left where it is.
    pub fn peek(&self) -> Option<&'a str> {
        Args { rest: self.rest }.next_word()
    }

    /// Takes the next word if it is `wanted`.
    pub fn take(&mut self, wanted: &str) -> bool {
        let hit = self.peek() == Some(wanted);
        if hit {
            self.next_word();
        }
        hit
    }

    /// The value of the next word if it is `key=value`, taken.
    pub fn take_key(&mut self, key: &str) -> Option<&'a str> {
        let value = self.peek()?.strip_prefix(key)?.strip_prefix('=')?;
        self.next_word();
        Some(value)
    }

    /// Everything that is left, taken.
    pub fn rest(&mut self) -> &'a str {
        core::mem::take(&mut self.rest)
    }
}

/// A number: decimal, or hexadecimal after `0x`.
pub fn number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    }
}
