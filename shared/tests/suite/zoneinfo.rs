//! `/proc/zoneinfo`, the longest of the texts: read, rendered again, compared.

use shared::text::names::{NODE_STATS, NUMA_EVENTS, ZONE_STATS};
use shared::text::zoneinfo::{Pageset, Populated, Zone, write_zone};

const TEXT: &str = include_str!("../fixtures/linux-6.18/zoneinfo");

/// Walks the lines of one zone.
struct Lines<'a> {
    lines: std::iter::Peekable<std::str::Lines<'a>>,
}

impl<'a> Lines<'a> {
    fn line(&mut self) -> &'a str {
        self.lines.next().expect("a line")
    }

    /// The number at the end of the next line, which must begin with `name`.
    fn value(&mut self, name: &str) -> u64 {
        let line = self.line();
        assert!(line.trim_start().starts_with(name), "{line:?} is not {name}");
        line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number")
    }

    fn values<const N: usize>(&mut self, names: &[&str; N]) -> [u64; N] {
        names.map(|name| self.value(name))
    }
}

struct Owned<'a> {
    node: u32,
    name: &'a str,
    node_stats: Option<[u64; NODE_STATS.len()]>,
    pages: [u64; 10],
    protection: Vec<u64>,
    zone: Option<([u64; ZONE_STATS.len()], [u64; NUMA_EVENTS.len()])>,
    pagesets: Vec<Pageset>,
    tail: [u64; 2],
}

fn parse(text: &str) -> Owned<'_> {
    let mut lines = Lines { lines: text.lines().peekable() };
    let (node, name) =
        lines.line().strip_prefix("Node ").and_then(|l| l.split_once(", zone")).expect("a zone");
    let node_stats = lines.lines.next_if_eq(&"  per-node stats").map(|_| ());
    let node_stats = node_stats.map(|()| lines.values(&NODE_STATS));
    let pages = lines.values(&[
        "pages free",
        "boost",
        "min",
        "low",
        "high",
        "promo",
        "spanned",
        "present",
        "managed",
        "cma",
    ]);
    let protection = lines.line().trim().strip_prefix("protection: (").and_then(|l| l.strip_suffix(')'));
    let protection = protection.expect("a list").split(", ").map(|n| n.parse().expect("a number")).collect();
    let mut owned = Owned {
        node: node.parse().expect("a node"),
        name: name.trim(),
        node_stats,
        pages,
        protection,
        zone: None,
        pagesets: Vec::new(),
        tail: [0; 2],
    };
    if lines.lines.peek().is_some() {
        owned.zone = Some((lines.values(&ZONE_STATS), lines.values(&NUMA_EVENTS)));
        assert_eq!(lines.line(), "  pagesets");
        while lines.lines.peek().is_some_and(|line| line.starts_with("    cpu:")) {
            let [cpu, count, high, batch, high_min, high_max, stat_threshold] = lines.values(&[
                "cpu:",
                "count:",
                "high:",
                "batch:",
                "high_min:",
                "high_max:",
                "vm stats threshold:",
            ]);
            let cpu = u32::try_from(cpu).expect("a CPU");
            owned.pagesets.push(Pageset { cpu, count, high, batch, high_min, high_max, stat_threshold });
        }
        owned.tail = lines.values(&["node_unreclaimable:", "start_pfn:"]);
    }
    assert_eq!(lines.lines.next(), None);
    owned
}

#[test]
fn zoneinfo() {
    let mut out = String::new();
    let starts: Vec<usize> = TEXT.match_indices("Node ").map(|(at, _)| at).chain([TEXT.len()]).collect();
    assert_eq!(starts.len(), 6, "five zones");
    for range in starts.windows(2) {
        let zone = parse(&TEXT[range[0]..range[1]]);
        let [free, boost, min, low, high, promo, spanned, present, managed, cma] = zone.pages;
        let [node_unreclaimable, start_pfn] = zone.tail;
        let populated = zone.zone.map(|(stats, numa)| Populated {
            stats,
            numa,
            pagesets: &zone.pagesets,
            node_unreclaimable,
            start_pfn,
        });
        let rendered = Zone {
            node: zone.node,
            name: zone.name,
            node_stats: zone.node_stats.as_ref(),
            free,
            boost,
            min,
            low,
            high,
            promo,
            spanned,
            present,
            managed,
            cma,
            protection: &zone.protection,
            populated,
        };
        write_zone(&mut out, &rendered).expect("a String takes everything");
    }
    assert_eq!(out, TEXT);
}
