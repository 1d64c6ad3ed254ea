//! The statistics area: counters in the guest image that the VMM reads from guest RAM without an exit.
//!
//! Owns the layout, the ELF note that tells where the area is, and the reader's half of the seqlock. The
//! guest writes, the VMM reads copies and trusts nothing in them. Invariants, checked when the crate
//! compiles: everything is a little-endian u64 at a multiple of 8, the area fills whole pages, each group
//! begins with its seqlock word. The writer makes that word odd, writes, and makes it even again.
//! [`ABI_VERSION`] changes with any change of this file's structures. Source: Linux `seqlock.h` for the
//! protocol.

use crate::layout::PAGE_SIZE;
use core::fmt;
use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word of the area: the bytes `BALLAST` and NUL.
pub const MAGIC: u64 = u64::from_le_bytes(*b"BALLAST\0");

/// Version of the layout.
pub const ABI_VERSION: u32 = 1;

/// Owner name of the guest's ELF notes (in the file a NUL follows).
pub const NOTE_NAME: &str = "Ballast";

/// Type of the ELF note that describes the statistics area.
pub const NOTE_STATS: u32 = 1;

/// Zone types that are counted apart, in the order of [`AllocGroup::pgalloc`].
pub const ZONE_TYPES: usize = 5;

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

/// Head of the area. Written once, before the guest is up; constant afterwards.
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

/// Facts about the machine; constant once the guest is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MachineGroup {
    /// Seqlock word.
    pub sequence: u64,
    /// Privilege level of the kernel's Rust code: 0 or 3.
    pub ring: u64,
    /// CPUs online.
    pub cpus: u64,
    /// NUMA nodes.
    pub nodes: u64,
    /// `MemTotal` in bytes.
    pub mem_total: u64,
}

/// Page allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AllocGroup {
    /// Seqlock word.
    pub sequence: u64,
    /// Free pages.
    pub nr_free_pages: u64,
    /// Pages allocated since boot: DMA, DMA32, Normal, HighMem, Movable.
    pub pgalloc: [u64; ZONE_TYPES],
    /// Pages freed since boot, by the same types.
    pub pgfree: [u64; ZONE_TYPES],
}

/// Traps and gates since boot, over all CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TrapGroup {
    /// Seqlock word.
    pub sequence: u64,
    /// Interrupts from devices.
    pub irq: u64,
    /// Interrupts from the local timer.
    pub timer: u64,
    /// Interrupts from other CPUs.
    pub ipi: u64,
    /// Page faults.
    pub page_faults: u64,
    /// Other exceptions.
    pub exceptions: u64,
    /// Gate calls from ring 3 to ring 0.
    pub gates: u64,
}

/// The groups that exist.
const GROUP_BYTES: usize = size_of::<MachineGroup>() + size_of::<AllocGroup>() + size_of::<TrapGroup>();
const PADDING: usize = (PAGE_SIZE as usize - size_of::<Header>() - GROUP_BYTES) / 8;

/// The whole area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StatsArea {
    /// Head.
    pub header: Header,
    /// Group 0.
    pub machine: MachineGroup,
    /// Group 1.
    pub alloc: AllocGroup,
    /// Group 2.
    pub traps: TrapGroup,
    /// Fills the page; zero.
    pub reserved: [u64; PADDING],
}

/// Size of the area in bytes.
pub const AREA_SIZE: usize = size_of::<StatsArea>();

/// Offset and size in bytes of each group, by its number. The seqlock word comes first.
pub const GROUPS: &[(usize, usize)] = &[
    (offset_of!(StatsArea, machine), size_of::<MachineGroup>()),
    (offset_of!(StatsArea, alloc), size_of::<AllocGroup>()),
    (offset_of!(StatsArea, traps), size_of::<TrapGroup>()),
];

/// Every counter: name, offset in bytes in the area, number of its group. Sorted by offset.
pub const FIELDS: &[(&str, usize, usize)] = &[
    ("ring", offset_of!(StatsArea, machine.ring), 0),
    ("cpus", offset_of!(StatsArea, machine.cpus), 0),
    ("nodes", offset_of!(StatsArea, machine.nodes), 0),
    ("mem_total", offset_of!(StatsArea, machine.mem_total), 0),
    ("nr_free_pages", offset_of!(StatsArea, alloc.nr_free_pages), 1),
    ("pgalloc_dma", offset_of!(StatsArea, alloc.pgalloc), 1),
    ("pgalloc_dma32", offset_of!(StatsArea, alloc.pgalloc) + 8, 1),
    ("pgalloc_normal", offset_of!(StatsArea, alloc.pgalloc) + 16, 1),
    ("pgalloc_high", offset_of!(StatsArea, alloc.pgalloc) + 24, 1),
    ("pgalloc_movable", offset_of!(StatsArea, alloc.pgalloc) + 32, 1),
    ("pgfree_dma", offset_of!(StatsArea, alloc.pgfree), 1),
    ("pgfree_dma32", offset_of!(StatsArea, alloc.pgfree) + 8, 1),
    ("pgfree_normal", offset_of!(StatsArea, alloc.pgfree) + 16, 1),
    ("pgfree_high", offset_of!(StatsArea, alloc.pgfree) + 24, 1),
    ("pgfree_movable", offset_of!(StatsArea, alloc.pgfree) + 32, 1),
    ("irq", offset_of!(StatsArea, traps.irq), 2),
    ("timer", offset_of!(StatsArea, traps.timer), 2),
    ("ipi", offset_of!(StatsArea, traps.ipi), 2),
    ("page_faults", offset_of!(StatsArea, traps.page_faults), 2),
    ("exceptions", offset_of!(StatsArea, traps.exceptions), 2),
    ("gates", offset_of!(StatsArea, traps.gates), 2),
];

