//! Slots that more entries name than their byte can count (Linux `swap_count_continued`).
//!
//! Owns: how often the count of a slot was carried, in an array for each area. Linux has pages of further bytes beside
//! the map; such slots are few, and an array costs nothing for the others. Invariants: an entry is there iff the byte
//! says so; it changes under the lock of the area, together with the byte. Nodes are allocated with nothing locked, and
//! without waiting: whoever names a slot once more may hold the lock of a table.

use super::area::Left;
use super::{Inner, Refused, Swap};
use crate::mutant::planted;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::{Machine, SwapEntry};
use crate::xarray::Entry;

impl<'p, M: Machine> Swap<'p, M> {
    /// One entry more names a slot that is named or in the cache (Linux `swap_duplicate`).
    ///
    /// # Errors
    /// [`Refused`]; `Full` only for a slot that very many name.
    pub(crate) fn duplicate(
        &self,
        entry: SwapEntry,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<(), Refused> {
        match self.with(entry, |inner, slot| inner.state.duplicate(slot)) {
            Some(Err(Refused::Full)) => self.carry(entry, frames),
            result => result.unwrap_or(Err(Refused::Free)),
        }
    }

    /// The same for a slot whose byte is at its end.
    #[cold]
    fn carry(&self, entry: SwapEntry, frames: &impl FrameAllocator<'p>) -> Result<(), Refused> {
        let (ground, area) = self.ground().zip(self.area(entry)).ok_or(Refused::Free)?;
        let mut stock = ground.nodes.stock();
        let source = ground.nodes.with(frames, GfpFlags::GFP_NOWAIT | GfpFlags::__GFP_NOWARN);
        loop {
            let short = {
                let mut inner = area.inner.lock(self.cpu());
                let state = &mut inner.as_mut().ok_or(Refused::Free)?.state;
                match state.duplicate(entry.offset()) {
                    Err(Refused::Full) => {}
                    // Somebody named it once less meanwhile.
                    done => return done,
                }
                let mut carries = area.carries.lock(self.cpu());
                let before = carries.load(entry.offset()).as_value().unwrap_or(0);
                let more = Entry::value(before + 1).ok_or(Refused::Full)?;
                match carries.store(entry.offset(), more, &mut stock) {
                    Ok(_) => {
                        state.carry(entry.offset());
                        return Ok(());
                    }
                    Err(short) => short,
                }
            };
            source.fill(&mut stock, short).map_err(|_| Refused::Full)?;
        }
    }

    /// One entry less names a slot; what became of it.
    pub(super) fn less(&self, entry: SwapEntry) -> Result<Left, Refused> {
        let less = |inner: &mut Inner<'p>, slot| {
            let left = inner.state.free(slot)?;
            Ok(self.count_free(&inner.state, left))
        };
        match self.with(entry, less) {
            Some(Err(Refused::Full)) => self.borrow(entry),
            result => result.unwrap_or(Err(Refused::Free)),
        }
    }

    /// The same for a slot whose byte counts none.
    #[cold]
    fn borrow(&self, entry: SwapEntry) -> Result<Left, Refused> {
        let (ground, area) = self.ground().zip(self.area(entry)).ok_or(Refused::Free)?;
        let mut stock = ground.nodes.stock();
        let mut inner = area.inner.lock(self.cpu());
        let state = &mut inner.as_mut().ok_or(Refused::Free)?.state;
        match state.free(entry.offset()) {
            Err(Refused::Full) => {}
            // Somebody named it once more or less meanwhile.
            done => return Ok(self.count_free(state, done?)),
        }
        let mut carries = area.carries.lock(self.cpu());
        let before = carries.load(entry.offset()).as_value().unwrap_or(0);
        let left = before.saturating_sub(1 + u64::from(planted("vm::swap.borrows_twice")));
        match Entry::value(left).filter(|_| left != 0) {
            // Where an entry stands another needs no node.
            Some(left) => drop(carries.store(entry.offset(), left, &mut stock)),
            None => drop(carries.erase(entry.offset(), &mut stock)),
        }
        state.borrow(entry.offset(), left != 0);
        Ok(Left::Taken)
    }

    /// How many entries name a slot.
    pub(crate) fn entries(&self, entry: SwapEntry) -> u32 {
        self.count_entries(entry).unwrap_or(0)
    }

    /// The same; `Err` if its byte and what was carried do not agree.
    pub(super) fn count_entries(&self, entry: SwapEntry) -> Result<u32, &'static str> {
        let Some(area) = self.area(entry) else { return Ok(0) };
        let inner = area.inner.lock(self.cpu());
        let Some(inner) = inner.as_ref() else { return Ok(0) };
        let count = inner.state.count(entry.offset());
        let carries = area.carries.lock(self.cpu()).load(entry.offset()).as_value();
        if carries.is_some() == count.is_carried() {
            Ok(count.entries(carries.unwrap_or(0) as u32))
        } else {
            Err("the count of a slot is carried, or is not, and its byte says otherwise")
        }
    }
}
