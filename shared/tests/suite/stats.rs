//! The statistics area: layout, header, note, the groups and the texts, and the reader against a writer that
//! interferes.

use core::mem::{offset_of, size_of};
use proptest::prelude::*;
use shared::params::PsiTrigger;
use shared::stats::{
    ABI_VERSION, AREA_SIZE, CommandGroup, CommandRecord, FIELDS, GROUPS, Header, MAGIC, MAX_COMMANDS,
    MAX_CPUS, MAX_PRESSURE, MAX_ZONES, MeminfoGroup, PressureEvent, PressureGroup, StatsArea, StatsError,
    StatsNote, TEXTS, TrapGroup, VmstatGroup, ZONE_NAMES, ZoneGroup, check_header, copy_group, group,
    is_consistent, parse_texts, record_header,
};
use shared::text::meminfo::Meminfo;
use shared::text::vmstat::Vmstat;
use shared::text::zoneinfo::{Pageset, Populated, Zone, write_zone};
use shared::text::{ORDERS, buddyinfo};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

const EMPTY: Pageset =
    Pageset { cpu: 0, count: 0, high: 0, batch: 0, high_min: 0, high_max: 0, stat_threshold: 0 };

#[test]
fn groups_fill_the_area_and_fields_lie_in_them() {
    let groups: Vec<_> = (0..GROUPS).map(|number| group(number).expect("a group")).collect();
    let mut end = size_of::<Header>();
    for (offset, size) in &groups {
        assert_eq!(*offset, end, "groups follow each other");
        end += size;
    }
    assert_eq!(end, AREA_SIZE);
    assert_eq!(group(GROUPS), None);
    assert_eq!(group(usize::MAX), None);
    for (name, offset) in FIELDS {
        let inside = |(start, size): &(usize, usize)| (start + 8..start + size).contains(offset);
        assert!(groups.iter().any(inside) && offset.is_multiple_of(8), "{name}");
    }
}

#[test]
fn offsets_are_those_of_version_5() {
    assert_eq!(ABI_VERSION, 5);
    let offset = |name| FIELDS.iter().find(|(n, ..)| *n == name).map(|(_, offset)| *offset);
    assert_eq!((offset("ring"), offset("irq"), offset("uptime_ns")), (Some(40), Some(88), Some(144)));
    assert_eq!(offset_of!(StatsArea, meminfo), 136 + 48 + MAX_CPUS * 16);
    assert_eq!(MAGIC.to_le_bytes(), *b"BALLAST\0");
}

#[test]
fn header_is_checked() {
    assert_eq!(check_header(Header::new().as_bytes()), Ok(()));
    assert_eq!(check_header(&[0; 32]), Err(StatsError::NotYet));
    let short = check_header(&Header::new().as_bytes()[..31]);
    assert_eq!(short, Err(StatsError::Short { need: 32, have: 31 }));
    let with = |change: fn(&mut Header)| {
        let mut header = Header::new();
        change(&mut header);
        check_header(header.as_bytes())
    };
    assert_eq!(with(|h| h.magic = 7), Err(StatsError::Magic(7)));
    assert_eq!(with(|h| h.abi_version = 1), Err(StatsError::Version(1)));
    assert_eq!(with(|h| h.size = 8192), Err(StatsError::Shape));
    assert_eq!(with(|h| h.groups = 9), Err(StatsError::Shape));
}

#[test]
fn note_is_checked() {
    let note = StatsNote { abi_version: ABI_VERSION, reserved: 0, address: 0x20_3000 };
    assert_eq!(note.as_bytes(), [5, 0, 0, 0, 0, 0, 0, 0, 0, 0x30, 0x20, 0, 0, 0, 0, 0]);
    assert_eq!(StatsNote::parse(note.as_bytes()), Ok(note));
    assert_eq!(StatsNote::parse(&[0; 15]), Err(StatsError::Short { need: 16, have: 15 }));
    assert_eq!(StatsNote::parse(&[9; 16]), Err(StatsError::Version(0x0909_0909)));
}

/// A guest that writes `writes` times while it is read, one word between any two copies.
struct Writer {
    traps: TrapGroup,
    writes: u32,
    half: bool,
}

/// Number of the group of traps.
const TRAPS: usize = 1;

impl Writer {
    fn new(writes: u32) -> Self {
        Self { traps: TrapGroup::new_zeroed(), writes, half: false }
    }

    fn copy(&mut self, offset: usize, bytes: &mut [u8]) -> Result<(), StatsError> {
        let from = offset - offset_of!(StatsArea, traps);
        bytes.copy_from_slice(&self.traps.as_bytes()[from..from + bytes.len()]);
        if self.writes == 0 {
            return Ok(());
        }
        // Each pair of steps keeps irq + timer constant only when both are seen.
        self.traps.sequence += 1;
        if self.half {
            self.traps.timer += 1;
            self.writes -= 1;
        } else {
            self.traps.irq = self.traps.irq.wrapping_sub(1);
        }
        self.half = !self.half;
        Ok(())
    }
}

