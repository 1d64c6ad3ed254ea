//! Clones: another context that shares all pages until one of the two writes (Linux `dup_mmap`, `copy_page_range`).
//!
//! Only the overlay window is cloned, for there an address may mean something else in each context. Invariants: a page
//! that two contexts map is writable in neither and exclusive to neither; all CPUs that use the parent have forgotten
//! that they could write before the clone is there.

use super::gather::Counted;
use super::layout::Layout;
use super::unmap::{pages_of, usages};
use super::{Codec, Errno, Mm, MmTables, Rss, Vm};
use crate::folio::{Folio, Mapping};
use crate::frame::FrameTable;
use crate::mutant::planted;
use crate::pgtable::{CopyEntry, PteSlot};
use crate::phys::FrameAllocator;
use crate::port::{Level, Machine, Pte, PteBits, PteCodec, PteView};
use crate::vma::{Areas, Backing, VmFlags, Vma, VmaInit};

/// What an entry says of a page that is its area's alone.
const SOLE: PteBits = PteBits::WRITE.union(PteBits::EXCLUSIVE);

/// What the clone got.
#[derive(Default)]
struct Shared {
    anon: u64,
    file: u64,
    hugetlb: u64,
    swapped: u64,
    /// As many entries as can be name a slot of swap: not all could be cloned.
    full: bool,
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Makes a context that has what `parent` has in the overlay window (Linux `fork`).
    ///
    /// # Errors
    /// `Enomem`, also when more would be promised than may be; `Eagain` without a number for it; `Ecorrupt`.
    pub fn clone_mm<A: FrameAllocator<'p>>(
        &self,
        parent: &Mm<'p, M>,
        frames: &A,
    ) -> Result<&Mm<'p, M>, Errno> {
        let child = self.create(frames)?;
        if let Err(error) = self.clone_overlay(parent, child, frames) {
            // SAFETY: nobody but this function knows the context.
            unsafe { self.destroy(child.id, frames) }?;
            return Err(error);
        }
        Ok(child)
    }

    fn clone_overlay<A: FrameAllocator<'p>>(
        &self,
        parent: &Mm<'p, M>,
        child: &Mm<'p, M>,
        frames: &A,
    ) -> Result<(), Errno> {
        let window = Layout::overlay();
        let mut at = window.start;
        // Area by area, so that what the next one needs can be allocated with nothing locked. What the parent changes
        // in between is seen or not, as if the clone had been made a little earlier or later for that area.
        loop {
            let mut areas = self.write_areas(child, 1, frames)?;
            let from = parent.areas.write(self.machine().cpu());
            parent.flush_evicted();
            let Some(vma) = from.next_from(at).filter(|vma| vma.start() < window.end) else { return Ok(()) };
            at = vma.end();
            if vma.flags().contains(VmFlags::DONTCOPY) {
                continue;
            }
            self.clone_area(parent, child, &mut areas, vma, frames)?;
        }
    }

    /// Makes the child's area, and its entries. Both contexts are locked.
    fn clone_area<A: FrameAllocator<'p>>(
        &self,
        parent: &Mm<'p, M>,
        child: &Mm<'p, M>,
        areas: &mut Areas<'p>,
        vma: &Vma,
        frames: &A,
    ) -> Result<(), Errno> {
        // A clone's pages are not locked.
        let flags = vma.flags() - VmFlags::LOCKED;
        if flags.contains(VmFlags::ACCOUNT) && !self.charge(child, vma.pages()) {
            return Err(Errno::Enomem);
        }
        // Nor is it promised pages of a pool.
        let flags = if flags.contains(VmFlags::HUGETLB) { flags | VmFlags::NORESERVE } else { flags };
        let init = VmaInit { mm: child.id, flags, ..vma.init() };
        let Some(twin) = areas.insert(&init) else {
            if flags.contains(VmFlags::ACCOUNT) {
                self.uncharge(child, vma.pages());
            }
            return Err(Errno::Enomem);
        };
        for usage in usages(flags, vma.kind()) {
            child.counters.add_usage(usage, vma.pages());
        }
        if vma.flags().contains(VmFlags::SHARED) {
            // Its pages are found where they are when they are touched.
            self.hold(vma.backing());
            twin.link_to_object(self.machine().cpu());
            return Ok(());
        }
        self.hold(vma.backing());
        twin.link_to_object(self.machine().cpu());
        twin.share_anchor(self.machine().cpu(), vma);
        if vma.backing() != Backing::Anon && vma.link.anchor().is_none() {
            // A file of which the area has no copies: pages are found when they are touched, as those of shared memory.
            return Ok(());
        }
        self.clone_entries(parent, child, vma, frames)
    }

    fn clone_entries<A: FrameAllocator<'p>>(
        &self,
        parent: &Mm<'p, M>,
        child: &Mm<'p, M>,
        vma: &Vma,
        frames: &A,
    ) -> Result<(), Errno> {
        let range = pages_of(vma.start(), vma.end())?;
        let (tree, source) = (parent.tree(), MmTables::new(self, parent, frames));
        let mut gather = tree.gather_on(&source, &parent.cpus);
        let table = self.frame_table().ok_or(Errno::Ecorrupt)?;
        let into = MmTables::new(self, child, frames);
        let mut shared = Sharing { vm: self, frames, table: *table, seen: 0, got: Shared::default() };
        // Where a table of the child cannot be made, what was copied is there and is counted.
        let copied = tree.clone_range(&child.tree(), range, &into, &mut shared);
        let Sharing { seen, got: shared, .. } = shared;
        let could_write = Codec::<M>::has(Pte::from_raw(seen), PteBits::WRITE);
        // One flush for all of them, if any could be written.
        if could_write && !planted("vm::flush.clone") {
            gather.add(range);
        }
        child.counters.add_rss(Rss::Anon, shared.anon);
        child.counters.add_rss(Rss::File, shared.file);
        child.counters.add_rss(Rss::Swap, shared.swapped);
        child.counters.add_hugetlb(shared.hugetlb);
        let _ = gather.finish();
        copied?;
        if shared.full { Err(Errno::Enomem) } else { Ok(()) }
    }
}

