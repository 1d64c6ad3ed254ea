//! Physical memory: the map, the frames, the direct map. Page counts are worked out here from the memory map: the one
//! that `vmm run --dump-e820` prints without booting, or QEMU's, which the guest alone knows.

use tests::linux::{PAGE_SIZE, Range, e820, meminfo, ram_pages, zoneinfo};
use tests::{Guest, Host, Run, Text, any_host, for_each_host};

/// Where zones of kinds DMA and DMA32 end, in frames.
const ZONE_ENDS: [u64; 2] = [(16 << 20) / PAGE_SIZE, (4 << 30) / PAGE_SIZE];

/// The map of a machine.
fn map_text(host: Host, mem: &str) -> String {
    let guest = if host.is_kvm() {
        Guest::unbooted().mem(mem).flag("--dump-e820")
    } else {
        Guest::on(host).mem(mem).cpus(1).script("e820")
    };
    guest.start().assert_ok().stdout
}

fn map_of(host: Host, mem: &str) -> Vec<Range> {
    e820(Text::new(&map_text(host, mem)))
}

/// Frames up to the end of RAM.
fn end_frame(map: &[Range]) -> u64 {
    map.iter().filter(|range| range.usable).map(|range| range.end / PAGE_SIZE).max().unwrap()
}

#[test]
fn t01a_the_guest_sees_the_map_that_the_monitor_dumps() {
    for_each_host(|host| {
        for mem in ["16M", "256M", "3G", "6G"] {
            let run = Guest::on(host).mem(mem).run(&["e820", "cat /proc/iomem"]).start().assert_ok();
            if host.is_kvm() {
                assert_eq!(run.output(0).as_str(), map_text(host, mem), "{run}");
            }
            let usable = e820(run.output(0)).into_iter().filter(|range| range.usable);
            let expected: Vec<_> = usable
                .map(|range| format!("{:08x}-{:08x} : System RAM", range.start, range.end - 1))
                .collect();
            let ram: Vec<_> =
                run.output(1).lines_with(" : System RAM").iter().map(|line| line.as_str()).collect();
            assert_eq!(ram, expected, "{run}");
        }
    });
}

/// `spanned, present` of a zone by a map.
fn pages_by_map(map: &[Range], kind: &str) -> (u64, u64) {
    let [dma, dma32] = ZONE_ENDS;
    let (start, end) = match kind {
        "DMA" => (0, dma),
        "DMA32" => (dma, dma32),
        _ => (dma32, u64::MAX),
    };
    (end.min(end_frame(map)) - start, ram_pages(map, start, end))
}

#[test]
fn t01d_page_counts_follow_from_the_map() {
    for_each_host(counts_follow_from_the_map);
}

fn counts_follow_from_the_map(host: Host) {
    for (mem, zones) in [("16M", 1), ("256M", 2), ("6G", 3)] {
        let map = map_of(host, mem);
        let guest = Guest::on(host).mem(mem).cpus(1);
        let run = guest.run(&["mm pfns", "cat /proc/zoneinfo", "cat /proc/meminfo"]).start().assert_ok();
        let (counts, info) = (run.output(0), zoneinfo(run.output(1)));
        let lines = counts.lines_with("zone=");
        assert_eq!((lines.len(), info.len()), (zones, zones), "{run}");
        for (line, zone) in lines.iter().zip(&info) {
            assert_eq!(line.fact("zone"), zone.zone, "{run}");
            let counted = (line.number("spanned"), line.number("present"));
            assert_eq!(counted, pages_by_map(&map, &zone.zone), "{run}");
            assert_eq!((zone.spanned, zone.present), counted, "{run}");
            let kept = (line.number("managed"), line.number("reserved"));
            assert_eq!(kept.0 + kept.1, zone.present, "{run}");
            assert_eq!(zone.managed, kept.0, "{run}");
        }
        let managed: u64 = info.iter().map(|zone| zone.managed).sum();
        assert_eq!(meminfo(run.output(2), "MemTotal"), managed * 4, "{run}");
        let holes = counts.line_with("holes_kB=");
        let present = ram_pages(&map, 0, u64::MAX) * 4;
        assert_eq!(holes.number("present_kB"), present, "{run}");
        assert_eq!(holes.number("holes_kB"), end_frame(&map) * 4 - present, "{run}");
    }
}

