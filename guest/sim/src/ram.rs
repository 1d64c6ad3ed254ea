//! Simulated RAM: host allocations that stand for ranges of physical addresses.
//!
//! Owns: the memory, and the only place where a physical address becomes a host pointer. Invariants: ranges
//! are page-aligned, ascending and disjoint; a range is one allocation that lives as long as the machine and
//! never moves; nothing here makes a Rust reference to its bytes, so code under test may share them between
//! threads by atomics as it would share real RAM.

use mm::addr::{PAGE_SIZE, Pfn, PhysAddr};
use mm::port::PhysMem;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::Range;
use std::ptr::NonNull;

/// Host alignment of every range, so that frames keep their alignment up to 2 MiB blocks.
const ALIGN: usize = 2 << 20;
const PAGE: usize = PAGE_SIZE as usize;

/// The RAM of one machine.
pub struct Ram {
    ranges: Vec<Bank>,
    /// First address that the direct map does not show.
    direct_end: u64,
}

/// One allocation that stands for physical addresses `start..end`.
struct Bank {
    start: u64,
    end: u64,
    /// Host address of `start`: derived from `alloc`, congruent to `start` modulo [`ALIGN`].
    base: NonNull<u8>,
    alloc: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a bank owns its allocation, and hands out nothing but raw pointers.
unsafe impl Send for Bank {}
// SAFETY: `&Bank` gives only raw pointers and numbers; who dereferences answers for races.
unsafe impl Sync for Bank {}

impl Bank {
    /// Untouched pages cost nothing: the allocator takes zero pages from the host, and alignment is made here
    /// because an over-aligned `alloc_zeroed` would write them all.
    fn new(range: &Range<u64>) -> Self {
        let size =
            usize::try_from(range.end - range.start).expect("RAM larger than the host's address space");
        let layout = Layout::from_size_align(size + 2 * ALIGN, 16).expect("RAM size overflows");
        // SAFETY: the layout is not empty.
        let Some(alloc) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        let skew = (range.start as usize) % ALIGN;
        let pad = alloc.as_ptr().align_offset(ALIGN) + skew;
        // SAFETY: pad is below 2 * ALIGN, so base and the `size` bytes after it lie in the allocation.
        let base = unsafe { alloc.add(pad) };
        Self { start: range.start, end: range.end, base, alloc, layout }
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout and freed only here.
        unsafe { dealloc(self.alloc.as_ptr(), self.layout) }
    }
}

impl Ram {
    /// RAM at `ranges` (bytes), zeroed.
    ///
    /// # Panics
    /// If a range is empty or not page-aligned, or the ranges are not ascending and disjoint.
    #[must_use]
    pub fn new(ranges: &[Range<u64>]) -> Self {
        for r in ranges {
            let aligned = r.start.is_multiple_of(PAGE_SIZE) && r.end.is_multiple_of(PAGE_SIZE);
            assert!(aligned && r.start < r.end, "RAM range {r:#x?}: give a non-empty page-aligned range");
            assert!(PhysAddr::new(r.end).is_some(), "RAM range {r:#x?}: physical addresses end at 2^52");
        }
        let ordered = ranges.windows(2).all(|w| w[0].end <= w[1].start);
        assert!(ordered, "RAM ranges {ranges:#x?}: give them in ascending order without overlap");
        Self { ranges: ranges.iter().map(Bank::new).collect(), direct_end: u64::MAX }
    }

    /// The same RAM with a direct map that ends at `end` (bytes).
    #[must_use]
    pub fn with_direct_end(self, end: u64) -> Self {
        Self { direct_end: end, ..self }
    }

    /// Where the byte at `addr` is, in the direct map or not: what the MMU and devices reach.
    pub(crate) fn at(&self, addr: PhysAddr) -> Option<NonNull<u8>> {
        let a = addr.get();
        let bank = self.ranges.iter().find(|b| a < b.end)?;
        let offset = a.checked_sub(bank.start)?;
        // SAFETY: start <= a < end, so the byte lies in the bank's allocation.
        Some(unsafe { bank.base.add(offset as usize) })
    }

    /// The physical ranges that are RAM, in bytes, ascending.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|b| b.start..b.end)
    }

    /// Bytes of RAM.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ranges().map(|r| r.end - r.start).sum()
    }

    /// Fills all RAM with `byte`, for code that wrongly believes in zeroed memory.
    ///
    /// # Safety
    /// Nobody else uses the RAM during the call.
    pub unsafe fn poison_all(&self, byte: u8) {
        for b in &self.ranges {
            // SAFETY: a bank has that many bytes, and the caller owns them.
            unsafe { b.base.write_bytes(byte, (b.end - b.start) as usize) }
        }
    }

    /// Fills one frame with `byte`, for code that uses a frame after it gave it away.
    ///
    /// # Safety
    /// The caller owns the frame.
    ///
    /// # Panics
    /// If the frame is not RAM.
    pub unsafe fn poison(&self, pfn: Pfn, byte: u8) {
        // SAFETY: the frame has PAGE bytes and the caller owns it.
        unsafe { self.frame(pfn).write_bytes(byte, PAGE) }
    }

    /// Whether every byte of a frame is `byte`.
    ///
    /// # Safety
    /// Nobody writes the frame during the call.
    ///
    /// # Panics
    /// If the frame is not RAM.
    #[must_use]
    pub unsafe fn is_filled(&self, pfn: Pfn, byte: u8) -> bool {
        let frame = self.frame(pfn);
        // SAFETY: the frame has PAGE bytes, was initialized when allocated, and nobody writes it.
        (0..PAGE).all(|i| unsafe { frame.add(i).read() } == byte)
    }

    fn frame(&self, pfn: Pfn) -> NonNull<u8> {
        self.at(pfn.addr()).unwrap_or_else(|| panic!("frame {pfn:?} is not RAM"))
    }
}

impl PhysMem for Ram {
    #[inline]
    fn ptr(&self, addr: PhysAddr) -> Option<NonNull<u8>> {
        self.at(addr).filter(|_| addr.get() < self.direct_end)
    }

    #[inline]
    fn addr_of(&self, ptr: NonNull<u8>) -> Option<PhysAddr> {
        let at = ptr.as_ptr() as usize;
        self.ranges.iter().find_map(|bank| {
            let offset = at.checked_sub(bank.base.as_ptr() as usize)? as u64;
            (offset < bank.end - bank.start).then(|| PhysAddr::new(bank.start + offset))?
        })
    }

    unsafe fn zero(&self, pfn: Pfn) {
        // SAFETY: the frame has PAGE bytes and the caller owns it.
        unsafe { self.frame(pfn).write_bytes(0, PAGE) }
    }

    unsafe fn copy(&self, from: Pfn, to: Pfn) {
        assert!(from != to, "copy of frame {from:?} to itself");
        // SAFETY: both have PAGE bytes and differ; the caller owns `to` and nobody writes `from`.
        unsafe { self.frame(from).copy_to_nonoverlapping(self.frame(to), PAGE) }
    }
}
