//! Allocation flags: Linux's names, bits and meaning (`include/linux/gfp_types.h`, 6.18).
//!
//! Owns: the flags, the zone and migrate type that they ask for, and their text. Stays outside: what the
//! allocator does with the reclaim modifiers.

use super::error::AllocError;
use crate::frame::{MigrateType, ZoneKind};
use crate::port::TaskFlags;
use bitflags::bitflags;
use core::fmt;

bitflags! {
    /// How an allocation may be satisfied. Constants without a leading underscore are Linux's combinations.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct GfpFlags: u32 {
        /// From the first 16 MiB.
        const __GFP_DMA = 1 << 0;
        /// May be outside the direct map.
        const __GFP_HIGHMEM = 1 << 1;
        /// From below 4 GiB.
        const __GFP_DMA32 = 1 << 2;
        /// The pages can be migrated or reclaimed.
        const __GFP_MOVABLE = 1 << 3;
        /// The pages belong to a cache that can be dropped.
        const __GFP_RECLAIMABLE = 1 << 4;
        /// May use part of the reserves.
        const __GFP_HIGH = 1 << 5;
        /// Reclaim may start I/O.
        const __GFP_IO = 1 << 6;
        /// Reclaim may call into file systems.
        const __GFP_FS = 1 << 7;
        /// The pages are returned zeroed.
        const __GFP_ZERO = 1 << 8;
        /// The caller may reclaim by itself.
        const __GFP_DIRECT_RECLAIM = 1 << 10;
        /// kswapd may be woken.
        const __GFP_KSWAPD_RECLAIM = 1 << 11;
        /// The caller will dirty the pages.
        const __GFP_WRITE = 1 << 12;
        /// A failure is not reported.
        const __GFP_NOWARN = 1 << 13;
        /// Try hard, but fail before the OOM killer.
        const __GFP_RETRY_MAYFAIL = 1 << 14;
        /// Must not fail.
        const __GFP_NOFAIL = 1 << 15;
        /// Fail instead of trying hard.
        const __GFP_NORETRY = 1 << 16;
        /// May use all reserves.
        const __GFP_MEMALLOC = 1 << 17;
        /// The pages form a compound page.
        const __GFP_COMP = 1 << 18;
        /// Must not use reserves.
        const __GFP_NOMEMALLOC = 1 << 19;
        /// Only from the nodes that the task may use.
        const __GFP_HARDWALL = 1 << 20;
        /// From the asked node only.
        const __GFP_THISNODE = 1 << 21;
        /// Charged to the memory control group.
        const __GFP_ACCOUNT = 1 << 22;
        /// Both kinds of reclaim.
        const __GFP_RECLAIM = Self::__GFP_DIRECT_RECLAIM.bits() | Self::__GFP_KSWAPD_RECLAIM.bits();
        /// For callers that cannot wait and may use reserves.
        const GFP_ATOMIC = Self::__GFP_HIGH.bits() | Self::__GFP_KSWAPD_RECLAIM.bits();
        /// For kernel data.
        const GFP_KERNEL = Self::__GFP_RECLAIM.bits() | Self::__GFP_IO.bits() | Self::__GFP_FS.bits();
        /// For kernel data charged to a control group.
        const GFP_KERNEL_ACCOUNT = Self::GFP_KERNEL.bits() | Self::__GFP_ACCOUNT.bits();
        /// For callers that cannot wait.
        const GFP_NOWAIT = Self::__GFP_KSWAPD_RECLAIM.bits() | Self::__GFP_NOWARN.bits();
        /// Reclaim starts no I/O.
        const GFP_NOIO = Self::__GFP_RECLAIM.bits();
        /// Reclaim does not call file systems.
        const GFP_NOFS = Self::__GFP_RECLAIM.bits() | Self::__GFP_IO.bits();
        /// For user memory that the kernel addresses directly.
        const GFP_USER = Self::GFP_KERNEL.bits() | Self::__GFP_HARDWALL.bits();
        /// From the first 16 MiB.
        const GFP_DMA = Self::__GFP_DMA.bits();
        /// From below 4 GiB.
        const GFP_DMA32 = Self::__GFP_DMA32.bits();
        /// For user memory that the kernel need not address.
        const GFP_HIGHUSER = Self::GFP_USER.bits() | Self::__GFP_HIGHMEM.bits();
        /// For user memory that can move.
        const GFP_HIGHUSER_MOVABLE = Self::GFP_HIGHUSER.bits() | Self::__GFP_MOVABLE.bits();
        /// For huge pages, without any reclaim.
        const GFP_TRANSHUGE_LIGHT = Self::GFP_HIGHUSER_MOVABLE.bits() & !Self::__GFP_RECLAIM.bits()
            | Self::__GFP_COMP.bits() | Self::__GFP_NOMEMALLOC.bits() | Self::__GFP_NOWARN.bits();
        /// For huge pages, with direct reclaim.
        const GFP_TRANSHUGE = Self::GFP_TRANSHUGE_LIGHT.bits() | Self::__GFP_DIRECT_RECLAIM.bits();
    }
}

