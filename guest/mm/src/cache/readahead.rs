//! Which pages are read before somebody asks for them: Linux's on-demand readahead (`mm/readahead.c`, 6.18).
//!
//! Owns: the rules: how large the window of an open file is, where it stands, when the next begins. Stays outside: reading
//! the pages (`fill`). Invariants: a window is at most `ra_pages` long, or as long as one request of the disk where somebody
//! asks for more at once; the page with [`READAHEAD`](crate::folio::FolioFlags::READAHEAD) is where the next window begins.

use super::{FileMode, OpenFile, PageCache};
use crate::addr::PAGE_SHIFT;
use crate::folio::{Folio, FolioFlags};
use crate::phys::FrameAllocator;
use crate::port::Machine;
use crate::sync::rcu;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Pages of the largest window, if nobody sets another (`VM_READAHEAD_PAGES`).
pub(super) const DEFAULT_PAGES: u32 = 32;
/// Pages that a forced read takes at a time: 2 MiB.
const FORCED_CHUNK: u64 = (2 << 20) >> PAGE_SHIFT;
/// With so many more misses than hits, faults no longer read around (`MMAP_LOTSAMISS`).
const LOTS_OF_MISSES: u32 = 100;
/// Windows that follow each other end at multiples of this: the order that Linux adds for each of them, starting from none
/// each time where folios are small.
const ALIGN_ORDER: u32 = 2;

/// What readahead remembers of an open file (Linux `struct file_ra_state`). As there, whoever reads and writes it takes no
/// lock: two who read one file at once may confuse each other's windows, never what they read.
pub(crate) struct RaState {
    start: AtomicU64,
    size: AtomicU64,
    async_size: AtomicU64,
    ra_pages: AtomicU32,
    /// Faults that found no page, less those that did.
    mmap_miss: AtomicU32,
    /// Where the last read ended; all ones before the first.
    prev_pos: AtomicU64,
}

/// A window: pages that are read together, the last `ahead` of them before somebody asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Window {
    start: u64,
    size: u64,
    ahead: u64,
}

impl RaState {
    pub(super) const fn new(ra_pages: u32) -> Self {
        Self {
            start: AtomicU64::new(0),
            size: AtomicU64::new(0),
            async_size: AtomicU64::new(0),
            ra_pages: AtomicU32::new(ra_pages),
            mmap_miss: AtomicU32::new(0),
            prev_pos: AtomicU64::new(u64::MAX),
        }
    }

    fn window(&self) -> Window {
        let (start, size) = (self.start.load(Relaxed), self.size.load(Relaxed));
        Window { start, size, ahead: self.async_size.load(Relaxed) }
    }

    fn set_window(&self, window: Window) {
        self.start.store(window.start, Relaxed);
        self.size.store(window.size, Relaxed);
        self.async_size.store(window.ahead, Relaxed);
    }

    /// The largest window.
    pub(super) fn pages(&self) -> u64 {
        self.ra_pages.load(Relaxed).into()
    }

    pub(super) fn set_pages(&self, pages: u32) {
        self.ra_pages.store(pages, Relaxed);
    }

    /// A page could not be read: less is read at once from now on (Linux `shrink_readahead_size_eio`).
    pub(super) fn shrink(&self) {
        self.ra_pages.store(self.ra_pages.load(Relaxed) / 4, Relaxed);
    }

    /// Where the last read ended.
    #[inline(always)]
    pub(super) fn prev_pos(&self) -> u64 {
        self.prev_pos.load(Relaxed)
    }

    #[inline(always)]
    pub(super) fn set_prev_pos(&self, pos: u64) {
        self.prev_pos.store(pos, Relaxed);
    }
}

/// The first window of a stream whose first read asks for `request` pages (Linux `get_init_ra_size`).
const fn first_size(request: u64, max: u64) -> u64 {
    let size = request.next_power_of_two();
    if size <= max / 32 {
        size * 4
    } else if size <= max / 4 {
        size * 2
    } else {
        max
    }
}

/// The window after one of `size` pages (Linux `get_next_ra_size`).
const fn next_size(size: u64, max: u64) -> u64 {
    if size < max / 16 {
        size * 4
    } else if size <= max / 2 {
        size * 2
    } else {
        max
    }
}

impl Window {
    /// A window that follows another, made to end where a folio of [`ALIGN_ORDER`] does; all of it ahead.
    const fn following(start: u64, size: u64, max: u64) -> Self {
        // Linux `ffs(max) - 1`; nothing is read ahead where `max` is 0.
        let largest = max.trailing_zeros();
        let order = if ALIGN_ORDER < largest { ALIGN_ORDER } else { largest };
        let end = start + size;
        let aligned = end >> order << order;
        let size = if aligned > start { aligned - start } else { size };
        Self { start, size, ahead: size }
    }
}

impl<'p, M: Machine> PageCache<'p, M> {
    /// The largest window where somebody asks for `request` pages (Linux `ractl_max_pages`).
    fn max_window(&self, file: &OpenFile<'p>, request: u64) -> u64 {
        let (max, io) = (file.ra.pages(), file.inode().fs().device().max_pages() as u64);
        if request > max && io > max { request.min(io) } else { max }
    }

