//! Windows of readahead: what the disk is asked for equals what a model of Linux's rules says (row T55).

use super::Files;
use super::readahead_model::Model;
use mm::addr::PAGE_SIZE;
use mm::cache::FileAdvice;
use proptest::prelude::*;

/// What the disk says that a request can have.
const IO_PAGES: u64 = 64;

/// Reads as `trace` says, and compares after each read.
fn agree(pages: u64, ra_pages: u32, advice: Option<FileAdvice>, seed: u64, trace: &[(u64, u64)]) {
    let files = Files::with_file(1, seed, pages);
    files.cache().set_ra_pages(ra_pages);
    let file = files.open();
    let mut model = Model::new(pages, ra_pages.into(), IO_PAGES);
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
