//! A model of Linux's rules of readahead, which knows nothing of the code that it judges. The tests of booted guests use it, too.

use std::collections::BTreeSet;

const PAGE_SIZE: u64 = 4096;
/// Pages of one request at most.
const REQUEST: u64 = 32;

/// Linux's rules, written as Linux has them: numbers wrap, and nothing is known before the first read.
pub struct Model {
    /// Pages of the file.
    pages: u64,
    /// What a request can have.
    io_pages: u64,
    /// In memory.
    pub cached: BTreeSet<u64>,
    marked: BTreeSet<u64>,
    /// What the disk was asked for: first page, and how many.
    pub runs: Vec<(u64, u64)>,
    /// The largest window.
    pub ra_pages: u64,
    /// Whether reads are expected anywhere.
    pub random: bool,
    start: u64,
    size: u64,
    async_size: u64,
    prev_pos: u64,
}

impl Model {
    /// Nothing in memory of a file of so many pages, with windows of `ra_pages`, on a disk whose requests have `io_pages` at most.
    pub fn new(pages: u64, ra_pages: u64, io_pages: u64) -> Self {
        Self {
            pages,
            io_pages,
            cached: BTreeSet::new(),
            marked: BTreeSet::new(),
            runs: Vec::new(),
            ra_pages,
            random: false,
            start: 0,
            size: 0,
            async_size: 0,
            prev_pos: u64::MAX,
        }
    }

    fn fetch(&mut self, index: u64, count: u64, lookahead: u64) {
        if index >= self.pages {
            return;
        }
        let count = count.min(self.pages - index);
        let mark = if lookahead != 0 && lookahead <= count { index + count - lookahead } else { u64::MAX };
        let mut open = false;
        for at in index..index + count {
            if !self.cached.insert(at) {
                open = false;
                continue;
            }
            match self.runs.last_mut() {
                Some(run) if open && run.1 < REQUEST => run.1 += 1,
                _ => self.runs.push((at, 1)),
            }
            open = true;
            if at == mark {
                self.marked.insert(at);
            }
        }
    }

    fn force(&mut self, index: u64, count: u64) {
        self.fetch(index, count.min(self.ra_pages.max(self.io_pages)), 0);
    }

    fn max_pages(&self, req: u64) -> u64 {
        if req > self.ra_pages && self.io_pages > self.ra_pages {
            req.min(self.io_pages)
        } else {
            self.ra_pages
        }
    }

    fn next_size(&self, max: u64) -> u64 {
        let cur = self.size;
        if cur < max / 16 {
            return 4 * cur;
        }
        if cur <= max / 2 {
            return 2 * cur;
        }
        max
    }

    fn sync(&mut self, index: u64, req: u64) {
        if self.ra_pages == 0 {
            return self.force(index, 1);
        }
        if self.random {
            return self.force(index, req);
        }
        let max = self.max_pages(req);
        let prev_index = self.prev_pos >> 12;
        if index == 0 || req > max || index.wrapping_sub(prev_index) <= 1 {
            let mut new = 1;
            while new < req {
                new *= 2;
            }
            new = if new <= max / 32 {
                new * 4
            } else if new <= max / 4 {
                new * 2
            } else {
                max
            };
            (self.start, self.size) = (index, new);
            self.async_size = if new > req { new - req } else { new >> 1 };
        } else {
            let (mut miss, mut scan) = (index - 1, max);
            let mut contig = 0;
            while scan != 0 && self.cached.contains(&miss) {
                contig += 1;
                scan -= 1;
                if miss == 0 {
                    // The whole file so far.
                    contig *= 2;
                    break;
                }
                miss -= 1;
            }
            let whole = miss == 0 && self.cached.contains(&0) && contig == 2 * index;
            let seen = if whole { contig / 2 } else { contig };
            if seen <= req {
                return self.fetch(index, req, 0);
            }
            (self.start, self.size, self.async_size) = (index, (contig + req).min(max), 1);
        }
        self.fetch(self.start, self.size, self.async_size);
    }

    fn r#async(&mut self, index: u64, req: u64) {
        if self.ra_pages == 0 {
            return;
        }
        self.marked.remove(&index);
        let max = self.max_pages(req);
        if index == self.start.wrapping_add(self.size).wrapping_sub(self.async_size) {
            self.start += self.size;
            self.size = self.size.max(self.next_size(max));
        } else {
            let mut miss = index + 1;
            while miss - index <= max && self.cached.contains(&miss) {
                miss += 1;
            }
            if miss - index > max {
                return;
            }
            self.start = miss;
            self.size = miss - index + req;
            self.size = self.next_size(max);
        }
        let mut align = 4;
        while !max.is_multiple_of(align) {
            align /= 2;
        }
        let end = self.start + self.size;
        let aligned = end - end % align;
        if aligned > self.start {
            self.size -= end - aligned;
        }
        self.async_size = self.size;
        self.fetch(self.start, self.size, self.async_size);
    }

    /// A read of `len` bytes from `pos` on.
    pub fn read(&mut self, pos: u64, len: u64) {
        let end = (pos + len).min(self.pages * PAGE_SIZE);
        let last = (pos + len).div_ceil(PAGE_SIZE);
        let mut at = pos;
        while at < end {
            let index = at / PAGE_SIZE;
            if !self.cached.contains(&index) {
                self.sync(index, last - index);
            }
            assert!(self.cached.contains(&index));
            if self.marked.contains(&index) {
                self.r#async(index, last - index);
            }
            at = end.min((index + 1) * PAGE_SIZE);
        }
        if at > pos {
            self.prev_pos = at;
        }
    }
}