#[test]
fn t01d_present_is_memory_less_holes_on_every_host() {
    for_each_host(|host| {
        let run = Guest::on(host).mem("256M").run(&["e820", "mm pfns"]).start().assert_ok();
        let present = ram_pages(&e820(run.output(0)), 0, u64::MAX);
        let total = run.output(1).line_with("total ");
        assert_eq!(total.number("present"), present, "{run}");
        assert_eq!(total.number("managed") + total.number("reserved"), present, "{run}");
        assert_eq!(present * 4, 262_144 - run.output(1).number("holes_kB"), "{run}");
    });
}

#[test]
fn t01c_frame_descriptors_take_at_most_64_bytes() {
    for_each_host(|host| {
        let run = Guest::on(host).mem("512M").cpus(1).script("mm pfns; pt cost").start().assert_ok();
        let frames = run.all().line_with("total ").number("spanned");
        let leaves = run.all().lines_with("region=vmemmap ");
        let pages = |leaf: &Text<'_>| leaf.number("leaves") * if leaf.fact("leaf") == "2M" { 512 } else { 1 };
        let bytes = leaves.iter().map(pages).sum::<u64>() * PAGE_SIZE;
        assert!(bytes / frames <= 64 && bytes >= frames * 8, "{bytes} bytes for {frames} frames\n{run}");
    });
}

#[test]
fn t01e_mem_and_memmap_trim_the_map() {
    for_each_host(|host| {
        let boot = |append: &str| {
            let guest = Guest::on(host).mem("256M").cpus(1).append(append);
            guest.run(&["mm pfns", "cat /proc/iomem"]).start().assert_ok()
        };
        let present = |run: &Run| run.output(0).line_with("total ").number("present");
        let map = map_of(host, "256M");
        let run = boot("mem=64M");
        assert_eq!(present(&run), ram_pages(&map, 0, (64 << 20) / PAGE_SIZE), "{run}");
        run.output(1).assert_line("00100000-03ffffff : System RAM");
        let run = boot("memmap=16M$0x8000000");
        assert_eq!(present(&run), ram_pages(&map, 0, u64::MAX) - (16 << 20) / PAGE_SIZE, "{run}");
        run.output(1).assert_line("08000000-08ffffff : Reserved");
        run.output(1).assert_line("09000000-0fffffff : System RAM");
    });
}

/// Pageblocks that hold memory which cannot be moved.
fn unmovable_blocks(run: &Run, command: usize) -> u64 {
    let text = run.output(command).as_str();
    let (_, counts) = text.split_once("Number of blocks type").unwrap_or_default();
    let zones = counts.lines().filter(|line| line.starts_with("Node "));
    zones.filter_map(|line| line.split_whitespace().nth(4)?.parse::<u64>().ok()).sum()
}

#[test]
fn b2b_page_tables_and_what_cannot_be_moved_stay_in_few_huge_pages() {
    for_each_host(|host| {
        let (mem, part, pages) =
            if host.is_kvm() { ("512M", "64M", 49_152) } else { ("128M", "16M", 12_288) };
        let touch = format!("vm touch {part}");
        let text = "cat /proc/pagetypeinfo";
        let commands =
            [text, "ctx new a", &touch, "ctx new b", &touch, "ctx new c", &touch, text, "cat /proc/meminfo"];
        let mut guest = Guest::on(host).mem(mem).append("transparent_hugepage=never");
        if host.is_kvm() {
            guest = guest.option("--hugepages", "thp").flag("--stats");
        }
        let run = guest.run(&commands).start().assert_ok();
        // Three contexts of small pages need a table for 512 of them: less than one block takes them all.
        let tables = meminfo(run.output(8), "PageTables");
        assert!(tables >= pages / 512 * 4, "{run}");
        let grown = unmovable_blocks(&run, 7) - unmovable_blocks(&run, 0);
        assert!(grown <= 1 + tables.div_ceil(2048), "{run}");
        let of = |name: &str| run.all().number(&format!("kvm.vm.{name}"));
        match host {
            // The host shadows the tables of contexts, whose leaves are small; all else is in huge pages.
            Host::SoftKvm => assert!((pages..pages + 2048).contains(&of("pages_4k")), "{run}"),
            // The host maps frames, whoever uses them.
            host if host.is_kvm() => assert!(of("pages_2m") * 512 >= pages * 9 / 10, "{run}"),
            _ => {}
        }
    });
}

