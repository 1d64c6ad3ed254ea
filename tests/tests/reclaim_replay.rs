//! T62, T63, T69: anonymous pages and pages of a file in a booted guest against a model of the lists, of refaults and of
//! swap.
//!
//! The file alone needs no swap. Pages of memory hold zeroes, so that they go when their turn comes, and nobody waits for a disk.

use std::path::Path;

use reclaim_model::{Id, Model, Use};
use tempfile::TempDir;
use tests::{Guest, Host, Text, for_each_host};

use crate::reclaim::volume;
use crate::swap_areas::area;

#[path = "../../guest/mm/tests/vm/reclaim_model.rs"]
mod reclaim_model;
#[path = "../../guest/mm/tests/vm/swap_slots_model.rs"]
mod swap_slots_model;

const MIB: u64 = 1 << 20;
/// Pages of the file, pages of memory, and slots of the area.
const FILE_PAGES: u64 = 1536;
const MEMORY: u64 = 512;
const SLOTS: u64 = 8 * MIB / 4096;

/// A step of a trace; ranges are the first page and how many.
#[derive(Clone, Copy)]
enum Step {
    /// Pages of memory become zeroes.
    Zero(u64, u64),
    /// Pages of memory are read.
    Load(u64, u64),
    /// Pages of the file are read.
    Read(u64, u64),
    /// The first pages of memory get something that is no zero.
    Mark(u64),
    Swappiness(u64),
    Room,
}
use Step::{Load, Mark, Read, Room, Swappiness, Zero};

impl Step {
    fn command(self) -> String {
        match self {
            Zero(first, pages) => format!("vm use {first} {pages} zero"),
            Load(first, pages) => format!("vm use {first} {pages}"),
            Read(first, pages) => format!("file read loop {}K at={}K", pages * 4, first * 4),
            Mark(pages) => format!("vm touch {pages}/{MEMORY}"),
            Swappiness(to) => format!("sysctl vm.swappiness={to}"),
            Room => "evict room".into(),
        }
    }

    fn apply(self, model: &mut Model) {
        match self {
            Zero(first, pages) => (first..first + pages).for_each(|page| model.touch(page, Use::Clear)),
            Load(first, pages) => (first..first + pages).for_each(|page| model.touch(page, Use::Read)),
            Read(first, pages) => (first..first + pages).for_each(|page| model.read(page)),
            Mark(pages) => (0..pages).for_each(|page| model.touch(page, Use::Write)),
            Swappiness(to) => model.swappiness = to,
            Room => {
                model.make_room();
                // Zeroes are not written, and nobody would wait for anything else.
                (0..model.writing.len()).rev().for_each(|nth| model.wrote(nth));
                assert!(model.written.is_empty());
            }
        }
    }
}

/// The pages that the guest's log says went.
fn gone(show: Text<'_>, memory: u64) -> Vec<Id> {
    let run = |line: &str| {
        let (first, pages) = (Text::new(line).number("first"), Text::new(line).number("pages"));
        let is_file = line.starts_with("ino=");
        let id = move |page| if is_file { Id::File(page) } else { Id::Anon(page - memory) };
        (first..first + pages).map(id).collect::<Vec<_>>()
    };
    show.lines().filter(|line| line.contains("first=")).flat_map(run).collect()
}

