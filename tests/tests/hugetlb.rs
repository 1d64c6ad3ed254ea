//! T72, T73: pools of huge pages.

use tests::linux::meminfo;
use tests::{Guest, Run, any_host, for_each_host, kvm};

fn pool(run: &Run, command: usize, size: &str) -> (u64, u64) {
    let line = run.output(command).line_with(&format!("pool size={size} "));
    (line.number("total"), line.number("free"))
}

#[test]
fn t72c_a_pool_is_set_aside_at_boot_and_shown() {
    for_each_host(|host| {
        let commands =
            ["hugetlb check", "cat /proc/meminfo", "hugetlb nr=3", "cat /proc/meminfo", "mm verify"];
        let run = Guest::on(host).mem("128M").append("hugepages=8").run(&commands).start().assert_ok();
        run.all().assert_line("HugeTLB: registered 2.00 MiB page size, pre-allocated 8 pages");
        let check = run.output(0).line_with("checked=");
        let seen = (check.number("checked"), check.fact("aligned"), check.fact("data"));
        assert_eq!((seen, pool(&run, 0, "2048K")), ((8, "yes", "ok"), (8, 8)), "{run}");
        assert_eq!(pool(&run, 2, "2048K"), (3, 3), "{run}");
        for (command, pages) in [(1, 8), (3, 3)] {
            let value = |name| meminfo(run.output(command), name);
            let counts = ["HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp"].map(value);
            assert_eq!((counts, value("Hugepagesize")), ([pages, pages, 0, 0], 2048), "{run}");
            assert_eq!(value("Hugetlb"), pages * 2048, "{run}");
        }
        let free = |command| meminfo(run.output(command), "MemFree");
        assert!(free(3) >= free(1) + 5 * 2048 - 2048, "{run}");
    });
}

#[test]
fn t72d_more_than_there_is_leaves_the_machine_working() {
    let commands = ["cat /proc/meminfo", "buddy storm ops=1000 seed=1", "hugetlb nr=0", "mm verify"];
    let run = Guest::on(any_host()).mem("128M").append("hugepages=1000").run(&commands).start().assert_ok();
    let got = meminfo(run.output(0), "HugePages_Total");
    assert!((40..64).contains(&got), "{run}");
    let line =
        format!("HugeTLB: allocating 1000 of page size 2.00 MiB failed.  Only allocated {got} hugepages.");
    run.all().assert_line(&line);
    assert_eq!(pool(&run, 2, "2048K"), (0, 0), "{run}");
}

#[test]
fn t72e_pages_can_be_asked_for_node_by_node() {
    let Some(host) = kvm() else { return };
    let guest = Guest::on(host).numa("node=0,cpus=0,mem=128M").numa("node=1,cpus=1,mem=64M");
    let commands = ["hugetlb", "cat /sys/devices/system/node/node1/meminfo"];
    let run = guest.append("hugepages=0:4,1:1").run(&commands).start().assert_ok();
    for (node, pages) in [(0, 4), (1, 1)] {
        let line = run.output(0).line_with(&format!("node={node} size=2048K"));
        assert_eq!(line.number("total"), pages, "{run}");
    }
    run.output(1).assert_line("Node 1 HugePages_Total:     1");
}

#[test]
fn t73a_gigantic_pages_where_the_cpu_has_them() {
    for_each_host(|host| {
        let mem = if host.is_kvm() { "3G" } else { "128M" };
        let guest = Guest::on(host).mem(mem).cpus(1).append("hugepagesz=1G hugepages=1");
        let run = guest.run(&["features", "hugetlb", "cat /proc/meminfo"]).start().assert_ok();
        let has =
            run.output(0).as_str().contains("pdpe1gb=1") || run.output(0).as_str().contains("pdpe1gb=yes");
        if !has {
            run.all().assert_line("HugeTLB: unsupported hugepagesz=1G");
        } else if host.is_kvm() {
            assert_eq!(pool(&run, 1, "1048576K"), (1, 1), "{run}");
            assert_eq!(meminfo(run.output(2), "Hugetlb"), 1 << 20, "{run}");
        }
    });
}

