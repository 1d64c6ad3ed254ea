//! Zones: borders by address, and who gets memory from where.

use tests::linux::{PAGE_SIZE, buddyinfo, zoneinfo};
use tests::{Guest, Run, any_host, for_each_host};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;

/// Zones of `zones`: name, start and end address.
fn borders(run: &Run, n: usize) -> Vec<(String, u64, u64)> {
    let lines = run.output(n).lines_with("zone=");
    lines
        .iter()
        .map(|zone| (zone.fact("zone").to_owned(), zone.number("start"), zone.number("end")))
        .collect()
}

fn zone(name: &str, start: u64, end: u64) -> (String, u64, u64) {
    (name.to_owned(), start, end)
}

#[test]
fn t45a_zones_of_a_large_machine_have_linux_borders() {
    // RAM is below 3 GiB and from 4 GiB on.
    let expected =
        [zone("DMA", 0, 16 * MIB), zone("DMA32", 16 * MIB, 4 * GIB), zone("Normal", 4 * GIB, 7 * GIB)];
    for_each_host(|host| {
        let guest = Guest::on(host).mem("6G").cpus(1);
        let commands = ["zones", "zones verify", "cat /proc/zoneinfo", "cat /proc/buddyinfo"];
        let run = guest.run(&commands).start().assert_ok();
        assert_eq!(borders(&run, 0), expected, "{run}");
        assert_eq!(run.output(1).number("mismatch"), 0, "{run}");
        let starts: Vec<_> = zoneinfo(run.output(2)).iter().map(|zone| zone.start_pfn * PAGE_SIZE).collect();
        assert_eq!(starts, expected.each_ref().map(|(_, start, _)| *start), "{run}");
        let names: Vec<_> = buddyinfo(run.output(3)).into_iter().map(|zone| zone.zone).collect();
        assert_eq!(names, ["DMA", "DMA32", "Normal"], "{run}");
    });
}

#[test]
fn t45b_every_frame_is_in_the_zone_of_its_address() {
    for_each_host(|host| {
        let run = Guest::on(host).mem("256M").script("zones verify").start().assert_ok();
        let verdict = run.all().line_with("mismatch=");
        assert_eq!((verdict.number("mismatch"), verdict.number("pfns")), (0, 256 * MIB / PAGE_SIZE), "{run}");
    });
}

#[test]
fn t45c_zoneinfo_and_zones_say_the_same() {
    for_each_host(|host| {
        let run = Guest::on(host).run(&["zones", "cat /proc/zoneinfo"]).start().assert_ok();
        let (lines, zones) = (run.output(0).lines_with("zone="), zoneinfo(run.output(1)));
        assert_eq!(lines.len(), zones.len(), "{run}");
        for (line, zone) in lines.iter().zip(zones) {
            assert_eq!((line.number("node"), line.fact("zone")), (zone.node, zone.zone.as_str()), "{run}");
            let counts = ["start_pfn", "spanned", "present", "managed", "free"].map(|key| line.number(key));
            assert_eq!(
                counts,
                [zone.start_pfn, zone.spanned, zone.present, zone.managed, zone.free],
                "{run}"
            );
            assert_eq!(line.number("end"), (zone.start_pfn + zone.spanned) * PAGE_SIZE, "{run}");
        }
    });
}

#[test]
fn t47b_a_small_machine_has_no_normal_zone() {
    for_each_host(|host| {
        let run = Guest::on(host).mem("128M").run(&["zones", "cat /proc/buddyinfo"]).start().assert_ok();
        assert!(run.output(0).lines_with("zone=Normal").is_empty(), "{run}");
        let rows = buddyinfo(run.output(1));
        assert!(rows.iter().all(|row| row.zone != "Normal") && rows.len() >= 2, "{run}");
    });
}

#[test]
fn t47b_the_border_of_dma32_can_be_moved() {
    for_each_host(|host| {
        let guest = Guest::on(host).mem("128M").cpus(1).append("zones.dma32=64M");
        let run = guest.run(&["zones", "zones verify", "alloc gfp=GFP_KERNEL"]).start().assert_ok();
        let expected = [
            zone("DMA", 0, 16 * MIB),
            zone("DMA32", 16 * MIB, 64 * MIB),
            zone("Normal", 64 * MIB, 128 * MIB),
        ];
        assert_eq!(borders(&run, 0), expected, "{run}");
        assert_eq!(run.output(2).fact("zone"), "Normal", "{run}");
    });
}

/// A machine with all three zones, 128 MiB in all, whose marks stay where they are.
fn three_zones(commands: &[&str]) -> Guest {
    let parameters = "zones.dma32=64M sysctl.vm.watermark_boost_factor=0";
    Guest::on(any_host()).mem("128M").cpus(1).append(parameters).run(commands)
}

#[test]
fn t46a_dma_memory_lies_below_16_mib() {
    for_each_host(|host| {
        let run = Guest::on(host).script("alloc gfp=GFP_DMA order=0").start().assert_ok();
        assert!(run.all().number("pfn") < 0x1000 && run.all().fact("zone") == "DMA", "{run}");
    });
}

