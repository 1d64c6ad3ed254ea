//! The Linux texts. The fixtures were recorded on a machine that runs Linux 6.18.44 (x86-64, one node, two
//! CPUs, 24 GiB): each test reads the numbers out of one, renders them again and compares the bytes.

use shared::text::ORDERS;
use shared::text::buddyinfo::{self, ZoneBlocks};
use shared::text::e820::{self, E820Entry, E820Type};
use shared::text::iomem::{self, Resource};
use shared::text::meminfo::Meminfo;
use shared::text::names::{GLOBAL_STATS, NODE_STATS, NUMA_EVENTS, VM_EVENTS, ZONE_STATS, position};
use shared::text::numactl::{self, Node};
use shared::text::pagetypeinfo::{PageTypes, ZoneTypes};
use shared::text::slabinfo::{self, CacheLine};
use shared::text::vmstat::Vmstat;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../fixtures/linux-6.18/", $name))
    };
}

fn number(text: &str) -> u64 {
    text.trim().parse().expect("a number")
}

/// `Node 0, zone  DMA32 ...` into node, zone and the rest.
fn zone_line(line: &str) -> (u32, &str, &str) {
    let (node, rest) = line.strip_prefix("Node").and_then(|l| l.split_once(", zone")).expect("a zone line");
    let rest = rest.trim_start();
    let (zone, rest) = rest.split_once([' ', ',']).expect("a zone name");
    (u32::try_from(number(node)).expect("a node"), zone, rest)
}

fn numbers<const N: usize>(text: &str) -> [u64; N] {
    let list: Vec<u64> = text.split_whitespace().map(number).collect();
    list.try_into().expect("as many numbers as columns")
}

#[test]
fn buddyinfo() {
    let mut out = String::new();
    for line in fixture!("buddyinfo").lines() {
        let (node, zone, rest) = zone_line(line);
        let blocks = ZoneBlocks { node, zone, free: numbers(rest) };
        buddyinfo::write_zone(&mut out, &blocks).expect("a String takes everything");
    }
    assert_eq!(out, fixture!("buddyinfo"));
}

#[test]
fn pagetypeinfo() {
    let text = fixture!("pagetypeinfo");
    let (free_part, block_part) = text.split_once("\n\nNumber of blocks type").expect("two parts");
    let (types_line, block_lines) = block_part.split_once('\n').expect("a heading");
    let types: Vec<&str> = types_line.split_whitespace().collect();
    let mut zones = Vec::new();
    for line in block_lines.lines() {
        let (node, zone, rest) = zone_line(line);
        let mine = |l: &&str| l.starts_with("Node ") && zone_line(l).1 == zone;
        let free: Vec<[u64; ORDERS]> = free_part
            .lines()
            .filter(mine)
            .map(|l| {
                numbers(
                    zone_line(l)
                        .2
                        .trim_start()
                        .split_once(' ')
                        .expect("type")
                        .1
                        .trim_start()
                        .split_once(' ')
                        .expect("name")
                        .1,
                )
            })
            .collect();
        let blocks: Vec<u64> = rest.split_whitespace().map(number).collect();
        zones.push((node, zone, free, blocks));
    }
    assert_eq!((types.len(), zones.len()), (5, 3));
    let head = PageTypes { pageblock_order: 9, types: &types };
    let zones: Vec<_> = zones
        .iter()
        .map(|(node, zone, free, blocks)| ZoneTypes { node: *node, zone, free, blocks })
        .collect();
    let mut out = String::new();
    head.write_head(&mut out).expect("infallible");
    zones.iter().for_each(|z| head.write_free(&mut out, z).expect("infallible"));
    head.write_middle(&mut out).expect("infallible");
    zones.iter().for_each(|z| head.write_blocks(&mut out, z).expect("infallible"));
    assert_eq!(out, text);
}

#[test]
fn pagetypeinfo_stops_counting() {
    let head = PageTypes { pageblock_order: 9, types: &["Movable"] };
    let mut row = [0; ORDERS];
    row[0] = 99_999;
    row[1] = 100_000;
    row[2] = 250_000;
    let zone = ZoneTypes { node: 12, zone: "Normal", free: &[row], blocks: &[] };
    let mut out = String::new();
    head.write_free(&mut out, &zone).expect("infallible");
    assert!(
        out.starts_with("Node   12, zone   Normal, type      Movable  99999 >100000 >100000      0 "),
        "{out}"
    );
}

