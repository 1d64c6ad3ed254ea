//! The buddy system. What a block splits into and merges to is worked out here.

use tests::linux::{FreeBlocks, ORDERS, buddyinfo, meminfo, zoneinfo};
use tests::{Guest, Run, Text, any_host, for_each_host};

/// Steps `10->9 9->8 ...` from one order to another.
fn steps(verb: &str, from: usize, to: usize) -> String {
    let orders: Vec<_> = if from > to { (to..=from).rev().collect() } else { (from..=to).collect() };
    let pairs = orders.windows(2).map(|pair| format!(" {}->{}", pair[0], pair[1]));
    verb.to_owned() + &pairs.collect::<String>()
}

/// The counts of `buddy info`.
#[track_caller]
fn counts(text: Text<'_>) -> Vec<u64> {
    text.as_str().split_whitespace().map(|word| word.parse().unwrap()).collect()
}

fn small(commands: &[&str]) -> Guest {
    Guest::on(any_host()).mem("128M").cpus(1).run(commands)
}

/// Refused with status 2 and this line; corruption with status 4 is none.
#[track_caller]
fn refused(command: &str, line: &str) {
    let run = Guest::on(any_host()).mem("64M").script(command).start().assert_status(2);
    assert!(run.all().has_line(line), "no line {line:?}\n{run}");
}

#[test]
fn t27b_buddyinfo_sums_to_the_free_memory() {
    for_each_host(|host| {
        let guest = Guest::on(host).mem("256M");
        let run = guest
            .run(&["cat /proc/buddyinfo", "cat /proc/zoneinfo", "cat /proc/meminfo"])
            .start()
            .assert_ok();
        let (blocks, zones) = (buddyinfo(run.output(0)), zoneinfo(run.output(1)));
        assert_eq!(blocks.len(), zones.len(), "{run}");
        for (blocks, zone) in blocks.iter().zip(&zones) {
            assert_eq!((blocks.node, &blocks.zone), (zone.node, &zone.zone), "{run}");
            assert_eq!(blocks.pages(), zone.free, "{run}");
            assert!(zone.free <= zone.managed && zone.managed <= zone.present, "{run}");
        }
        let free: u64 = blocks.iter().map(FreeBlocks::pages).sum();
        assert_eq!(free * 4, meminfo(run.output(2), "MemFree"), "{run}");
    });
}

#[test]
fn t27c_verify_counts_every_free_page() {
    for_each_host(|host| {
        let run =
            Guest::on(host).mem("256M").run(&["buddy verify", "cat /proc/buddyinfo"]).start().assert_ok();
        let verdict = run.output(0);
        verdict.assert_line("verify=ok");
        let zones = verdict.lines_with("zone=");
        let blocks = buddyinfo(run.output(1));
        assert_eq!(zones.len(), blocks.len(), "{run}");
        for (zone, blocks) in zones.iter().zip(&blocks) {
            assert_eq!(zone.number("sum"), zone.number("nr_free"), "{run}");
            assert_eq!(zone.number("nr_free"), blocks.pages(), "{run}");
            assert_eq!(zone.number("blocks"), blocks.blocks.iter().sum::<u64>(), "{run}");
        }
    });
}

#[test]
fn t27a_t27d_a_storm_on_all_cpus_leaves_every_invariant_and_every_page() {
    let free = [
        "drain; cat /proc/zoneinfo",
        "buddy storm ops=20000 seed=7 tasks",
        "buddy verify",
        "drain; cat /proc/zoneinfo",
        "mm verify",
    ];
    for_each_host(|host| {
        let run = Guest::on(host).cpus(2).mem("128M").run(&free).start().assert_ok();
        let storm = run.output(1);
        assert_eq!((storm.number("cpus"), storm.number("ops")), (2, 40_000), "{run}");
        assert!(storm.number("allocs") == storm.number("frees") && storm.number("allocs") > 10_000, "{run}");
        storm.assert_line("verify=ok");
        run.output(2).assert_line("verify=ok");
        let pages = |n| zoneinfo(run.output(n)).iter().map(|zone| zone.free).collect::<Vec<_>>();
        assert_eq!(pages(0), pages(3), "{run}");
        assert_eq!(run.output(4).number("leaked"), 0, "{run}");
    });
}