/// Entries on their way to the clone.
struct Sharing<'a, 'p, M: Machine, A> {
    vm: &'a Vm<'p, M>,
    frames: &'a A,
    /// A copy: no step to it.
    table: FrameTable,
    /// All bits that entries of the parent had.
    seen: u64,
    got: Shared,
}

impl<'p, M: Machine, A: FrameAllocator<'p>> Sharing<'_, 'p, M, A> {
    /// Makes the entry in `slot` one of a page that others have, too; what it says then.
    #[inline(always)]
    fn share(&mut self, slot: PteSlot<'_>, entry: Pte) -> Pte {
        let sole = if planted("vm::clone.both_exclusive") { PteBits::WRITE } else { SOLE };
        let (old, new) = slot.update_from(entry, |now| Codec::<M>::clear(now, sole));
        self.seen |= old.raw();
        new
    }

    /// What the clone's entry says where the parent's says `new`, which is not a small page of anonymous memory.
    #[inline(never)]
    fn other(&mut self, new: Pte, level: Level) -> Pte {
        let (vm, shared) = (self.vm, &mut self.got);
        if let PteView::Swap { entry, .. } = Codec::<M>::view(new) {
            // Very many entries name the slot already, and there is no memory to count one more. Others that come later
            // are not counted either, for they get no entry.
            if shared.full || vm.swap().duplicate(entry, self.frames).is_err() {
                shared.full = true;
                return Pte::NONE;
            }
            shared.swapped += 1;
        } else if let Some(folio) = vm.folio_of(new) {
            folio.get(1);
            match vm.share_rmap(folio, level) {
                Counted::Hugetlb => shared.hugetlb += level.pages(),
                Counted::File => shared.file += level.pages(),
                Counted::Anon | Counted::Shmem => shared.anon += level.pages(),
            }
        }
        new
    }
}

impl<'m, 'p, M: Machine, A: FrameAllocator<'p>> CopyEntry<'m> for Sharing<'_, 'p, M, A> {
    #[inline(always)]
    fn small(&mut self, slot: PteSlot<'m>, entry: Pte) -> Pte {
        let new = self.share(slot, entry);
        // Anonymous memory first; pages of pools are larger.
        if Codec::<M>::is_present(new)
            && !Codec::<M>::has(new, PteBits::SPECIAL)
            && let Some(folio) = Folio::of(&self.table, Codec::<M>::addr(new).pfn())
            && matches!(folio.mapping(), Mapping::Anon(_))
        {
            folio.get(1);
            folio.add_mapped(1);
            self.got.anon += 1;
            return new;
        }
        self.other(new, Level::PTE)
    }

    fn large(&mut self, slot: PteSlot<'m>, level: Level) -> Pte {
        let new = self.share(slot, slot.load());
        self.other(new, level)
    }
}
