//! Rules between parameters, and between a parameter and the size of RAM.
//!
//! Owns what a single value cannot show: `zones.dma` below `zones.dma32`, `min` not above `max`, limits that
//! are shares of RAM. What the machine alone knows (CPUID, devices, nodes) stays with the guest. Source: the
//! parameter reference in the user documentation; Linux for the pairs that exist there.

use super::number::SizeText;
use super::parse::{get_bool, get_u64};
use core::fmt;

/// Which rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `mem=` is more than RAM.
    MemAboveRam,
    /// `highmem=` takes more than half of RAM or leaves less than 16 MiB.
    HighmemTooBig,
    /// `movablecore=` leaves less than 32 MiB.
    MovableTooBig,
    /// `zones.dma` is not below `zones.dma32`.
    ZonesOutOfOrder,
    /// `min_free_kbytes` is above a quarter of RAM.
    MinFreeTooBig,
    /// `slab_min_order` is above `slab_max_order`.
    SlabOrders,
    /// The background dirty ratio is not below the dirty ratio.
    DirtyRatios,
    /// The background dirty limit in bytes is not below the dirty limit.
    DirtyBytes,
    /// `pdflush.min` is above `pdflush.max`.
    PdflushThreads,
    /// The shortest scan period is above the longest.
    ScanPeriods,
    /// The watermarks of `damon_reclaim` are not high >= mid >= low.
    DamonWatermarks,
    /// `page_poison` and an `init_on_` parameter are both on.
    PoisonWins,
}

/// A parameter to change so that the rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    /// Name of the parameter.
    pub name: &'static str,
    /// Its new value; `None` means its default.
    pub value: Option<u64>,
}

/// A broken rule. Its [`fmt::Display`] is the whole line, without a line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The rule.
    pub rule: Rule,
    /// What to change, in order.
    pub corrections: [Option<Correction>; 2],
    /// The value that breaks the rule, in the unit of its parameter.
    given: u64,
    /// What it is compared with, in the same unit.
    limit: u64,
}

impl Conflict {
    const fn new(rule: Rule, given: u64, limit: u64, corrections: [Option<Correction>; 2]) -> Self {
        Self { rule, corrections, given, limit }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (given, limit) = (self.given, self.limit);
        let (given_size, limit_size) = (SizeText(given), SizeText(limit));
        match self.rule {
            Rule::MemAboveRam => write!(f, "mm: mem: {given_size} is more than RAM, using {limit_size}"),
            Rule::HighmemTooBig => f.write_str("highmem=: leaves less than 16M lowmem, ignored"),
            Rule::MovableTooBig => {
                write!(f, "mm: movablecore: {given_size} leaves less than 32M, using {limit_size}")
            }
            Rule::ZonesOutOfOrder => {
                write!(f, "mm: zones.dma: {given_size} is not below zones.dma32 {limit_size}, both ignored")
            }
            Rule::MinFreeTooBig => write!(
                f,
                "mm: sysctl.vm.min_free_kbytes: {given} is above 25 % of RAM ({limit}), refused, using the default"
            ),
            Rule::SlabOrders => {
                write!(f, "mm: slab_max_order: {limit} is below slab_min_order, using {given}")
            }
            Rule::DirtyRatios => write!(
                f,
                "mm: sysctl.vm.dirty_background_ratio: {given} is not below dirty_ratio {limit}, using {}",
                limit / 2
            ),
            Rule::DirtyBytes => write!(
                f,
                "mm: sysctl.vm.dirty_background_bytes: {given} is not below dirty_bytes {limit}, using {}",
                limit / 2
            ),
            Rule::PdflushThreads => {
                write!(f, "mm: pdflush.min: {given} is above pdflush.max {limit}, refused, using 2 and 8")
            }
            Rule::ScanPeriods => write!(
                f,
                "mm: numa_balancing.scan_period_min_ms: {given} is above scan_period_max_ms {limit}, using 1000 and 60000"
            ),
            Rule::DamonWatermarks => {
                f.write_str("mm: damon_reclaim: wmarks must be high >= mid >= low, damon_reclaim stays off")
            }
            Rule::PoisonWins => {
                f.write_str("mm: page_poison is on: init_on_alloc and init_on_free are ignored")
            }
        }
    }
}

/// Smallest lowmem that `highmem=` must leave, in bytes.
const LOWMEM_MIN: u64 = crate::layout::MIN_MEM;
/// Memory that `movablecore=` must leave, in bytes.
const KERNELCORE_MIN: u64 = 32 << 20;

