//! Looking: which area an address is in, all areas in order, the frames below one.

use super::segment::{Kind, Segment, State};
use super::{AreaFrames, Config, Vmalloc};
use crate::addr::{NodeId, Pfn, VirtAddr};
use crate::port::{Level, Machine, PteCodec};

/// An area as it was when it was looked at (Linux `struct vm_struct`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Area {
    /// First address.
    pub start: VirtAddr,
    /// Pages that it maps: the guard comes after them.
    pub pages: u64,
    /// What it maps.
    pub kind: Kind,
    /// Who asked for it.
    pub caller: u64,
    /// It was freed and waits for a flush.
    pub is_lazy: bool,
}

impl Area {
    /// First address after the guard.
    #[must_use]
    pub const fn end(&self) -> VirtAddr {
        VirtAddr::truncate(self.guard().get() + crate::addr::PAGE_SIZE)
    }

    /// First address of the guard.
    #[must_use]
    pub const fn guard(&self) -> VirtAddr {
        VirtAddr::truncate(self.start.get() + self.pages * crate::addr::PAGE_SIZE)
    }

    fn of<M: Machine>(config: &Config<'_, M>, segment: &Segment) -> Option<Self> {
        let (kind, is_lazy) = match segment.state {
            State::Busy(kind) => (kind, false),
            State::Lazy(kind) => (kind, true),
            State::Free | State::Changing => return None,
        };
        let start = config.address(segment.start);
        Some(Self { start, pages: segment.mapped(), kind, caller: segment.caller, is_lazy })
    }
}

/// Pages that [`Vmalloc::pages_by_node`] looks at without letting go of the lock.
const AT_ONCE: u64 = 512;

impl<'m, M: Machine, F: AreaFrames> Vmalloc<'m, M, F> {
    /// The area that `va` lies in, its guard included (Linux `find_vm_area`).
    pub fn find(&self, va: VirtAddr) -> Option<Area> {
        let config = self.config()?;
        let segment = self.lock().segment_at(config.page_of(va)?)?;
        Area::of(config, &segment)
    }

    /// As [`Vmalloc::find`], for code that may have interrupted the holder of the lock; `None` also if it has.
    pub fn try_find(&self, va: VirtAddr) -> Option<Area> {
        let config = self.config()?;
        let segment = self.space.try_lock(self.machine.cpu())?.segment_at(config.page_of(va)?)?;
        Area::of(config, &segment)
    }

    /// The first area that starts at `from` or above.
    pub fn next_area(&self, from: VirtAddr) -> Option<Area> {
        let config = self.config()?;
        let from = from.max(config.range.start());
        let mut page = config.page_of(from)?;
        if config.address(page) != from {
            page += 1;
        }
        loop {
            let segment = self.lock().segment_at(page)?;
            if let Some(area) = Area::of(config, &segment).filter(|_| segment.start == page) {
                return Some(area);
            }
            page = segment.end();
            if page >= config.range.pages() {
                return None;
            }
        }
    }

    /// The frame below an address of an area that the caller uses (Linux `vmalloc_to_page`).
    pub fn frame_of(&self, va: VirtAddr) -> Option<Pfn> {
        let config = self.config()?;
        config.page_of(va)?;
        Some(config.tree.translate(va)?.pfn())
    }

    /// How many pages of an area are on each node; none of what has gone since the area was looked at.
    pub fn pages_by_node(&self, area: &Area, node_of: impl Fn(Pfn) -> NodeId) -> [u64; NodeId::MAX_NODES] {
        let mut counts = [0; NodeId::MAX_NODES];
        let Some((config, first)) = self.config().and_then(|it| Some((it, it.page_of(area.start)?))) else {
            return counts;
        };
        for done in (0..area.pages).step_by(AT_ONCE as usize) {
            let space = self.lock();
            let same = space.segment_at(first).and_then(|now| Area::of(config, &now)) == Some(*area);
            let part = config.part(first + done, AT_ONCE.min(area.pages - done));
            let Some(part) = part.filter(|_| same && !area.is_lazy) else { break };
            // The area is in use, so its tables stay while the lock is held.
            let _ = config.tree.scan(part, |slot, level, covered| {
                let pfn = super::Codec::<M>::addr(slot.load()).pfn();
                let pages = if level == Level::PTE { 1 } else { covered.pages() };
                if let Some(count) = counts.get_mut(node_of(pfn).index()) {
                    *count += pages;
                }
            });
        }
        counts
    }
}
