//! Areas over frames of their own (Linux `__vmalloc_node_range`).

use super::batch::Supply;
use super::segment::{GUARD, Kind, Ref, State};
use super::{AreaFrames, Config, Vmalloc, VmallocError};
use crate::addr::{NodeId, Order, PAGE_SIZE, VirtAddr};
use crate::mutant::planted;
use crate::pgtable::{PageRange, PtError, Why};
use crate::phys::GfpFlags;
use crate::port::{Level, Machine, Mmu};

/// What an area is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Its size; rounded up to whole pages.
    pub bytes: u64,
    /// How the frames may be had. They may lie outside the direct map unless they are to be zeroed.
    pub gfp: GfpFlags,
    /// Where they should be.
    pub node: Option<NodeId>,
    /// The largest leaf: [`Level::PMD`] where 2 MiB at a time are wanted (Linux `vmalloc_huge`).
    pub max_leaf: Level,
    /// Who asks: an address of code, for lists of areas.
    pub caller: u64,
}

impl Request {
    /// `bytes` of `GFP_KERNEL` memory in small pages, from anywhere (Linux `vmalloc`).
    #[must_use]
    pub const fn new(bytes: u64, caller: u64) -> Self {
        Self { bytes, gfp: GfpFlags::GFP_KERNEL, node: None, max_leaf: Level::PTE, caller }
    }

    /// The flags for frames: without a zone of their own and unless they must be zeroed through the direct map, they
    /// may be highmem.
    fn frame_flags(&self) -> GfpFlags {
        let bound = GfpFlags::__GFP_DMA | GfpFlags::__GFP_DMA32 | GfpFlags::__GFP_ZERO;
        if self.gfp.intersects(bound) { self.gfp } else { self.gfp | GfpFlags::__GFP_HIGHMEM }
    }
}

/// An area that is being made.
struct Draft {
    area: Ref,
    page: u64,
    pages: u64,
}

impl<'m, M: Machine, F: AreaFrames> Vmalloc<'m, M, F> {
    /// Makes an area.
    ///
    /// # Errors
    /// [`VmallocError`].
    pub fn vmalloc(&self, request: &Request) -> Result<VirtAddr, VmallocError> {
        let config = self.config().ok_or(VmallocError::NotReady)?;
        let pages = request.bytes.div_ceil(PAGE_SIZE);
        if pages == 0 || pages > config.max_pages {
            return Err(VmallocError::BadSize);
        }
        match self.try_vmalloc(config, request, pages) {
            Err(VmallocError::NoMemory | VmallocError::NoAddresses) => {}
            done => return done,
        }
        // Freed areas hold frames and addresses: they are the first to go, with what the attempt itself has made.
        self.purge();
        let second = self.try_vmalloc(config, request, pages);
        if second.is_err() {
            self.purge();
        }
        second
    }

    fn try_vmalloc(
        &self,
        config: &Config<'m, M>,
        request: &Request,
        pages: u64,
    ) -> Result<VirtAddr, VmallocError> {
        if request.max_leaf > Level::PTE {
            let max_leaf = request.max_leaf.min(self.machine.mmu().max_leaf()).min(Level::PMD);
            if max_leaf > Level::PTE && pages >= max_leaf.pages() {
                return self.make_huge(config, request, pages, max_leaf);
            }
        }
        let draft = self.reserve(pages, 1, State::Busy(Kind::Vmalloc), request.caller)?;
        let part = config.part(draft.page, pages).ok_or(VmallocError::Corrupt)?;
        match self.fill(config, request, part) {
            Ok(()) => Ok(part.start()),
            Err(error) => {
                // Nobody else knows the area, so it can be taken back.
                let _ = self.lock().begin_free(draft.page, |kind| kind == Kind::Vmalloc);
                self.give_up(config, &draft, error)
            }
        }
    }

    /// An area whose whole blocks of 2 MiB are leaves, as far as there are frames for that.
    #[cold]
    fn make_huge(
        &self,
        config: &Config<'m, M>,
        request: &Request,
        pages: u64,
        leaf: Level,
    ) -> Result<VirtAddr, VmallocError> {
        let draft = self.reserve(pages, leaf.pages(), State::Changing, request.caller)?;
        let part = config.part(draft.page, pages).ok_or(VmallocError::Corrupt)?;
        // A block may have had small pages before, and its empty table would be in the way.
        let mut gather = config.tree.gather(&self.frames);
        let pruned = config.tree.prune(part, &mut gather);
        let _ = gather.finish();
        match pruned.and_then(|()| self.fill_huge(config, request, &draft, leaf)) {
            Ok(()) => {
                self.lock().publish(draft.area, Kind::Vmalloc);
                Ok(part.start())
            }
            Err(error) => self.give_up(config, &draft, error),
        }
    }

    #[inline]
    fn reserve(&self, pages: u64, align: u64, state: State, caller: u64) -> Result<Draft, VmallocError> {
        let mut space = self.lock_with_spare().ok_or(VmallocError::NoMemory)?;
        let (area, page) = space
            .take(pages + if planted("vmalloc.no_guard") { 0 } else { GUARD }, align, state, caller)
            .ok_or(VmallocError::NoAddresses)?;
        Ok(Draft { area, page, pages })
    }

    /// Maps frames of their own below every page of `part`.
    #[inline]
    fn fill(&self, config: &Config<'m, M>, request: &Request, part: PageRange) -> Result<(), PtError> {
        let mut supply = Supply::new(&self.frames, request.node, request.frame_flags(), part.pages());
        config.tree.map_each(part, config.bits, &self.frames, || supply.next())
    }

    fn fill_huge(
        &self,
        config: &Config<'m, M>,
        request: &Request,
        draft: &Draft,
        leaf: Level,
    ) -> Result<(), PtError> {
        let gfp = request.frame_flags() | GfpFlags::__GFP_NOWARN;
        let mut done = 0;
        while done < draft.pages {
            let pages = leaf.pages().min(draft.pages - done);
            let at = config.address(draft.page + done);
            let whole = pages == leaf.pages();
            let order = Order::covering(leaf.pages()).filter(|_| whole);
            let block =
                order.and_then(|order| Some((self.frames.alloc_frames(request.node, gfp, order)?, order)));
            match block {
                Some((pfn, order)) => {
                    let mapped = config.tree.map(at, pfn.addr(), leaf, config.bits, &self.frames);
                    if mapped.is_err() {
                        // SAFETY: just allocated with this order, and it was not mapped.
                        unsafe { self.frames.free_frames(pfn, order) };
                    }
                    mapped?;
                }
                None => {
                    let part = PageRange::new(at, pages).ok_or(PtError { at, why: Why::Invalid })?;
                    self.fill(config, request, part)?;
                }
            }
            done += pages;
        }
        Ok(())
    }

    /// Leaves what has been made of an area that nobody knows to the next purge.
    #[cold]
    fn give_up(
        &self,
        config: &Config<'m, M>,
        draft: &Draft,
        error: PtError,
    ) -> Result<VirtAddr, VmallocError> {
        let unmapped = self.retire(config, draft.area, draft.page, draft.pages, Kind::Vmalloc);
        Err(match (error.why, unmapped) {
            (Why::NoFrames, Ok(())) => VmallocError::NoMemory,
            _ => VmallocError::Corrupt,
        })
    }
}