    /// Somebody reads `request` pages from `index`, which is not in memory (Linux `page_cache_sync_ra`).
    pub(crate) fn sync_readahead(
        &self,
        file: &OpenFile<'p>,
        index: u64,
        request: u64,
        frames: &impl FrameAllocator<'p>,
    ) {
        let ra = &file.ra;
        if ra.pages() == 0 {
            return self.force_readahead(file, index, 1, frames);
        }
        if file.mode().contains(FileMode::RANDOM) {
            return self.force_readahead(file, index, request, frames);
        }
        let max = self.max_window(file, request);
        let prev = ra.prev_pos() >> PAGE_SHIFT;
        // Before the first read the last one ended nowhere: `prev` is as far away as can be.
        let is_next = ra.prev_pos() != u64::MAX && index.wrapping_sub(prev) <= 1;
        let window = if index == 0 || request > max || is_next {
            let size = first_size(request, max);
            Window { start: index, size, ahead: if size > request { size - request } else { size / 2 } }
        } else {
            // What a stream would have left in memory before this page.
            let first = index.saturating_sub(max);
            let pages = &file.inode().mapping().pages;
            let miss = pages.prev_miss(&rcu::read_lock(self.machine().cpu()), first, index - 1);
            let before = index - miss.map_or(first, |miss| miss + 1);
            if before <= request {
                // Somewhere, and little: nothing is learned from it.
                return self.read_pages(file.inode(), index, request, 0, frames);
            }
            // In memory from the beginning of the file: likely all of it will be read.
            let is_whole = miss.is_none() && first == 0;
            let size = (if is_whole { before * 2 } else { before } + request).min(max);
            Window { start: index, size, ahead: 1 }
        };
        self.start_window(file, window, frames);
    }

    /// Somebody who reads `request` pages from that of `folio` has come to the page that the next window begins at (Linux
    /// `page_cache_async_ra`).
    pub(crate) fn async_readahead(
        &self,
        file: &OpenFile<'p>,
        folio: Folio<'p>,
        request: u64,
        frames: &impl FrameAllocator<'p>,
    ) {
        // The same flag says of a page that is being written that it is to go.
        if file.ra.pages() == 0 || folio.flags().contains(FolioFlags::WRITEBACK) {
            return;
        }
        if !folio.clear_flags(FolioFlags::READAHEAD).contains(FolioFlags::READAHEAD) {
            // Somebody else has begun it meanwhile.
            return;
        }
        let (index, max) = (folio.index(), self.max_window(file, request));
        let Window { start, size, ahead } = file.ra.window();
        let window = if index == (start + size).wrapping_sub(ahead) {
            Window::following(start + size, size.max(next_size(size, max)), max)
        } else {
            // The window is of another stream: see what this one has left in memory.
            let pages = &file.inode().mapping().pages;
            let section = rcu::read_lock(self.machine().cpu());
            let Some(miss) = pages.next_miss(&section, index + 1, index.saturating_add(max)) else { return };
            drop(section);
            Window::following(miss, next_size(miss - index + request, max), max)
        };
        self.start_window(file, window, frames);
    }

    fn start_window(&self, file: &OpenFile<'p>, window: Window, frames: &impl FrameAllocator<'p>) {
        file.ra.set_window(window);
        self.read_pages(file.inode(), window.start, window.size, window.ahead, frames);
    }

    /// Reads so many pages whatever the rules say (Linux `force_page_cache_ra`).
    pub(crate) fn force_readahead(
        &self,
        file: &OpenFile<'p>,
        index: u64,
        request: u64,
        frames: &impl FrameAllocator<'p>,
    ) {
        let most = file.ra.pages().max(file.inode().fs().device().max_pages() as u64);
        let (mut at, end) = (index, index.saturating_add(request.min(most)));
        while at < end {
            let chunk = (end - at).min(FORCED_CHUNK);
            self.read_pages(file.inode(), at, chunk, 0, frames);
            at += chunk;
        }
    }

    /// A fault found no page at `index` of a file that an area shows (Linux `do_sync_mmap_readahead`). The caller then looks
    /// again, and reads the page itself if it still is not there.
    pub(crate) fn sync_mmap_readahead(
        &self,
        file: &OpenFile<'p>,
        index: u64,
        hint: MmapHint,
        frames: &impl FrameAllocator<'p>,
    ) {
        let (ra, max) = (&file.ra, file.ra.pages());
        if hint == MmapHint::Random || max == 0 {
            return;
        }
        if hint == MmapHint::Sequential {
            return self.sync_readahead(file, index, max, frames);
        }
        let mut misses = ra.mmap_miss.load(Relaxed);
        if misses < LOTS_OF_MISSES * 10 {
            misses += 1;
            ra.mmap_miss.store(misses, Relaxed);
        }
        if misses > LOTS_OF_MISSES {
            return;
        }
        let window = Window { start: index.saturating_sub(max / 2), size: max, ahead: max / 4 };
        self.start_window(file, window, frames);
    }

    /// A fault found the page of `folio` in memory (Linux `do_async_mmap_readahead`).
    pub(crate) fn async_mmap_readahead(
        &self,
        file: &OpenFile<'p>,
        folio: Folio<'p>,
        hint: MmapHint,
        frames: &impl FrameAllocator<'p>,
    ) {
        let (ra, max) = (&file.ra, file.ra.pages());
        if hint == MmapHint::Random || max == 0 {
            return;
        }
        let flags = folio.flags();
        // Of a locked page somebody else counts.
        if !flags.contains(FolioFlags::LOCKED) {
            let misses = ra.mmap_miss.load(Relaxed);
            if misses != 0 {
                ra.mmap_miss.store(misses - 1, Relaxed);
            }
        }
        if flags.contains(FolioFlags::READAHEAD) {
            self.async_readahead(file, folio, max, frames);
        }
    }
}

/// What an area says of how it is read (`VM_RAND_READ`, `VM_SEQ_READ`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MmapHint {
    /// Nothing.
    Normal,
    /// Anywhere.
    Random,
    /// From the beginning to the end.
    Sequential,
}
