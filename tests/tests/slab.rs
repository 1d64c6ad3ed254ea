//! Caches of objects.

use tests::linux::meminfo;
use tests::{Guest, Run, any_host, for_each_host};

fn small(commands: &[&str]) -> Guest {
    Guest::on(any_host()).mem("128M").cpus(2).run(commands)
}

/// The six numbers after the name of a cache in a slabinfo.
#[track_caller]
fn line(run: &Run, n: usize, cache: &str) -> Vec<u64> {
    let text = run.output(n);
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(cache));
    let line = line.unwrap_or_else(|| panic!("no cache {cache}\n{run}"));
    line.split(|c: char| !c.is_ascii_digit() && c != '-').filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn t37a_objects_of_100_bytes_share_pages() {
    let run = small(&["slab cost 100 x1000", "slab cost", "slab verify"]).start().assert_ok();
    run.output(0)
        .assert_line("size=100 count=1000 cache=kmalloc-128 buddy=1000 pages slab=32 pages ratio=31.2");
    assert_eq!(run.output(1).lines_with("cache=kmalloc-").len(), 13, "{run}");
    assert_eq!(run.output(1).line_with("cache=kmalloc-96 ").fact("sizes"), "65..96", "{run}");
}

#[test]
fn t38a_t39a_slabinfo_lists_every_cache_with_the_layout_that_linux_gives_it() {
    let run = small(&["slabinfo", "cat /proc/slabinfo", "cat /proc/meminfo"]).start().assert_ok();
    assert!(run.output(1).as_str().starts_with("slabinfo - version: 2.1\n# name "), "{run}");
    // Two CPUs, as on the machine where these were recorded: object size, objects and pages of a slab.
    for (cache, layout) in [
        ("kmalloc-8", [8, 512, 1]),
        ("kmalloc-96", [96, 42, 1]),
        ("kmalloc-128", [128, 32, 1]),
        ("kmalloc-192", [192, 21, 1]),
        ("kmalloc-512", [512, 16, 2]),
        ("kmalloc-2k", [2048, 16, 8]),
        ("kmalloc-8k", [8192, 4, 8]),
        ("kmalloc-rcl-1k", [1024, 16, 4]),
        ("dma-kmalloc-256", [256, 16, 1]),
        ("kmalloc-cg-4k", [4096, 8, 8]),
    ] {
        let numbers = line(&run, 1, cache);
        let at = numbers.windows(3).position(|found| found == layout);
        assert!(at.is_some(), "{cache}: {numbers:?}\n{run}");
    }
    // Slab is the sum of its two parts, and of all slabs.
    let [slab, reclaimable, rest] =
        ["Slab", "SReclaimable", "SUnreclaim"].map(|name| meminfo(run.output(2), name));
    assert_eq!(slab, reclaimable + rest, "{run}");
    assert!(slab > 0, "{run}");
}

/// What the kernel itself has comes from caches of Linux's names, an object each.
#[test]
fn t38c_contexts_areas_and_anchors_are_objects_of_their_caches() {
    let commands = [
        "slabinfo",
        "ctx new A",
        "slabinfo",
        "grep - /proc/1/maps",
        "vm map 1M r",
        "vm touch 1M",
        "slabinfo",
        "grep - /proc/1/maps",
        "ctx kill A",
        "slabinfo",
        "mm balance",
    ];
    // Else a cache may be one of kmalloc's under another name.
    let run = small(&commands).append("slab_nomerge").start().assert_ok();
    let active = |n: usize, cache: &str| line(&run, n, cache)[0];
    let areas = |n: usize| run.output(n).lines().count() as u64;
    assert_eq!([0, 2, 6, 9].map(|n| active(n, "mm_struct")), [0, 1, 1, 0], "{run}");
    // A context has a few spare ones beside those that it shows.
    assert!((areas(3)..areas(3) + 4).contains(&active(2, "vm_area_struct")), "{run}");
    let more = active(6, "vm_area_struct") - active(2, "vm_area_struct");
    assert_eq!((more, areas(7) - areas(3)), (2, 2), "{run}");
    assert!(active(6, "anon_vma") > active(2, "anon_vma"), "{run}");
    assert_eq!([0, 9].map(|n| active(n, "vm_area_struct")), [0, 0], "{run}");
    for cache in ["kmem_cache", "radix_tree_node"] {
        line(&run, 0, cache);
    }
}

