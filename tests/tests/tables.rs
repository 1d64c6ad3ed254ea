//! Page tables: walks, entries, their cost, and tables made and freed.

use tests::linux::{PAGE_SIZE, meminfo};
use tests::{Guest, Host, Run, Text, any_host, for_each_host};

const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
const IMAGE: u64 = 0xffff_ffff_8020_0000;
/// Tables may lie anywhere; a table's entry is its frame and present, writable, user, accessed, dirty.
const TABLE_FLAGS: u64 = 0x67;
const FLAGS: u64 = 0xfff;

/// The entries of `pt walk`: name of the level, index, value.
#[track_caller]
fn entries(text: Text<'_>) -> Vec<(String, u64, u64)> {
    let entry = |line: &str| {
        let (slot, value) = line.split_once(" = 0x")?;
        let (level, index) = slot.strip_suffix(']')?.split_once('[')?;
        Some((level.to_owned(), index.parse().ok()?, u64::from_str_radix(value, 16).ok()?))
    };
    text.lines().map(|line| entry(line).unwrap_or_else(|| panic!("bad entry {line:?}"))).collect()
}

/// Level names and indexes by the processor manual: nine bits each, below bit 48.
fn path(va: u64, levels: usize) -> Vec<(String, u64)> {
    let shifts = [("PGD", 39), ("PUD", 30), ("PMD", 21), ("PTE", 12)];
    shifts[..levels].iter().map(|(name, shift)| ((*name).to_owned(), va >> shift & 0x1ff)).collect()
}

fn walk(host: Host, va: u64) -> Run {
    Guest::on(host)
        .mem("3G")
        .run(&[&format!("pt walk {va:#x}"), &format!("pt pte {va:#x}")])
        .start()
        .assert_ok()
}

/// A walk of as many levels as `levels`, ending at the frame of `pa`.
#[track_caller]
fn assert_walk(run: &Run, va: u64, pa: u64, levels: usize) {
    let entries = entries(run.output(0));
    let seen: Vec<_> = entries.iter().map(|(level, index, _)| (level.clone(), *index)).collect();
    assert_eq!(seen, path(va, levels), "{run}");
    let (leaf, tables) = entries.split_last().unwrap();
    for (_, _, table) in tables {
        assert_eq!(table & FLAGS & !0x40, TABLE_FLAGS & !0x40, "{run}");
    }
    let size = PAGE_SIZE << (9 * (4 - levels));
    assert_eq!(leaf.2 & 0x000f_ffff_ffff_e000 & !(size - 1), pa & !(size - 1), "{run}");
    // PS is what ends a walk early.
    assert_eq!(leaf.2 >> 7 & 1, u64::from(levels < 4), "{run}");
    assert_eq!(run.output(1).number("pfn"), (pa & !(size - 1)) / PAGE_SIZE, "{run}");
}

#[test]
fn t18a_t19a_walks_end_at_the_leaf() {
    for_each_host(|host| {
        // Where 2 MiB leaves must be, whatever the CPU has: the first GiB has holes.
        let medium = 64 << 20;
        assert_walk(&walk(host, DIRECT_MAP + medium), DIRECT_MAP + medium, medium, 3);
        // Text, where rights change at pages.
        assert_walk(&walk(host, IMAGE), IMAGE, 2 << 20, 4);
        let large = 1 << 30;
        let levels = if host.has_1g_leaves() { 2 } else { 3 };
        assert_walk(&walk(host, DIRECT_MAP + large), DIRECT_MAP + large, large, levels);
    });
}

#[test]
fn t20c_an_entry_prints_its_frame_and_flags() {
    let flags =
        |run: &Run| run.output(1).as_str().trim_end().split(' ').map(str::to_owned).collect::<Vec<_>>();
    let has = |flags: &[String], name: &str| flags.iter().any(|flag| flag == name);
    for_each_host(|host| {
        let user = host.ring() == 3;
        let text = walk(host, IMAGE);
        let code = flags(&text);
        assert!(!has(&code, "RW") && !has(&code, "NX") && has(&code, "US") == user, "{text}");
        let direct = walk(host, DIRECT_MAP + (64 << 20));
        let data = flags(&direct);
        assert!(
            has(&data, "RW") && has(&data, "NX") && has(&data, "PS") && has(&data, "US") == user,
            "{direct}"
        );
        let raw = entries(direct.output(0)).last().unwrap().2;
        let bits = [("RW", 1), ("US", 2), ("A", 5), ("D", 6), ("PS", 7), ("G", 8), ("NX", 63)];
        for (name, bit) in bits {
            assert_eq!(has(&data, name), raw >> bit & 1 == 1, "{name}\n{direct}");
        }
        let run = Guest::on(host).script("pt pte 0x1000").start().assert_ok();
        run.all().assert_line("none");
    });
}

