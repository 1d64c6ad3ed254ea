//! T55: what a booted guest asks its disk for equals a model of Linux's rules, request by request.

use std::fs;

use images::{Content, DataSpec, Existing, FileSpec};
use tempfile::TempDir;
use tests::{Guest, kvm};

#[path = "../../guest/mm/tests/cache/readahead_model.rs"]
mod readahead_model;

use readahead_model::Model;

const PAGE: u64 = 4096;
/// Pages of the file, and pages that a request of the guest's driver can have.
const PAGES: u64 = 1000;
const IO_PAGES: u64 = 32;
/// Requests that the monitor remembers.
const REMEMBERED: usize = 256;

/// Reads as first byte and how many: in order, backward, with strides, by turns, anywhere, and in one piece.
fn trace(seed: u64) -> Vec<(u64, u64)> {
    let mut chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = move |n: u64| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chance % n
    };
    let mut reads = Vec::new();
    for _ in 0..5 {
        let (at, length, kind) = (below(PAGES) * PAGE + below(PAGE), 1 + below(40_000), below(5));
        for n in 0..1 + below(8) {
            let at = match kind {
                0 => at + n * length,
                1 => at + n * (length + 5 * PAGE),
                2 => at.saturating_sub(n * length),
                3 => at + n / 2 * length + n % 2 * (PAGES / 2 * PAGE),
                _ => below(PAGES) * PAGE,
            };
            let at = at % (PAGES * PAGE);
            reads.push((at, length.min(PAGES * PAGE - at)));
        }
    }
    reads
}

#[test]
fn t55b_requests_of_a_guest_are_those_of_the_model() {
    // Only our monitor remembers requests.
    let Some(host) = kvm() else { return };
    let folder = TempDir::new().unwrap();
    let content = folder.path().join("f.bin");
    images::write_pattern(&mut fs::File::create(&content).unwrap(), PAGES * PAGE, 5).unwrap();
    let file = FileSpec { name: "f".into(), content: Content::Host(content), room: 0, sparse: false };
    let spec = DataSpec { size: Some(16 << 20), uuid: None, files: vec![file], partitions: vec![] };
    let image = folder.path().join("data.img");
    images::make_data(&image, &spec, Existing::Keep).unwrap();
    let first = images::inspect(&image).unwrap().partitions[0].first_lba + 32 * 8;
    for (seed, kb) in [(1, 128), (2, 128), (3, 64), (4, 0), (5, 100)] {
        let trace = trace(seed);
        let commands: Vec<_> =
            trace.iter().map(|(at, length)| format!("file read f {length} at={at} bs={length}")).collect();
        let words: Vec<_> = commands.iter().map(String::as_str).collect();
        let guest = Guest::on(host).mem("128M").disk(&image, ",ro").append(&format!("read_ahead_kb={kb}"));
        let run = guest.report().flag("--stats").run(&words).start().assert_ok();
        let mut model = Model::new(PAGES, kb / 4, IO_PAGES);
        trace.iter().for_each(|&(at, length)| model.read(at, length));
        let report = run.report();
        let log = report["disks"][0]["log"].as_array().unwrap();
        assert!(log.len() < REMEMBERED, "the monitor remembers all of them: {}", log.len());
        let number = |entry: &serde_json::Value, name: &str| entry[name].as_u64().unwrap();
        let of_file = log.iter().filter(|entry| number(entry, "sector") >= first);
        let mut asked: Vec<_> = of_file
            .map(|entry| ((number(entry, "sector") - first) / 8, number(entry, "bytes") / PAGE))
            .collect();
        // Each page is read once, so the order in which requests ended says nothing more.
        asked.sort_unstable();
        model.runs.sort_unstable();
        assert_eq!(asked, model.runs, "seed {seed}, {kb} kB\n{run}");
        let bytes: u64 = run.output(0).line_with("disk_kb=").number("disk_kb");
        assert!(bytes > 0, "{run}");
    }
}