#[test]
fn t28a_pagetypeinfo_adds_up_to_buddyinfo() {
    let run = small(&["cat /proc/buddyinfo", "cat /proc/pagetypeinfo"]).start().assert_ok();
    for zone in buddyinfo(run.output(0)) {
        let head = format!("Node {:>4}, zone {:>8}, type ", zone.node, zone.zone);
        let mut sum = [0; ORDERS];
        let mut types = 0;
        for line in run.output(1).lines().filter(|line| line.starts_with(&head)) {
            let blocks = line.split_whitespace().rev().take(ORDERS).map(|word| word.parse::<u64>().unwrap());
            sum.iter_mut().rev().zip(blocks).for_each(|(sum, blocks)| *sum += blocks);
            types += 1;
        }
        assert_eq!((types, sum), (5, zone.blocks), "{run}");
    }
    run.output(1).assert_line("Page block order: 9");
    run.output(1).assert_line("Pages per block:  512");
}

#[test]
fn t28b_lists_hold_blocks_of_their_order() {
    let lists: Vec<_> = (0..ORDERS).map(|order| format!("buddy list order={order} zone=DMA32")).collect();
    let mut commands: Vec<_> = lists.iter().map(String::as_str).collect();
    commands.push("cat /proc/buddyinfo");
    let run = small(&commands).start().assert_ok();
    let info = buddyinfo(run.output(ORDERS));
    let zone = info.iter().find(|zone| zone.zone == "DMA32").unwrap();
    let mut all: Vec<(u64, u64)> = Vec::new();
    for order in 0..ORDERS {
        let list = run.output(order);
        let blocks = list.numbers("pfn");
        assert!(
            blocks.iter().all(|pfn| pfn.is_multiple_of(1 << order) && *pfn >= 4096),
            "order {order}\n{run}"
        );
        assert_eq!(blocks.len() as u64, zone.blocks[order], "order {order}\n{run}");
        assert_eq!(list.line_with("blocks=").number("blocks"), zone.blocks[order], "{run}");
        all.extend(blocks.iter().map(|&pfn| (pfn, pfn + (1 << order))));
    }
    all.sort_unstable();
    assert!(all.windows(2).all(|pair| pair[0].1 <= pair[1].0), "blocks overlap\n{run}");
}

#[test]
fn t28b_bad_lists_are_refused() {
    refused("buddy list order=11 zone=DMA", "error: bad order 11 (0..10)");
    refused("buddy list order=1 zone=Normal", "error: zone Normal has no memory here; see zones");
    refused("buddy list order=1 zone=Any", "error: bad zone 'Any' (DMA, DMA32, Normal, HighMem, Movable)");
}

/// Takes six single pages of a fresh arena, which are its first six, frees some and takes as many again: the places
/// taken, in pages from the start of the arena.
fn taken_again(freed: &[u64]) -> Vec<u64> {
    let arena = small(&["buddy arena 1024"]).start().assert_ok().output(0).number("pfn");
    let frees: Vec<_> = freed.iter().map(|page| format!("free {:#x}", arena + page)).collect();
    let mut commands = vec!["buddy arena 1024"];
    commands.extend(["alloc 0"; 6]);
    commands.extend(frees.iter().map(String::as_str));
    commands.extend(vec!["alloc 0"; freed.len()]);
    let run = small(&commands).start().assert_ok();
    let page = |n: usize| run.output(n).number("pfn") - arena;
    assert_eq!((1..7).map(page).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5], "{run}");
    (7 + freed.len()..commands.len()).map(page).collect()
}

