//! Blocks from all zones and nodes, for checks that want frames from all over memory.

use super::{Block, Random};
use crate::memory::PHYS;
use mm::addr::Order;
use mm::frame::ZoneKind;
use mm::phys::{GfpFlags, Zone};

const BLOCKS: usize = 64;
/// Blocks from one zone.
const PER_ZONE: usize = 8;

/// Owned blocks; freed when dropped.
pub struct Pool {
    blocks: [Option<Block>; BLOCKS],
    len: usize,
}

impl Pool {
    /// Takes some of the largest blocks of every zone, never more than half of its free memory.
    pub fn take() -> Self {
        let mut pool = Self { blocks: [const { None }; BLOCKS], len: 0 };
        for zone in PHYS.populated_zones() {
            pool.take_from(zone);
        }
        pool
    }

    fn take_from(&mut self, zone: &Zone) {
        let gfp = match zone.id().kind {
            ZoneKind::Dma => GfpFlags::GFP_DMA,
            ZoneKind::Dma32 => GfpFlags::GFP_DMA32,
            _ => GfpFlags::GFP_KERNEL,
        } | GfpFlags::__GFP_THISNODE;
        let least = zone.free_pages() / 2;
        let mut taken = 0;
        for order in Order::all().rev() {
            while taken < PER_ZONE && zone.free_pages() >= least + order.pages() {
                let Some(slot) = self.blocks.get_mut(self.len) else { return };
                let Ok(block) = Block::alloc_near(Some(zone.id().node), gfp, order) else { break };
                *slot = Some(block);
                self.len += 1;
                taken += 1;
            }
        }
    }

    /// A random frame: its block and its number in it. `None` if memory is full.
    pub fn pick(&self, random: &mut Random) -> Option<(&Block, u64)> {
        let end = u64::try_from(self.len).ok().filter(|&len| len > 0)?;
        let block = self.blocks.get(random.below(end) as usize)?.as_ref()?;
        Some((block, random.below(block.order().pages())))
    }
}