const _: () = assert!(AREA_SIZE == PAGE_SIZE as usize);
const _: () = assert!(size_of::<StatsNote>() == 16 && offset_of!(StatsNote, address) == 8);
const _: () = assert!(offset_of!(StatsArea, machine) == 32);
const _: () = assert!(offset_of!(StatsArea, alloc) == 72);
const _: () = assert!(offset_of!(StatsArea, traps) == 168);
const _: () = assert!(offset_of!(StatsArea, reserved) == 224);

impl Header {
    /// The head that this version of the guest writes.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            magic: MAGIC,
            abi_version: ABI_VERSION as u64,
            size: AREA_SIZE as u64,
            groups: GROUPS.len() as u64,
        }
    }
}

impl Default for Header {
    fn default() -> Self {
        Self::new()
    }
}

impl StatsArea {
    /// The area as it stands in the image before the guest counts anything.
    pub const INITIAL: Self = Self {
        header: Header::new(),
        machine: MachineGroup { sequence: 0, ring: 0, cpus: 0, nodes: 0, mem_total: 0 },
        alloc: AllocGroup {
            sequence: 0,
            nr_free_pages: 0,
            pgalloc: [0; ZONE_TYPES],
            pgfree: [0; ZONE_TYPES],
        },
        traps: TrapGroup { sequence: 0, irq: 0, timer: 0, ipi: 0, page_faults: 0, exceptions: 0, gates: 0 },
        reserved: [0; PADDING],
    };
}

/// Why the statistics cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsError {
    /// The note or the area is shorter than its structure.
    Short {
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        have: usize,
    },
    /// The area does not begin with [`MAGIC`].
    Magic(u64),
    /// The guest was built for another layout.
    Version(u64),
    /// The header's sizes do not belong to this version.
    Shape,
    /// The guest kept writing during every attempt.
    Busy {
        /// Number of the group.
        group: usize,
    },
    /// There is no group of this number.
    NoGroup(usize),
}

impl fmt::Display for StatsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Short { need, have } => write!(f, "statistics need {need} bytes, the guest gives {have}"),
            Self::Magic(word) => {
                write!(f, "no statistics area: it begins with {word:#x}, check the ELF note")
            }
            Self::Version(version) => write!(
                f,
                "statistics version {version}, this program reads {ABI_VERSION}: use a guest of the same build"
            ),
            Self::Shape => f.write_str("statistics header with wrong sizes: use a guest of the same build"),
            Self::Busy { group } => write!(f, "statistics group {group} changes all the time, try again"),
            Self::NoGroup(group) => write!(f, "no statistics group {group}"),
        }
    }
}

impl core::error::Error for StatsError {}

impl StatsNote {
    /// Reads the description of the ELF note.
    ///
    /// # Errors
    /// [`StatsError::Short`], or [`StatsError::Version`] for another layout.
    pub fn parse(description: &[u8]) -> Result<Self, StatsError> {
        let note: Self = read(description)?;
        if note.abi_version == ABI_VERSION {
            Ok(note)
        } else {
            Err(StatsError::Version(note.abi_version.into()))
        }
    }
}

/// Checks a copy of the head of the area.
///
/// # Errors
/// What is wrong with it.
pub fn check_header(bytes: &[u8]) -> Result<(), StatsError> {
    let header: Header = read(bytes)?;
    let expected = Header::new();
    if header.magic != MAGIC {
        Err(StatsError::Magic(header.magic))
    } else if header.abi_version != expected.abi_version {
        Err(StatsError::Version(header.abi_version))
    } else if header != expected {
        Err(StatsError::Shape)
    } else {
        Ok(())
    }
}

fn read<T: FromBytes>(bytes: &[u8]) -> Result<T, StatsError> {
    let short = |_| StatsError::Short { need: size_of::<T>(), have: bytes.len() };
    T::read_from_prefix(bytes).map(|(value, _)| value).map_err(short)
}

/// Whether a copy taken between two reads of its seqlock word is whole: the word was even and did not
/// change. The copy itself must lie between the two reads in memory order.
#[must_use]
pub const fn is_consistent(before: u64, after: u64) -> bool {
    before == after && before & 1 == 0
}

/// Copies one group into `buffer` until the copy is whole, at most `tries` times.
///
/// `copy(offset, bytes)` copies from the area in guest RAM; it is called for the word, the group and the
/// word again, and must not be reordered (volatile or atomic reads).
///
/// # Errors
/// [`StatsError::NoGroup`], [`StatsError::Short`] when `buffer` is too small, or [`StatsError::Busy`].
pub fn copy_group<'b>(
    group: usize,
    tries: u32,
    buffer: &'b mut [u8],
    copy: &mut dyn FnMut(usize, &mut [u8]),
) -> Result<&'b [u8], StatsError> {
    let (offset, size) = GROUPS.get(group).copied().ok_or(StatsError::NoGroup(group))?;
    let have = buffer.len();
    let bytes = buffer.get_mut(..size).ok_or(StatsError::Short { need: size, have })?;
    for _ in 0..tries {
        let mut before = [0; 8];
        let mut after = [0; 8];
        copy(offset, &mut before);
        copy(offset, bytes);
        copy(offset, &mut after);
        if is_consistent(u64::from_le_bytes(before), u64::from_le_bytes(after)) {
            return Ok(bytes);
        }
    }
    Err(StatsError::Busy { group })
}
