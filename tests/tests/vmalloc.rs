//! Areas of contiguous addresses over scattered frames.

use tests::linux::meminfo;
use tests::{Guest, Run, Text, any_host, for_each_host};

const VMALLOC: u64 = 0xffff_c900_0000_0000;

fn small(commands: &[&str]) -> Guest {
    Guest::on(any_host()).mem("128M").cpus(1).run(commands)
}

#[track_caller]
fn says(text: Text<'_>, part: &str) {
    assert_eq!(text.lines_with(part).len(), 1, "lines with {part:?} in {text:?}");
}

/// The lines of `/proc/vmallocinfo`: start, size and the rest.
fn areas(run: &Run, command: usize) -> Vec<(u64, u64, String)> {
    let hex = |text: &str| u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap();
    let parse = |line: &str| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let (size, rest) = rest.trim_start().split_once(' ').unwrap();
        assert_eq!(hex(end) - hex(start), size.parse::<u64>().unwrap(), "{line}");
        (hex(start), hex(end) - hex(start), rest.to_owned())
    };
    run.output(command).lines().filter(|line| line.starts_with("0x")).map(parse).collect()
}

/// The address in `vmalloc(8192) -> 0x...`.
#[track_caller]
fn address(run: &Run, command: usize) -> u64 {
    let line = run.output(command).line_with(" -> 0x");
    let (_, hex) = line.as_str().split_once("-> 0x").unwrap();
    u64::from_str_radix(hex.split_whitespace().next().unwrap(), 16).unwrap()
}

#[test]
fn t85a_t85b_areas_need_no_two_frames_together_and_end_with_a_guard() {
    for_each_host(|host| {
        let commands = ["api vmalloc 8M fragmented", "mm verify", "vmalloc verify"];
        let run = Guest::on(host).mem("96M").cpus(1).run(&commands).start().assert_ok();
        let out = run.output(0);
        says(out, "two_pages_together=no");
        let area = out.line_with("virt_contig=yes");
        assert_eq!((area.number("pages"), area.number("phys_runs")), (2048, 2048), "{run}");
        assert_eq!((area.number("leaves_4k"), area.fact("data")), (2048, "ok"), "{run}");
        let end = address(&run, 0) + (8 << 20);
        let guard = out.line_with(&format!("read {end:#x}: fault "));
        assert!(guard.as_str().contains(" vmalloc guard: "), "{run}");
        says(run.output(2), "verify=ok");
    });
}

#[test]
fn t85b_a_stray_access_is_reported_with_the_area_it_hits() {
    let at = address(&small(&["vmalloc 8192"]).start().assert_ok(), 0);
    assert!(at >= VMALLOC);
    for (offset, place) in [(2 << 12, "place: vmalloc guard: "), ((2 << 12) + 4095, "place: vmalloc guard: ")]
    {
        let crash = format!("crash wild {:#x}", at + offset);
        let run = small(&["vmalloc 8192", &crash]).start().assert_status(5);
        let line = run.all().line_with(place);
        assert!(line.as_str().contains(&format!("{at:#x}-{:#x}", at + 8192)), "{run}");
    }
    let free = format!("vfree {at:#x}");
    let probe = format!("probe {at:#x}");
    let run = small(&["vmalloc 8192", &free, &probe, "vmalloc purge", &probe]).start().assert_ok();
    says(run.output(2), "fault error=");
    says(run.output(2), "vmalloc area freed: ");
    assert!(run.output(3).number("purged") >= 3 && run.output(3).number("flushes") == 1, "{run}");
    says(run.output(4), "vmalloc area, nothing here");
}