#[test]
fn t46a_exhausting_dma_fails_with_linux_report_and_gives_everything_back() {
    // A boost would hold more back from a request that cannot wait.
    let commands = [
        "sysctl vm.watermark_boost_factor=0; drain; cat /proc/zoneinfo",
        "alloc until-fail gfp=GFP_DMA order=0",
        "drain; cat /proc/zoneinfo",
        "mm verify",
    ];
    let run = three_zones(&commands).start().assert_ok();
    let report = run.output(1).line_with("page allocation failure: ");
    assert!(report.as_str().contains("order:0, mode:0x1(GFP_DMA)"), "{run}");
    let zones = zoneinfo(run.output(0));
    let free = |n| zoneinfo(run.output(n)).iter().map(|zone| zone.free).collect::<Vec<_>>();
    assert_eq!(free(0), free(2), "{run}");
    // Every page of the zone but the reserve and what the CPU still has on its list, and no page of another.
    let sources = run.output(1).lines_with("zone=");
    assert_eq!(sources.len(), 1, "{run}");
    let available = zones[0].free - zones[0].watermarks[0];
    assert_eq!(sources[0].fact("zone"), "DMA", "{run}");
    assert!((available - 64..=available).contains(&sources[0].number("blocks")), "{available}\n{run}");
}

#[test]
fn t46b_t48a_ordinary_requests_take_normal_first_and_dma_last() {
    let run =
        three_zones(&["drain; cat /proc/zoneinfo", "alloc until-fail", "mm verify"]).start().assert_ok();
    let sources = run.output(1).lines_with("blocks=");
    let order: Vec<_> = sources.iter().map(|zone| zone.fact("zone")).collect();
    assert_eq!(order, ["Normal", "DMA32", "DMA"], "{run}");
    let zones = zoneinfo(run.output(0));
    const NORMAL: usize = 2;
    let free: u64 = zones.iter().map(|zone| zone.free - zone.watermarks[0] - zone.protection[NORMAL]).sum();
    let taken: u64 = sources.iter().map(|zone| zone.number("blocks")).sum();
    // The command itself keeps a few pages.
    assert!(taken <= free && free - taken < 64, "{taken} of {free}\n{run}");
    assert_eq!(run.output(1).line_with("allocated=").number("freed"), taken, "{run}");
}

#[test]
fn t47a_dma32_memory_lies_below_4_gib() {
    for_each_host(|host| {
        let guest = Guest::on(host).mem("6G").cpus(1);
        let run = guest.run(&["alloc gfp=GFP_DMA32", "alloc gfp=GFP_KERNEL"]).start().assert_ok();
        assert!(run.output(0).number("addr") < 4 * GIB && run.output(0).fact("zone") == "DMA32", "{run}");
        assert!(run.output(1).number("addr") >= 4 * GIB && run.output(1).fact("zone") == "Normal", "{run}");
    });
    // The border that a parameter moves holds as well.
    let run = three_zones(&["alloc gfp=GFP_DMA32"]).start().assert_ok();
    assert!((16 * MIB..64 * MIB).contains(&run.all().number("addr")), "{run}");
}

#[test]
fn t48b_a_page_is_at_its_place_in_the_direct_map() {
    let commands = ["alloc gfp=GFP_KERNEL", "alloc 3 gfp=GFP_DMA32", "alloc gfp=GFP_DMA"];
    let run = three_zones(&commands).start().assert_ok();
    for (n, name) in [(0, "Normal"), (1, "DMA32"), (2, "DMA")] {
        let block = run.output(n);
        assert_eq!(block.fact("zone"), name, "{run}");
        assert_eq!(block.number("addr"), block.number("pfn") * PAGE_SIZE, "{run}");
        assert_eq!(block.number("va"), DIRECT_MAP + block.number("addr"), "{run}");
    }
}

#[test]
fn t50_forbidden_flags_are_refused() {
    let cases = [
        ("gfp=GFP_DMA|GFP_DMA32", "error: invalid zone modifiers"),
        ("gfp=GFP_NOSUCH", "error: bad gfp 'GFP_NOSUCH' "),
        ("order=11", "error: bad order 11 (0..10)"),
        ("node=7", "error: no such node"),
    ];
    for (words, start) in cases {
        let run = Guest::on(any_host()).mem("64M").script(&format!("alloc {words}")).start().assert_status(2);
        assert!(run.all().line_with("error: ").as_str().starts_with(start), "{run}");
    }
}

/// A page above 16 MiB reaches a device with 24 address lines through a bounce buffer, one below as it is.
#[test]
fn t46c_a_device_that_cannot_reach_a_page_gets_a_bounce_buffer() {
    for_each_host(|host| {
        let run = Guest::on(host)
            .mem("128M")
            .run(&["dma map mask=24", "dma map mask=24 gfp=GFP_DMA", "dma map mask=32", "mm verify"])
            .start()
            .assert_ok();
        let bounced = run.output(0);
        assert_eq!((bounced.number("bounce"), bounced.fact("data")), (1, "ok"));
        assert!(bounced.number("pfn") >= 0x1000 && bounced.number("bus") < 16 << 20, "{run}");
        for direct in [run.output(1), run.output(2)] {
            assert_eq!((direct.number("bounce"), direct.fact("data")), (0, "ok"));
            assert_eq!(direct.number("bus"), direct.number("pfn") << 12);
        }
    });
}
