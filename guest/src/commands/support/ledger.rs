//! A bag of any number of blocks that needs no memory but theirs: a few of the blocks hold the numbers of the
//! others.
//!
//! Blocks of one order that lie in a row are one entry, for that is how the buddy allocator hands them out: so all of
//! memory fits a few pages, and the frames of the others are not touched.
//! Invariants: word 0 of a page of the ledger is the page before it, packed; the entries after it are runs: first
//! frame, order, and how many blocks; only the newest page may have room.

use super::block::{Block, FRAME_WORDS};
use core::sync::atomic::Ordering::Relaxed;
use mm::addr::{Order, Pfn};

/// Words of an entry.
const ENTRY: usize = 3;
/// Words in use on a page without room: its link and whole entries.
const FULL: usize = 1 + (FRAME_WORDS - 1) / ENTRY * ENTRY;

/// Blocks of one order in a row.
struct Run {
    first: Pfn,
    order: Order,
    count: u64,
}

impl Run {
    const EMPTY: Self = Self { first: Pfn::from_u32(0), order: Order::ZERO, count: 0 };

    /// Block `n` of the run.
    fn at(&self, n: u64) -> Option<Pfn> {
        self.first.checked_add(n << self.order.get())
    }

    fn store(&self, page: &Block, at: usize) {
        page.word(at).store(self.first.get(), Relaxed);
        page.word(at + 1).store(u64::from(self.order.get()), Relaxed);
        page.word(at + 2).store(self.count, Relaxed);
    }

    fn load(page: &Block, at: usize) -> Option<Self> {
        let word = |n| page.word(at + n).load(Relaxed);
        Some(Self { first: Pfn::new(word(0))?, order: Order::new(word(1) as u32)?, count: word(2) })
    }
}

/// See the module documentation. Dropping it frees the blocks.
pub struct Ledger {
    /// A run that is on no page yet, or no more.
    run: Run,
    page: Option<Block>,
    /// Words of the page that are in use.
    used: usize,
    len: u64,
}

impl Ledger {
    /// No blocks.
    pub const fn new() -> Self {
        Self { run: Run::EMPTY, page: None, used: FULL, len: 0 }
    }

    /// How many blocks there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Adds a block.
    pub fn push(&mut self, block: Block) {
        self.len += 1;
        let run = &self.run;
        let fits = run.count > 0 && block.order() == run.order && Some(block.pfn()) == run.at(run.count);
        if !fits {
            match &self.page {
                _ if run.count == 0 => {}
                Some(page) if self.used < FULL => {
                    run.store(page, self.used);
                    self.used += ENTRY;
                }
                _ => return self.turn_page(block),
            }
            self.run = Run { first: block.pfn(), order: block.order(), count: 0 };
        }
        // The run owns the block now.
        let _ = block.into_parts();
        self.run.count += 1;
    }

    /// Makes `block` the newest page. The run waits for its place.
    fn turn_page(&mut self, block: Block) {
        block.word(0).store(self.page.take().map_or(0, Block::pack), Relaxed);
        self.page = Some(block);
        self.used = 1;
    }

    /// Takes a block out.
    pub fn pop(&mut self) -> Option<Block> {
        if self.run.count == 0 {
            let page = self.page.take()?;
            if self.used == 1 {
                let before = page.word(0).load(Relaxed);
                // SAFETY: `turn_page` stored the page before this one, or 0, and this page leaves the ledger.
                self.page = unsafe { Block::unpack(before) };
                self.used = FULL;
                self.len -= 1;
                return Some(page);
            }
            self.used -= ENTRY;
            self.run = Run::load(&page, self.used)?;
            self.page = Some(page);
        }
        let pfn = self.run.at(self.run.count - 1)?;
        self.run.count -= 1;
        self.len -= 1;
        // SAFETY: `push` gave the block to this run, which has just let go of it.
        Some(unsafe { Block::from_parts(pfn, self.run.order) })
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        while let Some(block) = self.pop() {
            drop(block);
        }
    }
}
