//! What came of the requests to a disk, by what they were for, in the units of whoever asked.
//!
//! Owns: one number for each purpose and direction. Stays outside: what the disk's driver and the monitor count, which
//! must come to the same bytes. Invariants: a request is booked once, when it has ended and before anybody hears of it;
//! one that has failed moved nothing. Source: Linux counts pages where they are used (`count_swpout_vm_event`) and
//! sectors where the disk is (`part_stat_add`); nothing there compares the two.

use super::IoOp;
use crate::addr::PAGE_SIZE;
use crate::mutant::planted;
use core::sync::atomic::{AtomicU64, Ordering};

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Pages from and to their slots.
    Swap,
    /// Pages of files in the page cache.
    File,
    /// Files past the page cache.
    Direct,
    /// Nothing of the memory manager: headers, tables, journals, whoever uses the disk as it is.
    Other,
}

/// What is counted; each goes in and out.
#[derive(Clone, Copy)]
enum Line {
    SwapPages,
    FilePages,
    /// Bytes that the last pages of disks lack.
    FileShort,
    DirectBytes,
    OtherBytes,
    /// Pages that were to be swapped and could not be.
    SwapFailed,
    /// Pages of slots that were given back to the disk; there is one direction.
    SwapDiscarded,
}

/// How many numbers there are.
pub const LEDGER_LINES: usize = 13;

/// See the module documentation.
pub struct Ledger([AtomicU64; LEDGER_LINES]);

impl Ledger {
    /// Nothing was asked for.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; LEDGER_LINES])
    }

    /// The numbers: pages swapped in and out, pages of files read and written, bytes that they lack, bytes of direct
    /// reads and writes, of other ones, pages that could not be swapped in and out, pages of slots given back.
    pub fn lines(&self) -> [u64; LEDGER_LINES] {
        self.0.each_ref().map(|line| line.load(Ordering::Relaxed))
    }

    /// A request has ended: so many pages, and bytes of them.
    pub fn book(&self, purpose: Purpose, op: IoOp, pages: u64, bytes: u64, is_ok: bool) {
        match (purpose, is_ok) {
            (Purpose::Swap, true) if op == IoOp::Discard => {
                self.add(Line::SwapDiscarded, IoOp::Read, bytes / PAGE_SIZE);
            }
            (Purpose::Swap, true) if planted("vm::swap.page_is_not_booked") && pages > 1 => {
                self.add(Line::SwapPages, op, pages - 1);
            }
            (Purpose::Swap, true) => self.add(Line::SwapPages, op, pages),
            (Purpose::Swap, false) => self.add(Line::SwapFailed, op, pages),
            (Purpose::File, true) => {
                self.add(Line::FilePages, op, pages);
                self.add(Line::FileShort, op, pages * PAGE_SIZE - bytes);
            }
            (Purpose::Direct, true) => self.add(Line::DirectBytes, op, bytes),
            (Purpose::Other, true) => self.add(Line::OtherBytes, op, bytes),
            (_, false) => {}
        }
    }

    fn add(&self, line: Line, op: IoOp, count: u64) {
        let direction = match op {
            IoOp::Read => 0,
            IoOp::Write => 1,
            IoOp::Flush | IoOp::Discard => return,
        };
        if count != 0
            && let Some(number) = self.0.get(line as usize * 2 + direction)
        {
            number.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}