#[test]
fn t28c_the_last_page_in_is_the_first_out_unless_it_may_soon_merge() {
    // The neighbours of these are all in use.
    assert_eq!(taken_again(&[1, 3]), [3, 1]);
    assert_eq!(taken_again(&[3, 1]), [1, 3]);
    // Pages 6 and 7 are one free block, so page 5 would merge twice once page 4 is free: it waits at the tail.
    assert_eq!(taken_again(&[1, 5]), [1, 5]);
    assert_eq!(taken_again(&[5, 1]), [1, 5]);
}

#[test]
fn t29_split_trace() {
    for_each_host(|host| {
        let commands = [
            "buddy arena 1024",
            "buddy info",
            "alloc 0 trace",
            "buddy info",
            "free last trace",
            "buddy info",
        ];
        let run = Guest::on(host).cpus(1).mem("64M").run(&commands).start().assert_ok();
        let arena = run.output(0);
        assert_eq!((arena.number("order"), arena.number("pfn") % 1024), (10, 0), "{run}");
        let whole = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(counts(run.output(1)), whole, "{run}");
        run.output(2).assert_line(&steps("split", 10, 0));
        run.output(2).assert_line("split 10->9 9->8 8->7 7->6 6->5 5->4 4->3 3->2 2->1 1->0");
        // The first page of the block is the one taken.
        assert_eq!(run.output(2).number("pfn"), arena.number("pfn"), "{run}");
        assert_eq!(counts(run.output(3)), [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0], "{run}");
        // Row T30: what was split merges back, up to the first state.
        run.output(4).assert_line(&steps("merge", 0, 10));
        assert_eq!(run.output(5).as_str(), run.output(1).as_str(), "{run}");
    });
}

#[test]
fn t29a_the_smallest_block_that_fits_is_split() {
    // After one page, blocks of every order from 0 to 9 are free.
    for order in 0..10 {
        let taken = format!("alloc {order} trace");
        let run = small(&["buddy arena 1024", "alloc 0", &taken, "buddy info"]).start().assert_ok();
        run.output(2).assert_line("no steps");
        let left: Vec<_> = (0..ORDERS).map(|n| u64::from(n < 10 && n != order)).collect();
        assert_eq!(counts(run.output(3)), left, "order {order}\n{run}");
    }
    // With the block of order 2 gone as well, the next one comes from order 3.
    let run =
        small(&["buddy arena 1024", "alloc 0", "alloc 2", "alloc 2 trace", "buddy info"]).start().assert_ok();
    run.output(3).assert_line(&steps("split", 3, 2));
    assert_eq!(counts(run.output(4)), [1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0], "{run}");
}

#[test]
fn t30a_merging_stops_at_a_buddy_in_use() {
    // Two pages that are buddies: the first freed stays alone, the second merges all the way.
    let arena = small(&["buddy arena 1024"]).start().assert_ok().output(0).number("pfn");
    let first = format!("free {arena:#x} trace");
    let second = format!("free {:#x} trace", arena + 1);
    let commands = ["buddy arena 1024", "alloc 0", "alloc 0", &first, "buddy info", &second, "buddy info"];
    let run = small(&commands).start().assert_ok();
    assert_eq!((run.output(1).number("pfn"), run.output(2).number("pfn")), (arena, arena + 1), "{run}");
    run.output(3).assert_line("no steps");
    assert_eq!(counts(run.output(4)), [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0], "{run}");
    run.output(5).assert_line(&steps("merge", 0, 10));
    assert_eq!(counts(run.output(6)), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "{run}");
}

#[test]
fn t30b_freeing_everything_restores_the_free_lists() {
    let commands =
        ["cat /proc/buddyinfo", "alloc 3 gfp=GFP_KERNEL", "free last", "cat /proc/buddyinfo", "buddy verify"];
    for_each_host(|host| {
        let run = Guest::on(host).cpus(1).mem("128M").run(&commands).start().assert_ok();
        assert_eq!(run.output(0).as_str(), run.output(3).as_str(), "{run}");
    });
}