#[test]
fn t85c_impossible_sizes_give_null_and_wrong_frees_are_refused() {
    let run = small(&["api vmalloc 0", "vmalloc 0", "vmalloc 1T", "vmalloc verify"]).start().assert_ok();
    run.output(0).assert_line("vmalloc(0) -> NULL (bad size)");
    run.output(1).assert_line("vmalloc(0) -> NULL (bad size)");
    run.output(2).assert_line("vmalloc(1099511627776) -> NULL (bad size)");
    // More than there is: what was taken on the way comes back.
    let total = meminfo(small(&["cat /proc/meminfo"]).start().assert_ok().output(0), "MemTotal");
    let all = format!("vmalloc {total}K");
    let run = small(&["vmalloc verify", &all, "vmalloc verify", "mm verify"]).start().assert_ok();
    run.output(1).assert_line(&format!("vmalloc({}) -> NULL (out of memory)", total * 1024));
    assert_eq!(run.output(0).number("used"), run.output(2).number("used"), "{run}");
    let at = address(&small(&["vmalloc 16K"]).start().assert_ok(), 0);
    let free = |offset: u64| format!("vfree {:#x}", at + offset);
    for (frees, why) in [
        (vec![free(4096)], format!("nonexistent vm area ({:016x})", at + 4096)),
        (vec![free(8)], format!("bad address ({:016x})", at + 8)),
        (vec![free(0), free(0)], format!("nonexistent vm area ({at:016x}): freed already")),
    ] {
        let mut commands = vec!["vmalloc 16K"];
        commands.extend(frees.iter().map(String::as_str));
        let run = small(&commands).start().assert_status(1);
        run.all().assert_line(&format!("error: WARNING: Trying to vfree() {why}"));
    }
}

#[test]
fn t85d_what_is_freed_comes_back_after_one_flush() {
    let at = address(&small(&["vmalloc 1M"]).start().assert_ok(), 0);
    let free = format!("vfree {at:#x}");
    // What CPUs keep on their lists is not in MemFree.
    let commands = ["vmalloc 1M", &free, "vmalloc purge"]
        .into_iter()
        .flat_map(|command| [command, "drain", "cat /proc/meminfo"]);
    let commands: Vec<_> = ["drain", "cat /proc/meminfo"].into_iter().chain(commands).collect();
    for_each_host(|host| {
        let run = Guest::on(host).mem("128M").cpus(1).run(&commands).start().assert_ok();
        let [before, held, freed, purged] =
            [1, 4, 7, 10].map(|n| (meminfo(run.output(n), "VmallocUsed"), meminfo(run.output(n), "MemFree")));
        assert_eq!((held.0, freed.0, purged.0), (before.0 + 1024, before.0, before.0), "{run}");
        // The frames are free when no CPU can reach them any more.
        assert!(held.1 + 1024 <= before.1 && freed.1 == held.1, "{run}");
        assert_eq!(purged.1, freed.1 + 1024, "{run}");
        assert_eq!((run.output(8).number("purged"), run.output(8).number("flushes")), (257, 1), "{run}");
    });
}

#[test]
fn t85e_large_leaves_where_asked_for_and_allowed() {
    for (parameters, leaves) in [("", (0, 4)), ("nohugevmalloc", (2048, 0))] {
        let run = small(&["api vmalloc 8M huge"]).append(parameters).start().assert_ok();
        let area = run.output(0).line_with("virt_contig=yes");
        assert_eq!((area.number("leaves_4k"), area.number("leaves_2m")), leaves, "{run}");
    }
    let run = small(&["api vmap 20", "vmalloc verify"]).start().assert_ok();
    says(run.output(0), "data=ok");
}

#[test]
fn t85f_vmallocinfo_lists_every_area() {
    let commands =
        ["vmalloc 8K", "vmalloc 12K", "cat /proc/vmallocinfo", "cat /proc/meminfo", "vmalloc verify"];
    let run = small(&commands).start().assert_ok();
    let (first, second) = (address(&run, 0), address(&run, 1));
    let areas = areas(&run, 2);
    assert!(areas.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{run}");
    for (at, size, pages) in [(first, 12288, 2), (second, 16384, 3)] {
        let (_, found, text) = areas.iter().find(|area| area.0 == at).unwrap();
        let (caller, rest) = text.split_once(' ').unwrap();
        assert_eq!((*found, rest), (size, format!("pages={pages} vmalloc N0={pages}").as_str()), "{run}");
        assert!(caller.starts_with("guest::commands::areas::") && caller.contains("+0x"), "{run}");
    }
    let stacks = areas.iter().filter(|area| area.2.contains("::stack::")).count() as u64;
    assert_eq!(stacks * 32, meminfo(run.output(3), "KernelStack"), "{run}");
    let pages: u64 = areas
        .iter()
        .filter_map(|area| area.2.split_once("pages=")?.1.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    assert_eq!(pages * 4, meminfo(run.output(3), "VmallocUsed"), "{run}");
    assert!(
        areas.iter().any(|area| area.2.ends_with(" ioremap") && area.2.contains(" phys=0x0000")),
        "{run}"
    );
    assert_eq!(run.output(4).number("used"), pages, "{run}");
}