/// Reports every rule that `cmdline` breaks on a machine with `ram` bytes.
pub fn cross_check(cmdline: &str, ram: u64, sink: &mut dyn FnMut(Conflict)) {
    let used_ram = get_u64(cmdline, "mem").map_or(ram, |mem| mem.min(ram));
    let sizes = sizes(cmdline, ram, used_ram);
    let pairs = pairs(cmdline);
    sizes.into_iter().chain(pairs).flatten().for_each(sink);
}

const fn to(name: &'static str, value: u64) -> Option<Correction> {
    Some(Correction { name, value: Some(value) })
}

const fn default(name: &'static str) -> Option<Correction> {
    Some(Correction { name, value: None })
}

/// The rules that depend on the size of RAM.
fn sizes(cmdline: &str, ram: u64, used_ram: u64) -> [Option<Conflict>; 4] {
    let above = |name: &str, limit: u64| get_u64(cmdline, name).filter(|given| *given > limit);
    let highmem_limit = (used_ram / 2).min(used_ram.saturating_sub(LOWMEM_MIN));
    let movable_limit = used_ram.saturating_sub(KERNELCORE_MIN);
    let quarter_kb = used_ram / 4 / 1024;
    [
        above("mem", ram).map(|given| Conflict::new(Rule::MemAboveRam, given, ram, [to("mem", ram), None])),
        above("highmem", highmem_limit)
            .map(|given| Conflict::new(Rule::HighmemTooBig, given, highmem_limit, [to("highmem", 0), None])),
        above("movablecore", movable_limit).map(|given| {
            let corrections = [to("movablecore", movable_limit), None];
            Conflict::new(Rule::MovableTooBig, given, movable_limit, corrections)
        }),
        above("sysctl.vm.min_free_kbytes", quarter_kb).map(|given| {
            let corrections = [default("sysctl.vm.min_free_kbytes"), None];
            Conflict::new(Rule::MinFreeTooBig, given, quarter_kb, corrections)
        }),
    ]
}

/// The rules between two or three parameters.
fn pairs(cmdline: &str) -> [Option<Conflict>; 8] {
    let number = |name: &str| get_u64(cmdline, name).unwrap_or(0);
    let on = |name: &str| get_bool(cmdline, name) == Some(true);
    let pair = |rule, low: &'static str, high: &'static str, equal_is_bad: bool, corrections| {
        let (given, limit) = (number(low), number(high));
        let broken = given > limit || (equal_is_bad && given == limit);
        broken.then(|| Conflict::new(rule, given, limit, corrections))
    };
    const BG_RATIO: &str = "sysctl.vm.dirty_background_ratio";
    const BG_BYTES: &str = "sysctl.vm.dirty_background_bytes";
    const PERIOD_MIN: &str = "numa_balancing.scan_period_min_ms";
    const PERIOD_MAX: &str = "numa_balancing.scan_period_max_ms";
    // A limit in bytes sets its ratio aside, so only limits of one kind are compared.
    let bytes = (number("sysctl.vm.dirty_bytes"), number(BG_BYTES));
    let dirty_ratio = number("sysctl.vm.dirty_ratio");
    let [high, mid, low] =
        ["damon_reclaim.wmarks_high", "damon_reclaim.wmarks_mid", "damon_reclaim.wmarks_low"].map(number);
    let init = on("init_on_alloc") || on("init_on_free");
    [
        pair(
            Rule::ZonesOutOfOrder,
            "zones.dma",
            "zones.dma32",
            true,
            [default("zones.dma"), default("zones.dma32")],
        ),
        pair(
            Rule::SlabOrders,
            "slab_min_order",
            "slab_max_order",
            false,
            [to("slab_max_order", number("slab_min_order")), None],
        ),
        pair(
            Rule::DirtyRatios,
            BG_RATIO,
            "sysctl.vm.dirty_ratio",
            true,
            [to(BG_RATIO, dirty_ratio / 2), None],
        )
        .filter(|_| bytes == (0, 0)),
        pair(Rule::DirtyBytes, BG_BYTES, "sysctl.vm.dirty_bytes", true, [to(BG_BYTES, bytes.0 / 2), None])
            .filter(|_| bytes.0 > 0 && bytes.1 > 0),
        pair(
            Rule::PdflushThreads,
            "pdflush.min",
            "pdflush.max",
            false,
            [default("pdflush.min"), default("pdflush.max")],
        ),
        pair(Rule::ScanPeriods, PERIOD_MIN, PERIOD_MAX, false, [default(PERIOD_MIN), default(PERIOD_MAX)]),
        (high < mid || mid < low)
            .then(|| Conflict::new(Rule::DamonWatermarks, mid, high, [to("damon_reclaim.enabled", 0), None])),
        (on("page_poison") && init)
            .then(|| Conflict::new(Rule::PoisonWins, 1, 0, [to("init_on_alloc", 0), to("init_on_free", 0)])),
    ]
}
