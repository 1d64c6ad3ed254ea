//! T02, T05 to T07, T09, T15b, T22, T24: contexts, what they map, and what happens when they touch it.

use tests::linux::meminfo;
use tests::{Guest, Run, any_host, for_each_host};

const PAGE: u64 = 4096;
const SLICE: u64 = 1 << 39;

fn small(commands: &[&str]) -> Guest {
    Guest::on(any_host()).mem("64M").option("--swap", "none").cpus(1).run(commands)
}

/// The lines of `/proc/PID/maps`: start, end, rights and name.
fn maps(run: &Run, command: usize) -> Vec<(u64, u64, String, String)> {
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let (rights, name) = (words.next()?.to_owned(), words.nth(3).unwrap_or("").to_owned());
        Some((hex(start)?, hex(end)?, rights, name))
    };
    run.output(command).lines().filter_map(parse).collect()
}

/// The number of a line of `/proc/PID/status`, in kB.
#[track_caller]
fn status(run: &Run, command: usize, name: &str) -> u64 {
    let line = run.output(command).line_with(&format!("{name}:"));
    let words: Vec<_> = line.as_str().split_whitespace().collect();
    assert_eq!(words[2..], ["kB"], "{run}");
    words[1].parse().unwrap()
}

#[test]
fn t02a_addresses_lie_together_and_frames_do_not() {
    for_each_host(|host| {
        let commands = ["vm contig 256 fragmented", "mm verify", "ctx list"];
        let run = Guest::on(host).mem("64M").cpus(1).run(&commands).start().assert_ok();
        let line = run.output(0).line_with("va=contiguous");
        assert_eq!((line.number("pages"), line.fact("sum")), (256, "ok"), "{run}");
        assert!(line.number("phys_runs") > 128, "{run}");
    });
}

#[test]
fn t02b_a_wild_access_ends_its_context_and_the_run_goes_on() {
    for_each_host(|host| {
        let commands = ["ctx new A", "vm read 0x10", "ctx list", "vm touch 64K", "vm verify", "mm verify"];
        let run = Guest::on(host).mem("64M").cpus(1).run(&commands).start().assert_status(5);
        run.output(1).assert_line("fault: no vma addr=0x10 (maps to SIGSEGV MAPERR)");
        assert!(run.output(2).lines_with("name=A").is_empty(), "{run}");
        assert_eq!(run.output(4).line_with("verify=").fact("verify"), "ok", "{run}");
        run.output(5).assert_line("buddy=ok zones=ok slab=ok vmalloc=ok leaked=0");
    });
}

#[test]
fn t05a_mode_2_promises_up_to_the_limit() {
    let never = |commands: &[&str]| small(commands).append("sysctl.vm.overcommit_memory=2");
    let run = never(&["cat /proc/meminfo", "vm map 160M"]).start().assert_status(1);
    let limit = meminfo(run.output(0), "CommitLimit");
    assert_eq!(limit, meminfo(run.output(0), "MemTotal") / 4 * 50 / 100 * 4, "{run}");
    run.output(1).assert_line(&format!("error: ENOMEM (CommitLimit {limit} kB)"));
    let read = "cat /proc/meminfo";
    let commands =
        ["ctx new A", read, "vm map 8M", read, "vm map 8M r", read, "vm unmap", "ctx kill A", read];
    let run = never(&commands).start().assert_ok();
    let promised = [1, 3, 5, 8].map(|command| meminfo(run.output(command), "Committed_AS"));
    // What only can be read is promised to nobody.
    assert_eq!([promised[1], promised[2]], [promised[0] + 8192; 2], "{run}");
    assert_eq!(promised[3], 0, "{run}");
    // The other way to say how much.
    let run = never(&["sysctl vm.overcommit_kbytes=4096", read, "vm map 8M"]).start().assert_status(1);
    assert_eq!(meminfo(run.output(1), "CommitLimit"), 4096, "{run}");
    run.output(2).assert_line("error: ENOMEM (CommitLimit 4096 kB)");
}

