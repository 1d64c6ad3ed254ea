//! What each group of the statistics area holds, from and to the inputs of the renderers in `text`.
//!
//! Every structure is words only, its seqlock word first. Values come from a guest: turning them into the
//! input of a renderer bounds every count and every index.

use super::{MAX_COMMANDS, MAX_CPUS, MAX_DISKS, ZONE_NAMES};
use crate::layout::PAGE_SIZE;
use crate::text::meminfo::Meminfo;
use crate::text::names::{GLOBAL_STATS, NODE_STATS, NUMA_EVENTS, VM_EVENTS, ZONE_STATS};
use crate::text::vmstat::Vmstat;
use crate::text::zoneinfo::{self, Pageset, Populated};
use crate::text::{ORDERS, buddyinfo::ZoneBlocks};
use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Defines a group: the seqlock word, then words and arrays of words.
macro_rules! group {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name {
            /// Seqlock word.
            pub sequence: u64,
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $name {
            /// Its words with their places, without the seqlock word.
            pub fn words(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
                let words = self.as_bytes().as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
                words.enumerate().skip(1)
            }
        }
    };
}

pub(super) use group;

group! {
    /// Facts about the machine; constant once the guest is up.
    MachineGroup {
        /// Privilege level of the kernel's Rust code: 0 or 3.
        ring: u64,
        /// CPUs online.
        cpus: u64,
        /// NUMA nodes.
        nodes: u64,
        /// Zones, those without memory included.
        zones: u64,
        /// TSC ticks a millisecond.
        tsc_khz: u64,
    }
}

group! {
    /// Traps and gates since boot, over all CPUs.
    TrapGroup {
        /// Interrupts from devices.
        irq: u64,
        /// Interrupts from the local timer.
        timer: u64,
        /// Interrupts from other CPUs.
        ipi: u64,
        /// Page faults.
        page_faults: u64,
        /// Other exceptions.
        exceptions: u64,
        /// Gate calls from ring 3 to ring 0.
        gates: u64,
    }
}

/// What one CPU did with its time, in nanoseconds since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuTimes {
    /// Ran the kernel.
    pub system_ns: u64,
    /// Had nothing to run.
    pub idle_ns: u64,
}

group! {
    /// Tasks and time: `/proc/stat`, `/proc/uptime`, `/proc/loadavg`.
    TaskGroup {
        /// Nanoseconds since boot.
        uptime_ns: u64,
        /// Switches between tasks, over all CPUs.
        switches: u64,
        /// Tasks that exist, idle ones left out.
        tasks: u64,
        /// Tasks that run or could run.
        running: u64,
        /// Tasks started since boot; also the number of the last one.
        started: u64,
        /// One entry a CPU.
        cpus: [CpuTimes; MAX_CPUS],
    }
}

group! {
    /// `/proc/meminfo`, in the units of its lines.
    MeminfoGroup {
        /// The lines that are always there, in order.
        lines: [u64; Meminfo::names().len()],
        /// 1 if the lines `CmaTotal` and `CmaFree` exist.
        has_cma: u64,
        /// `CmaTotal` and `CmaFree`.
        cma: [u64; 2],
        /// 1 if the line `DirectMap1G` exists.
        has_direct_map_1g: u64,
        /// `DirectMap1G`.
        direct_map_1g: u64,
    }
}

group! {
    /// `/proc/vmstat`, each list in the order of its names.
    VmstatGroup {
        /// Sums over all zones.
        zone: [u64; ZONE_STATS.len()],
        /// Sums over all zones.
        numa: [u64; NUMA_EVENTS.len()],
        /// Sums over all nodes.
        node: [u64; NODE_STATS.len()],
        /// Of the whole machine.
        global: [u64; GLOBAL_STATS.len()],
        /// Of the whole machine.
        events: [u64; VM_EVENTS.len()],
    }
}

