//! Names for code addresses, from the table that the monitor's build writes into `.ksyms`.
//!
//! Layout, little endian, 32 bits each: magic, count, then count pairs (offset of a function from the image
//! start, offset of its name in the names), sorted by the first, then the names, each ended by a zero byte.
//! The last pair is the end of the code, without a name. Without the build step the magic is missing and addresses stay numbers.

use core::arch::global_asm;
use core::fmt;
use shared::layout::IMAGE_BASE;

/// Bytes kept for the table; the build step fails when it needs more.
const CAPACITY: usize = 256 << 10;
/// "KSYM".
const MAGIC: u32 = 0x4d59_534b;

// In assembly, so that the compiler cannot take the zeroes for the contents.
global_asm!(
    ".section .ksyms, \"a\", @progbits",
    ".balign 4",
    ".globl ksyms_table",
    "ksyms_table:",
    ".skip {capacity}",
    ".text",
    capacity = const CAPACITY
);

unsafe extern "C" {
    static ksyms_table: [u8; CAPACITY];
}

fn table() -> &'static [u8] {
    // SAFETY: so many bytes of read-only data, from the first instruction on.
    unsafe { &ksyms_table }
}

fn word(at: usize) -> Option<u32> {
    table().get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// The function that holds `address`, and how far into it.
pub fn lookup(address: u64) -> Option<(&'static str, u64)> {
    find(address).map(|(name, offset, _)| (name, offset))
}

/// The function that holds `address`, how far into it, and its size.
fn find(address: u64) -> Option<(&'static str, u64, u64)> {
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
    let name = table().get(name_at..)?;
    let end = name.iter().position(|byte| *byte == 0)?;
    let name = core::str::from_utf8(name.get(..end)?).ok()?;
    let (start, next) = (word(at)?, word(at + 8)?);
    (!name.is_empty()).then_some((name, u64::from(offset - start), u64::from(next.saturating_sub(start))))
}

/// An address of code as Linux's texts have it (`%pS`): symbol, offset and size; without a symbol a number.
pub struct LinuxSymbol(pub u64);

impl fmt::Display for LinuxSymbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match find(self.0) {
            Some((name, offset, size)) => write!(f, "{name}+{offset:#x}/{size:#x}"),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

/// An address with its symbol, if it has one.
pub struct Symbol(pub u64);

/// A return address with its symbol: that of the call before it, which may be the last instruction of its
/// function.
pub struct Caller(pub u64);

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match lookup(self.0.wrapping_sub(1)) {
            Some((name, offset)) => write!(f, "{:#018x} {name}+{:#x}", self.0, offset + 1),
            None => write!(f, "{:#018x}", self.0),
        }
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match lookup(self.0) {
            Some((name, offset)) => write!(f, "{:#018x} {name}+{offset:#x}", self.0),
            None => write!(f, "{:#018x}", self.0),
        }
    }
}

/// A return address as Linux's `%pS` writes it: the function, how far into it, how long it is.
pub struct Traced(pub u64);

impl fmt::Display for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inside = self.0.wrapping_sub(1);
        match lookup(inside) {
            Some((name, offset)) => write!(f, "{name}+{:#x}/{:#x}", offset + 1, length(inside).unwrap_or(0)),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

/// The length of the function that holds `address`: up to the first address with another name.
fn length(address: u64) -> Option<u64> {
    let (_, offset) = lookup(address)?;
    let start = address - offset;
    let (count, from) = (word(4)? as usize, u32::try_from(start.checked_sub(IMAGE_BASE)?).ok()?);
    let next = (0..count).find_map(|n| word(8 + 8 * n).filter(|at| *at > from))?;
    Some(u64::from(next - from))
}
