//! Whether a page was used (Linux `folio_referenced`, `folio_check_references`).

use super::Reclaim;
use crate::folio::{Folio, FolioFlags};
use crate::lru::is_file;
use crate::mutant::planted;
use crate::port::{Machine, PteBits, PteCodec};
use crate::space::{Codec, Step};
use crate::vma::VmFlags;

/// What entries say of a page since they were looked at last.
pub(super) struct Referenced {
    /// Entries through which it was used.
    pub(super) entries: u32,
    /// Areas that have it, all flags together.
    pub(super) flags: VmFlags,
    /// Areas that could not be looked at.
    pub(super) busy: u32,
}

/// How much a page was used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Used {
    /// It was not.
    No,
    /// Once since it was looked at last: it may stay, but not as an active page.
    Once,
    /// More than once.
    Much,
    /// An area has it locked in memory.
    Locked,
    /// Somebody is changing a context that has it.
    Unknown,
}

impl<'p, M: Machine> Reclaim<'p, M> {
    /// Asks all entries that map a folio whether it was used, and makes them forget.
    pub(super) fn referenced(&self, folio: Folio<'p>) -> Referenced {
        let (mut entries, mut flags) = (0, VmFlags::empty());
        let busy = self.vm.each_entry(folio, |_, vma, slot, _| {
            flags |= vma.flags();
            if vma.flags().contains(VmFlags::LOCKED) {
                return Step::Stop;
            }
            // CPUs that have cached the entry do not set the bit again before they forget it; as in Linux that is well
            // enough, for it costs no flush.
            let (old, _) =
                slot.update(|pte| Codec::<M>::with_bits(pte, Codec::<M>::bits(pte) - PteBits::ACCESSED));
            entries += u32::from(Codec::<M>::bits(old).contains(PteBits::ACCESSED));
            Step::On
        });
        Referenced { entries, flags, busy }
    }

    /// How much a locked folio was used.
    pub(super) fn check_references(&self, folio: Folio<'p>) -> Used {
        let by_entries = self.referenced(folio);
        if by_entries.flags.contains(VmFlags::LOCKED) {
            return Used::Locked;
        }
        if by_entries.busy != 0 {
            return Used::Unknown;
        }
        let flags = folio.clear_flags(FolioFlags::REFERENCED);
        if by_entries.entries == 0 {
            // Used by a system call: that alone does not keep it.
            return Used::No;
        }
        folio.set_flags(FolioFlags::REFERENCED);
        let was_used =
            flags.contains(FolioFlags::REFERENCED) || planted("vm::reclaim_replay.one_use_is_enough");
        let is_code = by_entries.flags.contains(VmFlags::EXEC) && is_file(folio);
        if was_used || by_entries.entries > 1 || is_code { Used::Much } else { Used::Once }
    }
}