/// What one disk has done, as both sides count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DiskWords {
    /// Its name as it tells it, filled up with zeroes.
    pub id: [u64; 3],
    /// Reads that succeeded.
    pub reads: u64,
    /// Bytes they brought.
    pub read_bytes: u64,
    /// Writes that succeeded.
    pub writes: u64,
    /// Bytes they took.
    pub write_bytes: u64,
    /// Flushes that succeeded.
    pub flushes: u64,
    /// Discards that succeeded.
    pub discards: u64,
    /// Bytes they gave back.
    pub discard_bytes: u64,
    /// Requests that failed.
    pub errors: u64,
    /// What those who asked for them have booked, in the order of [`LEDGER`].
    pub ledger: [u64; LEDGER.len()],
}

/// The lines of a disk's ledger: what the guest's memory manager knows that it has read and written, in its own units,
/// and what others have.
pub const LEDGER: [&str; 13] = [
    "swap_in_pages",
    "swap_out_pages",
    "file_in_pages",
    "file_out_pages",
    "file_in_short_bytes",
    "file_out_short_bytes",
    "direct_in_bytes",
    "direct_out_bytes",
    "other_in_bytes",
    "other_out_bytes",
    "swap_in_failed_pages",
    "swap_out_failed_pages",
    "swap_discarded_pages",
];

impl DiskWords {
    /// [`DiskWords::id`] of a name; what is longer than 24 bytes is cut off.
    #[must_use]
    pub fn id_of(name: &[u8]) -> [u64; 3] {
        let mut bytes = [0; 24];
        bytes.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        let mut words = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        core::array::from_fn(|_| words.next().unwrap_or(0))
    }

    /// Pages that were to come from swap and to go there, whether they did or not.
    #[must_use]
    pub fn booked_swap(&self) -> [u64; 2] {
        let [came, went, .., not_came, not_went, _] = self.ledger;
        [came.wrapping_add(not_came), went.wrapping_add(not_went)]
    }

    /// The bytes that were read, written and given back by what was booked.
    #[must_use]
    pub fn booked_bytes(&self) -> [u64; 3] {
        let bytes = |direction: usize| {
            let line = |at: usize| self.ledger.get(2 * at + direction).copied().unwrap_or(0);
            let pages = line(0).wrapping_add(line(1));
            let rest = line(3).wrapping_add(line(4)).wrapping_sub(line(2));
            pages.wrapping_mul(PAGE_SIZE).wrapping_add(rest)
        };
        let [.., discarded] = self.ledger;
        [bytes(0), bytes(1), discarded.wrapping_mul(PAGE_SIZE)]
    }

    /// The counters with their names, as `--stats` has them.
    #[must_use]
    pub fn counters(&self) -> [(&'static str, u64); 8] {
        [
            ("reads", self.reads),
            ("read_bytes", self.read_bytes),
            ("writes", self.writes),
            ("write_bytes", self.write_bytes),
            ("flushes", self.flushes),
            ("discards", self.discards),
            ("discard_bytes", self.discard_bytes),
            ("errors", self.errors),
        ]
    }
}

group! {
    /// The disks that the guest uses.
    DiskGroup {
        /// How many there are; only the first [`MAX_DISKS`] are told of.
        count: u64,
        /// What each has done.
        disks: [DiskWords; MAX_DISKS],
    }
}

impl DiskGroup {
    /// The disks that are told of.
    #[must_use]
    pub fn told(&self) -> &[DiskWords] {
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        self.disks.get(..count).unwrap_or(&self.disks)
    }
}

group! {
    /// Where the texts of [`super::TEXTS`] are; all zero before the machine ends.
    TextGroup {
        /// Physical address of the buffer.
        address: u64,
        /// Bytes of it that are used.
        length: u64,
        /// 1 if some text did not fit.
        truncated: u64,
    }
}

/// One command of the script, or typed, that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CommandRecord {
    /// Bytes of console output before it.
    pub from: u64,
    /// Bytes of console output when it had ended.
    pub to: u64,
    /// The exit status it asked for; 0 is success.
    pub status: u64,
    /// How long it took, in nanoseconds.
    pub ns: u64,
}

group! {
    /// The commands in the order they ran.
    CommandGroup {
        /// How many have ended; only the first [`MAX_COMMANDS`] have a record.
        count: u64,
        /// The records.
        records: [CommandRecord; MAX_COMMANDS],
    }
}

