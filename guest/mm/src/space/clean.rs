//! Clearing dirty bits so that they can be trusted, before pages are written back (Linux `folio_mkclean`,
//! `clean_record_shared_mapping_range`).
//!
//! A CPU that has cached an entry as dirty does not look at it again when it writes. So a bit that was cleared says
//! nothing until every such CPU has flushed: what is copied before may miss a later write that nobody learns of.

use super::unmap::{checked, pages_of};
use super::{Codec, Errno, Mm, MmTables, Vm};
use crate::addr::VirtAddr;
use crate::mutant::planted;
use crate::phys::FrameAllocator;
use crate::port::{Machine, PteBits, PteCodec};

impl<'p, M: Machine> Vm<'p, M> {
    /// Clears the dirty bits of what is mapped from `addr` on for `len` bytes; how many pages had one. When it returns,
    /// the next write to each of them sets its bit again, and all writes before can be read.
    ///
    /// # Errors
    /// `Einval` for a bad range; `Ecorrupt`.
    pub fn clean_range<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        addr: VirtAddr,
        len: u64,
        frames: &A,
    ) -> Result<u64, Errno> {
        let (first, end) = checked(addr, len)?;
        let range = pages_of(first, end)?;
        let _areas = mm.areas.read(self.machine().cpu());
        let source = MmTables::new(self, mm, frames);
        let mut gather = mm.tree().gather_on(&source, &mm.cpus);
        let mut dirty = 0;
        mm.tree().scan(range, |slot, level, at| {
            let _locked = self.lock_table(slot);
            let (old, new) = slot.update(|pte| {
                // Without a translation there is no bit that the MMU may have set.
                if !Codec::<M>::is_present(pte) {
                    return pte;
                }
                Codec::<M>::with_bits(pte, Codec::<M>::bits(pte) - PteBits::DIRTY)
            });
            if old != new {
                dirty += level.pages();
                if !planted("vm::flush.clean") {
                    gather.changed(at, old, new);
                }
            }
        })?;
        let _ = gather.finish();
        Ok(dirty)
    }
}
