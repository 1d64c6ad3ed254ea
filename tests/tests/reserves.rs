//! T34, T35, T51: what CPUs keep of a zone, and what zones keep for whom.

use tests::linux::{ZoneInfo, meminfo, zoneinfo};
use tests::{Guest, Run, any_host, for_each_host};

const DMA: usize = 0;
const NORMAL: usize = 2;

/// A machine with all three zones, 128 MiB in all.
fn three_zones(commands: &[&str]) -> Guest {
    Guest::on(any_host()).mem("128M").option("--swap", "none").cpus(1).append("zones.dma32=64M").run(commands)
}

/// Linux's `zone_batchsize`.
fn batch(managed: u64) -> u64 {
    let batch = ((managed >> 10).min(256) / 4).max(1);
    (1_u64 << (batch + batch / 2).ilog2()).saturating_sub(1).max(1)
}

#[test]
fn t34a_pagesets_follow_from_the_zone() {
    for cpus in [1, 2] {
        let run =
            Guest::on(any_host()).cpus(cpus).mem("256M").run(&["cat /proc/zoneinfo"]).start().assert_ok();
        for zone in zoneinfo(run.output(0)) {
            assert_eq!(zone.pagesets.len(), cpus as usize, "{run}");
            let share = |pages: u64| (pages / u64::from(cpus)).max(batch(zone.managed) * 4);
            for set in &zone.pagesets {
                assert_eq!(set.batch, batch(zone.managed), "{run}");
                assert_eq!(set.high_min, share(zone.watermarks[1]), "{run}");
                assert_eq!(set.high_max, share(zone.managed / 8), "{run}");
                assert!((set.high_min..=set.high_max.max(set.high_min)).contains(&set.high), "{run}");
            }
        }
    }
}

/// Linux's formula: free pages less what each zone keeps, up to its high mark and from the users of higher zones.
#[test]
fn t35e_available_memory_is_what_is_above_the_reserves() {
    let commands = ["zones verify", "drain", "cat /proc/zoneinfo", "cat /proc/meminfo"];
    let run = three_zones(&commands).start().assert_ok();
    let zones = zoneinfo(run.output(2));
    let kept =
        |zone: &ZoneInfo| (zone.protection.iter().max().unwrap() + zone.watermarks[2]).min(zone.managed);
    let (free, kept): (u64, u64) = (zones.iter().map(|zone| zone.free).sum(), zones.iter().map(kept).sum());
    let value = |name| meminfo(run.output(3), name);
    let (reclaimable, low) = (value("SReclaimable") / 4, zones.iter().map(|zone| zone.watermarks[1]).sum());
    let available = free + reclaimable - (reclaimable / 2).min(low) - kept;
    assert_eq!((value("MemFree"), value("MemAvailable")), (free * 4, available * 4), "{run}");
    assert!(kept > 0 && value("MemAvailable") < value("MemFree"), "{run}");
}

#[test]
fn t34b_ten_thousand_pairs_take_the_lock_of_a_zone_once_a_batch() {
    for_each_host(|host| {
        let run = Guest::on(host).cpus(1).run(&["pcp pairs=10000", "pcp"]).start().assert_ok();
        let batch = run.output(1).lines_with("zone=").iter().map(|line| line.number("batch")).max().unwrap();
        assert!(run.output(0).number("zone_lock") <= 10_000 / batch + 2, "{run}");
    });
}

#[test]
fn t34c_drained_pages_are_free_again() {
    let run = three_zones(&["pcp pairs=100", "drain", "cat /proc/zoneinfo", "mm verify"]).start().assert_ok();
    let line = run.output(1).line_with("cached=");
    let pair = |fact: &str| -> (u64, u64) {
        let (before, after) = fact.split_once("->").unwrap();
        (before.parse().unwrap(), after.parse().unwrap())
    };
    let (cached, free) = (pair(line.fact("cached")), pair(line.fact("free")));
    assert!(cached.0 > 0 && cached.1 == 0 && free.1 == free.0 + cached.0, "{run}");
    assert!(
        zoneinfo(run.output(2)).iter().flat_map(|zone| &zone.pagesets).all(|set| set.count < 64),
        "{run}"
    );
}

