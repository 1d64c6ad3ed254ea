//! Windows of readahead: what the disk is asked for equals what a model of Linux's rules says (row T55).

use super::Files;
use mm::addr::PAGE_SIZE;
use mm::cache::FileAdvice;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Pages of one request at most.
const REQUEST: u64 = 32;
/// What the disk says that a request can have.
const IO_PAGES: u64 = 64;

/// Linux's rules, written as Linux has them: numbers wrap, and nothing is known before the first read.
struct Model {
    /// Pages of the file.
    pages: u64,
    cached: BTreeSet<u64>,
    marked: BTreeSet<u64>,
    runs: Vec<(u64, u64)>,
    ra_pages: u64,
    random: bool,
    start: u64,
    size: u64,
    async_size: u64,
    prev_pos: u64,
}

impl Model {
    fn new(pages: u64, ra_pages: u64) -> Self {
        Self {
            pages,
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
        self.fetch(index, count.min(self.ra_pages.max(IO_PAGES)), 0);
    }

    fn max_pages(&self, req: u64) -> u64 {
        if req > self.ra_pages && IO_PAGES > self.ra_pages { req.min(IO_PAGES) } else { self.ra_pages }
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

    fn read(&mut self, pos: u64, len: u64) {
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

/// Reads as `trace` says, and compares after each read.
fn agree(pages: u64, ra_pages: u32, advice: Option<FileAdvice>, seed: u64, trace: &[(u64, u64)]) {
    let files = Files::with_file(1, seed, pages);
    files.cache().set_ra_pages(ra_pages);
    let file = files.open();
    let mut model = Model::new(pages, ra_pages.into());
    if let Some(advice) = advice {
        files.cache().fadvise(file, 0, 0, advice, &files.world.frames);
        model.random = advice == FileAdvice::Random;
        if advice == FileAdvice::Sequential {
            model.ra_pages *= 2;
        }
    }
    for &(pos, len) in trace {
        assert_eq!(
            files.read(file, pos, len).unwrap(),
            super::expected(pos, len.min((pages * PAGE_SIZE).saturating_sub(pos)))
        );
        model.read(pos, len);
        assert_eq!(files.runs(), std::mem::take(&mut model.runs), "at {pos}, {len} bytes");
    }
    files.settle();
    assert_eq!(file.inode().mapping().nrpages(), model.cached.len() as u64);
    files.verify(&[file.inode()]);
}

fn pages_of(trace: &[(u64, u64)]) -> Vec<(u64, u64)> {
    trace.iter().map(|&(page, pages)| (page * PAGE_SIZE, pages * PAGE_SIZE)).collect()
}

/// The sequence that the row names.
#[test]
fn a_sequential_reader_gets_growing_windows() {
    let files = Files::with_file(1, 1, 1024);
    let file = files.open();
    for page in 0..1024 {
        files.read(file, page * PAGE_SIZE, PAGE_SIZE).unwrap();
    }
    let requests = files.requests();
    assert_eq!(requests[..6], [4, 8, 16, 32, 32, 32]);
    assert!(requests[3..requests.len() - 1].iter().all(|&pages| pages == 32), "{requests:?}");
    assert_eq!(requests.iter().sum::<u64>(), 1024);
}

#[test]
fn random_reads_get_what_they_ask_for() {
    let files = Files::with_file(1, 2, 4000);
    let file = files.open();
    // No two are close to each other.
    for n in 0..256_u64 {
        files.read(file, (1 + n * 769 % 4000 / 3 * 3) * PAGE_SIZE, PAGE_SIZE).unwrap();
    }
    let requests = files.requests();
    assert!(requests.len() >= 250 && requests.iter().all(|&pages| pages == 1), "{requests:?}");
}

#[test]
fn nothing_is_read_ahead_where_it_is_off() {
    let files = Files::with_file(1, 3, 128);
    files.cache().set_ra_pages(0);
    let file = files.open();
    files.read(file, 0, 128 * PAGE_SIZE).unwrap();
    assert_eq!(files.requests(), [1; 128]);
}

#[test]
fn streams_that_take_turns_get_windows_each() {
    let trace: Vec<_> = (0..200).flat_map(|n| [(n, 1), (1000 + n, 1), (2000 + n, 1)]).collect();
    agree(4000, 32, None, 4, &pages_of(&trace));
}

#[test]
fn advice_is_followed() {
    let trace: Vec<_> = (0..300).map(|n| (n, 1)).collect();
    for advice in [FileAdvice::Normal, FileAdvice::Sequential, FileAdvice::Random] {
        agree(300, 32, Some(advice), 5, &pages_of(&trace));
        agree(300, 32, Some(advice), 5, &[(10, 1 << 20), (5000, 1 << 19)]);
    }
}

#[test]
fn a_part_that_will_be_needed_is_read_at_once() {
    let files = Files::with_file(1, 6, 256);
    let file = files.open();
    files.cache().fadvise(
        file,
        100 * PAGE_SIZE + 5,
        20 * PAGE_SIZE,
        FileAdvice::WillNeed,
        &files.world.frames,
    );
    assert_eq!(files.runs(), [(100, 21)]);
    files.read(file, 100 * PAGE_SIZE, 21 * PAGE_SIZE).unwrap();
    assert_eq!(files.runs(), []);
}

/// One step of a trace.
fn step(pages: u64) -> impl Strategy<Value = Vec<(u64, u64)>> {
    let len = prop_oneof![Just(PAGE_SIZE), Just(512), 1..300_000_u64];
    let bytes = pages * PAGE_SIZE;
    (0..bytes, len, 1..40_u64, 1..20_u64, 0..4_u8).prop_map(move |(pos, len, count, gap, kind)| {
        let next = |n: u64| match kind {
            // From here on.
            0 => pos + n * len,
            // Every so many.
            1 => pos + n * (len + gap * PAGE_SIZE),
            // Backwards.
            2 => pos.saturating_sub(n * len),
            // Two streams by turns.
            _ => pos + n / 2 * len + n % 2 * (bytes / 2),
        };
        (0..count).map(|n| (next(n) % bytes, len)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn requests_are_as_the_rules_say(
        ra_pages in prop_oneof![Just(32_u32), Just(0), 1..80_u32],
        seed in 0..u64::MAX,
        (file, steps) in (100..1500_u64).prop_flat_map(|n| (Just(n), prop::collection::vec(step(n), 1..8))),
    ) {
        let trace: Vec<_> = steps.concat();
        agree(file, ra_pages, None, seed, &trace);
    }
}