#[test]
fn t05b_mode_0_refuses_only_what_can_never_be_and_mode_1_nothing() {
    let run = small(&["vm map 160M"]).start().assert_status(1);
    run.output(0).assert_line("error: ENOMEM");
    // Each could be; both together could not.
    let run = small(&["vm map 40M", "vm map 40M", "cat /proc/meminfo"]).start().assert_ok();
    assert!(meminfo(run.output(2), "Committed_AS") >= 80 << 10, "{run}");
    let run = small(&["vm map 160M", "vm touch 1/64", "vm verify"]).append("sysctl.vm.overcommit_memory=1");
    let run = run.start().assert_ok();
    assert_eq!(run.output(2).line_with("verify=").number("checked"), 640, "{run}");
    // What is not to be reserved is promised to nobody, as long as promises have no limit.
    let commands = ["ctx new A", "cat /proc/meminfo", "vm map 40M noreserve", "cat /proc/meminfo"];
    let run = small(&commands).start().assert_ok();
    let promised = |command| meminfo(run.output(command), "Committed_AS");
    assert_eq!(promised(1), promised(3), "{run}");
    let run = small(&commands).append("sysctl.vm.overcommit_memory=2").start().assert_status(1);
    assert!(run.output(2).as_str().contains("ENOMEM (CommitLimit "), "{run}");
}

#[test]
fn t06_roots_have_their_own_lower_half_and_one_upper_half() {
    for_each_host(|host| {
        let make = "vm map 64K populate";
        let commands = ["ctx new A", make, "ctx new B", make, "pt roots", "pt roots --after vmalloc 16M"];
        let run = Guest::on(host).mem("64M").cpus(1).run(&commands).start().assert_ok();
        for command in [4, 5] {
            let roots = run.output(command).lines_with("root=");
            let of =
                |key: &str| -> Vec<String> { roots.iter().map(|root| root.fact(key).to_owned()).collect() };
            assert_eq!(of("root"), ["kernel", "A", "B"], "{run}");
            let (lower, upper) = (of("lower"), of("upper"));
            assert!(upper.iter().all(|half| *half == upper[0]), "{run}");
            assert!(lower[0] != lower[1] && lower[1] != lower[2] && lower[0] != lower[2], "{run}");
        }
    });
}

#[test]
fn t07a_the_lower_half_ends_where_linux_has_it_end() {
    let run = small(&[
        "layout",
        "vm map-fixed 0x7fffffffe000",
        "vm write 0x7fffffffe000 7",
        "vm map-fixed 0x10000",
    ]);
    let run = run.start().assert_ok();
    run.output(0).assert_line("user 0x10000-0x7ffffffff000");
    run.output(1).assert_line("mapped=0x7fffffffe000-0x7ffffffff000 pages=1 rights=rw-");
    run.output(2).assert_line("written addr=0x7fffffffe000 value=0x07");
    for (command, line, status) in [
        ("vm map-fixed 0x7ffffffff000", "error: ENOMEM", 1),
        ("vm map-fixed 0x7fffffffe000 8K", "error: ENOMEM", 1),
        ("vm map-fixed 0", "error: EPERM (mmap_min_addr)", 2),
        ("vm map-fixed 0xf000", "error: EPERM (mmap_min_addr)", 2),
        ("vm map-fixed 0x10001", "error: EINVAL", 2),
        ("vm map-fixed 0x7fffffffe000; vm map-fixed 0x7fffffffe000", "error: EEXIST", 2),
        ("vm map 0", "error: EINVAL", 2),
        ("vm unmap 0x1001 4K", "error: EINVAL", 2),
        ("vm protect r 0x20000 4K", "error: ENOMEM", 1),
    ] {
        let run = small(&[]).script(command).start().assert_status(status);
        run.all().assert_line(line);
    }
    let run = small(&["sysctl vm.mmap_min_addr=0", "vm map-fixed 0", "vm write 0 9", "vm read 0"]);
    run.start().assert_ok().output(3).assert_line("read addr=0x0 value=0x09");
}