#[test]
fn reader_never_returns_half_a_write() {
    for writes in 0..20 {
        let mut writer = Writer::new(writes);
        let mut buffer = [0; 256];
        let bytes = copy_group(TRAPS, 100, &mut buffer, &mut |offset, bytes| writer.copy(offset, bytes));
        let (group, _) = TrapGroup::read_from_prefix(bytes.expect("quiet in the end")).expect("a group");
        assert_eq!(group.irq.wrapping_add(group.timer), 0, "{writes} writes");
        assert_eq!(group.timer, u64::from(writes), "it waits until the writer is quiet");
    }
}

#[test]
fn reader_gives_up_and_refuses() {
    let mut writer = Writer::new(u32::MAX);
    let mut buffer = [0; 256];
    let busy = copy_group(TRAPS, 10, &mut buffer, &mut |offset, bytes| writer.copy(offset, bytes)).err();
    assert_eq!(busy, Some(StatsError::Busy { group: TRAPS }));
    let mut quiet = |_: usize, _: &mut [u8]| Ok(());
    assert_eq!(copy_group(GROUPS, 1, &mut buffer, &mut quiet).err(), Some(StatsError::NoGroup(GROUPS)));
    let short = copy_group(TRAPS, 1, &mut buffer[..55], &mut quiet).err();
    assert_eq!(short, Some(StatsError::Short { need: 56, have: 55 }));
    let mut gone = |_: usize, _: &mut [u8]| Err(StatsError::Outside(7));
    assert_eq!(copy_group(TRAPS, 1, &mut buffer, &mut gone).err(), Some(StatsError::Outside(7)));
}

#[test]
fn seqlock_word() {
    assert!(is_consistent(0, 0) && is_consistent(4, 4));
    assert!(!is_consistent(1, 1), "a write was going on");
    assert!(!is_consistent(2, 4), "a write came between");
}

/// Every word another number.
fn counting<T: FromBytes + IntoBytes + zerocopy::Immutable>(step: u64) -> T {
    let words: Vec<u64> = (1..=size_of::<T>() as u64 / 8).map(|n| n * step).collect();
    T::read_from_bytes(words.as_bytes()).expect("words only")
}

#[test]
fn meminfo_and_vmstat_come_back_as_they_went() {
    let group: MeminfoGroup = counting(3);
    let numbers = group.numbers();
    assert_eq!(numbers.values(), group.lines);
    assert_eq!(
        (numbers.cma, numbers.direct_map_1g),
        (Some((group.cma[0], group.cma[1])), Some(group.direct_map_1g))
    );
    assert_eq!(MeminfoGroup::new(&numbers).numbers(), numbers);
    assert_eq!(MeminfoGroup::new(&Meminfo::default()).numbers(), Meminfo::default());
    let group: VmstatGroup = counting(5);
    assert_eq!(
        VmstatGroup::new(&group.numbers()).words().collect::<Vec<_>>(),
        group.words().collect::<Vec<_>>()
    );
    let names: Vec<_> = Vmstat::ZERO.iter().map(|(_, value)| value).collect();
    assert_eq!(names.len(), group.words().count() + 1, "and nr_unstable, which is always 0");
}

fn decode(words: &[(usize, u64)]) -> ZoneGroup {
    let mut all = vec![0u64; size_of::<ZoneGroup>() / 8];
    words.iter().for_each(|(place, value)| all[*place] = *value);
    ZoneGroup::read_from_bytes(all.as_bytes()).expect("words only")
}

fn text(zone: &Zone<'_>) -> String {
    let mut text = String::new();
    write_zone(&mut text, zone).expect("infallible");
    text
}

#[test]
fn a_zone_renders_as_it_did_before_the_area() {
    let pagesets: [Pageset; 2] = core::array::from_fn(|cpu| Pageset {
        cpu: cpu as u32,
        count: 10 + cpu as u64,
        high: 20,
        batch: 30,
        high_min: 40,
        high_max: 50,
        stat_threshold: 60,
    });
    let node_stats = core::array::from_fn(|n| 7000 + n as u64);
    let blocks: [u64; ORDERS] = core::array::from_fn(|order| 1 + order as u64);
    let mut zone = Zone {
        node: 3,
        name: "Normal",
        node_stats: Some(&node_stats),
        free: 1,
        boost: 2,
        min: 3,
        low: 4,
        high: 5,
        promo: 6,
        spanned: 7,
        present: 8,
        managed: 9,
        cma: 10,
        protection: &[11, 12, 13, 14, 15],
        populated: Some(Populated {
            stats: core::array::from_fn(|n| 100 + n as u64),
            numa: core::array::from_fn(|n| 200 + n as u64),
            pagesets: &pagesets,
            node_unreclaimable: 1,
            start_pfn: 4096,
        }),
    };
    let round = |zone: &Zone<'_>| {
        let mut words = Vec::new();
        ZoneGroup::encode(zone, &blocks, &mut |place, value| words.push((place, value)));
        assert!(words.iter().all(|(place, _)| *place > 0), "the seqlock word is the writer's");
        decode(&words)
    };
    let group = round(&zone);
    assert_eq!(text(&group.numbers(&mut [EMPTY; MAX_CPUS])), text(&zone));
    assert_eq!(group.free_blocks(), Some(buddyinfo::ZoneBlocks { node: 3, zone: "Normal", free: blocks }));
    zone.populated = None;
    zone.node_stats = None;
    let group = round(&zone);
    assert_eq!(text(&group.numbers(&mut [EMPTY; MAX_CPUS])), text(&zone));
    assert_eq!(group.free_blocks(), None);
}