#[test]
fn t38e_a_task_is_an_object_from_its_start_until_it_is_joined() {
    let (show, tasks) = ("slabinfo", "tasks");
    let first = [show, tasks, "tasks start 9", show, tasks, "tasks start 31", show];
    let commands = [&first[..], &["tasks end", show, tasks, "tasks sleepers", show]].concat();
    // What is freed is filled, and looked at before it is used again: nobody may write to a task that has ended.
    for checked in ["slab_nomerge", "slab_debug=FPZ,task_struct"] {
        let run = small(&commands).append(checked).start().assert_ok();
        let active = |n: usize| line(&run, n, "task_struct")[0];
        let listed = |n: usize| run.output(n).lines_with("id=").len() as u64;
        assert_eq!([1, 4, 9].map(listed), [0, 3, 8].map(active), "{run}");
        let at_first = active(0);
        assert_eq!([3, 6, 8, 11].map(active), [9, 40, 0, 0].map(|more| at_first + more), "{run}");
    }
}

#[test]
fn t38b_bad_caches_are_refused() {
    for (command, error) in [
        (
            "slab create one 40; slab create one 40",
            "error: slab create: EEXIST: a cache of that name is there",
        ),
        ("slab create kmalloc-64 64", "error: slab create: EEXIST: a cache of that name is there"),
        (
            "slab create none 0",
            "error: slab create: EINVAL: give a name of 1 to 31 bytes, a size of 1 to 4194304, and a power of two to align to",
        ),
        (
            "slab create huge 5M",
            "error: slab create: EINVAL: give a name of 1 to 31 bytes, a size of 1 to 4194304, and a power of two to align to",
        ),
    ] {
        let run = Guest::on(any_host()).mem("64M").script(command).start().assert_status(2);
        assert!(run.all().has_line(error), "{run}");
    }
}

#[test]
fn t39b_a_cache_shows_its_layout() {
    let run = small(&["slab show kmalloc-128", "slab verify"]).start().assert_ok();
    let show = run.output(0);
    assert_eq!(
        (show.number("objsize"), show.number("objs/slab"), show.number("order")),
        (128, 32, 0),
        "{run}"
    );
    assert_eq!(run.output(1).fact("verify"), "ok", "{run}");
}

#[test]
fn t40a_constructed_objects_are_reused() {
    for_each_host(|host| {
        let run =
            Guest::on(host).mem("128M").run(&["slab ctor-test 1000 x10", "slab verify"]).start().assert_ok();
        let facts = run.output(0);
        assert!(facts.number("allocs") >= 10_000, "{run}");
        assert_eq!(facts.number("ctor_calls"), facts.number("objects_in_slabs"), "{run}");
        assert!((1000..1100).contains(&facts.number("ctor_calls")), "{run}");
        assert_eq!(facts.fact("same_address"), "yes", "{run}");
        let fast: u64 = facts.fact("fastpath").trim_end_matches('%').parse().unwrap();
        assert!(fast > 95, "{run}");
    });
}

/// What a run of allocations and frees at random leaves: the share of slabs in use, and slabs when all is freed.
fn churned(reuse: &str, seed: u32) -> (f64, u64, String) {
    let command = format!("slab churn ops=300000 seed={seed}");
    let guest = small(&[&command, "slab verify", "mm verify"]).append(&format!("slab.reuse={reuse}"));
    let run = guest.start().assert_ok();
    let (during, after) = (run.output(0).line_with("during: "), run.output(0).line_with("after: "));
    assert!((3800..4400).contains(&during.number("objects")), "{run}");
    assert_eq!(after.number("objects"), 0, "{run}");
    let used = during.fact("used").trim_end_matches('%').parse().unwrap();
    (used, after.number("slabs"), run.output(0).as_str().to_owned())
}

