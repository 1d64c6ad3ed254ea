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
