//! Linux's texts as numbers: the memory map, /proc/buddyinfo, /proc/zoneinfo, /proc/meminfo.
//!
//! Every reader is strict: a line that Linux would not print fails the test.

use crate::Text;

/// Bytes of a page.
pub const PAGE_SIZE: u64 = 4096;
/// Orders of blocks, 0 to 10.
pub const ORDERS: usize = 11;

/// A range of a memory map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Its first byte.
    pub start: u64,
    /// The byte after its last.
    pub end: u64,
    /// Whether it is RAM that may be used.
    pub usable: bool,
}

impl Range {
    /// The whole pages in it: first frame, and the frame after the last.
    #[must_use]
    pub fn frames(self) -> (u64, u64) {
        (self.start.div_ceil(PAGE_SIZE), self.end / PAGE_SIZE)
    }
}

/// The lines `BIOS-e820: [mem 0x...-0x...] usable`; others are passed over.
#[track_caller]
#[must_use]
pub fn e820(text: Text<'_>) -> Vec<Range> {
    let lines = text.lines().filter(|line| line.starts_with("BIOS-e820: "));
    lines.map(|line| e820_line(line).unwrap_or_else(|| panic!("bad line of a memory map: {line}"))).collect()
}

fn e820_line(line: &str) -> Option<Range> {
    let (range, kind) = line.strip_prefix("BIOS-e820: [mem ")?.split_once("] ")?;
    let (start, last) = range.split_once('-')?;
    let digits = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    Some(Range { start: digits(start)?, end: digits(last)? + 1, usable: kind == "usable" })
}

/// Pages of RAM from frame `from` up to frame `to` in a memory map.
#[must_use]
pub fn ram_pages(map: &[Range], from: u64, to: u64) -> u64 {
    let frames = map.iter().filter(|range| range.usable).map(|range| range.frames());
    frames.map(|(start, end)| end.min(to).saturating_sub(start.max(from))).sum()
}

/// Free blocks of one zone, by order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreeBlocks {
    /// Its node.
    pub node: u64,
    /// Its name.
    pub zone: String,
    /// How many of each order.
    pub blocks: [u64; ORDERS],
}

impl FreeBlocks {
    /// Pages in these blocks.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.blocks.iter().zip(0..).map(|(count, order)| count << order).sum()
    }
}

/// /proc/buddyinfo: `Node 0, zone      DMA      1      0 ...`, widths and all.
#[track_caller]
#[must_use]
pub fn buddyinfo(text: Text<'_>) -> Vec<FreeBlocks> {
    text.lines()
        .map(|line| buddyinfo_line(line).unwrap_or_else(|| panic!("bad buddyinfo: {line:?}")))
        .collect()
}

fn buddyinfo_line(line: &str) -> Option<FreeBlocks> {
    let (node, rest) = line.strip_prefix("Node ")?.split_once(", zone ")?;
    let zone = rest.get(..8)?.trim_start().to_owned();
    let mut blocks = [0; ORDERS];
    for (n, count) in rest.get(8..)?.split_whitespace().enumerate() {
        *blocks.get_mut(n)? = count.parse().ok()?;
    }
    let found = FreeBlocks { node: node.parse().ok()?, zone, blocks };
    // Linux prints "%d, zone %8s " and "%6lu " for each order.
    let mut again = format!("Node {}, zone {:>8} ", found.node, found.zone);
    found.blocks.iter().for_each(|count| again.push_str(&format!("{count:>6} ")));
    (again == line).then_some(found)
}

/// One zone of /proc/zoneinfo, in pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ZoneInfo {
    /// Its node.
    pub node: u64,
    /// Its name.
    pub zone: String,
    /// Free pages.
    pub free: u64,
    /// Its watermarks: min, low, high and promo.
    pub watermarks: [u64; 4],
    /// Pages kept from users of each higher kind of zone.
    pub protection: Vec<u64>,
    /// What each CPU keeps of it.
    pub pagesets: Vec<PagesetInfo>,
    /// From its first to its last page.
    pub spanned: u64,
    /// Pages that exist.
    pub present: u64,
    /// Pages that the allocator has.
    pub managed: u64,
    /// Its first frame; 0 for an empty zone, which has no such line.
    pub start_pfn: u64,
}

/// What one CPU keeps of a zone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PagesetInfo {
    /// Pages on its lists.
    pub count: u64,
    /// How many there may be now.
    pub high: u64,
    /// Pages moved at once.
    pub batch: u64,
    /// The least that `high` may be.
    pub high_min: u64,
    /// The most that `high` may be.
    pub high_max: u64,
}

/// /proc/zoneinfo: zones that have pages.
#[track_caller]
#[must_use]
pub fn zoneinfo(text: Text<'_>) -> Vec<ZoneInfo> {
    let mut zones: Vec<ZoneInfo> = Vec::new();
    for line in text.lines() {
        if let Some((node, zone)) = line.strip_prefix("Node ").and_then(|rest| rest.split_once(", zone ")) {
            assert_eq!(line, format!("Node {node}, zone {:>8}", zone.trim_start()), "bad zoneinfo");
            let node = node.parse().unwrap_or_else(|_| panic!("bad zoneinfo: {line:?}"));
            let zone = zone.trim_start().to_owned();
            zones.push(ZoneInfo { node, zone, ..ZoneInfo::default() });
        } else if let Some(zone) = zones.last_mut() {
            zone_line(zone, line);
        }
    }
    zones.retain(|zone| zone.spanned != 0);
    zones
}

fn zone_line(zone: &mut ZoneInfo, line: &str) {
    let parse = |value: &str| value.parse().unwrap_or_else(|_| panic!("bad zoneinfo: {line:?}"));
    if let Some(list) = line.strip_prefix("        protection: (").and_then(|rest| rest.strip_suffix(')')) {
        zone.protection = list.split(", ").map(parse).collect();
    }
    if line.starts_with("    cpu: ") {
        zone.pagesets.push(PagesetInfo::default());
    }
    let mut unused = PagesetInfo::default();
    let set = zone.pagesets.last_mut().unwrap_or(&mut unused);
    let [min, low, high, promo] = &mut zone.watermarks;
    let fields = [
        ("  pages free     ", &mut zone.free),
        ("        min      ", min),
        ("        low      ", low),
        ("        high     ", high),
        ("        promo    ", promo),
        ("              count:    ", &mut set.count),
        ("              high:     ", &mut set.high),
        ("              batch:    ", &mut set.batch),
        ("              high_min: ", &mut set.high_min),
        ("              high_max: ", &mut set.high_max),
        ("        spanned  ", &mut zone.spanned),
        ("        present  ", &mut zone.present),
        ("        managed  ", &mut zone.managed),
        ("  start_pfn:           ", &mut zone.start_pfn),
    ];
    for (name, field) in fields {
        if let Some(value) = line.strip_prefix(name) {
            *field = parse(value);
        }
    }
}

/// A line of /proc/meminfo, in kB (or in pages of a pool, as the line says).
#[track_caller]
#[must_use]
pub fn meminfo(text: Text<'_>, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let Some(value) = value else { panic!("no {name} in\n{}", text.as_str()) };
    let number = value.trim().trim_end_matches(" kB");
    number.parse().unwrap_or_else(|_| panic!("{name}:{value} is no number"))
}

#[cfg(test)]
mod tests;

/// A counter of `/proc/vmstat`.
#[track_caller]
#[must_use]
pub fn vmstat(text: Text<'_>, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{}", text.as_str())).parse().unwrap()
}