#[test]
fn t86c_slabs_stay_full_where_free_places_are_used_again() {
    let (used, left, text) = churned("on", 1);
    assert!(used > 90.0 && left == 0, "{text}");
    assert_eq!(text, churned("on", 1).2, "the same seed gives the same numbers");
    // The negative control: what was freed is of use to nobody until its whole slab is free.
    let (used, left, text) = churned("off", 1);
    assert!(used < 30.0 && left == 0, "{text}");
    let run = small(&["slab ctor-test 1000 x10", "slab verify"]).append("slab.reuse=off").start().assert_ok();
    let facts = run.output(0);
    assert!(
        facts.number("ctor_calls") >= facts.number("allocs") && facts.fact("same_address") == "no",
        "{run}"
    );
}

#[test]
fn t41a_t41c_all_cpus_allocate_and_free_each_others_objects() {
    for_each_host(|host| {
        let commands =
            ["slab bench ms=20", "slab handover 20000", "slab stress ms=1000", "slab verify", "mm verify"];
        let run = Guest::on(host).cpus(2).mem("128M").run(&commands).start().assert_ok();
        assert_eq!(run.output(0).numbers("cpus"), [1, 2], "{run}");
        assert!(run.output(0).numbers("ops").iter().all(|ops| *ops > 0), "{run}");
        for n in [1, 2] {
            let facts = run.output(n);
            assert_eq!((facts.number("leak"), facts.number("damaged")), (0, 0), "{run}");
            assert!(facts.number("cpus") == 2 && facts.number("ops") > 1000, "{run}");
        }
        assert_eq!(run.output(4).number("leaked"), 0, "{run}");
    });
}

#[test]
fn t41d_merging_can_be_seen_and_switched_off() {
    let script = "slab create first 200; slab create second 196; slab aliases";
    let run = Guest::on(any_host()).mem("64M").script(script).start().assert_ok();
    run.all().assert_line("alias=second cache=first");
    let run = Guest::on(any_host()).mem("64M").append("slab_nomerge").script(script).start().assert_ok();
    run.all().assert_line("aliases=0");
}

#[test]
fn t42_only_slub_is_there_and_others_are_refused() {
    for other in ["slab", "slob"] {
        let parameter = format!("slab_allocator={other}");
        let run = Guest::on(any_host())
            .mem("64M")
            .append(&parameter)
            .script("slab verify")
            .start()
            .assert_status(2);
        let line = format!("mm: slab_allocator: {other} is not in this version; use slab_allocator=slub");
        assert!(run.all().has_line(&line), "{run}");
    }
    Guest::on(any_host()).mem("64M").append("slab_allocator=slub").script("slab verify").start().assert_ok();
}

#[test]
fn t44a_shrinking_gives_empty_slabs_back() {
    let run = small(&["slab ctor-test 1000 x1", "slab shrink ctor_test", "slab verify"]).start().assert_ok();
    let slabs = run.output(1).fact("slabs").to_owned();
    assert!(slabs.ends_with("->0") && slabs != "0->0", "{run}");
}

/// Every planted bug ends the machine with status 4 and says what it is, where `slab_debug=` looks.
#[test]
fn b18a_planted_bugs_are_caught_by_name() {
    for (bug, words) in [
        ("overrun", "BUG kmalloc-64 (Not tainted): Right Redzone overwritten"),
        ("underrun", "BUG kmalloc-64 (Not tainted): Left Redzone overwritten"),
        ("use-after-free", "BUG kmalloc-64 (Not tainted): Poison overwritten"),
        ("end-of-freed", "BUG kmalloc-64 (Not tainted): End Poison overwritten"),
        ("double-free", "BUG kmalloc-64 (Not tainted): Object already free"),
        ("double-free-later", "BUG kmalloc-64 (Not tainted): Object already free"),
        ("free-inside", "BUG kmalloc-64 (Not tainted): Invalid object pointer"),
        ("foreign-free", "Not a slab object: 0x"),
    ] {
        let run = Guest::on(any_host())
            .mem("64M")
            .append("slab_debug=FZPU")
            .script(&format!("slab bug {bug}"))
            .start()
            .assert_status(4);
        assert!(run.all().as_str().contains(words), "{bug}: no {words:?}\n{run}");
        if words.contains("Redzone") {
            assert!(run.all().as_str().contains("Allocated in src/commands/slab/bugs.rs:"), "{run}");
        }
    }
}