/// Touches all RAM and returns how much of it KVM maps by 4 KiB, 2 MiB and 1 GiB, in kB.
fn second_level(host: Host, pages: &str) -> [u64; 3] {
    let guest = Guest::on(host).mem("512M").option("--hugepages", pages).flag("--stats");
    let run = guest.script("alloc until-fail order=9 gfp=GFP_KERNEL|__GFP_ZERO").start().assert_ok();
    let of = |name: &str| run.all().number(&format!("kvm.vm.{name}"));
    [of("pages_4k") << 2, of("pages_2m") << 11, of("pages_1g") << 20]
}

#[test]
fn b2a_kvm_maps_ram_by_2_mib_with_huge_pages_and_by_4_kib_without() {
    for_each_host(|host| {
        if !host.is_kvm() {
            return;
        }
        let ram = 512 << 10;
        let [small, huge, gigantic] = second_level(host, "thp");
        assert!((huge + gigantic) * 10 >= ram * 9, "of {ram} kB: {small} {huge} {gigantic}");
        let [small, huge, gigantic] = second_level(host, "off");
        assert!(small * 10 >= ram * 9 && huge + gigantic == 0, "of {ram} kB: {small} {huge} {gigantic}");
    });
}

/// DirectMap4k, 2M and 1G in kB.
fn direct_map(text: Text<'_>) -> [u64; 3] {
    ["DirectMap4k", "DirectMap2M", "DirectMap1G"].map(|name| meminfo(text, name))
}

/// Kilobytes of pages that hold any RAM.
fn mapped_kb(map: &[Range]) -> u64 {
    let usable = map.iter().filter(|range| range.usable);
    usable.map(|range| range.end.div_ceil(PAGE_SIZE) - range.start / PAGE_SIZE).sum::<u64>() * 4
}

#[test]
fn t13a_t13b_the_direct_map_covers_ram_with_the_largest_leaves() {
    for_each_host(|host| {
        let run =
            Guest::on(host).mem("2G").run(&["e820", "cat /proc/meminfo", "features"]).start().assert_ok();
        let [small, medium, large] = direct_map(run.output(1));
        assert_eq!(small + medium + large, mapped_kb(&e820(run.output(0))), "{run}");
        // RAM from 1 GiB to 2 GiB is one leaf where the CPU has such; the first GiB holds the hole below 1 MiB.
        let pdpe1gb = run.output(2).line_with("pdpe1gb=").number("pdpe1gb");
        assert_eq!(large, pdpe1gb << 20, "{run}");
        // Small leaves only around the hole below 1 MiB and the borders of rights in the image.
        assert!(small <= 4 * 2048, "{run}");
    });
}

#[test]
fn t13c_small_leaves_are_paid_for_in_tables() {
    let tables = |append: &str| {
        let guest = Guest::on(any_host()).mem("256M").append(append);
        let run = guest.run(&["e820", "cat /proc/meminfo"]).start().assert_ok();
        let sizes = direct_map(run.output(1));
        assert_eq!(sizes.iter().sum::<u64>(), mapped_kb(&e820(run.output(0))), "{run}");
        (sizes, meminfo(run.output(1), "PageTables"), run)
    };
    let ([_, medium, large], before, _) = tables("");
    let ([_, none, none_either], after, run) = tables("directmap=4k");
    assert_eq!((none, none_either, large), (0, 0, 0), "{run}");
    // Each large leaf has become a table of 4 KiB.
    assert_eq!(after - before, medium / 2048 * 4, "{run}");
    assert!(after >= 262_144 / 512, "{run}");
}

#[test]
fn t13d_translation_and_mmu_agree() {
    for_each_host(|host| {
        let run = Guest::on(host).mem("256M").script("mm va-pa 1000").start().assert_ok();
        run.all().assert_line("checked=1000 mismatch=0 ok");
    });
}

