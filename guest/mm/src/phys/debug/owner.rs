//! Who has each block of pages: since when, asked for how, and by which code; and what each frame was used for before
//! (`page_owner=on`).
//!
//! Owns: a record for each frame and a table of stacks, each stored once. Stays outside: taking a stack, names of
//! code. Invariants: the record of a frame is written by whoever holds its block; the first frame of a block that was
//! handed out since the start has one, all other frames have none; a stored stack never changes.
//! Source: Linux `mm/page_owner.c`, `lib/stackdepot.c`.

use super::super::GfpFlags;
use crate::addr::{Order, PAGE_SIZE, Pfn};
use crate::sync::SpinLock;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// Callers that a stack keeps.
pub(super) const DEPTH: usize = 14;
/// Bytes of a task's name that are kept, as in Linux.
const NAME_BYTES: usize = 16;
/// A record is in use.
const USED: u64 = 1 << 63;
/// What the block was used for is on record already.
const NOTED: u64 = 1 << 62;
const ORDER_SHIFT: u32 = 32;
/// Bits of a use in the past of a frame, the last use in the lowest.
const USE_BITS: u32 = 4;
/// A record: use, order and flags; the time; task and stack; the past; the name.
const RECORD_WORDS: usize = 6;
/// A stack: its hash, the pages that it has now, the callers.
const STACK_WORDS: usize = 2 + DEPTH;

type Record = [AtomicU64; RECORD_WORDS];
type Stack = [AtomicU64; STACK_WORDS];

/// The block behind the records of one chunk of frames.
pub(super) const CHUNK_ORDER: Order = Order::PAGEBLOCK;
/// Frames of a chunk.
pub(super) const CHUNK_FRAMES: u64 = bytes(CHUNK_ORDER) / size_of::<Record>() as u64;
/// Chunks: enough for 64 GiB of RAM. Pages above have no records.
pub(super) const CHUNKS: usize = 384;
/// The block behind the stacks.
pub(super) const STACKS_ORDER: Order = match Order::new(6) {
    Some(order) => order,
    None => Order::ZERO,
};
const STACKS: usize = bytes(STACKS_ORDER) as usize / size_of::<Stack>();

const fn bytes(order: Order) -> u64 {
    PAGE_SIZE << order.get()
}

/// What a frame was used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageUse {
    /// By the kernel itself.
    Kernel = 1,
    /// Anonymous memory.
    Anon = 2,
    /// A page of a file.
    File = 3,
    /// Shared memory.
    Shmem = 4,
}

impl PageUse {
    const ALL: [Self; 4] = [Self::Kernel, Self::Anon, Self::File, Self::Shmem];

    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Anon => "anon",
            Self::File => "file",
            Self::Shmem => "shmem",
        }
    }
}

/// A task, as records name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Who {
    /// Its number.
    pub pid: u32,
    /// Its name; the first 16 bytes are kept.
    pub name: &'static str,
}

/// The order in the first word of a record.
fn order_of(what: u64) -> Option<Order> {
    Order::new(((what & !(USED | NOTED)) >> ORDER_SHIFT) as u32)
}

/// What is known of a block that somebody has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageOwner {
    /// Its first frame.
    pub pfn: Pfn,
    /// Its order.
    pub order: Order,
    /// How it was asked for.
    pub gfp: GfpFlags,
    /// The task that asked.
    pub pid: u32,
    /// When, in nanoseconds since boot.
    pub ts_ns: u64,
    name: [u8; NAME_BYTES],
    stack: [u64; DEPTH],
}

impl PageOwner {
    /// The name of the task.
    #[must_use]
    pub fn name(&self) -> &str {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
        self.name.get(..end).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or("")
    }

    /// Addresses of code, innermost first; none if the table of stacks was full.
    pub fn stack(&self) -> impl Iterator<Item = u64> {
        self.stack.into_iter().take_while(|address| *address != 0)
    }
}

/// See the module documentation.
pub(super) struct Owners {
    chunks: [AtomicPtr<Record>; CHUNKS],
    stacks: AtomicPtr<Stack>,
    /// Held while a stack is added.
    adding: SpinLock<()>,
}

impl Owners {
    /// Nothing is recorded.
    pub(super) const fn new() -> Self {
        Self {
            chunks: [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS],
            stacks: AtomicPtr::new(ptr::null_mut()),
            adding: SpinLock::new(()),
        }
    }