/// Without checks the allocator still sees a double free and pointers that are none of its objects.
#[test]
fn b18b_bad_frees_are_caught_without_checks() {
    for (bug, words) in [
        ("double-free", "BUG: kmalloc-64: Object already free 0x"),
        ("free-inside", "BUG: Invalid object pointer 0x"),
        ("foreign-free", "BUG: Not a slab object: 0x"),
    ] {
        let script = format!("slab bug {bug}");
        let run = Guest::on(any_host()).mem("64M").script(&script).start().assert_status(4);
        assert!(run.all().as_str().contains(words), "{bug}: no {words:?}\n{run}");
    }
}

/// The checks apply to the caches named, and a whole run under them ends well.
#[test]
fn b18c_everything_works_under_all_checks() {
    let run = Guest::on(any_host())
        .cpus(2)
        .mem("128M")
        .append("slab_debug=FZPU")
        .run(&["slab cost 100 x500", "slab handover 2000", "slab verify", "slab show kmalloc-64"])
        .start()
        .assert_ok();
    assert!(run.output(3).number("red_left_pad") > 0, "{run}");
    let run = Guest::on(any_host())
        .mem("64M")
        .append("slab_debug=Z,kmalloc-32")
        .run(&["slab show kmalloc-32", "slab show kmalloc-64"])
        .start()
        .assert_ok();
    assert!(run.output(0).number("red_left_pad") > 0 && run.output(1).number("red_left_pad") == 0, "{run}");
}

/// Objects that nobody uses go when shrinkers are asked: a share of them by priority, all of them by `drop_caches`.
#[test]
fn t44c_shrinkers_give_back_what_nobody_uses() {
    let run = small(&[
        "slab fill 100000",
        "cat /proc/meminfo",
        "slab shrinkers priority=6",
        "cat /proc/vmstat",
        "sysctl vm.drop_caches=1; slab shrinkers",
        "sysctl vm.drop_caches=2; slab shrinkers",
        "cat /proc/meminfo",
        "slab verify",
    ])
    .start()
    .assert_ok();
    assert_eq!(run.output(0).number("objects"), 100_000, "{run}");
    // 100000 >> 6 is 1562, times 4 by 2 seeks is 3124: 24 batches of 128, the rest another time.
    let asked = run.output(2).line_with("priority=6");
    assert_eq!((asked.number("freed"), asked.number("scanned") >= 3072), (3072, true), "{run}");
    let kept = run.output(2).line_with("shrinker=unused");
    assert_eq!((kept.number("objects"), kept.number("deferred")), (100_000 - 3072, 52), "{run}");
    run.output(3).assert_line(&format!("slabs_scanned {}", asked.number("scanned")));
    // Bit 0 is for the page cache alone.
    assert_eq!(run.output(4).line_with("shrinker=unused").number("objects"), 100_000 - 3072, "{run}");
    assert_eq!(run.output(5).line_with("shrinker=unused").number("objects"), 0, "{run}");
    let [full, empty] = [1, 6].map(|n| meminfo(run.output(n), "SReclaimable"));
    assert!(full > 100_000 * 192 / 1024 && empty < full / 20, "{full} {empty}\n{run}");
}

/// Freed areas that wait for a flush are among what is given back.
#[test]
fn t44c_freed_areas_are_flushed_for_those_who_need_memory() {
    let run = small(&["vmalloc 1M; vfree last", "slab shrinkers", "slab shrinkers priority=12", "mm verify"]);
    let run = run.start().assert_ok();
    let waiting = |n| run.output(n).line_with("shrinker=vmap-lazy").number("objects");
    assert_eq!((waiting(1), waiting(2)), (257, 0), "{run}");
    assert_eq!(run.output(2).line_with("priority=12").number("freed"), 257, "{run}");
}