#[test]
fn t18a_t18b_roots_differ_below_and_agree_above() {
    for_each_host(|host| {
        let run = Guest::on(host).run(&["pt roots", "pt switch A B", "pt roots"]).start().assert_ok();
        let (kernel, switch) = (run.output(0).line_with("root=kernel"), run.output(1));
        let (a, b) = (switch.line_with("root=A"), switch.line_with("root=B"));
        let cr3 = [kernel, a, b].map(|root| root.number("cr3"));
        assert!(cr3[0] != cr3[1] && cr3[1] != cr3[2] && cr3[0] != cr3[2], "{run}");
        let lower = [kernel, a, b].map(|root| root.fact("lower"));
        assert!(lower[0] != lower[1] && lower[1] != lower[2], "{run}");
        assert_eq!([kernel, a, b].map(|root| root.fact("upper")), [kernel.fact("upper"); 3], "{run}");
        for (name, root) in [("A", a), ("B", b)] {
            let on = switch.line_with(&format!("on {name}: "));
            assert_eq!(on.number("cr3"), root.number("cr3"), "{run}");
            assert_eq!((on.number("own_page"), on.fact("alloc")), (1, "ok"), "{run}");
        }
        switch.assert_line("switch=ok");
        let active = run.output(2).line_with("active ");
        assert_eq!(active.number("cr3"), kernel.number("cr3"), "{run}");
    });
}

#[test]
fn t19c_four_levels_are_in_use() {
    for_each_host(|host| {
        let run = Guest::on(host).script("pt levels").start().assert_ok();
        run.all().assert_line("4 (p4d folded, la57=0)");
    });
}

/// Tables for `count` pages a `stride` apart from an address that no table reaches yet: one for each distinct prefix
/// of each level.
fn tables_for(count: u64, stride: u64) -> u64 {
    let distinct = |shift: u32| {
        let mut prefixes: Vec<_> = (0..count).map(|n| (n * stride) >> shift).collect();
        prefixes.dedup();
        prefixes.len() as u64
    };
    distinct(21) + distinct(30) + distinct(39)
}

#[test]
fn t17a_t17b_sparse_mappings_cost_the_tables_predicted_and_give_them_back() {
    let cases = [
        (512, "1G", 1 << 30),
        (1, "4K", 1 << 12),
        (1000, "4K", 1 << 12),
        (513, "2M", 2 << 20),
        (300, "6M", 6 << 20),
        (16, "512G", 512 << 30),
    ];
    for_each_host(|host| {
        for (count, text, stride) in cases {
            let sparse = format!("vm sparse {count} stride={text}");
            let guest = Guest::on(host).cpus(1).mem("64M");
            let run = guest.run(&["cat /proc/meminfo", &sparse, "cat /proc/meminfo"]).start().assert_ok();
            let expected = tables_for(count, stride) * 4;
            let line = run.output(1).line_with("PageTables pred=");
            assert_eq!((line.number("pred"), line.number("got")), (expected, expected), "{run}");
            assert_eq!(run.output(1).number("after_unmap"), 0, "{run}");
            let tables = |n| meminfo(run.output(n), "PageTables");
            assert_eq!(tables(0), tables(2), "{run}");
        }
    });
}

#[test]
fn t16_leaves_of_2_mib_and_a_clear_refusal_of_1_gib() {
    for_each_host(|host| {
        let run =
            Guest::on(host).run(&["pt map size=2M count=3", "pt walk 0x400000000000"]).start().assert_ok();
        run.output(0).assert_line("leafs 2M=3 4K=0");
        assert_eq!((run.output(0).number("tables"), run.output(0).fact("data")), (2, "ok"), "{run}");
        assert_eq!(run.output(0).number("va"), 0x4000_0000_0000, "{run}");
        let entries = entries(run.output(1));
        assert!(entries.len() == 3 && entries[2].2 & 0x81 == 0x81, "{run}");
        if !host.has_1g_leaves() {
            let run = Guest::on(host).script("pt map size=1G").start().assert_status(2);
            run.all().assert_line("error: EINVAL: 1G pages not supported by this CPU");
        }
    });
}

#[test]
fn t21a_walker_and_mmu_agree_about_10000_addresses() {
    for_each_host(|host| {
        let run = Guest::on(host).script("pt verify 10000").start().assert_ok();
        run.all().assert_line("checked=10000 mismatch=0 ok");
        let regions = run.all().lines_with("region=");
        let checked: Vec<_> = regions.iter().map(|region| region.number("checked")).collect();
        assert_eq!(checked.iter().sum::<u64>(), 10_000, "{run}");
        assert!(checked.len() >= 3 && checked.iter().all(|&count| count > 1000), "{run}");
    });
}

#[test]
fn t21c_the_cost_of_a_nested_walk_is_counted() {
    let references = |guest: u64, host: u64| (guest + 1) * (host + 1) - 1;
    for_each_host(|host| {
        let run = Guest::on(host).mem("3G").script("pt cost").start().assert_ok();
        let lines = run.all().lines_with("region=");
        for line in &lines {
            let levels = match line.fact("leaf") {
                "4K" => 4,
                "2M" => 3,
                _ => 2,
            };
            let expected = format!("{}/{}", references(4, 4), references(levels, levels));
            assert_eq!(line.fact("refs"), expected, "{run}");
            assert_eq!(line.fact("tdp"), if host == Host::SoftKvm { "shadow" } else { "unknown" }, "{run}");
        }
        assert!(lines.iter().any(|line| line.fact("refs") == "24/15"), "{run}");
        assert_eq!(lines.iter().any(|line| line.fact("refs") == "24/8"), host.has_1g_leaves(), "{run}");
    });
}

#[test]
fn pt_refuses_addresses_that_cannot_be() {
    for word in ["0x8000000000000000", "somewhere", "0x800000000000"] {
        let run = Guest::on(any_host()).script(&format!("pt walk {word}")).start().assert_status(2);
        run.all().assert_line(&format!("error: bad address {word} (a canonical address, 0x...)"));
    }
}