impl CommandGroup {
    /// Passes the words that the end of command `number` changes to `put`, by their place in the group.
    pub fn encode(number: u64, record: &CommandRecord, put: &mut dyn FnMut(usize, u64)) {
        put(offset_of!(Self, count) / size_of::<u64>(), number.saturating_add(1));
        let Some(index) = usize::try_from(number).ok().filter(|index| *index < MAX_COMMANDS) else { return };
        let at = (offset_of!(Self, records) + index * size_of::<CommandRecord>()) / size_of::<u64>();
        let words = [record.from, record.to, record.status, record.ns];
        words.into_iter().zip(at..).for_each(|(word, at)| put(at, word));
    }
}

/// One CPU's lists in a zone, as [`Pageset`] has them but for the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PagesetWords {
    /// Pages on the lists.
    pub count: u64,
    /// Length above which pages go back.
    pub high: u64,
    /// Pages moved at once.
    pub batch: u64,
    /// Lower bound of `high`.
    pub high_min: u64,
    /// Upper bound of `high`.
    pub high_max: u64,
    /// Change of a counter that one CPU may keep to itself.
    pub stat_threshold: u64,
}

group! {
    /// One zone: its part of `/proc/zoneinfo` and `/proc/buddyinfo`. Sizes and watermarks are in pages.
    ZoneGroup {
        /// Node number.
        node: u64,
        /// Its type: a place in [`ZONE_NAMES`].
        kind: u64,
        /// 1 if the zone has memory; the fields from `stats` on count only then.
        populated: u64,
        /// 1 if the statistics of the node come with this zone.
        has_node_stats: u64,
        /// Free, boost, min, low, high, promo, spanned, present, managed, cma.
        pages: [u64; 10],
        /// `lowmem_reserve` against each type of zone.
        protection: [u64; ZONE_NAMES.len()],
        /// Counters of the zone.
        stats: [u64; ZONE_STATS.len()],
        /// NUMA events of the zone.
        numa: [u64; NUMA_EVENTS.len()],
        /// Whether reclaim gave the node up.
        node_unreclaimable: u64,
        /// First page frame.
        start_pfn: u64,
        /// Free blocks of each order.
        blocks: [u64; ORDERS],
        /// CPUs with an entry in `pagesets`.
        pageset_count: u64,
        /// Counters of the node.
        node_stats: [u64; NODE_STATS.len()],
        /// Lists of each CPU.
        pagesets: [PagesetWords; MAX_CPUS],
    }
}

/// The word of [`ZoneGroup`] at which a field begins.
macro_rules! word_of {
    ($field:ident) => {
        offset_of!(ZoneGroup, $field) / size_of::<u64>()
    };
}

impl MeminfoGroup {
    /// The group for these numbers.
    #[must_use]
    pub fn new(info: &Meminfo) -> Self {
        let (total, free) = info.cma.unwrap_or_default();
        Self {
            sequence: 0,
            lines: info.values(),
            has_cma: info.cma.is_some().into(),
            cma: [total, free],
            has_direct_map_1g: info.direct_map_1g.is_some().into(),
            direct_map_1g: info.direct_map_1g.unwrap_or_default(),
        }
    }

    /// The numbers in the group.
    #[must_use]
    pub fn numbers(&self) -> Meminfo {
        let [total, free] = self.cma;
        Meminfo {
            cma: (self.has_cma != 0).then_some((total, free)),
            direct_map_1g: (self.has_direct_map_1g != 0).then_some(self.direct_map_1g),
            ..Meminfo::from_values(self.lines)
        }
    }
}

impl VmstatGroup {
    /// The group for these numbers.
    #[must_use]
    pub fn new(stat: &Vmstat) -> Self {
        let Vmstat { zone, numa, node, global, events } = *stat;
        Self { sequence: 0, zone, numa, node, global, events }
    }

    /// The numbers in the group.
    #[must_use]
    pub fn numbers(&self) -> Vmstat {
        let Self { zone, numa, node, global, events, .. } = *self;
        Vmstat { zone, numa, node, global, events }
    }
}

impl PagesetWords {
    fn words(set: &Pageset) -> [u64; 6] {
        [set.count, set.high, set.batch, set.high_min, set.high_max, set.stat_threshold]
    }

