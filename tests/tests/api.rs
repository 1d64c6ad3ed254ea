//! T31, T43, T50, T83, T84: the calls of kernel developers.

use tests::{Guest, Run, any_host, for_each_host};

const KIB: u64 = 1 << 10;

fn small(commands: &[&str]) -> Guest {
    Guest::on(any_host()).mem("128M").cpus(2).run(commands)
}

#[track_caller]
fn only_line(run: &Run, command: usize) -> &str {
    let text = run.output(command).as_str().trim_end();
    assert_eq!(text.lines().count(), 1, "{run}");
    text
}

#[test]
fn t43a_t83a_kmalloc_serves_each_size_from_its_class_or_from_pages() {
    for_each_host(|host| {
        let commands = [
            "api kmalloc 100 GFP_KERNEL",
            "kmalloc 9000",
            "kmalloc 4M",
            "kmalloc 100 GFP_DMA",
            "kmalloc 100 GFP_KERNEL|__GFP_RECLAIMABLE",
            "mm verify",
        ];
        let run = Guest::on(host).mem("128M").run(&commands).start().assert_ok();
        let object = run.output(0);
        assert_eq!((object.fact("cache"), object.fact("phys_contig")), ("kmalloc-128", "yes"), "{run}");
        assert_eq!(object.number("ksize(100)"), 128, "{run}");
        let large = run.output(1);
        let block = (large.number("order"), large.number("pages"), large.number("ksize(9000)"));
        assert_eq!((block, large.fact("phys_contig")), ((2, 4, 16 * KIB), "yes"), "{run}");
        assert_eq!(run.output(2).number("order"), 10, "{run}");
        assert_eq!(run.output(3).fact("cache"), "dma-kmalloc-128", "{run}");
        assert_eq!(run.output(4).fact("cache"), "kmalloc-rcl-128", "{run}");
    });
}

#[test]
fn t43b_t83b_sizes_of_nothing_and_beyond_all_have_their_answers() {
    let commands = [
        "kmalloc 0",
        "kmalloc 8M",
        "api kcalloc 2^63 2",
        "api kcalloc 10 20",
        "api kfree null",
        "api kcalloc 0 8",
        "mm verify",
    ];
    let run = small(&commands).start().assert_ok();
    assert_eq!(only_line(&run, 0), "kmalloc(0) -> ZERO_SIZE_PTR 0x10");
    assert_eq!(only_line(&run, 1), "kmalloc(8388608) -> NULL (order 11 > MAX_PAGE_ORDER)");
    assert_eq!(only_line(&run, 2), "kcalloc(9223372036854775808, 2) -> NULL (overflow)");
    assert!(only_line(&run, 3).ends_with(" zero=ok"), "{run}");
    assert_eq!(only_line(&run, 4), "kfree(NULL) ok");
}

#[test]
fn t43c_krealloc_keeps_content_and_moves_only_when_it_must() {
    for (old, new, moved, ksize) in [
        (100, 120, "no", 128),
        (100, 300, "yes", 512),
        (300, 100, "no", 512),
        (9000, 20_000, "yes", 32 * KIB),
        (9000, 64, "no", 16 * KIB),
    ] {
        let run = small(&[&format!("api krealloc {old} {new}"), "slab verify"]).start().assert_ok();
        let out = run.output(0);
        let seen = (out.fact("moved"), out.number("ksize"), out.fact("data"));
        assert_eq!(seen, (moved, ksize, "ok"), "{run}");
    }
}

#[test]
fn t83c_who_may_wait_is_reported_where_nobody_may() {
    let checked = |command: &str| small(&[command]).append("debug_atomic_sleep=on");
    let run = checked("kmalloc 100 GFP_KERNEL irq").start().assert_status(4);
    assert!(
        run.all().has_line("BUG: sleeping function called from invalid context, mode:0xcc0(GFP_KERNEL)"),
        "{run}"
    );
    checked("kmalloc 100 GFP_ATOMIC irq").start().assert_ok();
    checked("kmalloc 100 GFP_KERNEL").start().assert_ok();
    // Without the check it goes well as long as there is memory.
    small(&["kmalloc 100 GFP_KERNEL irq"]).start().assert_ok();
    // The kernel itself never asks like that.
    let run = checked(
        "mm stress ms=200; buddy storm ops=2000 tasks; slab handover 500; kmap wait; dma map mask=24",
    );
    run.start().assert_ok();
}

#[test]
fn t84a_blocks_of_pages_are_where_the_direct_map_shows_them() {
    for_each_host(|host| {
        for (order, pages) in [(0, 1), (3, 8), (10, 1024)] {
            let run = Guest::on(host)
                .mem("128M")
                .run(&[&format!("api gfp GFP_KERNEL {order}"), "mm verify"])
                .start()
                .assert_ok();
            let out = run.output(0);
            assert!(out.as_str().starts_with(&format!("{pages} pages va=0x")), "{run}");
            assert_eq!(out.fact("aligned"), format!("{}K", 4 * pages), "{run}");
            assert_eq!(out.number("va") - 0xffff_8880_0000_0000, out.number("pfn") << 12, "{run}");
            assert_eq!(out.fact("check"), "ok", "{run}");
        }
    });
}

