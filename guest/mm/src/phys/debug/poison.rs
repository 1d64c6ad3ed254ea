//! Patterns in frames: filling free ones, and finding out whether somebody wrote to one.
//!
//! Source: Linux `mm/page_poison.c` (`check_poison_mem`).

use crate::addr::{Order, PAGE_SIZE, Pfn};
use crate::mutant::planted;
use crate::port::PhysMem;
use core::fmt;

/// What free frames hold (Linux `PAGE_POISON`).
pub(super) const PAGE_POISON: u8 = 0xaa;
/// Bytes that a report shows.
const SHOWN: usize = 64;
/// Bytes of a line of it.
const LINE: usize = 16;
/// The column of the characters in such a line.
const TEXT_AT: usize = LINE * 3 + 1;

/// A free frame that somebody wrote to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The frame.
    pub pfn: Pfn,
    /// The address of the first changed byte.
    pub addr: u64,
    /// The offset of the first changed byte in the frame.
    pub first: usize,
    /// That of the last.
    pub last: usize,
    /// Only one bit differs: memory may be faulty rather than software.
    pub single_bit: bool,
    bytes: [u8; SHOWN],
}

impl Damage {
    /// The first bytes from the first changed one to the last.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let changed = self.last.saturating_sub(self.first) + 1;
        self.bytes.get(..changed.min(SHOWN)).unwrap_or(&self.bytes)
    }
}

impl fmt::Display for Damage {
    /// Linux's lines: the kind, a dump of what was found (here its first 64 bytes), the page.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.single_bit { "single bit error" } else { "memory corruption" };
        writeln!(f, "pagealloc: {kind}")?;
        for (line, bytes) in (0u64..).zip(self.bytes().chunks(LINE)) {
            write!(f, "{:016x}: ", self.addr + line * LINE as u64)?;
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x} "))?;
            write!(f, "{:1$}", "", TEXT_AT - 3 * bytes.len())?;
            for byte in bytes {
                let shown = if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
                write!(f, "{shown}")?;
            }
            writeln!(f)?;
        }
        write!(f, "page: pfn:{:#x} pagealloc: corrupt page details", self.pfn.get())
    }
}

/// The frames of a block.
fn frames(pfn: Pfn, order: Order) -> impl Iterator<Item = Pfn> {
    (0..order.pages()).filter_map(move |n| pfn.checked_add(n))
}

/// Fills a block. Frames outside of the direct map are left as they are.
///
/// # Safety
/// The caller owns the block, and nobody else uses it.
pub(super) unsafe fn fill(memory: &impl PhysMem, pfn: Pfn, order: Order, byte: u8) {
    for at in frames(pfn, order).filter_map(|pfn| memory.ptr(pfn.addr())) {
        // SAFETY: a frame in the direct map has as many bytes; promised by the caller that it is ours.
        unsafe {
            at.write_bytes(byte, if planted("page_checks.half_poison") { SHOWN } else { PAGE_SIZE as usize })
        };
    }
}

/// The first frame of a block that does not hold `byte` everywhere.
///
/// # Safety
/// As for [`fill`].
pub(super) unsafe fn damage(memory: &impl PhysMem, pfn: Pfn, order: Order, byte: u8) -> Option<Damage> {
    frames(pfn, order).find_map(|pfn| {
        let at = memory.ptr(pfn.addr())?;
        // SAFETY: the offset is below the size of a frame; promised by the caller that it is ours.
        let read = |offset: usize| unsafe { at.add(offset).read() };
        let changed = |offset: &usize| read(*offset) != byte;
        let (first, last) =
            ((0..PAGE_SIZE as usize).find(changed)?, (0..PAGE_SIZE as usize).rev().find(changed)?);
        let mut bytes = [0; SHOWN];
        for (shown, offset) in bytes.iter_mut().zip(first..=last) {
            *shown = read(offset);
        }
        let single_bit = first == last && (read(first) ^ byte).is_power_of_two();
        let addr = at.as_ptr() as u64 + first as u64;
        Some(Damage { pfn, addr, first, last, single_bit, bytes })
    })
}