    /// The entry of `/proc/zoneinfo` for `cpu`.
    #[must_use]
    pub fn numbers(&self, cpu: u32) -> Pageset {
        let Self { count, high, batch, high_min, high_max, stat_threshold } = *self;
        Pageset { cpu, count, high, batch, high_min, high_max, stat_threshold }
    }
}

impl ZoneGroup {
    /// Passes the words of the group for these numbers to `put`, by their place in the group. What a zone
    /// without memory does not have is left out. The whole would be large for a kernel stack.
    pub fn encode(zone: &zoneinfo::Zone<'_>, blocks: &[u64; ORDERS], put: &mut dyn FnMut(usize, u64)) {
        let mut array = |at: usize, values: &[u64]| {
            values.iter().enumerate().for_each(|(n, value)| put(at + n, *value));
        };
        let kind = ZONE_NAMES.iter().position(|name| *name == zone.name).unwrap_or(ZONE_NAMES.len());
        array(word_of!(node), &[zone.node.into()]);
        array(word_of!(kind), &[kind as u64]);
        array(word_of!(populated), &[zone.populated.is_some().into()]);
        array(word_of!(has_node_stats), &[zone.node_stats.is_some().into()]);
        let watermarks = [zone.free, zone.boost, zone.min, zone.low, zone.high, zone.promo];
        array(word_of!(pages), &watermarks);
        let sizes = [zone.spanned, zone.present, zone.managed, zone.cma];
        array(word_of!(pages) + watermarks.len(), &sizes);
        let protection = zone.protection.get(..ZONE_NAMES.len()).unwrap_or(zone.protection);
        array(word_of!(protection), protection);
        if let Some(stats) = zone.node_stats {
            array(word_of!(node_stats), stats);
        }
        let Some(populated) = &zone.populated else { return };
        array(word_of!(stats), &populated.stats);
        array(word_of!(numa), &populated.numa);
        array(word_of!(node_unreclaimable), &[populated.node_unreclaimable]);
        array(word_of!(start_pfn), &[populated.start_pfn]);
        array(word_of!(blocks), blocks);
        let pagesets = populated.pagesets.get(..MAX_CPUS).unwrap_or(populated.pagesets);
        array(word_of!(pageset_count), &[pagesets.len() as u64]);
        for (set, at) in pagesets.iter().zip((word_of!(pagesets)..).step_by(6)) {
            array(at, &PagesetWords::words(set));
        }
    }

    /// Name of its type, or a word of its own for a type that does not exist.
    #[must_use]
    pub fn name(&self) -> &'static str {
        usize::try_from(self.kind).ok().and_then(|kind| ZONE_NAMES.get(kind)).copied().unwrap_or("?")
    }

    /// Node number; what does not fit is cut off.
    #[must_use]
    pub fn node(&self) -> u32 {
        self.node as u32
    }

    /// The line of `/proc/buddyinfo`, for a zone with memory.
    #[must_use]
    pub fn free_blocks(&self) -> Option<ZoneBlocks<'static>> {
        (self.populated != 0).then(|| ZoneBlocks { node: self.node(), zone: self.name(), free: self.blocks })
    }

    /// Its part of `/proc/zoneinfo`; `pagesets` is room for the lists of the CPUs.
    #[must_use]
    pub fn numbers<'a>(&'a self, pagesets: &'a mut [Pageset; MAX_CPUS]) -> zoneinfo::Zone<'a> {
        let count = usize::try_from(self.pageset_count).unwrap_or(MAX_CPUS).min(MAX_CPUS);
        for ((slot, words), cpu) in pagesets.iter_mut().zip(&self.pagesets).zip(0..) {
            *slot = words.numbers(cpu);
        }
        let [free, boost, min, low, high, promo, spanned, present, managed, cma] = self.pages;
        zoneinfo::Zone {
            node: self.node(),
            name: self.name(),
            node_stats: (self.has_node_stats != 0).then_some(&self.node_stats),
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
            protection: &self.protection,
            populated: (self.populated != 0).then(|| Populated {
                stats: self.stats,
                numa: self.numa,
                pagesets: pagesets.get(..count).unwrap_or_default(),
                node_unreclaimable: self.node_unreclaimable,
                start_pfn: self.start_pfn,
            }),
        }
    }
}
