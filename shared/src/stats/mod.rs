//! The statistics area: counters in the guest image that the VMM reads from guest RAM without an exit.
//!
//! Owns the layout, the ELF note that tells where the area is, and the reader's half of the seqlock. The
//! guest writes, the VMM reads copies and trusts nothing in them. A group is what one text of `/proc` is
//! rendered from, in the order of its names (`text::names`, the lines of `/proc/meminfo`), so a counter that
//! the guest begins to count needs no change here. Invariants, checked when the crate compiles: everything
//! is a little-endian u64 at a multiple of 8, each group begins with its seqlock word. The writer makes that
//! word odd, writes, and makes it even again. [`ABI_VERSION`] changes with any change of the structures.
//! Source: Linux `seqlock.h` for the protocol.
//!
//! | file | job |
//! |---|---|
//! | `groups` | what each group holds, from and to the inputs of the renderers |
//! | `pressure` | a ring of the times at which memory was short |
//! | `read` | checks and copies for a reader that trusts nothing |
//! | `texts` | texts that only the guest can write, in a buffer of guest RAM |

mod groups;
mod pressure;
mod read;
mod texts;

pub use groups::{
    CommandGroup, CommandRecord, CpuTimes, DiskGroup, DiskWords, LEDGER, MachineGroup, MeminfoGroup,
    PagesetWords, TaskGroup, TextGroup, TrapGroup, VmstatGroup, ZoneGroup,
};
pub use pressure::{PressureEvent, PressureGroup};
pub use read::{CopyFrom, StatsError, check_header, copy_group, is_consistent};
pub use texts::{GuestText, MAX_TEXTS_SIZE, TEXTS, parse_texts, record_header};

use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word of the area: the bytes `BALLAST` and NUL. Zero until the guest has published something.
pub const MAGIC: u64 = u64::from_le_bytes(*b"BALLAST\0");

/// Version of the layout.
pub const ABI_VERSION: u32 = 5;

/// Owner name of the guest's ELF notes (in the file a NUL follows).
pub const NOTE_NAME: &str = "Ballast";

/// Type of the ELF note that describes the statistics area.
pub const NOTE_STATS: u32 = 1;

/// Most CPUs that the area has room for.
pub const MAX_CPUS: usize = 64;

/// Names of the zone types, in the order of [`ZoneGroup::kind`].
pub const ZONE_NAMES: [&str; 5] = ["DMA", "DMA32", "Normal", "HighMem", "Movable"];

/// Most zones: one of each type on each of eight nodes.
pub const MAX_ZONES: usize = 8 * ZONE_NAMES.len();

/// Most disks that are told of.
pub const MAX_DISKS: usize = 26;

/// Most commands that are recorded; later ones are only counted.
pub const MAX_COMMANDS: usize = 512;

/// Events of pressure that can be read: the last ones.
pub const MAX_PRESSURE: usize = 16;

/// Description of the ELF note [`NOTE_STATS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StatsNote {
    /// [`ABI_VERSION`] of the guest.
    pub abi_version: u32,
    /// Zero.
    pub reserved: u32,
    /// Physical address of the [`StatsArea`].
    pub address: u64,
}

/// Head of the area: zero until the guest publishes for the first time, constant afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`ABI_VERSION`].
    pub abi_version: u64,
    /// Size of the area in bytes.
    pub size: u64,
    /// Number of groups.
    pub groups: u64,
}

/// The whole area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StatsArea {
    /// Head.
    pub header: Header,
    /// Facts about the machine.
    pub machine: MachineGroup,
    /// Traps and gates.
    pub traps: TrapGroup,
    /// Tasks and time.
    pub tasks: TaskGroup,
    /// `/proc/meminfo`.
    pub meminfo: MeminfoGroup,
    /// `/proc/vmstat`.
    pub vmstat: VmstatGroup,
    /// Where the texts of the end are.
    pub texts: TextGroup,
    /// The commands that have ended.
    pub commands: CommandGroup,
    /// The disks.
    pub disks: DiskGroup,
    /// When memory was short.
    pub pressure: PressureGroup,
    /// `/proc/zoneinfo` and `/proc/buddyinfo`: the first [`MachineGroup::zones`] of them.
    pub zones: [ZoneGroup; MAX_ZONES],
}

