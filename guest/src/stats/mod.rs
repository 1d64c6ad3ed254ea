//! The statistics area: counters in the image that the monitor reads from guest RAM, without an exit.
//!
//! Owns: the area, the ELF note that tells where it is, and the writer's half of the seqlock. Stays outside:
//! the layout (`shared::stats`) and the numbers themselves: each group is the input of a text of `/proc`, and
//! comes from where that text has it. Invariants: one writer at a time; a group's word is odd while the group
//! changes. The groups are brought up to date when somebody looks, when the machine ends by itself, and every
//! `stats.interval_ms`. A crash leaves them as they were, because locks may be held.
//! Source: Linux `seqlock.h`.
//!
//! | file | job |
//! |---|---|
//! | `tick` | brings the area up to date while the machine runs |
//! | `pressure` | tells when memory is short |
//! | `texts` | the texts that the monitor gets when the machine ends |

pub mod pressure;
mod texts;
mod tick;

pub use tick::start;

use crate::arch::irq::{LINES, line};
use crate::arch::percpu::{self, Counter, PerCpu};
use crate::arch::{cpu, smp, time};
use crate::drivers::blk;
use crate::machine::CPU;
use crate::memory::{PHYS, kswapd};
use crate::proc;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering, fence};
use mm::port::{BlockDevice, LEDGER_LINES};
use mm::sync::SpinLock;
use shared::stats::{
    ABI_VERSION, AREA_SIZE, CommandGroup, CommandRecord, DiskGroup, DiskWords, FIELDS, Header, LEDGER,
    MAX_DISKS, MAX_ZONES, MachineGroup, MeminfoGroup, NOTE_NAME, NOTE_STATS, StatsArea, StatsNote, TextGroup,
    TrapGroup, VmstatGroup, ZoneGroup, zone_offset,
};

const WORDS: usize = AREA_SIZE / size_of::<u64>();

/// The area, by words; all zero until the first [`refresh`].
#[repr(C, align(4096))]
struct Area([AtomicU64; WORDS]);

/// The linker script derives the physical address from this name.
#[unsafe(export_name = "stats_area")]
static AREA: Area = Area([const { AtomicU64::new(0) }; WORDS]);

unsafe extern "C" {
    /// Its address is the physical address of [`AREA`].
    static stats_area_physical: u8;
}

const _: () = assert!(LEDGER_LINES == LEDGER.len());

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

fn word(offset: usize) -> Option<&'static AtomicU64> {
    AREA.0.get(offset / size_of::<u64>())
}

/// Changes the group at `offset`; `fill` passes on words by their place in the group.
fn change(offset: usize, fill: impl FnOnce(&mut dyn FnMut(usize, u64))) {
    let Some(sequence) = word(offset) else { return };
    let before = sequence.load(Ordering::Relaxed);
    sequence.store(before.wrapping_add(1), Ordering::Relaxed);
    fence(Ordering::Release);
    fill(&mut |place, value| {
        if let Some(word) = word(offset + place * size_of::<u64>()) {
            word.store(value, Ordering::Relaxed);
        }
    });
    sequence.store(before.wrapping_add(2), Ordering::Release);
}

fn publish(offset: usize, words: impl Iterator<Item = (usize, u64)>) {
    change(offset, |put| words.for_each(|(place, value)| put(place, value)));
}

