//! Blocks of pages by their address in the direct map, as kernel code asks for them.
//!
//! Owns: the way between addresses and frames. Stays outside: which frames those are. Invariant: an address that is
//! handed out is in the direct map, so memory outside of it cannot be asked for here.
//! Source: Linux `mm/page_alloc.c` (`get_free_pages_noprof`, `get_zeroed_page_noprof`, `free_pages`).

use super::error::{AllocError, FreeError};
use super::{GfpFlags, Phys};
use crate::addr::{Order, Pfn};
use crate::frame::{Owner, State};
use crate::port::{Machine, PhysMem};
use core::ptr::NonNull;

impl<M: Machine> Phys<M> {
    /// Makes blocks of one page of a block that the caller holds (Linux `split_page`). What its first frame says of
    /// whose it is stays.
    pub(crate) fn split_page(&self, pfn: Pfn, order: Order) {
        let Ok(layout) = self.layout() else { return };
        let table = &layout.ground.table;
        let Some((head, _)) = table.lookup(pfn) else { return };
        let mt = table.frame(head).state().migrate_type();
        for n in (0..order.pages() as u32).rev() {
            table.frame(head.inside(n)).set_state(State::allocated(Order::ZERO, mt, Owner::Zone));
        }
        self.owner_splits(pfn, order);
    }

    /// Allocates a block of `order` and returns where the direct map shows it, aligned to its size (Linux
    /// `__get_free_pages`).
    ///
    /// # Errors
    /// [`AllocError`]; [`AllocError::NoHighmem`] if the flags allow memory that has no such address.
    pub fn get_free_pages(&self, gfp: GfpFlags, order: Order) -> Result<NonNull<u8>, AllocError> {
        if gfp.contains(GfpFlags::__GFP_HIGHMEM) {
            return Err(AllocError::NoHighmem);
        }
        let frames = self.alloc_pages(gfp, order)?;
        match self.machine.physmem().ptr(frames.pfn().addr()) {
            Some(at) => {
                // Whoever has the address owns the block.
                let _ = frames.into_raw();
                Ok(at)
            }
            None => {
                // Only HighMem lies outside, and it was not asked for. A refusal would mean the block is not ours.
                let _ = self.free_pages(frames);
                Err(AllocError::NoHighmem)
            }
        }
    }

    /// Allocates a page full of zeroes and returns where the direct map shows it (Linux `get_zeroed_page`).
    ///
    /// # Errors
    /// As for [`Phys::get_free_pages`].
    pub fn get_zeroed_page(&self, gfp: GfpFlags) -> Result<NonNull<u8>, AllocError> {
        self.get_free_pages(gfp | GfpFlags::__GFP_ZERO, Order::ZERO)
    }

    /// Takes back the block that the direct map shows at `at` (Linux `free_pages`).
    ///
    /// # Errors
    /// [`FreeError`] if no such block was allocated; [`FreeError::BadAddress`] if it is not the start of a page of the
    /// direct map.
    ///
    /// # Safety
    /// If a block starts there, the caller owns it, and nobody uses it afterwards.
    pub unsafe fn free_pages_at(&self, at: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        let physmem = self.machine.physmem();
        let addr = physmem.addr_of(at).filter(|addr| physmem.ptr(addr.pfn().addr()) == Some(at));
        let addr = addr.ok_or(FreeError::BadAddress(at.as_ptr().addr()))?;
        // SAFETY: promised by the caller.
        self.free_pages(unsafe { self.frames_from_raw(addr.pfn(), order) })
    }
}