#[test]
fn t30c_a_double_free_is_corruption() {
    for (open, alloc) in [("buddy arena 1024", "alloc 0"), ("echo", "alloc 2 gfp=GFP_KERNEL")] {
        let run = small(&[open, alloc, "free last", "free last", "echo survived"]).start().assert_status(4);
        let pfn = run.output(1).number("pfn");
        run.all().assert_line(&format!("BUG: Bad page state pfn={pfn:#x} (double free)"));
        assert!(!run.all().has_line("survived"), "{run}");
    }
}

#[test]
fn t30d_frames_that_cannot_be_freed_are_refused() {
    refused("free 0xdead000", "error: bad pfn 0xdead000");
    refused("free somewhere", "error: bad pfn somewhere");
    refused("free 0x200", "error: free: pfn 0x200 was not taken by alloc");
    refused("free last", "error: free: nothing was allocated");
}

/// The words for a request of `pages` pages: what is split, kept and returned, by the algorithm of the row.
fn story(pages: u64) -> String {
    let order = pages.next_power_of_two().trailing_zeros();
    let place = |at: u64| if at == 0 { String::from("P") } else { format!("P+{at}") };
    let (mut splits, mut kept, mut at, mut left, mut size) = (Vec::new(), Vec::new(), 0, pages, 1 << order);
    while left > 0 && left < size {
        let half = size / 2;
        let halves = (half.trailing_zeros(), place(at), place(at + half));
        let before = if splits.is_empty() {
            String::new()
        } else {
            format!("{}@{}", size.trailing_zeros(), place(at))
        };
        splits.push(
            format!("{before} split: {0}@{1} {0}@{2}", halves.0, halves.1, halves.2).trim_start().to_owned(),
        );
        if left >= half {
            kept.push(format!(" {half}@{}", place(at)));
            (at, left) = (at + half, left - half);
        }
        size = half;
    }
    if left > 0 {
        kept.push(format!(" {size}@{}", place(at)));
    }
    let mut returned = Vec::new();
    let (mut tail, end) = (pages, pages.next_power_of_two());
    while tail < end {
        let block = 1 << tail.trailing_zeros();
        returned.push(format!(" {block}@{}", place(tail)));
        tail += block;
    }
    let returned =
        if returned.is_empty() { String::new() } else { format!("; returned{}", returned.concat()) };
    let splits = if splits.is_empty() { String::new() } else { format!(" {}", splits.join("; ")) };
    format!("order{order}@P{splits}; allocated{}{returned}; wasted=0", kept.concat())
}

#[test]
fn t31_three_pages_are_a_block_of_two_and_one_of_one() {
    let expected =
        "order2@P split: 1@P 1@P+2; 1@P+2 split: 0@P+2 0@P+3; allocated 2@P 1@P+2; returned 1@P+3; wasted=0";
    assert_eq!(story(3), expected);
    for_each_host(|host| {
        let run = Guest::on(host).mem("64M").script("buddy example 3").start().assert_ok();
        run.all().assert_line(expected);
    });
    refused("buddy example 0", "error: bad size 0 (1..1024)");
    refused("buddy example 1025", "error: bad size 1025 (1..1024)");
}