#[test]
fn t07b_an_address_that_is_not_canonical_is_no_page_fault() {
    for_each_host(|host| {
        let commands = ["vm write 0x800000000000", "vm read 0xffff7fffffffffff", "echo on"];
        let run = Guest::on(host).mem("64M").cpus(1).run(&commands).start().assert_status(5);
        for (command, address) in [(0, "0x800000000000"), (1, "0xffff7fffffffffff")] {
            let line = format!("fault: #GP non-canonical addr={address} (maps to SIGSEGV SI_KERNEL)");
            run.output(command).assert_line(&line);
        }
        run.output(2).assert_line("on");
    });
}

#[test]
fn t07c_layouts_follow_from_the_seed() {
    let layout = |append: &str| {
        let run =
            small(&["ctx new A", "vm map 4K", "cat /proc/self/maps"]).append(append).start().assert_ok();
        maps(&run, 2).into_iter().map(|(start, _, _, name)| (start, name)).collect::<Vec<_>>()
    };
    assert_eq!(layout("seed=7"), layout("seed=7"));
    assert_ne!(layout("seed=7"), layout("seed=8"));
    let plain = layout("norandmaps seed=7");
    assert_eq!(plain, layout("norandmaps seed=8"));
    assert_eq!(plain.last().map(|(start, _)| *start), Some(2 * SLICE - PAGE - 33 * PAGE));
}

#[test]
fn t09a_code_data_heap_and_stack_have_their_rights() {
    for_each_host(|host| {
        let commands = ["ctx new A", "cat /proc/self/maps", "cat /proc/self/status", "layout"];
        let run = Guest::on(host).mem("64M").cpus(1).run(&commands).start().assert_ok();
        let areas = maps(&run, 1);
        let rights = |name| -> Vec<&str> {
            areas.iter().filter(|area| area.3 == name).map(|area| area.2.as_str()).collect()
        };
        assert_eq!(rights("[text]"), ["r-xp"], "{run}");
        assert_eq!(rights("[data]"), ["r--p", "rw-p"], "{run}");
        assert_eq!((rights("[heap]"), rights("[stack]")), (vec!["rw-p"], vec!["rw-p"]), "{run}");
        assert!(areas.iter().all(|area| !area.2.starts_with("rwx")), "{run}");
        let kb =
            |name| areas.iter().filter(|area| area.3 == name).map(|area| area.1 - area.0).sum::<u64>() >> 10;
        assert_eq!(status(&run, 2, "VmExe"), kb("[text]"), "{run}");
        assert_eq!(status(&run, 2, "VmStk"), kb("[stack]"), "{run}");
        let all: u64 = areas.iter().map(|area| area.1 - area.0).sum();
        assert_eq!(status(&run, 2, "VmSize"), all >> 10, "{run}");
        // The kernel's own pages, too.
        let sum = run.output(3).line_with("overlap=");
        assert_eq!((sum.number("overlap"), sum.number("rwx")), (0, 0), "{run}");
        assert!(run.output(3).line_with("image ").number("mapped") > 100, "{run}");
    });
}

#[test]
fn t09b_code_cannot_be_written_and_data_can() {
    let commands = ["vm poke data", "vm poke heap", "vm poke stack", "vm poke text", "echo on"];
    let run = small(&commands).start().assert_status(5);
    for command in [0, 1, 2] {
        assert_eq!(run.output(command).lines_with("poked addr=").len(), 1, "{run}");
    }
    let line = run.output(3).line_with("fault: write to r-x addr=");
    assert!(line.as_str().ends_with(" (maps to SIGSEGV ACCERR)"), "{run}");
    let run =
        small(&["vm map 4K rw", "vm touch 1/1", "vm protect r", "vm touch 1/1"]).start().assert_status(5);
    assert_eq!(run.output(3).lines_with("fault: write to r-- addr=").len(), 1, "{run}");
    let run = small(&["vm map 4K none", "vm touch 1/1"]).start().assert_status(5);
    assert_eq!(run.output(1).lines_with("fault: write to --- addr=").len(), 1, "{run}");
}

