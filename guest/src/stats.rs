//! The statistics area: counters in the image that the monitor reads from guest RAM, without an exit.
//!
//! Owns: the area, the ELF note that tells where it is, and the writer's half of the seqlock. Stays outside:
//! the layout (`shared::stats`) and the counters themselves, which are counted where they happen. Invariants:
//! one writer at a time; a group's word is odd while the group changes. Groups are brought up to date when
//! somebody looks and when the machine ends. Everything read here is read without a lock, so that a
//! crash can do it too. Source: Linux `seqlock.h`.

use crate::arch::irq::{LINES, line};
use crate::arch::percpu::{self, Counter, PerCpu};
use crate::arch::{cpu, smp};
use crate::machine::CPU;
use crate::memory::{self, PHYS};
use core::sync::atomic::{AtomicU64, Ordering, fence};
use mm::frame::ZoneKind;
use mm::phys::Event;
use mm::sync::SpinLock;
use shared::stats::{ABI_VERSION, AREA_SIZE, FIELDS, GROUPS, NOTE_NAME, NOTE_STATS, StatsArea, StatsNote};

const WORDS: usize = AREA_SIZE / size_of::<u64>();

/// The area, by words.
#[repr(C, align(4096))]
struct Area([AtomicU64; WORDS]);

/// The linker script derives the physical address from this name.
#[unsafe(export_name = "stats_area")]
#[unsafe(link_section = ".data.page_aligned")]
// SAFETY: both are arrays of 64-bit words without padding, and every value of a word is valid in both.
static AREA: Area = unsafe { core::mem::transmute::<StatsArea, Area>(StatsArea::INITIAL) };

unsafe extern "C" {
    /// Its address is the physical address of [`AREA`].
    static stats_area_physical: u8;
}

const NAME_BYTES: usize = NOTE_NAME.len() + 1;

/// The note as it stands in the file: sizes, type, name, and the words of [`StatsNote`]. The address is a
/// pointer here because only the linker knows it.
#[repr(C, packed(4))]
struct Note {
    name_size: u32,
    size: u32,
    kind: u32,
    name: [u8; NAME_BYTES],
    abi_version: u32,
    reserved: u32,
    address: *const u8,
}

// SAFETY: never changes, and the pointer is not used as one.
unsafe impl Sync for Note {}

const _: () =
    assert!(NAME_BYTES.is_multiple_of(4) && size_of::<Note>() == 12 + NAME_BYTES + size_of::<StatsNote>());

const fn note_name() -> [u8; NAME_BYTES] {
    let mut name = [0; NAME_BYTES];
    name.split_at_mut(NOTE_NAME.len()).0.copy_from_slice(NOTE_NAME.as_bytes());
    name
}

#[used]
#[unsafe(link_section = ".note.ballast")]
static NOTE: Note = Note {
    name_size: NAME_BYTES as u32,
    size: size_of::<StatsNote>() as u32,
    kind: NOTE_STATS,
    name: note_name(),
    abi_version: ABI_VERSION,
    reserved: 0,
    address: &raw const stats_area_physical,
};

static WRITER: SpinLock<()> = SpinLock::new(());

/// Brings every group up to date, unless another CPU is doing that.
pub fn refresh() {
    let Some(_writer) = WRITER.try_lock(&CPU) else { return };
    for (group, (offset, _)) in GROUPS.iter().enumerate() {
        let Some(sequence) = AREA.0.get(offset / size_of::<u64>()) else { continue };
        let before = sequence.load(Ordering::Relaxed);
        sequence.store(before.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (name, offset, _) in FIELDS.iter().filter(|(_, _, of)| *of == group) {
            if let Some(word) = AREA.0.get(offset / size_of::<u64>()) {
                word.store(current(name), Ordering::Relaxed);
            }
        }
        sequence.store(before.wrapping_add(2), Ordering::Release);
    }
}

/// Every field with its value, as [`refresh`] left it.
pub fn fields() -> impl Iterator<Item = (&'static str, u64)> {
    let value =
        |offset: usize| AREA.0.get(offset / size_of::<u64>()).map_or(0, |word| word.load(Ordering::Relaxed));
    FIELDS.iter().map(move |(name, offset, _)| (*name, value(*offset)))
}

/// What a field should say now; 0 for one that nobody counts.
fn current(name: &str) -> u64 {
    match name {
        "ring" => cpu::ring().into(),
        "cpus" => smp::online().into(),
        "nodes" => PHYS.nodes().count() as u64,
        "mem_total" => memory::bytes(PHYS.total_managed_pages()),
        "nr_free_pages" => PHYS.total_free_pages(),
        "pgalloc_dma" => of_zones(ZoneKind::Dma, Event::PgAlloc),
        "pgalloc_dma32" => of_zones(ZoneKind::Dma32, Event::PgAlloc),
        "pgalloc_normal" => of_zones(ZoneKind::Normal, Event::PgAlloc),
        "pgalloc_high" => of_zones(ZoneKind::HighMem, Event::PgAlloc),
        "pgalloc_movable" => of_zones(ZoneKind::Movable, Event::PgAlloc),
        "pgfree_dma" => of_zones(ZoneKind::Dma, Event::PgFree),
        "pgfree_dma32" => of_zones(ZoneKind::Dma32, Event::PgFree),
        "pgfree_normal" => of_zones(ZoneKind::Normal, Event::PgFree),
        "pgfree_high" => of_zones(ZoneKind::HighMem, Event::PgFree),
        "pgfree_movable" => of_zones(ZoneKind::Movable, Event::PgFree),
        "irq" => interrupts(line::FIRST_DEVICE..LINES),
        "timer" => interrupts(line::TIMER..line::TIMER + 1),
        "ipi" => interrupts(line::IPI..line::FIRST_DEVICE),
        "page_faults" => of_cpus(|area| percpu::counter_of(area, Counter::PageFaults)),
        "exceptions" => of_cpus(|area| percpu::counter_of(area, Counter::Exceptions)),
        "gates" => of_cpus(|area| percpu::counter_of(area, Counter::Gates)),
        _ => 0,
    }
}

fn of_zones(kind: ZoneKind, event: Event) -> u64 {
    let zones = PHYS.populated_zones().filter(|zone| zone.id().kind == kind);
    zones.map(|zone| PHYS.events(zone, event)).sum()
}

fn of_cpus(count: impl Fn(*const PerCpu) -> u64) -> u64 {
    (0..smp::online()).filter_map(smp::area).map(|area| count(area)).sum()
}

fn interrupts(lines: core::ops::Range<usize>) -> u64 {
    lines.map(|line| of_cpus(|area| percpu::interrupts_of(area, line))).sum()
}
