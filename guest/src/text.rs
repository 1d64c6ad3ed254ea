//! A string of fixed room, for texts that must be whole before they can be used; there is no heap.

use core::fmt;

/// Up to `N` bytes of text.
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Text<N> {
    /// The empty text.
    pub const fn new() -> Self {
        Self { bytes: [0; N], used: 0 }
    }

    /// What was written; what did not fit is cut off.
    pub fn as_str(&self) -> &str {
        // Only whole characters are ever copied; the empty text stands for what cannot happen.
        core::str::from_utf8(&self.bytes[..self.used]).unwrap_or("")
    }

    /// Forgets what was written.
    pub fn clear(&mut self) {
        self.used = 0;
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut fits = text.len().min(N - self.used);
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        self.bytes[self.used..self.used + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.used += fits;
        Ok(())
    }
}