/// The names in the order in which Linux's `%pGg` tries them: larger sets first.
const NAMES: [(&str, GfpFlags); 36] = [
    ("GFP_TRANSHUGE", GfpFlags::GFP_TRANSHUGE),
    ("GFP_TRANSHUGE_LIGHT", GfpFlags::GFP_TRANSHUGE_LIGHT),
    ("GFP_HIGHUSER_MOVABLE", GfpFlags::GFP_HIGHUSER_MOVABLE),
    ("GFP_HIGHUSER", GfpFlags::GFP_HIGHUSER),
    ("GFP_USER", GfpFlags::GFP_USER),
    ("GFP_KERNEL_ACCOUNT", GfpFlags::GFP_KERNEL_ACCOUNT),
    ("GFP_KERNEL", GfpFlags::GFP_KERNEL),
    ("GFP_NOFS", GfpFlags::GFP_NOFS),
    ("GFP_ATOMIC", GfpFlags::GFP_ATOMIC),
    ("GFP_NOIO", GfpFlags::GFP_NOIO),
    ("GFP_NOWAIT", GfpFlags::GFP_NOWAIT),
    ("GFP_DMA", GfpFlags::GFP_DMA),
    ("__GFP_HIGHMEM", GfpFlags::__GFP_HIGHMEM),
    ("GFP_DMA32", GfpFlags::GFP_DMA32),
    ("__GFP_RECLAIM", GfpFlags::__GFP_RECLAIM),
    ("__GFP_DMA", GfpFlags::__GFP_DMA),
    ("__GFP_DMA32", GfpFlags::__GFP_DMA32),
    ("__GFP_MOVABLE", GfpFlags::__GFP_MOVABLE),
    ("__GFP_RECLAIMABLE", GfpFlags::__GFP_RECLAIMABLE),
    ("__GFP_HIGH", GfpFlags::__GFP_HIGH),
    ("__GFP_IO", GfpFlags::__GFP_IO),
    ("__GFP_FS", GfpFlags::__GFP_FS),
    ("__GFP_ZERO", GfpFlags::__GFP_ZERO),
    ("__GFP_DIRECT_RECLAIM", GfpFlags::__GFP_DIRECT_RECLAIM),
    ("__GFP_KSWAPD_RECLAIM", GfpFlags::__GFP_KSWAPD_RECLAIM),
    ("__GFP_WRITE", GfpFlags::__GFP_WRITE),
    ("__GFP_NOWARN", GfpFlags::__GFP_NOWARN),
    ("__GFP_RETRY_MAYFAIL", GfpFlags::__GFP_RETRY_MAYFAIL),
    ("__GFP_NOFAIL", GfpFlags::__GFP_NOFAIL),
    ("__GFP_NORETRY", GfpFlags::__GFP_NORETRY),
    ("__GFP_MEMALLOC", GfpFlags::__GFP_MEMALLOC),
    ("__GFP_COMP", GfpFlags::__GFP_COMP),
    ("__GFP_NOMEMALLOC", GfpFlags::__GFP_NOMEMALLOC),
    ("__GFP_HARDWALL", GfpFlags::__GFP_HARDWALL),
    ("__GFP_THISNODE", GfpFlags::__GFP_THISNODE),
    ("__GFP_ACCOUNT", GfpFlags::__GFP_ACCOUNT),
];

impl GfpFlags {
    /// The flags of a name that [`Display`](fmt::Display) prints.
    #[must_use]
    pub fn parse_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, flags)| *flags)
    }

    /// What is left of the flags within the scopes of the running task (Linux `current_gfp_context`).
    #[must_use]
    pub const fn in_scope(self, task: TaskFlags) -> Self {
        let mut gfp = self;
        if task.contains(TaskFlags::PF_MEMALLOC_NOIO) {
            // Whoever may not start I/O may not write files either.
            gfp = gfp.difference(Self::__GFP_IO.union(Self::__GFP_FS));
        } else if task.contains(TaskFlags::PF_MEMALLOC_NOFS) {
            gfp = gfp.difference(Self::__GFP_FS);
        }
        if task.contains(TaskFlags::PF_MEMALLOC_PIN) {
            gfp = gfp.difference(Self::__GFP_MOVABLE);
        }
        gfp
    }

    /// The highest zone that satisfies the flags (Linux `gfp_zone`).
    ///
    /// # Errors
    /// [`AllocError::BadZoneModifiers`] if two zones are asked for.
    #[inline(always)]
    pub const fn zone(self) -> Result<ZoneKind, AllocError> {
        // Linux's GFP_ZONE_TABLE: four bits per combination of the zone flags, 0xf for a bad one. Movable alone
        // changes only the migrate type; with highmem it names the movable zone.
        const TABLE: u64 = 0xfff1_f402_fff1_f302;
        match TABLE >> ((self.bits() & 0xf) * 4) & 0xf {
            0 => Ok(ZoneKind::Dma),
            1 => Ok(ZoneKind::Dma32),
            2 => Ok(ZoneKind::Normal),
            3 => Ok(ZoneKind::HighMem),
            4 => Ok(ZoneKind::Movable),
            _ => Err(AllocError::BadZoneModifiers),
        }
    }

    /// The free lists that satisfy the flags first (Linux `gfp_migratetype`); movable wins over reclaimable.
    #[inline(always)]
    #[must_use]
    pub const fn migrate_type(self) -> MigrateType {
        if self.contains(Self::__GFP_MOVABLE) {
            MigrateType::Movable
        } else if self.contains(Self::__GFP_RECLAIMABLE) {
            MigrateType::Reclaimable
        } else {
            MigrateType::Unmovable
        }
    }
}

impl fmt::Display for GfpFlags {
    /// As Linux prints it: `0xcc0(GFP_KERNEL)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}(", self.bits())?;
        let mut rest = *self;
        let mut separator = "";
        for (name, flags) in NAMES {
            if rest.contains(flags) {
                write!(f, "{separator}{name}")?;
                rest = rest.difference(flags);
                separator = "|";
            }
        }
        if !rest.is_empty() || separator.is_empty() {
            write!(f, "{separator}{:#x}", rest.bits())?;
        }
        write!(f, ")")
    }
}
