//! Texts that only the guest can write, because they follow its structures: it sends them when the machine
//! ends, one after the other in a buffer of its RAM that [`super::TextGroup`] points at.
//!
//! Owns the list of the texts and the form of the buffer: for each text a header of two words, its number in
//! [`TEXTS`] and its length in bytes, then its bytes, filled up to a multiple of 8. The reader gives texts
//! names of this list only, so a hostile guest cannot choose where they are written.

/// Files below `/proc` that are sent, by number.
pub const TEXTS: [&str; 8] =
    ["pagetypeinfo", "slabinfo", "vmallocinfo", "iomem", "interrupts", "version", "cmdline", "swaps"];

/// Most bytes of the buffer that a reader takes.
pub const MAX_TEXTS_SIZE: usize = 4 << 20;

const WORD: usize = 8;
const HEADER: usize = 2 * WORD;

/// One text of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestText<'a> {
    /// A name of [`TEXTS`].
    pub name: &'static str,
    /// Its bytes; whoever shows them must not expect UTF-8.
    pub bytes: &'a [u8],
}

/// The header of the text with this number, which has `length` bytes; and how many bytes of filling follow it.
#[must_use]
pub fn record_header(number: usize, length: usize) -> ([u8; HEADER], usize) {
    let mut header = [0; HEADER];
    let (first, second) = header.split_at_mut(WORD);
    first.copy_from_slice(&(number as u64).to_le_bytes());
    second.copy_from_slice(&(length as u64).to_le_bytes());
    (header, length.next_multiple_of(WORD) - length)
}

/// The texts in a copy of the buffer, up to the first thing that is not one.
pub fn parse_texts(mut bytes: &[u8]) -> impl Iterator<Item = GuestText<'_>> {
    core::iter::from_fn(move || {
        let (number, rest) = word(bytes)?;
        let (length, rest) = word(rest)?;
        let name = TEXTS.get(usize::try_from(number).ok()?)?;
        let (text, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        bytes = after.get(record_header(0, text.len()).1..).unwrap_or_default();
        Some(GuestText { name, bytes: text })
    })
}

fn word(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*word), rest))
}
