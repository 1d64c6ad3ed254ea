//! Where contexts lie in the address space.
//!
//! Owns: the division of the lower half. Invariants: slice `n` belongs to context `n`, so no address below the overlay
//! window means two things; the window at the top belongs to nobody, and every context may map it for itself.
//!
//! | pages | what |
//! |---|---|
//! | 0 .. 512 GiB | below every slice: for fixed addresses that a context asks for |
//! | 512 GiB * (n + 1) | slice of context n: code, data, heap, mappings from the top down, stack |
//! | 0x7000_0000_0000 .. 2^47 - 4096 | overlay window |

use crate::addr::{PAGE_SHIFT, PAGE_SIZE};

/// Bytes of a slice: what one entry of a root with four levels spans.
pub const SLICE_BYTES: u64 = 1 << 39;
/// How many slices lie below the overlay window.
pub const SLICES: usize = (OVERLAY_START / SLICE_BYTES) as usize - 1;
/// The first byte of the overlay window.
pub const OVERLAY_START: u64 = 0x7000_0000_0000;
/// The lower half.
pub const HALF_BYTES: u64 = 1 << 47;
/// The first byte that no context may map (Linux `TASK_SIZE_MAX`).
pub const TASK_SIZE: u64 = HALF_BYTES - PAGE_SIZE;
/// How far a stack may grow (Linux's default `RLIMIT_STACK`).
pub const STACK_LIMIT: u64 = 8 << 20;

/// Where the parts of a context are, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The first page that mappings without a wish for an address may take.
    pub start: u64,
    /// Mappings without a wish end here; the search goes down (Linux `mmap_base`).
    pub mmap_base: u64,
    /// The first page of code.
    pub text: u64,
    /// Where the heap starts.
    pub heap: u64,
    /// The page after the stack.
    pub stack_top: u64,
}

const fn pages(bytes: u64) -> u64 {
    bytes >> PAGE_SHIFT
}

/// Pages between the top of the stack and mappings: what the stack may take, and the gap below it.
const STACK_ROOM: u64 = pages(16 << 20);
/// Places that chance may choose between, in pages: 28 bits for mappings as on x86-64 would fill the slice.
const RANDOM_PAGES: u64 = pages(16 << 30);

impl Layout {
    /// The layout of context `id`. `chance` moves heap, stack and mappings by different amounts; 0 moves nothing
    /// (`norandmaps`).
    #[must_use]
    pub const fn new(id: u32, chance: u64) -> Self {
        let start = pages(SLICE_BYTES) * (id as u64 + 1);
        let end = start + pages(SLICE_BYTES);
        let text = start + pages(4 << 20);
        let heap = text + pages(64 << 20) + chance % pages(32 << 20);
        let stack_top = end - 1 - (chance >> 20) % RANDOM_PAGES;
        let gap = (chance >> 40) % RANDOM_PAGES;
        // Whole huge pages, so that a large mapping can start with one.
        let mmap_base = (stack_top - STACK_ROOM - gap) & !511;
        Self { start: text, mmap_base, text, heap, stack_top }
    }

    /// The page up to which what is mapped at page `vpn` may grow: the end of the overlay window, of the addresses below
    /// all slices, of the mappings in a slice, or of the slice.
    #[must_use]
    pub const fn limit_above(&self, vpn: u64) -> u64 {
        let overlay = Self::overlay();
        if vpn >= overlay.start {
            overlay.end
        } else if vpn < pages(SLICE_BYTES) {
            pages(SLICE_BYTES)
        } else if vpn < self.mmap_base {
            self.mmap_base
        } else {
            self.stack_top
        }
    }

    /// The pages of the overlay window.
    #[must_use]
    pub const fn overlay() -> core::ops::Range<u64> {
        pages(OVERLAY_START)..pages(TASK_SIZE)
    }
}