#[test]
fn t31a_every_size_keeps_what_was_asked_for_and_returns_the_rest() {
    for pages in [1, 2, 4, 5, 6, 7, 12, 13, 100, 1000, 1024] {
        let run = small(&[&format!("buddy example {pages}")]).start().assert_ok();
        let line = run.output(0).line_with("allocated");
        let (_, kept) = line.as_str().split_once("; allocated").unwrap();
        let (_, expected) =
            story(pages).split_once("; allocated").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        // The returned blocks may come in either order.
        let sorted = |text: &str| {
            let mut words: Vec<_> =
                text.split([' ', ';']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
            words.sort();
            words
        };
        assert_eq!(sorted(kept), sorted(&expected), "{pages} pages\n{run}");
    }
}

#[test]
fn t32a_both_orders_of_freeing_merge_to_the_whole_block() {
    for (order, steps) in [("1,2", ["0->1", "1->2"]), ("2,1", ["0->1", "1->2"])] {
        let run = small(&[&format!("buddy example 3 --free {order}")]).start().assert_ok();
        let text = run.output(0);
        text.assert_line("merged: order2@P");
        // Both merges happen, whichever block comes last.
        let merges: Vec<_> = text.as_str().split("merge ").skip(1).map(|rest| &rest[..4]).collect();
        assert_eq!(merges, steps, "{run}");
    }
    refused("buddy example 3 --free 4", "error: --free: no block of 4 pages in 3");
    refused("buddy example 3 --free 1,1", "error: --free: no block of 1 pages in 3");
}

#[test]
fn t32b_while_the_tail_is_held_nothing_merges_to_the_whole_block() {
    for order in ["1,2", "2,1"] {
        let run = small(&[&format!("buddy example 3 --free {order} --hold-tail")]).start().assert_ok();
        run.output(0).assert_line("merged: order1@P, order0@P+2");
    }
}

/// What a request of `pages` pages wastes: pages granted, wasted, and percent to a tenth.
fn waste(pages: u64) -> (u64, u64, String) {
    let granted = pages.next_power_of_two();
    let percent = (granted - pages) as f64 * 100.0 / granted as f64;
    (granted, granted - pages, format!("{percent:.1}"))
}

#[test]
fn t33a_a_plain_request_for_three_pages_wastes_one() {
    let run = small(&["alloc pages=3", "alloc pages=5", "fragstat"]).start().assert_ok();
    run.output(0).assert_line("order=2 granted=4 wasted=1 (25.0%)");
    run.output(1).assert_line("order=3 granted=8 wasted=3 (37.5%)");
    let stat = run.output(2);
    stat.assert_line("order=2 requested=3 granted=4 wasted=1 wasted_bytes=4096");
    stat.assert_line("order=3 requested=5 granted=8 wasted=3 wasted_bytes=12288");
    stat.assert_line("total requested=8 granted=12 wasted=4 (33.3%) wasted_bytes=16384");
    refused("alloc pages=0", "error: bad size 0 (1..1024 pages)");
}

#[test]
fn t33b_the_curve_of_waste_is_that_of_powers_of_two() {
    let run = small(&["fragstat sweep", "mm verify"]).start().assert_ok();
    let lines = run.output(0).lines_with("pages=");
    let curve: Vec<_> = lines.iter().filter(|line| line.as_str().starts_with("pages=")).collect();
    assert_eq!(curve.len(), 64, "{run}");
    let mut worst = (0, 0.0);
    for (line, pages) in curve.iter().zip(1..) {
        let (granted, wasted, percent) = waste(pages);
        let seen = (line.number("pages"), line.number("granted"), line.number("wasted"));
        assert_eq!(seen, (pages, granted, wasted), "{run}");
        let shown = line.as_str().split_once('(').and_then(|(_, rest)| rest.strip_suffix("%)")).unwrap();
        let (shown, percent): (f64, f64) = (shown.parse().unwrap(), percent.parse().unwrap());
        // Halves may be rounded either way.
        assert!((shown - percent).abs() < 0.11, "{pages}: {shown} {percent}\n{run}");
        if percent > worst.1 {
            worst = (pages, percent);
        }
    }
    // Just above a power of two.
    assert_eq!(run.output(0).line_with("worst ").number("pages"), worst.0, "{run}");
    assert_eq!(worst.0, 33);
}

#[test]
fn buddy_runs_without_a_panic_in_the_smallest_machine() {
    let commands = ["buddy storm ops=5000 seed=2 tasks", "alloc until-fail", "mm verify"];
    for_each_host(|host| {
        let run: Run = Guest::on(host).mem("16M").run(&commands).start().assert_ok();
        let taken = run.output(1).line_with("allocated=");
        assert_eq!(taken.number("allocated"), taken.number("freed"), "{run}");
    });
}
