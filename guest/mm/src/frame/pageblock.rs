//! Pageblocks: 2 MiB of memory share a zone, a node and a migrate type.
//!
//! Owns: the packed word and the names of zones. Invariants: an all-zero word is a pageblock that the allocator
//! has not taken in; a taken-in pageblock never changes its zone or node. Source: Linux `pageblock_flags`.

use super::MigrateType;
use crate::addr::NodeId;
use core::fmt;

/// The kinds of zones, lowest memory first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[repr(u8)]
pub enum ZoneKind {
    /// For devices that address 24 bits.
    #[default]
    Dma = 0,
    /// For devices that address 32 bits.
    Dma32 = 1,
    /// The rest of the direct map.
    Normal = 2,
    /// RAM outside the direct map; empty unless asked for.
    HighMem = 3,
    /// RAM for movable pages only; empty unless asked for.
    Movable = 4,
}

impl ZoneKind {
    /// How many kinds there are.
    pub const COUNT: usize = 5;
    /// Every kind, lowest memory first.
    pub const ALL: [Self; Self::COUNT] = [Self::Dma, Self::Dma32, Self::Normal, Self::HighMem, Self::Movable];

    /// The kind as an index, below [`ZoneKind::COUNT`].
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    #[inline(always)]
    const fn from_bits(bits: u16) -> Self {
        match bits & 7 {
            0 => Self::Dma,
            1 => Self::Dma32,
            2 => Self::Normal,
            3 => Self::HighMem,
            _ => Self::Movable,
        }
    }

    /// Linux's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dma => "DMA",
            Self::Dma32 => "DMA32",
            Self::Normal => "Normal",
            Self::HighMem => "HighMem",
            Self::Movable => "Movable",
        }
    }
}

/// One zone of one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ZoneId {
    /// The node.
    pub node: NodeId,
    /// Which of its zones.
    pub kind: ZoneKind,
}

impl ZoneId {
    /// How many zones there can be, with numbers for kinds that do not exist.
    pub(crate) const SLOTS: usize = 64;

    /// The zone as an index below [`ZoneId::SLOTS`].
    #[inline(always)]
    pub(crate) const fn slot(self) -> usize {
        self.node.index() << 3 | self.kind.index()
    }

    /// The zone of an index; only those of [`ZoneId::slot`] mean anything.
    #[inline(always)]
    pub(crate) const fn from_slot(slot: usize) -> Self {
        let node = match NodeId::new((slot >> 3) as u32 & 0x7) {
            Some(node) => node,
            // Three bits are always below `NodeId::MAX_NODES`.
            None => NodeId::ZERO,
        };
        Self { node, kind: ZoneKind::from_bits(slot as u16) }
    }
}

impl fmt::Display for ZoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} zone {}", self.node.index(), self.kind.name())
    }
}

const ZONE_SHIFT: u32 = 3;
const NODE_SHIFT: u32 = 6;
const TAKEN_IN: u16 = 1 << 15;

/// The word of one pageblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Pageblock(u16);

impl Pageblock {
    /// A stored word.
    #[inline(always)]
    pub(super) const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// The word to store.
    #[inline(always)]
    pub(super) const fn raw(self) -> u16 {
        self.0
    }

    /// A pageblock that belongs to `zone` now.
    #[inline(always)]
    pub(crate) const fn new(zone: ZoneId, mt: MigrateType) -> Self {
        Self(
            TAKEN_IN
                | (zone.node.index() as u16) << NODE_SHIFT
                | (zone.kind as u16) << ZONE_SHIFT
                | mt as u16,
        )
    }

    /// Whether the allocator has taken it in. If not, the other fields mean nothing.
    #[inline(always)]
    #[must_use]
    pub const fn is_taken_in(self) -> bool {
        self.0 & TAKEN_IN != 0
    }

    /// Its zone.
    #[inline(always)]
    #[must_use]
    pub const fn zone(self) -> ZoneId {
        ZoneId::from_slot(self.zone_slot())
    }

    /// Its zone as an index below [`ZoneId::SLOTS`].
    #[inline(always)]
    pub(crate) const fn zone_slot(self) -> usize {
        (self.0 >> ZONE_SHIFT) as usize & (ZoneId::SLOTS - 1)
    }

    /// Its migrate type.
    #[inline(always)]
    #[must_use]
    pub const fn migrate_type(self) -> MigrateType {
        MigrateType::from_bits(self.0 as u32)
    }
}

const _: () = assert!(NodeId::MAX_NODES == 8, "the node field has three bits");
const _: () = assert!(NODE_SHIFT == ZONE_SHIFT + 3 && ZoneId::SLOTS == 1 << 6, "slots are the two fields");