#[test]
fn t15a_pages_have_4096_bytes() {
    let run = Guest::on(any_host()).run(&["getconf", "getconf PAGESIZE"]).start().assert_ok();
    run.output(0).assert_line("PAGESIZE 4096");
    assert_eq!(run.output(1).as_str(), "4096\n", "{run}");
    for command in ["pt unmap 0x1001", "vm sparse 2 stride=4097"] {
        let run = Guest::on(any_host()).script(command).start().assert_status(2);
        let error = run.all().line_with("error: EINVAL: ");
        assert!(error.as_str().contains("is not a multiple of 4096"), "{run}");
    }
}

#[test]
fn t15b_a_frame_tells_its_block() {
    // The same commands find the same blocks in every run of the same machine.
    let boot = |last: &str| {
        let guest = Guest::on(any_host()).mem("128M").cpus(1);
        guest.run(&["alloc order=9 gfp=GFP_KERNEL", last]).start()
    };
    let pfn = boot("echo").assert_ok().output(0).number("pfn");
    assert_eq!(pfn % 512, 0);
    for at in [pfn, pfn + 1, pfn + 511] {
        let run = boot(&format!("mm folio {at:#x}")).assert_ok();
        assert_eq!(run.output(0).number("pfn"), pfn, "{run}");
        let folio = run.output(1);
        assert_eq!((folio.number("order"), folio.number("head")), (9, pfn), "{run}");
        assert_eq!((folio.number("refs"), folio.fact("state")), (1, "allocated"), "{run}");
    }
    let run = boot("mm folio 0x200").assert_ok();
    // The image begins at 2 MiB.
    assert_eq!(run.output(1).fact("state"), "reserved", "{run}");
    let run = boot("mm folio 0xdead000").assert_status(2);
    run.output(1).assert_line("error: bad pfn 0xdead000");
}

/// Every page has one owner: what the frames say and what the counters of all users say is the same, through all that
/// memory is used for.
#[test]
fn t04a_memory_changes_hands_and_both_counts_agree() {
    let steps = [
        "ctx new A",
        "vm touch 8M",
        "vm map 4M rw",
        "populate",
        "slab churn ops=20000",
        "kmalloc 100000",
        "vmalloc 4M",
        "hugetlb nr=4",
        "vm map 4M hugetlb",
        "touch 1/1",
        "alloc 3 gfp=GFP_KERNEL",
        "free last",
        "vfree last",
        "cow demo",
        "ctx kill A",
        "hugetlb nr=0",
        "drain",
    ];
    let commands: Vec<_> =
        ["mm balance"].into_iter().chain(steps.into_iter().flat_map(|step| [step, "mm balance"])).collect();
    for_each_host(|host| {
        let run = Guest::on(host).cpus(2).mem("256M").run(&commands).start().assert_ok();
        let owners = [
            "free",
            "pcp",
            "anon",
            "file",
            "slab",
            "kmalloc_large",
            "pgtables",
            "vmalloc",
            "hugetlb",
            "other",
        ];
        let balance = |step: usize| run.output(2 * step).line_with("managed=");
        for step in 0..=steps.len() {
            let line = balance(step);
            let sum: u64 = owners.iter().map(|owner| line.number(owner)).sum();
            assert_eq!((sum, line.number("diff")), (line.number("managed"), 0), "{run}");
        }
        let is = |step: usize, owner: &str| balance(step).number(owner);
        assert_eq!([0, 2, 4, 15].map(|step| is(step, "anon")), [0, 2048, 3072, 0], "{run}");
        assert!(is(5, "slab") >= is(4, "slab") && is(6, "kmalloc_large") == 0, "{run}");
        assert_eq!(
            (is(7, "vmalloc") - is(6, "vmalloc"), is(13, "vmalloc")),
            (1024, is(6, "vmalloc")),
            "{run}"
        );
        assert_eq!([7, 8, 10, 16].map(|step| is(step, "hugetlb")), [0, 2048, 2048, 0], "{run}");
        // What is held without a counter of its own: a block of eight pages, until it is freed.
        assert_eq!((is(11, "other") - is(10, "other"), is(12, "other")), (8, is(10, "other")), "{run}");
    });
}