#[test]
fn t09c_a_stack_grows_to_its_limit_and_not_into_what_lies_below() {
    for_each_host(|host| {
        let commands = ["stack grow 1M", "cat /proc/self/status", "stack grow 8M", "mm verify"];
        let run = Guest::on(host).mem("64M").cpus(1).run(&commands).start().assert_ok();
        assert_eq!(status(&run, 1, "VmStk"), 1024, "{run}");
        run.output(2).assert_line("stack=ok grown=8388608 VmStk=8192 kB");
    });
    let run = small(&["stack grow 9M", "mm verify"]).append("norandmaps").start().assert_status(5);
    let top = 2 * SLICE - PAGE;
    run.output(0).assert_line(&format!("stack guard hit at {:#x}", top - (8 << 20) - PAGE));
    // Something that lies within reach: the gap of 256 pages stays empty, or of as many as are set.
    for (append, gap) in [("norandmaps", 256), ("norandmaps stack_guard_gap=16", 16)] {
        let end = top - (4 << 20);
        let map = format!("vm map-fixed {:#x} 4K", end - PAGE);
        let run = small(&[&map, "stack grow 6M"]).append(append).start().assert_status(5);
        run.output(1).assert_line(&format!("stack guard hit at {:#x}", end + (gap - 1) * PAGE));
    }
}

#[test]
fn t22a_every_page_that_is_touched_first_is_one_fault() {
    for_each_host(|host| {
        let commands = ["cat /proc/vmstat", "vm touch 4M", "cat /proc/vmstat", "vm touch 1/1", "vm verify"];
        let run = Guest::on(host).mem("64M").append("transparent_hugepage=never").run(&commands);
        let run = run.start().assert_ok();
        let line = run.output(1).line_with("touched=");
        assert_eq!(
            (line.number("touched"), line.number("pgfault"), line.number("pgmajfault")),
            (1024, 1024, 0)
        );
        let count = |command, name: &str| {
            let line =
                run.output(command).lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|number| number.parse::<u64>().ok()).unwrap()
        };
        assert_eq!(count(2, "pgfault") - count(0, "pgfault"), 1024, "{run}");
        assert_eq!(count(2, "nr_anon_pages") - count(0, "nr_anon_pages"), 1024, "{run}");
        // What is there is no fault.
        assert_eq!(run.output(3).line_with("touched=").number("pgfault"), 0, "{run}");
        assert_eq!(run.output(4).line_with("verify=").number("checked"), 1024, "{run}");
    });
}

#[test]
fn t22b_all_cpus_fault_in_one_context_at_once() {
    for_each_host(|host| {
        let commands =
            ["vm touch 8M all", "vm verify", "vm unmap", "vm touch 8M all", "vm verify", "mm verify"];
        let run = Guest::on(host).mem("64M").cpus(2).append("transparent_hugepage=never").run(&commands);
        let run = run.start().assert_ok();
        for command in [0, 3] {
            assert_eq!(run.output(command).line_with("touched=").number("pgfault"), 2048, "{run}");
        }
        for command in [1, 4] {
            let line = run.output(command).line_with("verify=");
            assert_eq!((line.number("checked"), line.number("pages")), (2048, 2048), "{run}");
        }
    });
}

#[test]
fn t24_memory_is_taken_when_it_is_touched() {
    for_each_host(|host| {
        let read = "cat /proc/meminfo";
        let commands =
            ["ctx new A", "vm map 64M", "rss", read, "touch 1/16", "rss", read, "populate", "rss", read];
        let run = Guest::on(host).mem("128M").cpus(1).append("transparent_hugepage=never").run(&commands);
        let run = run.start().assert_ok();
        for (command, resident, memory) in [(2, 0, 3), (5, 4096, 6), (8, 65536, 9)] {
            run.output(command).assert_line(&format!("VmSize +65536 kB VmRSS +{resident} kB"));
            assert_eq!(meminfo(run.output(memory), "AnonPages"), resident, "{run}");
        }
        // Tables, and what the CPU keeps on its lists.
        let free = |command| meminfo(run.output(command), "MemFree");
        assert!(free(3) - free(9) >= 65536 && free(3) - free(9) < 65536 + 4096, "{run}");
    });
}