#[test]
fn t84b_impossible_blocks_are_refused() {
    let run = small(&["api gfp GFP_KERNEL 11", "api zeroed", "mm verify"]).start().assert_ok();
    let lines: Vec<_> = run.output(0).lines().collect();
    assert_eq!(
        lines,
        [
            "init: page allocation failure: order:11, mode:0xcc0(GFP_KERNEL), nodemask=(null)",
            "__get_free_pages(order=11) -> NULL (order > MAX_PAGE_ORDER)"
        ],
        "{run}"
    );
    assert_eq!((run.output(1).fact("zero"), run.output(1).fact("reused")), ("ok", "yes"), "{run}");
    for (flags, line) in [
        ("GFP_HIGHUSER", "error: __GFP_HIGHMEM not allowed"),
        ("GFP_DMA|GFP_DMA32", "error: invalid zone modifiers"),
    ] {
        let run = small(&[&format!("api gfp {flags} 0")]).start().assert_status(2);
        assert!(run.all().has_line(line), "{run}");
    }
}

#[test]
fn t50a_flags_are_decoded_and_forbidden_ones_refused() {
    let commands = [
        "gfp decode GFP_HIGHUSER",
        "gfp decode GFP_ATOMIC",
        "gfp decode GFP_DMA",
        "gfp decode GFP_HIGHUSER_MOVABLE",
        "gfp decode GFP_NOFS|GFP_DMA32|__GFP_RECLAIMABLE",
    ];
    let run = small(&commands).start().assert_ok();
    for (n, line) in [
        "0x100cc2 IO|FS|DIRECT|KSWAPD|HARDWALL|HIGHMEM zone=HighMem->Normal->DMA32->DMA type=Unmovable",
        "0x820 KSWAPD|HIGH zone=Normal->DMA32->DMA type=Unmovable",
        "0x1 DMA zone=DMA type=Unmovable",
        "0x100cca IO|FS|DIRECT|KSWAPD|HARDWALL|HIGHMEM|MOVABLE zone=Movable->HighMem->Normal->DMA32->DMA type=Movable",
        "0xc54 IO|DIRECT|KSWAPD|DMA32|RECLAIMABLE zone=DMA32->DMA type=Reclaimable",
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(only_line(&run, n), line, "{run}");
    }
    for forbidden in ["GFP_DMA|GFP_DMA32", "GFP_DMA|GFP_HIGHUSER", "GFP_DMA32|GFP_HIGHUSER"] {
        let run = small(&[&format!("gfp decode {forbidden}")]).start().assert_status(2);
        assert!(run.all().has_line("error: invalid zone modifiers"), "{run}");
    }
}

#[test]
fn t73p_runs_beyond_the_largest_block_are_contiguous() {
    for_each_host(|host| {
        let commands = ["api contig 4096", "api contig 3000", "api contig 1000000", "mm verify"];
        let run = Guest::on(host).mem("128M").run(&commands).start().assert_ok();
        assert!(run.output(0).number("pfn").is_multiple_of(4096), "{run}");
        for n in [0, 1] {
            assert_eq!(run.output(n).fact("phys_contig"), "yes", "{run}");
        }
        assert_eq!(only_line(&run, 2), "alloc_contig_pages(1000000) -> NULL");
    });
}

/// Highmem has no address, so neither slabs nor commands get it; zeroing reaches it.
#[test]
fn t49e_who_needs_an_address_gets_no_highmem() {
    let commands = [
        "kmalloc 100 GFP_HIGHUSER",
        "kmalloc 9000 GFP_HIGHUSER_MOVABLE",
        "slab shrink kmalloc-128; kmalloc 100 GFP_HIGHUSER",
        "buddy storm ops=20000 seed=1 tasks",
        "mm stress ms=100",
        "kmap data",
        "mm verify",
    ];
    let run = small(&commands).append("highmem=64M").start().assert_ok();
    assert_eq!(run.output(5).line_with("data=").fact("zero"), "ok", "{run}");
}

/// A scope of a task takes from the flags of all its allocations what it forbids, and ends.
#[test]
fn t50c_scopes_hold_for_every_allocation_in_them() {
    let commands = [
        "gfp scope nofs GFP_KERNEL",
        "gfp scope noio GFP_KERNEL",
        "gfp scope pin GFP_HIGHUSER_MOVABLE",
        "gfp scope noreclaim GFP_KERNEL",
    ];
    let run = Guest::on(any_host()).mem("128M").append("movablecore=64M").run(&commands).start().assert_ok();
    for (n, inside) in ["GFP_NOFS", "GFP_NOIO", "GFP_HIGHUSER", "GFP_KERNEL"].into_iter().enumerate() {
        let [before, within, after] = ["before", "inside", "after"].map(|when| run.output(n).line_with(when));
        assert!(within.fact("flags").ends_with(&format!("({inside})")), "{run}");
        for fact in ["flags", "zone", "type"] {
            assert_eq!(before.fact(fact), after.fact(fact), "{run}");
        }
    }
    // Pages that are pinned for long are none of the movable zone.
    let [before, within] = ["before", "inside"].map(|when| run.output(2).line_with(when));
    assert_eq!((before.fact("zone"), before.fact("type")), ("Movable", "Movable"), "{run}");
    assert_eq!((within.fact("zone"), within.fact("type")), ("DMA32", "Unmovable"), "{run}");
}