#[test]
fn meminfo() {
    let text = fixture!("meminfo");
    let mut info = Meminfo::default();
    let mut names = Vec::new();
    for line in text.lines() {
        let (name, rest) = line.split_once(':').expect("a name");
        let value = number(rest.trim_end_matches(" kB"));
        if name == "DirectMap1G" {
            info.direct_map_1g = Some(value);
        } else {
            *info.line_mut(name).expect("a known line") = value;
            names.push(name);
        }
    }
    assert_eq!(names, Meminfo::names());
    let mut out = String::new();
    info.write(&mut out).expect("infallible");
    assert_eq!(out, text);
}

#[test]
fn meminfo_optional_lines() {
    let info = Meminfo { cma: Some((16384, 1)), huge_pages_total: 123_456, ..Meminfo::default() };
    let mut out = String::new();
    info.write(&mut out).expect("infallible");
    assert!(out.contains("CmaTotal:          16384 kB\nCmaFree:               1 kB\nBalloon:"), "{out}");
    assert!(out.contains("HugePages_Total:   123456\n"), "five columns, then it grows: {out}");
    assert!(!out.contains("DirectMap1G"));
}

#[test]
fn vmstat() {
    let text = fixture!("vmstat");
    let mut values = text.lines().map(|line| number(line.split_once(' ').expect("a name").1));
    let mut next = || values.next().expect("as many lines as counters");
    let mut stat = Vmstat::ZERO;
    stat.zone.fill_with(&mut next);
    stat.numa.fill_with(&mut next);
    stat.node.fill_with(&mut next);
    stat.global.fill_with(&mut next);
    stat.events.fill_with(&mut next);
    let mut out = String::new();
    stat.write(&mut out).expect("infallible");
    assert_eq!(out, text);
}

#[test]
fn counters_have_one_place() {
    let mut names: Vec<_> = Vmstat::ZERO.iter().map(|(name, _)| name).collect();
    let all = names.len();
    assert_eq!(
        all,
        ZONE_STATS.len() + NUMA_EVENTS.len() + NODE_STATS.len() + GLOBAL_STATS.len() + VM_EVENTS.len() + 1
    );
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    const PGFAULT: Option<usize> = position(&VM_EVENTS, "pgfault");
    assert_eq!(PGFAULT.map(|at| VM_EVENTS[at]), Some("pgfault"));
    assert_eq!(position(&VM_EVENTS, "pgfaul"), None);
    assert_eq!(position(&VM_EVENTS, "nr_free_pages"), None);
}

#[test]
fn iomem() {
    let text = fixture!("iomem");
    let mut out = String::new();
    for line in text.lines() {
        let depth = (line.len() - line.trim_start().len()) / 2;
        let (range, name) = line.trim_start().split_once(" : ").expect("a name");
        let (start, end) = range.split_once('-').expect("a range");
        let hex = |digits| u64::from_str_radix(digits, 16).expect("an address");
        let depth = u32::try_from(depth).expect("small");
        let resource = Resource { depth, start: hex(start), end: hex(end), name };
        iomem::write_resource(&mut out, &resource).expect("infallible");
    }
    assert_eq!(out, text);
    assert!(out.contains("\n  01000000-0220bb07 : Kernel code\n"));
}

#[test]
fn e820() {
    let text = fixture!("e820");
    let mut out = String::new();
    for line in text.lines() {
        let (range, kind) =
            line.strip_prefix("BIOS-e820: [mem ").and_then(|l| l.split_once("] ")).expect("an entry");
        let (start, end) = range.split_once('-').expect("a range");
        let hex =
            |digits: &str| u64::from_str_radix(digits.trim_start_matches("0x"), 16).expect("an address");
        let kind = match kind {
            "usable" => E820Type::Usable,
            "reserved" => E820Type::Reserved,
            other => panic!("{other}"),
        };
        let entry = E820Entry { start: hex(start), size: hex(end) + 1 - hex(start), kind };
        e820::write_entry(&mut out, &entry).expect("infallible");
    }
    assert_eq!(out, text);
}