#[test]
fn smaps_add_up_to_what_the_context_has() {
    let commands = [
        "ctx new A",
        "vm map 1M overlay",
        "touch 1/1",
        "ctx clone A B",
        "touch 1/2",
        "cat /proc/self/smaps",
        "cat /proc/self/status",
        "ctx kill A",
        "cat /proc/self/smaps",
        "cat /proc/meminfo",
    ];
    let run = small(&commands).start().assert_ok();
    let sum = |command, name: &str| -> u64 {
        let lines = run.output(command).lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        lines.map(|rest| rest.split_whitespace().next().unwrap().parse::<u64>().unwrap()).sum()
    };
    // Half of the clone's pages are its own by now, and half of what each maps of the rest is the other's.
    let of = ["Rss", "Pss", "Shared_Dirty", "Private_Dirty", "Anonymous"];
    assert_eq!(of.map(|name| sum(5, name)), [1024, 768, 512, 512, 1024], "{run}");
    assert_eq!((status(&run, 6, "VmRSS"), status(&run, 6, "RssAnon")), (1024, 1024), "{run}");
    // With the other gone, all of it is its own.
    assert_eq!(of.map(|name| sum(8, name)), [1024, 1024, 0, 1024, 1024], "{run}");
    assert_eq!(meminfo(run.output(9), "AnonPages"), 1024, "{run}");
}

#[test]
fn t15b_a_frame_tells_its_folio() {
    let at = 0x7000_0000_0000_u64;
    let (map, second) = (format!("vm map-fixed {at:#x} 4M"), format!("mm folio va={:#x}", at + 5 * PAGE));
    let first = format!("mm folio va={at:#x}");
    let small = format!("vm map-fixed {:#x} 4K; touch 1/1; mm folio va={0:#x}", at + (8 << 20));
    let commands = [
        "ctx new A",
        &map,
        "touch 1/2",
        &first,
        &second,
        &small,
        "ctx clone A B",
        &second,
        "ctx kill A",
        &second,
    ];
    let run = Guest::on(any_host()).mem("64M").cpus(1).run(&commands).start().assert_ok();
    let folio = |command| {
        let line = run.output(command).line_with("head=");
        ["order", "refs", "map", "entire"].map(|key| line.number(key))
    };
    let head = |command| run.output(command).line_with("head=").number("head");
    // One entry for all of a huge page, whichever of its frames is asked.
    assert_eq!((folio(3), folio(4)), ([9, 1, 1, 1], [9, 1, 1, 1]), "{run}");
    assert_eq!((head(3), head(3) % 512), (head(4), 0), "{run}");
    assert_eq!(folio(5), [0, 1, 1, 0], "{run}");
    // One more for the clone, and one less when one of the two is gone.
    assert_eq!((folio(7), folio(9)), ([9, 2, 2, 2], [9, 1, 1, 1]), "{run}");
}

#[test]
fn t14_every_area_is_drawn_once() {
    for_each_host(|host| {
        let draw = "layout draw --check";
        let commands = ["ctx new A", draw, "vm map 4M", draw, "cat /proc/self/maps", "layout paint"];
        let run = Guest::on(host).run(&commands).start().assert_status(2);
        let boxes = |n: usize| run.output(n).line_with("maps=").number("boxes");
        assert_eq!(boxes(3), boxes(1) + 1, "{run}");
        let maps = run.output(4);
        assert_eq!(maps.lines().filter(|line| line.contains('-')).count() as u64, boxes(3), "{run}");
        for line in maps.lines().filter(|line| line.contains("p 00000000 ")) {
            let (start, end) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
            for address in [start, end] {
                let address = u64::from_str_radix(address, 16).unwrap();
                let border = format!("+ {address:#x}");
                assert!(run.output(3).lines().any(|line| line.ends_with(&border)), "{border}\n{run}");
            }
        }
        run.output(5).assert_line("error: layout: expected draw, not 'paint'");
    });
}