/// Brings every group up to date, unless another CPU is doing that.
pub fn refresh() {
    let Some(_writer) = WRITER.try_lock(&CPU) else { return };
    let mut zones = 0;
    // Passing words on cannot fail.
    let _ = proc::for_each_zone(&mut |zone, numbers| {
        if zones < MAX_ZONES {
            let blocks = proc::free_blocks(zone);
            change(zone_offset(zones), |put| ZoneGroup::encode(numbers, &blocks, put));
            zones += 1;
        }
        Ok(())
    });
    publish(offset_of!(StatsArea, machine), machine(zones).words());
    publish(offset_of!(StatsArea, traps), traps().words());
    publish(offset_of!(StatsArea, tasks), proc::tasks().words());
    publish(offset_of!(StatsArea, meminfo), MeminfoGroup::new(&proc::meminfo()).words());
    publish(offset_of!(StatsArea, vmstat), VmstatGroup::new(&proc::vmstat()).words());
    publish(offset_of!(StatsArea, disks), disks().words());
    let Header { magic, abi_version, size, groups } = Header::new();
    // The magic comes last: whoever sees it sees a whole area.
    for (value, place) in [abi_version, size, groups].into_iter().zip(1usize..) {
        if let Some(word) = word(place * size_of::<u64>()) {
            word.store(value, Ordering::Relaxed);
        }
    }
    if let Some(first) = word(0) {
        first.store(magic, Ordering::Release);
    }
}

/// Gives the monitor the last numbers, and then the texts, whose buffer is not in them. Nothing is brought up to
/// date afterwards.
pub fn finish() {
    tick::stop();
    pressure::stop();
    kswapd::settle();
    blk::settle();
    refresh();
    texts::send();
}

/// Notes the end of a command. Commands run one after the other on the first task.
pub fn record(record: &CommandRecord) {
    let offset = offset_of!(StatsArea, commands);
    let count = word(offset_of!(StatsArea, commands.count)).map_or(0, |word| word.load(Ordering::Relaxed));
    change(offset, |put| CommandGroup::encode(count, record, put));
}

/// Tells the monitor where the texts are.
fn announce_texts(texts: &TextGroup) {
    publish(offset_of!(StatsArea, texts), texts.words());
}

/// Every field that is in no text, with its value as [`refresh`] left it.
pub fn fields() -> impl Iterator<Item = (&'static str, u64)> {
    let value = |offset: usize| word(offset).map_or(0, |word| word.load(Ordering::Relaxed));
    FIELDS.iter().map(move |(name, offset)| (*name, value(*offset)))
}

fn machine(zones: usize) -> MachineGroup {
    MachineGroup {
        sequence: 0,
        ring: cpu::ring().into(),
        cpus: smp::online().into(),
        nodes: PHYS.nodes().count() as u64,
        zones: zones as u64,
        tsc_khz: time::tsc_khz(),
    }
}

fn disks() -> DiskGroup {
    let mut all = DiskGroup { sequence: 0, count: 0, disks: [DiskWords::default(); MAX_DISKS] };
    for (slot, disk) in all.disks.iter_mut().zip(blk::disks()) {
        let done = disk.counters();
        *slot = DiskWords {
            id: DiskWords::id_of(disk.serial().as_bytes()),
            reads: done.reads,
            read_bytes: done.read_bytes,
            writes: done.writes,
            write_bytes: done.write_bytes,
            flushes: done.flushes,
            discards: done.discards,
            discard_bytes: done.discard_bytes,
            errors: done.errors,
            ledger: disk.ledger().lines(),
        };
        all.count += 1;
    }
    all
}

/// Traps and gates so far.
pub fn traps() -> TrapGroup {
    TrapGroup {
        sequence: 0,
        irq: interrupts(line::FIRST_DEVICE..LINES),
        timer: interrupts(line::TIMER..line::TIMER + 1),
        ipi: interrupts(line::IPI..line::FIRST_DEVICE),
        page_faults: of_cpus(|area| percpu::counter_of(area, Counter::PageFaults)),
        exceptions: of_cpus(|area| percpu::counter_of(area, Counter::Exceptions)),
        gates: of_cpus(|area| percpu::counter_of(area, Counter::Gates)),
    }
}

fn of_cpus(count: impl Fn(*const PerCpu) -> u64) -> u64 {
    (0..smp::online()).filter_map(smp::area).map(|area| count(area)).sum()
}

fn interrupts(lines: core::ops::Range<usize>) -> u64 {
    lines.map(|line| of_cpus(|area| percpu::interrupts_of(area, line))).sum()
}