/// `HugePages_Total`, `_Free`, `_Rsvd` and `_Surp` of a `cat /proc/meminfo`.
fn promises(run: &Run, command: usize) -> [u64; 4] {
    ["Total", "Free", "Rsvd", "Surp"].map(|name| meminfo(run.output(command), &format!("HugePages_{name}")))
}

#[test]
fn t72f_a_mapping_is_promised_pages_and_takes_them_when_touched() {
    for_each_host(|host| {
        let show = "cat /proc/meminfo";
        let commands =
            [show, "vm map 8M hugetlb", show, "touch 1/1", show, "vm verify", "vm unmap", show, "mm verify"];
        let run = Guest::on(host).mem("128M").append("hugepages=8").run(&commands).start().assert_ok();
        let seen = [0, 2, 4, 7].map(|command| promises(&run, command));
        assert_eq!(seen, [[8, 8, 0, 0], [8, 8, 4, 0], [8, 4, 0, 0], [8, 8, 0, 0]], "{run}");
        assert_eq!(run.output(3).line_with("touched=").number("pgfault"), 4, "{run}");
        // One more than there are.
        let run = Guest::on(host).mem("128M").append("hugepages=8").script("vm map 18M hugetlb").start();
        let run = run.assert_status(1);
        run.all().assert_line("error: ENOMEM (not so many free huge pages)");
    });
}

#[test]
fn t72g_more_pages_than_the_pool_has_are_made_while_they_are_used() {
    let show = "cat /proc/meminfo";
    let commands = [
        "sysctl vm.nr_overcommit_hugepages=2",
        "vm map 8M hugetlb",
        show,
        "touch 1/1",
        show,
        "vm unmap",
        show,
        "vm map 8M hugetlb",
        "vm map 2M hugetlb",
    ];
    let run = Guest::on(any_host()).mem("128M").append("hugepages=2").run(&commands).start().assert_status(1);
    let seen = [2, 4, 6].map(|command| promises(&run, command));
    assert_eq!(seen, [[4, 4, 4, 2], [4, 0, 0, 2], [2, 2, 0, 0]], "{run}");
    run.output(8).assert_line("error: ENOMEM (not so many free huge pages)");
}

#[test]
fn t72h_a_page_that_was_not_promised_and_is_not_there_ends_the_context() {
    let commands = ["vm map 4M hugetlb noreserve", "touch 1/1", "mm verify"];
    let run = Guest::on(any_host()).mem("128M").append("hugepages=1").run(&commands).start().assert_status(5);
    assert!(run.output(1).as_str().contains("fault: no huge page for write to"), "{run}");
    run.output(2).assert_line("ok");
}

#[test]
fn t73b_a_mapping_with_1_gib_leaves_is_walked_in_two_levels() {
    for_each_host(|host| {
        let guest = Guest::on(host).mem("3G").cpus(1);
        if !host.has_1g_leaves() {
            let run = guest.script("vm map 1G size=1G").start().assert_status(2);
            run.all().assert_line("error: EINVAL: 1G pages not supported by this CPU");
            return;
        }
        let guest = guest.append("norandmaps hugepagesz=1G hugepages=1");
        let map = "vm map 1G size=1G";
        let run =
            guest.clone().run(&[map, "touch 1/1024", "vm verify", "cat /proc/meminfo"]).start().assert_ok();
        run.output(0).assert_line("leafs 1G=1 2M=0 4K=0");
        assert_eq!(meminfo(run.output(3), "Hugetlb"), 1 << 20, "{run}");
        // Without chance the mapping is at the same place again.
        let (start, _) =
            run.output(0).line_with("mapped=").fact("mapped").split_once('-').unwrap_or_default();
        let run = guest.run(&[map, &format!("pt walk {start}")]).start().assert_ok();
        let levels = run.output(1).lines().map(|line| line.split('[').next().unwrap_or_default());
        assert_eq!(levels.collect::<Vec<_>>(), ["PGD", "PUD"], "{run}");
    });
}
