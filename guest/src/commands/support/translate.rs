//! Whether the software walker and the MMU agree about an address.
//!
//! The walker says which frame an address leads to. A second mapping of that frame then shows what is in it, and
//! the MMU, asked through the first address, must show the same.

use super::{Block, Window};
use crate::commands::{Outcome, fail};
use crate::console;
use crate::memory::boot::kernel_root;
use mm::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use mm::pgtable::PtError;
use shared::exit::ExitStatus;
use shared::layout::DIRECT_MAP;

/// What a series of checks has found.
#[derive(Default)]
pub struct Agreement {
    /// Addresses looked at.
    pub checked: u64,
    /// Addresses about which walker and MMU differ.
    pub mismatch: u64,
}

/// Mismatches that are printed one by one.
const SHOWN: u64 = 8;

fn no_tables(error: PtError) -> ExitStatus {
    fail(ExitStatus::CheckFailed, format_args!("{error}"))
}

fn load(address: u64) -> u64 {
    // SAFETY: callers of this file pass aligned addresses that the walker has just translated to RAM; any word
    // of RAM may be read.
    unsafe { (address as *const u64).read_volatile() }
}

/// Stores to a word of a frame that the caller of [`Agreement::own`] lends.
fn store(address: u64, value: u64) {
    // SAFETY: as in `load`; the frame is held by a command and accessed by words only.
    unsafe { (address as *mut u64).write_volatile(value) }
}

impl Agreement {
    /// Checks a direct-map address of a frame that the command holds: the walker gives `va - DIRECT_MAP`, and what is
    /// stored through one mapping is loaded through the other, both ways.
    pub fn own(&mut self, window: &mut Window, block: &Block, frame: u64, word: u64, tag: u64) -> Outcome {
        let pa = PhysAddr::truncate(block.frame(frame).addr().get() + word % (PAGE_SIZE / 8) * 8);
        let va = DIRECT_MAP + pa.get();
        let walked = VirtAddr::new(va).and_then(|va| kernel_root().translate(va));
        let same = match walked {
            Some(at) if at == pa => {
                let alias = window.show(at).map_err(no_tables)?;
                store(va, tag);
                let forth = load(alias) == tag;
                store(alias, !tag);
                forth && load(va) == !tag
            }
            _ => false,
        };
        self.count(va, walked, same);
        Ok(())
    }

    /// Compares the page at `va`, whoever uses it, with what its frame holds. Pages that the walker does not
    /// translate are passed over.
    pub fn page(&mut self, window: &mut Window, va: VirtAddr) -> Outcome {
        let start = va.get() & !(PAGE_SIZE - 1);
        let Some(pa) = kernel_root().translate(VirtAddr::truncate(start)) else { return Ok(()) };
        let alias = window.show(pa).map_err(no_tables)?;
        // A word that somebody changes just now is looked at again.
        let same = (0..PAGE_SIZE)
            .step_by(8)
            .all(|offset| (0..100).any(|_| load(start + offset) == load(alias + offset)));
        self.count(start, Some(pa), same);
        Ok(())
    }

    fn count(&mut self, va: u64, walked: Option<PhysAddr>, same: bool) {
        self.checked += 1;
        if !same {
            self.mismatch += 1;
            if self.mismatch <= SHOWN {
                console::print(format_args!("mismatch va={va:#x} walker={walked:?}\n"));
            }
        }
    }

    /// Prints the line and gives the status.
    pub fn report(&self) -> Outcome {
        let Self { checked, mismatch } = self;
        if *mismatch == 0 {
            console::print(format_args!("checked={checked} mismatch=0 ok\n"));
            return Ok(());
        }
        console::print(format_args!("checked={checked} mismatch={mismatch}\n"));
        Err(fail(ExitStatus::CheckFailed, format_args!("the walker and the MMU do not agree")))
    }
}