/// Size of the area in bytes.
pub const AREA_SIZE: usize = size_of::<StatsArea>();

/// Offset and size in bytes of the groups before the zones. The seqlock word comes first.
const SINGLE: [(usize, usize); 9] = [
    (offset_of!(StatsArea, machine), size_of::<MachineGroup>()),
    (offset_of!(StatsArea, traps), size_of::<TrapGroup>()),
    (offset_of!(StatsArea, tasks), size_of::<TaskGroup>()),
    (offset_of!(StatsArea, meminfo), size_of::<MeminfoGroup>()),
    (offset_of!(StatsArea, vmstat), size_of::<VmstatGroup>()),
    (offset_of!(StatsArea, texts), size_of::<TextGroup>()),
    (offset_of!(StatsArea, commands), size_of::<CommandGroup>()),
    (offset_of!(StatsArea, disks), size_of::<DiskGroup>()),
    (offset_of!(StatsArea, pressure), size_of::<PressureGroup>()),
];

/// Number of groups, those of zones that do not exist included.
pub const GROUPS: usize = SINGLE.len() + MAX_ZONES;

/// Offset in bytes of zone `index`, which is below [`MAX_ZONES`].
#[must_use]
pub const fn zone_offset(index: usize) -> usize {
    offset_of!(StatsArea, zones) + index * size_of::<ZoneGroup>()
}

/// Offset and size in bytes of a group, by its number.
#[must_use]
pub fn group(number: usize) -> Option<(usize, usize)> {
    match number.checked_sub(SINGLE.len()) {
        None => SINGLE.get(number).copied(),
        Some(zone) if zone < MAX_ZONES => Some((zone_offset(zone), size_of::<ZoneGroup>())),
        Some(_) => None,
    }
}

/// Counters that no text of `/proc` shows by itself: name and offset in bytes in the area.
pub const FIELDS: &[(&str, usize)] = &[
    ("ring", offset_of!(StatsArea, machine.ring)),
    ("cpus", offset_of!(StatsArea, machine.cpus)),
    ("nodes", offset_of!(StatsArea, machine.nodes)),
    ("zones", offset_of!(StatsArea, machine.zones)),
    ("tsc_khz", offset_of!(StatsArea, machine.tsc_khz)),
    ("irq", offset_of!(StatsArea, traps.irq)),
    ("timer", offset_of!(StatsArea, traps.timer)),
    ("ipi", offset_of!(StatsArea, traps.ipi)),
    ("page_faults", offset_of!(StatsArea, traps.page_faults)),
    ("exceptions", offset_of!(StatsArea, traps.exceptions)),
    ("gates", offset_of!(StatsArea, traps.gates)),
    ("uptime_ns", offset_of!(StatsArea, tasks.uptime_ns)),
    ("switches", offset_of!(StatsArea, tasks.switches)),
    ("tasks", offset_of!(StatsArea, tasks.tasks)),
    ("running", offset_of!(StatsArea, tasks.running)),
    ("started", offset_of!(StatsArea, tasks.started)),
];

const _: () = assert!(size_of::<StatsNote>() == 16 && offset_of!(StatsNote, address) == 8);
const _: () = assert!(offset_of!(StatsArea, machine) == size_of::<Header>());
const _: () = assert!(AREA_SIZE == zone_offset(MAX_ZONES) && AREA_SIZE.is_multiple_of(8));

impl Header {
    /// The head that this version of the guest writes.
    #[must_use]
    pub const fn new() -> Self {
        Self { magic: MAGIC, abi_version: ABI_VERSION as u64, size: AREA_SIZE as u64, groups: GROUPS as u64 }
    }
}

impl Default for Header {
    fn default() -> Self {
        Self::new()
    }
}

impl StatsNote {
    /// Reads the description of the ELF note.
    ///
    /// # Errors
    /// [`StatsError::Short`], or [`StatsError::Version`] for another layout.
    pub fn parse(description: &[u8]) -> Result<Self, StatsError> {
        let note: Self = read::prefix(description)?;
        if note.abi_version == ABI_VERSION {
            Ok(note)
        } else {
            Err(StatsError::Version(note.abi_version.into()))
        }
    }
}