/// Runs a trace in a guest and in the model, with an area for swap or without; all that went, in order, and all counters agree.
fn replay(host: Host, image: &Path, swap: Option<&Path>, trace: &[Step]) -> Model {
    let before = ["sysctl vm.page-cluster=0", "sysctl vm.drop_caches=1", "vm map 2M rw", "evict log on"];
    let after = [
        "evict log off",
        "cat /proc/vmstat",
        "evict log show",
        "vm verify",
        "swap verify",
        "cat /proc/meminfo",
        "file as loop",
    ];
    let mut script: Vec<String> = before.map(String::from).into();
    script.push("cat /proc/vmstat".into());
    script.extend(trace.iter().map(|step| step.command()));
    script.extend(after.map(String::from));
    let script: Vec<&str> = script.iter().map(String::as_str).collect();
    let guest = Guest::on(host).cpus(1).mem("256M").option("--swap", "none").disk(image, "");
    let guest = guest.append("read_ahead_kb=0").append("transparent_hugepage=never");
    let guest = match swap {
        Some(area) => guest.disk(area, "").append("swap=vdb"),
        None => guest,
    };
    let run = guest.run(&script).start().assert_ok();
    let mut model = Model::new(if swap.is_some() { SLOTS } else { 0 });
    trace.iter().for_each(|step| step.apply(&mut model));
    let at = run.output(2).fact("mapped").split_once('-').unwrap().0.trim_start_matches("0x");
    let first = u64::from_str_radix(at, 16).unwrap() / 4096;
    let (start, end) = (before.len(), script.len() - after.len() + 1);
    let show = run.output(end + 1);
    let went = gone(show, first);
    assert!(went == model.evicted, "the guest took {went:?}, the model {:?}: {run}", model.evicted);
    assert_eq!(show.line_with("evicted=").number("evicted"), went.len() as u64, "{run}");
    let now = |n: usize, name: &str| tests::linux::vmstat(run.output(n), name);
    let more = |name: &str| now(end, name) - now(start, name);
    for name in ["nr_inactive_file", "nr_active_file", "nr_inactive_anon", "nr_active_anon"] {
        assert_eq!(now(start, name), 0, "{name} at the start: {run}");
    }
    let counts = model.counts();
    for (names, expected) in [
        (["pgscan_anon", "pgscan_file"], counts.scanned),
        (["pgsteal_anon", "pgsteal_file"], counts.stolen),
        (["workingset_refault_anon", "workingset_refault_file"], counts.refaults),
        (["workingset_activate_anon", "workingset_activate_file"], counts.refault_activations),
        (["workingset_restore_anon", "workingset_restore_file"], counts.restored),
        (["nr_inactive_anon", "nr_inactive_file"], counts.inactive),
        (["nr_active_anon", "nr_active_file"], counts.active),
        (["pswpout", "pswpin"], [counts.swapped_out, counts.swapped_in]),
        (["swpout_zero", "swpin_zero"], [counts.zeroes_out, counts.zeroes_in]),
        (["pgactivate", "pgdeactivate"], [counts.activated, counts.deactivated]),
        (["pgrefill", "pgrotated"], [counts.refilled, counts.rotated]),
        (["pgscan_direct", "pgsteal_direct"], [counts.scanned, counts.stolen].map(|both| both.iter().sum())),
        (["pgscan_kswapd", "swap_ra"], [0, 0]),
    ] {
        assert_eq!(names.map(more), expected, "{names:?}: {run}");
    }
    assert_eq!(run.output(end + 2).fact("verify"), "ok", "{run}");
    assert_eq!(run.output(end + 3).fact("swap_verify"), "ok", "{run}");
    assert_eq!(tests::linux::meminfo(run.output(end + 4), "SwapFree"), counts.free_slots * 4, "{run}");
    let kept = (0..FILE_PAGES).filter(|page| model.has(Id::File(*page))).count() as u64;
    assert_eq!(run.output(end + 5).number("nrpages"), kept, "{run}");
    model
}

#[test]
fn t62_pages_go_in_the_order_of_a_model_that_replays_the_trace() {
    let folder = TempDir::new().unwrap();
    let image = volume(&folder, &[("loop", FILE_PAGES * 4096)]);
    // Once, twice, some again soon and some again late, and more than all that.
    let mut trace = vec![Read(0, 62), Room, Read(100, 300), Read(100, 200), Read(400, 300), Room, Room];
    trace.extend([Read(110, 50), Read(300, 200), Room, Room, Room, Read(400, 150), Read(700, 800)]);
    trace.extend([Read(1400, 100), Room, Room, Room, Read(0, 40), Read(100, 10), Room, Room]);
    for_each_host(|host| {
        let counts = replay(host, &image, None, &trace).counts();
        assert!(counts.stolen[1] > 0 && counts.refaults[1] > 0, "{counts:?}");
    });
}

#[test]
fn t63_memory_and_a_file_go_and_come_back_as_the_model_says() {
    let folder = TempDir::new().unwrap();
    let image = volume(&folder, &[("loop", FILE_PAGES * 4096)]);
    let swap = area(&folder, "swap.img", 8);
    // Memory alone: new, used again, out and back; then beside a file, with costs and every kind of swappiness.
    let mut trace = vec![Zero(0, 400), Room, Room, Load(40, 100), Room, Zero(300, 50), Room, Room];
    trace.extend([Load(0, 200), Room, Room, Load(0, 120), Room, Load(200, 200), Room, Room]);
    for swappiness in [60, 0, 100, 133, 200] {
        trace.extend([Swappiness(swappiness), Read(0, 300), Read(100, 80), Load(20, 90), Room, Room]);
        trace.extend([Zero(390, MEMORY - 390), Read(500, 400), Room, Room, Load(0, 60), Read(0, 100), Room]);
    }
    trace.push(Mark(200));
    for_each_host(|host| {
        let model = replay(host, &image, Some(&swap), &trace);
        assert!(
            (0..MEMORY).all(|page| model.has(Id::Anon(page)) || model.is_out(page)),
            "all of it was used"
        );
        let counts = model.counts();
        assert!(counts.refault_activations[0] > 0 && counts.restored[0] > 0, "{counts:?}");
    });
}
