//! T16, T74, T75, T76: sizes of leaves, transparent huge pages.

use tests::linux::meminfo;
use tests::{Guest, Run, any_host, for_each_host};

const ENABLED: &str = "cat /sys/kernel/mm/transparent_hugepage/enabled";

#[test]
fn t16_leaves_of_each_size_or_a_clear_refusal() {
    for_each_host(|host| {
        let commands = ["vm map 4M size=2M", "vm verify", "vm map 4M size=4K", "vm verify"];
        let run = Guest::on(host).mem("128M").run(&commands).start().assert_ok();
        run.output(0).assert_line("leafs 2M=2 4K=0");
        run.output(2).assert_line("leafs 2M=0 4K=1024");
        let run = Guest::on(host).mem("128M").script("vm map 4M size=3M").start().assert_status(2);
        run.all().assert_line("error: EINVAL: page size 3145728");
    });
}

#[test]
fn t74a_huge_leaves_need_fewer_entries_tables_and_references() {
    for_each_host(|host| {
        let (mem, size, leaves) =
            if host.is_kvm() { ("1G", "512M", 131_072) } else { ("256M", "64M", 16_384) };
        let guest = Guest::on(host).mem(mem).cpus(1);
        let run = guest.run(&[&format!("vm leaves {size}")]).start().assert_ok();
        let [small, huge] = ["4K: ", "2M: "].map(|name| run.output(0).line_with(name));
        assert_eq!((small.number("leafs"), huge.number("leafs")), (leaves, leaves / 512), "{run}");
        assert_eq!((small.number("refs"), huge.number("refs")), (24, 15), "{run}");
        // A table for 512 small leaves, and the two above; without those, as few as hold the huge leaves.
        let tables = leaves / 512;
        assert_eq!((small.number("PageTables"), huge.number("PageTables")), (4 * (tables + 2), 8), "{run}");
        let _ = run.output(0).line_with("ratio=");
    });
}

#[test]
fn t74b_the_cost_of_a_walk_is_shown_for_the_areas_of_a_context() {
    let commands = ["vm map 4M size=2M", "vm map 4M size=4K", "pt cost"];
    let run = Guest::on(any_host()).mem("128M").run(&commands).start().assert_ok();
    let lines = run.output(2).lines_with("region=0x");
    let seen: Vec<_> = lines.iter().map(|line| (line.fact("leaf"), line.number("leaves"))).collect();
    assert_eq!(seen, [("4K", 1024), ("2M", 2)], "{run}");
    assert_eq!(lines.iter().map(|line| line.fact("refs")).collect::<Vec<_>>(), ["24/24", "24/15"], "{run}");
}

/// Faults and huge pages of a `vm touch`, and `AnonHugePages` after it.
fn touched(run: &Run) -> [u64; 3] {
    let line = run.output(0).line_with("touched=2048");
    [line.number("pgfault"), line.number("thp_fault_alloc"), meminfo(run.output(1), "AnonHugePages")]
}

#[test]
fn t75a_the_first_touch_is_given_a_huge_page() {
    for_each_host(|host| {
        let commands = ["vm touch 8M", "cat /proc/meminfo", "vm verify", "cat /proc/vmstat", "mm verify"];
        let run = Guest::on(host).mem("128M").run(&commands).start().assert_ok();
        assert_eq!(touched(&run), [4, 4, 8192], "{run}");
        run.output(3).assert_line("thp_fault_alloc 4");
        let run = Guest::on(host).mem("128M").append("transparent_hugepage=never").run(&commands).start();
        assert_eq!(touched(&run.assert_ok()), [2048, 0, 0]);
    });
}

#[test]
fn t75b_advice_decides_where_huge_pages_are_only_given_on_request() {
    let commands = ["vm map 8M thp", "touch 1/1", "vm map 8M", "touch 1/1"];
    let guest = Guest::on(any_host()).mem("128M").append("transparent_hugepage=madvise");
    let run = guest.run(&commands).start().assert_ok();
    let huge = |command| run.output(command).line_with("touched=2048").number("thp_fault_alloc");
    assert_eq!((huge(1), huge(3)), (4, 0), "{run}");
    let run = Guest::on(any_host()).mem("128M").run(&["vm map 8M nothp", "touch 1/1"]).start().assert_ok();
    assert_eq!(run.output(1).line_with("touched=2048").number("thp_fault_alloc"), 0, "{run}");
}

#[test]
fn t75c_without_a_free_block_small_pages_are_given() {
    // Allocations of a huge page fail on purpose.
    let commands = [
        "inject fail_page_alloc=1,100,0,-1 min-order=9 ignore-gfp-highmem=N ignore-gfp-wait=N",
        "vm touch 8M",
        "cat /proc/vmstat",
        "vm verify",
    ];
    let run = Guest::on(any_host()).mem("128M").run(&commands).start().assert_ok();
    assert_eq!(run.output(1).line_with("touched=2048").number("pgfault"), 2048, "{run}");
    let fallback =
        run.output(2).lines().find_map(|line| line.strip_prefix("thp_fault_fallback ")).map(str::parse);
    assert!(matches!(fallback, Some(Ok(1..=2048_u64))), "{run}");
}

#[test]
fn t76_huge_pages_are_on_unless_told_otherwise() {
    let run = Guest::on(any_host()).run(&[ENABLED]).start().assert_ok();
    run.output(0).assert_line("[always] madvise never");
    for (mode, text) in [("madvise", "always [madvise] never"), ("never", "always madvise [never]")] {
        let parameter = format!("transparent_hugepage={mode}");
        let run = Guest::on(any_host()).append(&parameter).run(&[ENABLED]).start().assert_ok();
        run.output(0).assert_line(text);
    }
    let guest = Guest::on(any_host()).option("--params", "lenient").append("transparent_hugepage=sometimes");
    let run = guest.run(&[ENABLED]).start().assert_ok();
    run.all().assert_line("transparent_hugepage= cannot parse, ignored");
    run.output(0).assert_line("[always] madvise never");
}