/// Linux's formula for one machine, in pages.
fn watermarks(zones: &[ZoneInfo], zone: &ZoneInfo) -> [u64; 4] {
    let lowmem: u64 = zones.iter().map(|zone| zone.managed).sum();
    let min_free = (lowmem * 4 * 16).isqrt().clamp(128, 262_144);
    let min = min_free / 4 * zone.managed / lowmem;
    let step = (min / 4).max(zone.managed * 10 / 10_000);
    [min, min + step, min + 2 * step, min + 3 * step]
}

#[test]
fn t35a_watermarks_are_those_of_the_formula() {
    for mem in ["64M", "128M", "512M"] {
        let run = Guest::on(any_host()).mem(mem).cpus(1).run(&["cat /proc/zoneinfo"]).start().assert_ok();
        let zones = zoneinfo(run.output(0));
        for zone in &zones {
            assert_eq!(zone.watermarks, watermarks(&zones, zone), "{} of {mem}\n{run}", zone.zone);
        }
    }
}

#[test]
fn t35b_settings_move_the_watermarks() {
    let run = three_zones(&[
        "sysctl vm.min_free_kbytes=4096 vm.watermark_scale_factor=1000",
        "cat /proc/zoneinfo",
        "sysctl vm.min_free_kbytes=400000; echo no",
    ]);
    let run = run.start();
    let zones = zoneinfo(run.output(1));
    let managed: u64 = zones.iter().map(|zone| zone.managed).sum();
    for zone in &zones {
        let min = 1024 * zone.managed / managed;
        let step = (min / 4).max(zone.managed / 10);
        assert_eq!(zone.watermarks, [min, min + step, min + 2 * step, min + 3 * step], "{run}");
    }
    assert!(run.all().as_str().contains("EINVAL"), "{run}");
}

fn taken(run: &Run, n: usize) -> u64 {
    run.output(n).lines_with("blocks=").iter().map(|zone| zone.number("blocks")).sum()
}

#[test]
fn t35c_atomic_allocations_go_below_the_minimum() {
    let run = three_zones(&[
        "drain; cat /proc/zoneinfo",
        "alloc until-fail gfp=GFP_KERNEL",
        "drain; alloc until-fail gfp=GFP_ATOMIC",
        "drain; alloc until-fail gfp=GFP_KERNEL|__GFP_MEMALLOC",
        "mm verify",
    ])
    .start()
    .assert_ok();
    let zones = zoneinfo(run.output(0));
    let min: u64 = zones.iter().map(|zone| zone.watermarks[0]).sum();
    let kept: u64 = zones.iter().map(|zone| zone.protection[NORMAL]).sum();
    let (kernel, atomic, all) = (taken(&run, 1), taken(&run, 2), taken(&run, 3));
    // Three eighths of the minimum are for others still; the lists of the CPU blur it by a batch a zone.
    let blur = 3 * 64;
    assert!(atomic + blur >= kernel + min * 5 / 8 && atomic <= kernel + min * 5 / 8 + blur, "{run}");
    assert!(all + blur >= kernel + min + kept, "{min} {kept}\n{run}");
}

#[test]
fn t51a_protection_is_that_of_the_formula() {
    let run = three_zones(&["cat /proc/zoneinfo"]).start().assert_ok();
    let zones = zoneinfo(run.output(0));
    let managed: Vec<u64> = zones.iter().map(|zone| zone.managed).collect();
    let reserve = |from: usize, to: usize, ratio: u64| managed[from + 1..=to].iter().sum::<u64>() / ratio;
    let (dma, dma32) = (reserve(0, 1, 256), reserve(0, 2, 256));
    assert_eq!(zones[0].protection, [0, dma, dma32, dma32, dma32], "{run}");
    let normal = reserve(1, 2, 256);
    assert_eq!(zones[1].protection, [0, 0, normal, normal, normal], "{run}");
    assert_eq!(zones[2].protection, [0; 5], "{run}");
}