proptest! {
    /// Whatever a hostile guest puts into a zone, it renders, and to a text of a bounded size.
    #[test]
    fn any_words_render(words in prop::collection::vec(any::<u64>(), size_of::<ZoneGroup>() / 8)) {
        let group = ZoneGroup::read_from_bytes(words.as_bytes()).expect("words only");
        let rendered = text(&group.numbers(&mut [EMPTY; MAX_CPUS]));
        prop_assert!(rendered.len() < 64 << 10);
        prop_assert!(group.name() == "?" || ZONE_NAMES.contains(&group.name()));
    }

    #[test]
    fn any_buffer_of_texts_parses(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let total: usize = parse_texts(&bytes).map(|text| text.bytes.len()).sum();
        prop_assert!(total <= bytes.len());
    }
}

#[test]
fn texts_come_back_and_end_where_they_are_cut() {
    let mut buffer = Vec::new();
    for (number, text) in ["", "seven b", "eight by"].into_iter().enumerate() {
        let (header, filling) = record_header(number, text.len());
        buffer.extend(header);
        buffer.extend(text.bytes());
        buffer.extend(vec![0; filling]);
    }
    let parse = |bytes: &[u8]| {
        let texts = parse_texts(bytes);
        texts.map(|text| (text.name, String::from_utf8_lossy(text.bytes).into_owned())).collect::<Vec<_>>()
    };
    let all = parse(&buffer);
    let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, TEXTS[..3]);
    assert_eq!(all[1].1, "seven b");
    assert_eq!(all[2].1, "eight by");
    assert_eq!(parse(&buffer[..buffer.len() - 1]), all[..2], "the last one is cut");
    let (unknown, _) = record_header(TEXTS.len(), 0);
    assert_eq!(parse(&unknown), []);
}

#[test]
fn commands_are_counted_beyond_the_records() {
    let mut words = vec![0u64; size_of::<CommandGroup>() / 8];
    let record = |n: u64| CommandRecord { from: n, to: n + 1, status: n % 3, ns: n * 7 };
    for n in 0..MAX_COMMANDS as u64 + 2 {
        CommandGroup::encode(n, &record(n), &mut |place, value| words[place] = value);
    }
    let group = CommandGroup::read_from_bytes(words.as_bytes()).expect("words only");
    assert_eq!(group.count, MAX_COMMANDS as u64 + 2);
    assert!(group.records.iter().zip(0..).all(|(found, n)| *found == record(n)));
    assert!(MAX_ZONES >= ZONE_NAMES.len());
}

/// A ring after `count` events, event `n` at `n` us, written as a guest writes it.
fn ring(count: u64) -> PressureGroup {
    let trigger = PsiTrigger::parse("full 5 600000").expect("a trigger");
    let mut words = vec![0_u64; size_of::<PressureGroup>() / 8];
    for number in 0..count {
        let event = PressureEvent::new(number, &trigger);
        PressureGroup::encode(number, &event, &mut |place, word| words[place] = word);
    }
    PressureGroup::read_from_bytes(words.as_bytes()).expect("a group")
}

#[test]
fn the_ring_of_pressure_gives_the_last_events_and_counts_the_rest() {
    let most = MAX_PRESSURE as u64;
    for (count, seen, missed) in
        [(0, 0, 0), (3, 0, 0), (3, 2, 0), (most, 0, 0), (most + 5, 0, 5), (most + 5, 7, 0)]
    {
        let group = ring(count);
        let (lost, events) = group.since(seen);
        let events: Vec<_> =
            events.map(|event| (event.at_us, event.stall(), event.threshold_us, event.window_us)).collect();
        let expected: Vec<_> = (seen + missed..count).map(|at| (at, "full", 5, 600_000)).collect();
        assert_eq!((lost, events), (missed, expected), "{count} {seen}");
    }
    // Words of a guest that lies.
    let mut group = ring(1);
    (group.count, group.events[0].stall) = (u64::MAX, u64::MAX);
    let (lost, events) = group.since(1);
    assert_eq!((lost, events.count()), (u64::MAX - most - 1, MAX_PRESSURE));
    assert_eq!(group.events[0].stall(), "?");
    assert_eq!((group.since(u64::MAX).0, group.since(u64::MAX).1.count()), (0, 0));
}
