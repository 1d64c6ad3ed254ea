//! Rules between parameters: each broken once, and kept at its edge.

use shared::params::{Conflict, Rule, cross_check};

const RAM: u64 = 512 << 20;

/// Command line, rule, line printed, corrections.
type Case = (&'static str, Rule, &'static str, &'static [(&'static str, Option<u64>)]);

fn conflicts(cmdline: &str) -> Vec<Conflict> {
    let mut list = Vec::new();
    cross_check(cmdline, RAM, &mut |conflict| list.push(conflict));
    list
}

#[test]
fn defaults_and_edges_break_nothing() {
    for line in [
        "",
        "mem=512M highmem=256M movablecore=480M",
        "mem=32M highmem=16M",
        "zones.dma=4M zones.dma32=8M sysctl.vm.min_free_kbytes=131072",
        "slab_min_order=3 slab_max_order=3 pdflush.min=8 pdflush.max=8",
        "sysctl.vm.dirty_background_ratio=19",
        "sysctl.vm.dirty_bytes=8192 sysctl.vm.dirty_background_bytes=4096",
        "sysctl.vm.dirty_bytes=8192 sysctl.vm.dirty_background_ratio=90",
        "numa_balancing.scan_period_min_ms=60000",
        "damon_reclaim.wmarks_high=200 damon_reclaim.wmarks_mid=200",
        "page_poison=1",
        "init_on_alloc=1 init_on_free=1",
    ] {
        assert_eq!(conflicts(line), [], "{line}");
    }
}

#[test]
fn each_rule_has_its_line_and_its_correction() {
    let cases: &[Case] = &[
        ("mem=2G", Rule::MemAboveRam, "mm: mem: 2G is more than RAM, using 512M", &[("mem", Some(RAM))]),
        (
            "highmem=258M",
            Rule::HighmemTooBig,
            "highmem=: leaves less than 16M lowmem, ignored",
            &[("highmem", Some(0))],
        ),
        (
            "mem=24M highmem=10M",
            Rule::HighmemTooBig,
            "highmem=: leaves less than 16M lowmem, ignored",
            &[("highmem", Some(0))],
        ),
        (
            "movablecore=481M",
            Rule::MovableTooBig,
            "mm: movablecore: 481M leaves less than 32M, using 480M",
            &[("movablecore", Some(480 << 20))],
        ),
        (
            "zones.dma=64M zones.dma32=64M",
            Rule::ZonesOutOfOrder,
            "mm: zones.dma: 64M is not below zones.dma32 64M, both ignored",
            &[("zones.dma", None), ("zones.dma32", None)],
        ),
        (
            "sysctl.vm.min_free_kbytes=131073",
            Rule::MinFreeTooBig,
            "mm: sysctl.vm.min_free_kbytes: 131073 is above 25 % of RAM (131072), refused, using the default",
            &[("sysctl.vm.min_free_kbytes", None)],
        ),
        (
            "slab_min_order=4",
            Rule::SlabOrders,
            "mm: slab_max_order: 3 is below slab_min_order, using 4",
            &[("slab_max_order", Some(4))],
        ),
        (
            "sysctl.vm.dirty_ratio=30 sysctl.vm.dirty_background_ratio=30",
            Rule::DirtyRatios,
            "mm: sysctl.vm.dirty_background_ratio: 30 is not below dirty_ratio 30, using 15",
            &[("sysctl.vm.dirty_background_ratio", Some(15))],
        ),
        (
            "sysctl.vm.dirty_bytes=8192 sysctl.vm.dirty_background_bytes=9000",
            Rule::DirtyBytes,
            "mm: sysctl.vm.dirty_background_bytes: 9000 is not below dirty_bytes 8192, using 4096",
            &[("sysctl.vm.dirty_background_bytes", Some(4096))],
        ),
        (
            "pdflush.min=9",
            Rule::PdflushThreads,
            "mm: pdflush.min: 9 is above pdflush.max 8, refused, using 2 and 8",
            &[("pdflush.min", None), ("pdflush.max", None)],
        ),
        (
            "numa_balancing.scan_period_max_ms=999",
            Rule::ScanPeriods,
            "mm: numa_balancing.scan_period_min_ms: 1000 is above scan_period_max_ms 999, using 1000 and 60000",
            &[("numa_balancing.scan_period_min_ms", None), ("numa_balancing.scan_period_max_ms", None)],
        ),
        (
            "damon_reclaim.wmarks_low=401",
            Rule::DamonWatermarks,
            "mm: damon_reclaim: wmarks must be high >= mid >= low, damon_reclaim stays off",
            &[("damon_reclaim.enabled", Some(0))],
        ),
        (
            "page_poison=on init_on_free=1",
            Rule::PoisonWins,
            "mm: page_poison is on: init_on_alloc and init_on_free are ignored",
            &[("init_on_alloc", Some(0)), ("init_on_free", Some(0))],
        ),
    ];
    for (line, rule, text, corrections) in cases {
        let found = conflicts(line);
        assert_eq!(found.len(), 1, "{line}");
        assert_eq!((found[0].rule, found[0].to_string().as_str()), (*rule, *text));
        let fixed: Vec<_> = found[0].corrections.iter().flatten().map(|c| (c.name, c.value)).collect();
        assert_eq!(fixed, *corrections);
    }
}