    /// Whether a chunk has its memory.
    pub(super) fn has_chunk(&self, chunk: usize) -> bool {
        self.chunks.get(chunk).is_none_or(|slot| !slot.load(Relaxed).is_null())
    }

    /// Gives a chunk its memory.
    ///
    /// # Safety
    /// `memory` is a zeroed block of [`CHUNK_ORDER`] that nobody else uses from now on.
    pub(super) unsafe fn set_chunk(&self, chunk: usize, memory: *mut u8) {
        if let Some(slot) = self.chunks.get(chunk) {
            slot.store(memory.cast(), Release);
        }
    }

    /// Whether the stacks have their memory.
    pub(super) fn has_stacks(&self) -> bool {
        !self.stacks.load(Relaxed).is_null()
    }

    /// Gives the stacks their memory.
    ///
    /// # Safety
    /// `memory` is a zeroed block of [`STACKS_ORDER`] that nobody else uses from now on.
    pub(super) unsafe fn set_stacks(&self, memory: *mut u8) {
        self.stacks.store(memory.cast(), Release);
    }

    fn record(&self, pfn: Pfn) -> Option<&Record> {
        let chunk = self.chunks.get((pfn.get() / CHUNK_FRAMES) as usize)?.load(Acquire);
        // SAFETY: a chunk that is not null has that many records, all made of atomic words.
        unsafe { chunk.as_ref()? };
        // SAFETY: as above; the remainder is below that number.
        Some(unsafe { &*chunk.add((pfn.get() % CHUNK_FRAMES) as usize) })
    }

    /// Records that `who` has taken a block.
    pub(super) fn take(&self, pfn: Pfn, order: Order, gfp: GfpFlags, who: Who, ts_ns: u64, stack: u32) {
        let Some(record) = self.record(pfn) else { return };
        let [what, when, by, _, name @ ..] = record;
        let mut bytes = [0; NAME_BYTES];
        bytes.iter_mut().zip(who.name.bytes()).for_each(|(kept, byte)| *kept = byte);
        let (words, _) = bytes.as_chunks();
        name.iter().zip(words).for_each(|(word, bytes)| word.store(u64::from_le_bytes(*bytes), Relaxed));
        when.store(ts_ns, Relaxed);
        by.store(u64::from(who.pid) << 32 | u64::from(stack), Relaxed);
        what.store(USED | u64::from(order.get()) << ORDER_SHIFT | u64::from(gfp.bits()), Release);
        self.count(stack, order.pages());
    }

    /// Adds to the pages of a stack; a negative number wraps round, and so does the sum.
    fn count(&self, handle: u32, pages: u64) {
        if let Some([_, sum, ..]) = (handle as usize).checked_sub(1).and_then(|at| self.slot(at)) {
            sum.fetch_add(pages, Relaxed);
        }
    }

    /// Records that the last frames of the block at `pfn` go back.
    pub(super) fn cut(&self, pfn: Pfn, pages: u64) {
        if let Some([_, _, by, ..]) = self.record(pfn) {
            self.count(by.load(Relaxed) as u32, pages.wrapping_neg());
        }
    }

    /// Shows every stack that has pages, with their number.
    pub(super) fn stacks(&self, visit: &mut dyn FnMut(&[u64], u64)) {
        for (handle, [hash, sum, ..]) in (0..STACKS).filter_map(|at| Some((at as u32 + 1, self.slot(at)?))) {
            let pages = sum.load(Relaxed);
            if hash.load(Acquire) != 0 && pages != 0 {
                visit(&self.stack(handle), pages);
            }
        }
    }

    /// Records what each frame of a block was used for, which is about to be given back.
    pub(super) fn note(&self, pfn: Pfn, order: Order, was: PageUse) {
        (0..order.pages()).filter_map(|n| pfn.checked_add(n)).for_each(|pfn| self.remember(pfn, was));
        if let Some([what, ..]) = self.record(pfn) {
            what.fetch_or(NOTED, Relaxed);
        }
    }

    fn remember(&self, pfn: Pfn, was: PageUse) {
        if let Some([_, _, _, past, ..]) = self.record(pfn) {
            past.store(past.load(Relaxed) << USE_BITS | was as u64, Relaxed);
        }
    }

    /// What a frame was used for before, the oldest first.
    pub(super) fn past(&self, pfn: Pfn) -> impl Iterator<Item = PageUse> {
        let past = self.record(pfn).map_or(0, |[_, _, _, past, ..]| past.load(Relaxed));
        (0..u64::BITS / USE_BITS).rev().filter_map(move |n| {
            let number = past >> (n * USE_BITS) & ((1 << USE_BITS) - 1);
            PageUse::ALL.into_iter().find(|known| *known as u64 == number)
        })
    }