#[test]
fn t51b_low_memory_is_kept_from_those_who_could_use_more() {
    let commands = ["drain; cat /proc/zoneinfo", "alloc until-fail", "mm verify"];
    let dma = |run: &Run| -> u64 {
        run.output(1)
            .lines_with("blocks=")
            .iter()
            .find(|zone| zone.fact("zone") == "DMA")
            .map_or(0, |zone| zone.number("blocks"))
    };
    let run = three_zones(&commands).start().assert_ok();
    let zone = zoneinfo(run.output(0))[DMA].clone();
    let left = zone.free - dma(&run);
    let kept = zone.watermarks[0] + zone.protection[NORMAL];
    assert!(zone.protection[NORMAL] > 100 && (kept..kept + 64).contains(&left), "{left} of {kept}\n{run}");
    // Without a ratio only the watermark is kept.
    let without = "sysctl.vm.lowmem_reserve_ratio=\"0 0 0\"";
    let guest = Guest::on(any_host())
        .mem("128M")
        .option("--swap", "none")
        .cpus(1)
        .append(&format!("zones.dma32=64M {without}"));
    let run = guest.run(&commands).start().assert_ok();
    let zone = zoneinfo(run.output(0))[DMA].clone();
    let left = zone.free - dma(&run);
    assert!((zone.watermarks[0]..zone.watermarks[0] + 64).contains(&left), "{left}\n{run}");
}

#[test]
fn t49a_highmem_is_a_zone_outside_of_the_direct_map() {
    let guest = Guest::on(any_host()).mem("128M").option("--swap", "none").cpus(1).append("highmem=64M");
    let run = guest
        .run(&["zones", "cat /proc/buddyinfo", "alloc gfp=GFP_HIGHUSER", "alloc gfp=GFP_KERNEL", "mm verify"])
        .start()
        .assert_ok();
    assert!(run.output(1).as_str().contains("zone  HighMem"), "{run}");
    let start = run.output(0).line_with("zone=HighMem").number("start_pfn");
    assert!(run.output(2).number("pfn") >= start && run.output(2).fact("zone") == "HighMem", "{run}");
    assert!(run.output(3).number("pfn") < start && run.output(3).fact("zone") == "DMA32", "{run}");
}

#[test]
fn t50b_movable_memory_is_for_movable_pages() {
    let guest = Guest::on(any_host()).mem("128M").option("--swap", "none").cpus(1).append("movablecore=32M");
    let run = guest
        .run(&["zones", "alloc gfp=GFP_HIGHUSER_MOVABLE", "alloc gfp=GFP_KERNEL", "mm verify"])
        .start()
        .assert_ok();
    let pages = run.output(0).line_with("zone=Movable").number("present");
    assert!((28 * 256..=36 * 256).contains(&pages), "{run}");
    assert!(run.output(1).fact("zone") == "Movable" && run.output(2).fact("zone") == "DMA32", "{run}");
}

/// The boosts of all zones in a zoneinfo.
fn boosts(run: &Run, n: usize) -> u64 {
    let lines = run.output(n).lines().filter_map(|line| line.trim_start().strip_prefix("boost"));
    lines.map(|number| number.trim().parse::<u64>().unwrap()).sum()
}

/// A pageblock that gets pages of two types raises the marks; a boost makes nobody fail who would wake kswapd.
#[test]
fn t35f_a_pageblock_that_mixes_types_boosts_the_watermarks() {
    const WAKES_NOBODY: &str = "alloc until-fail gfp=__GFP_NOWARN|__GFP_NOMEMALLOC";
    let commands = [
        "alloc 0 gfp=GFP_HIGHUSER_MOVABLE",
        "drain; cat /proc/zoneinfo",
        WAKES_NOBODY,
        "drain; cat /proc/zoneinfo",
        "alloc until-fail gfp=GFP_KERNEL",
        "drain; cat /proc/zoneinfo",
        "mm verify",
    ];
    let guest = |factor| {
        let parameter = format!("sysctl.vm.watermark_boost_factor={factor}");
        Guest::on(any_host())
            .mem("64M")
            .option("--swap", "none")
            .cpus(1)
            .append(&parameter)
            .run(&commands)
            .start()
            .assert_ok()
    };
    let run = guest(15_000);
    let (calm, boosted) = (zoneinfo(run.output(1)), zoneinfo(run.output(3)));
    let boost = boosts(&run, 3);
    assert!(boosts(&run, 1) == 0 && boost > 0 && boost.is_multiple_of(512), "{run}");
    let sum = |zones: &[ZoneInfo], mark: usize| zones.iter().map(|zone| zone.watermarks[mark]).sum::<u64>();
    (0..4).for_each(|mark| assert_eq!(sum(&boosted, mark), sum(&calm, mark) + boost, "{run}"));
    assert_eq!(boosts(&run, 5), 0, "{run}");
    // Without a factor nothing rises.
    let without = guest(0);
    assert_eq!(boosts(&without, 3), 0, "{without}");
}
