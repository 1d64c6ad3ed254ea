//! Swap in a booted guest: what goes out is counted on both sides of the disk, comes back, and lies where `mkswap` says.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tempfile::TempDir;
use tests::linux::meminfo;
use tests::{Guest, Host, Run, Text, any_host, for_each_host, kvm};

use crate::swap_areas::area;

const PAGE: u64 = 4096;
/// Without huge pages, where single pages are counted.
const SMALL: &str = "transparent_hugepage=never";

/// A small machine that swaps to `swap`, its one disk.
fn guest(host: Host, swap: &Path) -> Guest {
    Guest::on(host).mem("64M").option("--swap", "none").disk(swap, "").append(SMALL).append("swap=vda")
}

/// A number of `/proc/vmstat`.
fn event(text: Text<'_>, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// Bytes that the monitor has written to the first disk.
fn written(run: &Run) -> u64 {
    let report = run.report();
    let requests = report["disks"][0]["requests"].as_array().unwrap();
    requests.iter().filter(|request| request["kind"] == "write").map(|r| r["bytes"].as_u64().unwrap()).sum()
}

#[test]
fn t64_what_has_no_room_goes_to_swap_and_both_sides_count_it() {
    let folder = TempDir::new().unwrap();
    let swap = area(&folder, "swap.img", 128);
    let commands = [
        "vm touch 96M",
        "cat /proc/meminfo",
        "cat /proc/vmstat",
        "vm verify",
        "swap verify",
        "cat /proc/vmstat",
    ];
    let run = guest(any_host(), &swap).report().run(&commands).start().assert_ok();
    let out = event(run.output(2), "pswpout");
    assert!(out >= 8192, "{run}");
    let free = meminfo(run.output(1), "SwapFree");
    assert_eq!(meminfo(run.output(1), "SwapTotal"), (128 << 10) - 4, "{run}");
    assert!((128 << 10) - 4 - free >= 8192 * 4, "{run}");
    assert_eq!((run.output(3).fact("verify"), run.output(3).number("wrong")), ("ok", 0), "{run}");
    assert_eq!(run.output(4).fact("swap_verify"), "ok", "{run}");
    let all = event(run.output(5), "pswpout");
    assert!(all > out && event(run.output(5), "pswpin") > 8192, "reading all of it moves it again: {run}");
    assert_eq!(written(&run), run.vmstat_at_end("pswpout") * PAGE, "{run}");
}

#[test]
fn t64_huge_pages_go_to_swap_page_by_page() {
    let folder = TempDir::new().unwrap();
    let swap = area(&folder, "swap.img", 128);
    let commands = ["vm touch 96M", "cat /proc/vmstat", "vm verify", "swap verify", "mm verify"];
    for cpus in [1, 2] {
        let guest = Guest::on(any_host()).mem("64M").cpus(cpus).option("--swap", "none").disk(&swap, "");
        let run = guest.append("swap=vda").report().run(&commands).start().assert_ok();
        let of = |name| event(run.output(1), name);
        assert!(of("thp_fault_alloc") > 20, "{run}");
        assert!(of("thp_split_page") > 0 && of("thp_swpout_fallback") == of("thp_split_page"), "{run}");
        assert!(of("pswpout") >= 8192, "{run}");
        assert_eq!((run.output(2).number("checked"), run.output(2).number("wrong")), (24576, 0), "{run}");
        assert_eq!(run.output(3).fact("swap_verify"), "ok", "{run}");
        assert_eq!(written(&run), run.vmstat_at_end("pswpout") * PAGE, "{run}");
    }
}

#[test]
fn t05c_more_memory_is_in_use_than_there_is_ram() {
    let commands = ["vm touch 160M", "vm verify", "cat /proc/meminfo", "cat /proc/vmstat"];
    // The disk is an area from the start, and the guest swaps to it without being told.
    let guest = Guest::on(any_host()).mem("64M").option("--swap", "256M");
    let run = guest.run(&commands).start().assert_ok();
    assert_eq!(run.output(0).number("touched"), 40960, "{run}");
    assert_eq!((run.output(1).fact("verify"), run.output(1).number("checked")), ("ok", 40960), "{run}");
    assert!(meminfo(run.output(2), "Committed_AS") >= 163_840, "{run}");
    for name in ["pswpout", "pswpin"] {
        assert!(event(run.output(3), name) > 0, "{run}");
    }
}

#[test]
fn t66_pages_come_back_in_clusters_and_swapoff_brings_all() {
    let folder = TempDir::new().unwrap();
    let swap = area(&folder, "swap.img", 64);
    let commands = [
        "vm touch 16M",
        "swap out",
        "cat /proc/vmstat",
        "vm verify",
        "cat /proc/vmstat",
        "swap verify",
        "swap out",
        "swapoff /dev/vda",
        "cat /proc/meminfo",
        "vm verify",
    ];
    let pages = 4096;
    for cluster in [3, 0] {
        let guest = guest(any_host(), &swap).append(&format!("sysctl.vm.page-cluster={cluster}"));
        let run = guest.run(&commands).start().assert_ok();
        let more = |name| event(run.output(4), name) - event(run.output(2), name);
        assert_eq!(more("pswpin"), pages, "{run}");
        // Pages in order lie in order: each window is one fault, which maps all of it. After the first they are read by
        // twos, and only the first of those is waited for.
        let windows = pages >> cluster;
        let reads = if cluster == 0 { windows } else { 1 + (windows - 1).div_ceil(2) };
        assert_eq!((more("pgfault"), more("pgmajfault")), (windows, reads), "{run}");
        assert_eq!(more("swap_ra"), pages - reads, "{run}");
        assert_eq!(more("swap_ra_hit"), more("swap_ra"), "all of it was used: {run}");
        assert_eq!(meminfo(run.output(8), "SwapTotal"), 0, "{run}");
        assert_eq!((run.output(9).fact("verify"), run.output(9).number("wrong")), ("ok", 0), "{run}");
    }
    let commands = ["vm touch 96M", "swapoff /dev/vda"];
    let big = area(&folder, "big.img", 128);
    let run = guest(any_host(), &big).run(&commands).start().assert_status(1);
    assert!(run.all().as_str().contains("swapoff: /dev/vda: ENOMEM"), "{run}");
}

#[test]
fn t67_what_was_not_changed_goes_again_without_a_write() {
    let folder = TempDir::new().unwrap();
    let swap = area(&folder, "swap.img", 64);
    let run = guest(any_host(), &swap).run(&["swapcache demo 1000", "swap verify"]).start().assert_ok();
    let step = |name: &str| run.output(0).line_with(name).number("pswpout");
    assert_eq!((step("evict"), step("clean"), step("modified")), (1000, 0, 100), "{run}");
    assert_eq!(run.output(0).line_with("verify").fact("verify"), "ok", "{run}");
}

#[test]
fn t68_slots_are_counted_exactly() {
    let folder = TempDir::new().unwrap();
    let swap = area(&folder, "swap.img", 64);
    let commands = ["vm touch 16M", "swap out", "swap verify", "cat /proc/meminfo"];
    let run = guest(any_host(), &swap).run(&commands).start().assert_ok();
    let (total, free) = (meminfo(run.output(3), "SwapTotal"), meminfo(run.output(3), "SwapFree"));
    assert_eq!(run.output(2).number("used"), 4096, "{run}");
    assert_eq!((total - free) / 4, 4096, "{run}");
}

/// What a file takes on the host, in bytes.
fn blocks(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn t68_what_is_free_goes_back_to_the_host() {
    let Some(host) = kvm() else { return };
    let folder = TempDir::new().unwrap();
    let swap = area(&folder, "swap.img", 64);
    let start = |parameter: &str, commands: &[&str]| {
        let guest = Guest::on(host).mem("64M").option("--swap", "none").disk(&swap, ",id=swp");
        guest.append(SMALL).append(parameter).flag("--stats").run(commands).start().assert_ok()
    };
    let discarded = |run: &Run| {
        let bytes = run.all().number("disk.swp.discard_bytes");
        assert_eq!(run.all().number("guest.disk.swp.swap_discarded_pages") * PAGE, bytes, "{run}");
        bytes
    };
    let filled = ["vm touch 32M", "swap out", "swap verify", "vm verify"];
    let run = start("swap=vda", &filled);
    assert_eq!((discarded(&run), run.output(3).fact("verify")), (0, "ok"), "{run}");
    assert!(blocks(&swap) >= 32 << 20, "{}", blocks(&swap));
    // All of it goes at first, and nothing later.
    let run = start("swap=vda,discard=once", &["echo"]);
    assert_eq!(discarded(&run), (64 << 20) - PAGE, "{run}");
    assert!(blocks(&swap) < 1 << 20, "{}", blocks(&swap));
    // Clusters go when nothing is in them any more; what is in the others is not lost. Of the 16 that were used
    // some may be begun by others again.
    let commands = [
        "swapon --discard=pages /dev/vda",
        "vm touch 32M",
        "swap out",
        "vm unmap",
        "swap verify",
        "sleep 0.2",
    ];
    let commands =
        [&commands[..], &["vm touch 8M", "swap out", "vm verify", "swap verify", "swapoff /dev/vda"]]
            .concat();
    let run = start("noswap", &commands);
    assert!(discarded(&run) >= 12 * 512 * PAGE, "{run}");
    assert_eq!(run.output(8).fact("verify"), "ok", "{run}");
    // And with both.
    let run = start("swap=vda,discard", &filled);
    assert!(discarded(&run) >= (64 << 20) - PAGE, "{run}");
    let swapped = Guest::on(host).mem("64M").disk(&swap, "").run(&["swapon --discard=all /dev/vda"]);
    assert!(swapped.start().assert_status(2).all().as_str().contains("unexpected argument"), "refused");
}

#[test]
fn t68_more_name_a_slot_than_its_byte_counts() {
    let folder = TempDir::new().unwrap();
    let swap = area(&folder, "swap.img", 64);
    // With the first there are 70 of each page, 8 more than the byte of a slot can say.
    let mut script = String::from("ctx new A; vm map 128K overlay; touch 1/1; swap out; ");
    (1..70).for_each(|n| write!(script, "ctx clone A C{n}; ").unwrap());
    script +=
        "swap verify; cat /proc/meminfo; touch 1/1; swap out; swap verify; ctx use A; touch 1/1; swap out; ";
    (1..70).for_each(|n| write!(script, "ctx kill C{n}; ").unwrap());
    script += "swap verify; ctx kill A; swap verify";
    let run = guest(any_host(), &swap).script(&script).start().assert_ok();
    let used: Vec<u64> =
        run.all().lines_with("swap_verify=ok").iter().map(|line| line.number("used")).collect();
    // One slot for all 70 of each page; two clones write to theirs, which get slots of their own.
    assert_eq!(used, [32, 64, 32, 0], "{run}");
}

#[test]
fn t62_advice_takes_pages_without_writes_or_at_once() {
    let folder = TempDir::new().unwrap();
    let swap = area(&folder, "swap.img", 64);
    let commands = [
        "vm touch 8M",
        "vm advise free",
        "grep LazyFree /proc/self/smaps",
        "vm touch 1/4",
        "vm advise pageout",
        "vm verify",
        "cat /proc/vmstat",
        "vm advise cold",
        "vm advise pageout",
        "cat /proc/vmstat",
        "vm verify",
        "swap verify",
    ];
    for_each_host(|host| {
        let run = guest(host, &swap).report().run(&commands).start().assert_ok();
        assert_eq!(run.output(1).number("pglazyfree"), 2048, "{run}");
        let lazy: u64 = run
            .output(2)
            .lines()
            .map(|line| line.split_whitespace().nth(1).unwrap())
            .map(|kb| kb.parse::<u64>().unwrap())
            .sum();
        assert_eq!(lazy, 8192, "{run}");
        // A quarter was written since, and stays; nothing is written to the disk.
        assert_eq!(
            (run.output(4).number("pglazyfreed"), run.output(4).number("pswpout")),
            (1536, 0),
            "{run}"
        );
        assert_eq!((run.output(5).fact("verify"), run.output(5).number("checked")), ("ok", 512), "{run}");
        assert_eq!(event(run.output(6), "pglazyfree"), 2048, "{run}");
        assert_eq!(event(run.output(6), "pglazyfreed"), 1536, "{run}");
        assert_eq!(event(run.output(6), "pswpout"), 0, "{run}");
        // They became active, and are not when they are cold; then they go to swap.
        assert_eq!(run.output(7).number("pgdeactivate"), 512, "{run}");
        assert_eq!((run.output(8).number("pglazyfreed"), run.output(8).number("pswpout")), (0, 512), "{run}");
        assert_eq!(event(run.output(9), "pswpout"), 512, "{run}");
        assert_eq!((run.output(10).fact("verify"), run.output(10).number("checked")), ("ok", 512), "{run}");
        if host.is_kvm() {
            assert_eq!(written(&run), 512 * PAGE, "{run}");
        }
    });
}

#[test]
fn t71_a_disk_costs_what_it_is_told_to_and_memory_does_not() {
    let folder = TempDir::new().unwrap();
    let (swap, other) = (area(&folder, "swap.img", 16), area(&folder, "other.img", 16));
    let host = any_host();
    let guest = Guest::on(host).mem("64M").option("--swap", "none");
    let guest = guest.disk(&swap, ",latency=5ms").disk(&other, ",latency=2ms").append("swap=vda");
    let run = guest.run(&["latency /dev/vdb", "cat /proc/vmstat"]).start().assert_ok();
    let us = |fact: &str| -> f64 { run.output(0).fact(fact).strip_suffix("us").unwrap().parse().unwrap() };
    let dram: u64 = run.output(0).fact("dram").strip_suffix("ns").unwrap().parse().unwrap();
    assert!(us("swapin") >= 5000.0 && us("fileread") >= 2000.0, "{run}");
    assert!(us("minor") < 2000.0 && us("filehit") < us("fileread"), "{run}");
    assert!(dram > 0 && run.output(0).number("ratio") >= 1000, "{run}");
    // All of it was read, and written before.
    assert!(event(run.output(1), "pswpin") >= 38 && event(run.output(1), "pswpout") == 38 * 32, "{run}");
}