    /// Records that a block was given back.
    pub(super) fn give(&self, pfn: Pfn) {
        let Some([what, _, by, ..]) = self.record(pfn) else { return };
        let was = what.swap(0, Relaxed);
        if was & (USED | NOTED) == USED {
            self.remember(pfn, PageUse::Kernel);
        }
        if let Some(order) = order_of(was).filter(|_| was & USED != 0) {
            self.count(by.load(Relaxed) as u32, order.pages().wrapping_neg());
        }
    }

    /// Makes the block at `to`, a part of the one at `from`, one of its own.
    pub(super) fn split(&self, from: Pfn, to: Pfn, order: Order) {
        let (Some(source), Some(target)) = (self.record(from), self.record(to)) else { return };
        let [what, when, by, _, name @ ..] = target;
        let [_, source_when, source_by, _, source_name @ ..] = source;
        for (source, target) in
            source_name.iter().chain([source_by, source_when]).zip(name.iter().chain([by, when]))
        {
            target.store(source.load(Relaxed), Relaxed);
        }
        let [source_what, ..] = source;
        let flags = source_what.load(Relaxed) & u64::from(u32::MAX);
        what.store(USED | u64::from(order.get()) << ORDER_SHIFT | flags, Release);
    }

    /// What is known of the block that starts at `pfn`.
    pub(super) fn get(&self, pfn: Pfn) -> Option<PageOwner> {
        let [what, when, by, _, name @ ..] = self.record(pfn)?;
        let word = what.load(Acquire);
        if word & USED == 0 {
            return None;
        }
        let by = by.load(Relaxed);
        let mut owner = PageOwner {
            pfn,
            order: order_of(word)?,
            gfp: GfpFlags::from_bits_retain(word as u32),
            pid: (by >> 32) as u32,
            ts_ns: when.load(Relaxed),
            name: [0; NAME_BYTES],
            stack: self.stack(by as u32),
        };
        let (words, _) = owner.name.as_chunks_mut();
        words.iter_mut().zip(name).for_each(|(bytes, word)| *bytes = word.load(Relaxed).to_le_bytes());
        Some(owner)
    }

    /// One stack of the table.
    fn slot(&self, number: usize) -> Option<&Stack> {
        let stacks = self.stacks.load(Acquire);
        if stacks.is_null() || number >= STACKS {
            return None;
        }
        // SAFETY: the table has that many stacks, all made of atomic words.
        Some(unsafe { &*stacks.add(number) })
    }

    fn stack(&self, handle: u32) -> [u64; DEPTH] {
        let mut callers = [0; DEPTH];
        if let Some([_, _, stored @ ..]) = (handle as usize).checked_sub(1).and_then(|at| self.slot(at)) {
            callers.iter_mut().zip(stored).for_each(|(caller, word)| *caller = word.load(Relaxed));
        }
        callers
    }

    /// The handle of a stack, which is added if it is new; 0 if there is no room.
    pub(super) fn handle<C: crate::port::Cpu>(&self, cpu: &C, callers: &[u64; DEPTH]) -> u32 {
        // FNV-1a over words; 0 marks an empty slot.
        let mix = |hash: u64, word: &u64| (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        let hash = callers.iter().fold(0xcbf2_9ce4_8422_2325, mix) | 1;
        let start = hash as usize % STACKS;
        let find = || {
            (0..STACKS).map(|n| (start + n) % STACKS).find_map(|at| {
                let [stored, _, words @ ..] = self.slot(at)?;
                let found = stored.load(Acquire);
                if found == 0 {
                    return Some((at, true));
                }
                let same = words.iter().zip(callers).all(|(word, caller)| word.load(Relaxed) == *caller);
                (found == hash && same).then_some((at, false))
            })
        };
        match find() {
            Some((at, false)) => return at as u32 + 1,
            Some(_) => {}
            None => return 0,
        }
        let _adding = self.adding.lock(cpu);
        let Some((at, is_new)) = find() else { return 0 };
        if let Some([stored, _, words @ ..]) = self.slot(at).filter(|_| is_new) {
            words.iter().zip(callers).for_each(|(word, caller)| word.store(*caller, Relaxed));
            stored.store(hash, Release);
        }
        at as u32 + 1
    }
}
