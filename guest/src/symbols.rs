//! Names for code addresses, from the table that the build writes into `.ksyms`.
//!
//! Layout, little endian: magic, count, then count pairs (offset from the image start, offset of the name in
//! the names), sorted by offset, then the names, each ended by a zero byte. Without the build step the magic
//! is missing and addresses stay numbers.

use core::fmt;
use shared::layout::IMAGE_BASE;

/// Bytes kept for the table; what does not fit is left out by the build step.
const CAPACITY: usize = 256 << 10;
/// "KSYM".
const MAGIC: u32 = 0x4d59_534b;

#[unsafe(link_section = ".ksyms")]
#[used]
static TABLE: [u8; CAPACITY] = [0; CAPACITY];

fn word(at: usize) -> Option<u32> {
    let bytes = TABLE.get(at..at + 4)?;
    // Volatile: the build step changes the table after the compiler has seen it empty.
    let mut value = 0;
    for (n, byte) in bytes.iter().enumerate() {
        // SAFETY: a byte of a live slice.
        value |= u32::from(unsafe { (byte as *const u8).read_volatile() }) << (8 * n);
    }
    Some(value)
}

/// The function that holds `address`, and how far into it.
pub fn lookup(address: u64) -> Option<(&'static str, u64)> {
    let offset = u32::try_from(address.checked_sub(IMAGE_BASE)?).ok()?;
    if word(0)? != MAGIC {
        return None;
    }
    let count = word(4)? as usize;
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if word(8 + 8 * middle)? <= offset {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let at = 8 + 8 * low.checked_sub(1)?;
    let name_at = 8 + 8 * count + word(at + 4)? as usize;
    let name = TABLE.get(name_at..)?;
    let end = name.iter().position(|byte| *byte == 0)?;
    Some((core::str::from_utf8(name.get(..end)?).ok()?, u64::from(offset - word(at)?)))
}

/// An address with its symbol, if it has one.
pub struct Symbol(pub u64);

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match lookup(self.0) {
            Some((name, offset)) => write!(f, "{:#018x} {name}+{offset:#x}", self.0),
            None => write!(f, "{:#018x}", self.0),
        }
    }
}
