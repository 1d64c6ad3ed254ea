//! What happens to a folio on its list (Linux `mm/swap.c`, 6.18).

use super::Lru;
use super::session::{End, Session};
use crate::folio::{self, Folio, FolioFlags};
use crate::frame::{FrameIdx, FrameTable};
use crate::phys::{FreeError, Phys};
use crate::port::{Cpu, Machine};
use crate::vmstat::VmEvent;

impl Lru<'_> {
    /// Puts a folio that was isolated back, at the head of the list that its flags say now (Linux `folio_putback_lru`).
    /// The caller keeps its reference.
    pub(crate) fn putback<C: Cpu>(&self, cpu: &C, folio: Folio<'_>) {
        let mut session = Session::new(self, cpu, folio.table());
        let flags = session.look(folio);
        session.link(folio, flags, End::Head);
        folio.flip_flags(FolioFlags::LRU);
    }

    /// Puts a folio that is on no list at the end of the list that its flags say: it is the next to be looked at.
    pub(crate) fn add_tail<C: Cpu>(&self, cpu: &C, folio: Folio<'_>) {
        let mut session = Session::new(self, cpu, folio.table());
        let flags = session.look(folio);
        session.link(folio, flags, End::Tail);
        folio.flip_flags(FolioFlags::LRU);
    }

    /// Takes a folio off its list, or lets no list have it, until it is put back (Linux `folio_isolate_lru`). False if
    /// somebody else has.
    #[must_use = "what another has taken is not ours to put back"]
    pub(crate) fn isolate<C: Cpu>(&self, cpu: &C, folio: Folio<'_>) -> bool {
        const EITHER: FolioFlags = FolioFlags::LRU.union(FolioFlags::PENDING);
        let mut session = Session::new(self, cpu, folio.table());
        let flags = session.look(folio);
        if flags.contains(FolioFlags::LRU) {
            session.unlink(folio, flags);
        }
        folio.clear_flags(EITHER);
        flags.intersects(EITHER)
    }

    /// A folio was used (Linux `folio_mark_accessed`): the first time it is remembered, the second time it becomes active.
    pub(crate) fn mark_accessed<C: Cpu>(&self, cpu: &C, folio: Folio<'_>) {
        let flags = folio.flags();
        if !flags.contains(FolioFlags::REFERENCED) {
            folio.set_flags(FolioFlags::REFERENCED);
        } else if !flags.intersects(FolioFlags::UNEVICTABLE | FolioFlags::ACTIVE) {
            self.activate(cpu, folio);
            folio.clear_flags(FolioFlags::REFERENCED);
            self.age(folio.node(), folio.order().pages());
        }
    }

    /// Makes a folio active (Linux `folio_activate`).
    pub(crate) fn activate<C: Cpu>(&self, cpu: &C, folio: Folio<'_>) {
        let mut session = Session::new(self, cpu, folio.table());
        let flags = session.look(folio);
        if flags.intersects(FolioFlags::ACTIVE | FolioFlags::UNEVICTABLE) {
            return;
        }
        session.change(folio, FolioFlags::ACTIVE, FolioFlags::empty(), End::Head);
        if flags.contains(FolioFlags::LRU) {
            self.stat().count(cpu, VmEvent::PgActivate, folio.order().pages());
        }
    }

    /// Makes a folio inactive (Linux `folio_deactivate`).
    pub(crate) fn deactivate<C: Cpu>(&self, cpu: &C, folio: Folio<'_>) {
        let mut session = Session::new(self, cpu, folio.table());
        let flags = session.look(folio);
        // Of one that reclaim has taken, reclaim decides.
        let is_ours = flags.intersects(FolioFlags::LRU | FolioFlags::PENDING);
        if is_ours && flags.contains(FolioFlags::ACTIVE) && !flags.contains(FolioFlags::UNEVICTABLE) {
            session.change(folio, FolioFlags::WORKINGSET, FolioFlags::ACTIVE, End::Head);
            self.stat().count(cpu, VmEvent::PgDeactivate, folio.order().pages());
        }
    }

    /// What a locked anonymous folio holds is not needed until somebody writes to it: it is among the first to go, as
    /// if it were of a file (Linux `folio_mark_lazyfree`).
    pub(crate) fn mark_lazyfree<C: Cpu>(&self, cpu: &C, folio: Folio<'_>) {
        let mut session = Session::new(self, cpu, folio.table());
        let flags = session.look(folio);
        let kept = FolioFlags::SWAPCACHE | FolioFlags::UNEVICTABLE;
        if flags.contains(FolioFlags::SWAPBACKED) && !flags.intersects(kept) {
            let clear = FolioFlags::SWAPBACKED | FolioFlags::ACTIVE | FolioFlags::REFERENCED;
            session.change(folio, FolioFlags::empty(), clear, End::Head);
            self.stat().count(cpu, VmEvent::PgLazyFree, folio.order().pages());
        }
    }

    /// A folio that was to go as soon as it is written has been: it is the next to go (Linux
    /// `folio_rotate_reclaimable`).
    pub(crate) fn rotate_reclaimable<C: Cpu>(&self, cpu: &C, folio: Folio<'_>) {
        let mut session = Session::new(self, cpu, folio.table());
        let flags = session.look(folio);
        let busy = FolioFlags::LOCKED | FolioFlags::DIRTY | FolioFlags::UNEVICTABLE;
        if flags.intersects(busy) || !flags.contains(FolioFlags::LRU) {
            return;
        }
        session.change(folio, FolioFlags::empty(), FolioFlags::ACTIVE, End::Tail);
        self.stat().count(cpu, VmEvent::PgRotated, folio.order().pages());
    }

    /// A folio cannot be reclaimed from now on, because somebody has locked it in memory, or can be again (Linux
    /// `mlock_folio`, `munlock_folio`). If another still has it locked, reclaim finds out and comes here.
    pub(crate) fn set_unevictable<C: Cpu>(&self, cpu: &C, folio: Folio<'_>, locked: bool) {
        let mut session = Session::new(self, cpu, folio.table());
        let is_so = session.look(folio).contains(FolioFlags::UNEVICTABLE);
        let pages = folio.order().pages();
        match (is_so, locked) {
            (false, true) => {
                session.change(folio, FolioFlags::UNEVICTABLE, FolioFlags::ACTIVE, End::Head);
                self.stat().count(cpu, VmEvent::UnevictableCulled, pages);
            }
            (true, false) => {
                session.change(folio, FolioFlags::empty(), FolioFlags::UNEVICTABLE, End::Head);
                self.stat().count(cpu, VmEvent::UnevictableRescued, pages);
            }
            _ => {}
        }
    }

    /// Frees a folio whose last reference is gone. Everybody frees folios here, or with [`Lru::free_bulk`].
    ///
    /// # Errors
    /// [`FreeError`] if it was no folio: a bug of the caller.
    #[inline]
    pub(crate) fn free<M: Machine>(&self, phys: &Phys<M>, folio: Folio<'_>) -> Result<(), FreeError> {
        Session::new(self, phys.machine().cpu(), folio.table()).forget(folio);
        folio::free(phys, folio)
    }

    /// Frees folios of one page whose last references are gone.
    ///
    /// # Errors
    /// As for [`Lru::free`], of the last that was refused; all others are free.
    ///
    /// # Safety
    /// At each place is a folio of one page without references, which is the caller's alone.
    pub(crate) unsafe fn free_bulk<M: Machine>(
        &self,
        phys: &Phys<M>,
        table: &FrameTable,
        heads: &[Option<FrameIdx>],
    ) -> Result<(), FreeError> {
        if phys.keeps_history() {
            heads.iter().flatten().for_each(|&idx| Folio::at(table, idx).note_use(phys));
        }
        let mut session = Session::new(self, phys.machine().cpu(), table);
        let mut rest = heads;
        while !rest.is_empty() {
            let done = session.dissolve(rest);
            rest = rest.get(done..).unwrap_or(&[]);
        }
        drop(session);
        // SAFETY: promised by the caller; nothing says any more that they are folios.
        unsafe { phys.free_raw_pages_bulk(heads) }
    }
}