#[test]
fn e820_edges() {
    let mut out = String::new();
    let empty = E820Entry { start: 4096, size: 0, kind: E820Type::Usable };
    e820::write_entry(&mut out, &empty).expect("infallible");
    assert_eq!(out, "");
    let top = E820Entry { start: 1 << 63, size: 1 << 63, kind: E820Type::AcpiNvs };
    e820::write_entry(&mut out, &top).expect("infallible");
    assert_eq!(out, "BIOS-e820: [mem 0x8000000000000000-0xffffffffffffffff] ACPI NVS\n");
    for code in 1..=5 {
        assert_eq!(E820Type::from_code(code) as u32, code);
    }
    assert_eq!(E820Type::from_code(12), E820Type::Reserved);
}

#[test]
fn numactl_hardware() {
    let node = |id, cpus, mib: u64, distances| Node { id, cpus, size: mib << 20, free: 100 << 20, distances };
    let mut out = String::new();
    let nodes = [node(0, &[0, 1], 256, &[10, 20]), node(1, &[], 128, &[20, 10])];
    numactl::write_hardware(&mut out, &nodes).expect("infallible");
    let expected = "available: 2 nodes (0-1)\n\
        node 0 cpus: 0 1\nnode 0 size: 256 MB\nnode 0 free: 100 MB\n\
        node 1 cpus:\nnode 1 size: 128 MB\nnode 1 free: 100 MB\n\
        node distances:\nnode   0   1 \n  0:  10  20 \n  1:  20  10 \n";
    assert_eq!(out, expected);
    for (ids, range) in [(&[0][..], "(0)"), (&[0, 2], "(0,2)"), (&[0, 1, 3, 4, 5], "(0-1,3-5)")] {
        let nodes: Vec<_> = ids.iter().map(|id| node(*id, &[], 0, &[])).collect();
        let mut out = String::new();
        numactl::write_hardware(&mut out, &nodes).expect("infallible");
        assert!(out.starts_with(&format!("available: {} nodes {range}\n", ids.len())), "{out}");
    }
}

#[test]
fn page_owner_as_linux_writes_it() {
    use shared::text::page_owner::{Entry, write_stack};
    let entry = Entry {
        order: 2,
        gfp: "0xcc0(GFP_KERNEL)",
        pid: 1,
        comm: "init",
        ts_ns: 1_234_567,
        pfn: 0x1040,
        page_type: "Unmovable",
        block: 8,
        block_type: "Movable",
        node: 0,
        zone: 1,
    };
    let mut out = String::new();
    let stack = |w: &mut dyn std::fmt::Write| w.write_str(" f+0x1/0x10\n g+0x2/0x20\n");
    entry.write(&mut out, stack).expect("infallible");
    let expected = "Page allocated via order 2, mask 0xcc0(GFP_KERNEL), pid 1, tgid 1 (init), ts 1234567 ns\n\
        PFN 0x1040 type Unmovable Block 8 type Movable Flags 0x0(node=0|zone=1)\n \
        f+0x1/0x10\n g+0x2/0x20\n\n";
    assert_eq!(out, expected);
    out.clear();
    write_stack(&mut out, 137, stack).expect("infallible");
    assert_eq!(out, " f+0x1/0x10\n g+0x2/0x20\nnr_base_pages: 137\n\n");
}

#[test]
fn slabinfo() {
    let mut out = String::new();
    slabinfo::write_header(&mut out).unwrap();
    for line in fixture!("slabinfo").lines().skip(2) {
        let (name, rest) = line.split_once(' ').expect("a name");
        let digits = rest.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
        let n: Vec<u64> = digits.map(number).collect();
        let cache = CacheLine {
            name,
            active_objs: n[0],
            num_objs: n[1],
            objsize: n[2],
            objperslab: n[3],
            pagesperslab: n[4],
            active_slabs: n[8],
            num_slabs: n[9],
        };
        slabinfo::write_cache(&mut out, &cache).unwrap();
    }
    assert_eq!(out, fixture!("slabinfo"));
}
