//! `pt map`, `pt unmap`: fresh frames at an address of the tasks, with a chosen size of leaf.
//!
//! Owns: the table of mappings that stay from one command to the next. Invariants: the frames of a mapping belong to
//! it and are freed only after the flush that follows their unmapping.

use crate::commands::support::{Block, Ledger, area, parse};
use crate::commands::{Args, Outcome, fail, usage};
use crate::machine::CPU;
use crate::memory::boot::{kernel_root, ring_bits};
use crate::memory::tables::KernelTables;
use crate::{arch, console};
use mm::addr::{Order, PAGE_SIZE, VirtAddr};
use mm::pgtable::{Leaves, PageRange, PtError};
use mm::phys::GfpFlags;
use mm::port::{Level, PteBits, PteCodec, PteView};
use mm::sync::SpinLock;
use shared::exit::ExitStatus;
use shared::params::SizeText;

/// How many mappings can stand at once.
const MAPPINGS: usize = 8;

/// The mappings that stand; the slot decides the address.
static STANDING: SpinLock<[Option<Mapping>; MAPPINGS]> = SpinLock::new([None; MAPPINGS]);

/// One mapping.
#[derive(Clone, Copy)]
struct Mapping {
    start: VirtAddr,
    leaf: Level,
    count: u64,
}

fn einval(what: core::fmt::Arguments<'_>) -> ExitStatus {
    usage(format_args!("EINVAL: {what}"))
}

/// The order of the blocks behind leaves of a size; none are as large as 1 GiB.
fn order_of(leaf: Level) -> Option<Order> {
    Order::covering(leaf.pages())
}

/// A size of leaf that this CPU has.
pub fn leaf(text: &str) -> Result<Level, ExitStatus> {
    let bytes = parse::size("size", text)?;
    let leaf = [Level::PTE, Level::PMD, Level::PUD].into_iter().find(|level| level.size() == bytes);
    match leaf {
        None => Err(einval(format_args!("page size {bytes}"))),
        Some(Level::PUD) if !arch::paging::has_1g_pages() => {
            Err(einval(format_args!("1G pages not supported by this CPU")))
        }
        Some(leaf) => Ok(leaf),
    }
}

impl Mapping {
    fn range(&self) -> Option<PageRange> {
        PageRange::new(self.start, self.leaf.pages().checked_mul(self.count)?)
    }

    /// Maps fresh frames; what was mapped before an error is unmapped again.
    fn fill(&self, order: Order) -> Result<(), ExitStatus> {
        let bits = PteBits::WRITE | PteBits::NO_EXEC | ring_bits();
        for n in 0..self.count {
            let mapped = Block::alloc(GfpFlags::GFP_KERNEL, order)
                .map_err(|error| fail(ExitStatus::CheckFailed, format_args!("pt map: {error}")))
                .and_then(|block| {
                    let va = VirtAddr::truncate(self.start.get() + n * self.leaf.size());
                    kernel_root()
                        .map(va, block.pfn().addr(), self.leaf, bits, &KernelTables)
                        .map_err(|error| fail(ExitStatus::CheckFailed, format_args!("pt map: {error}")))?;
                    // The page table has the block now; `clear` makes it one again.
                    let _ = block.into_parts();
                    Ok(())
                });
            if let Err(status) = mapped {
                self.clear(order).map_err(lost)?;
                return Err(status);
            }
        }
        Ok(())
    }

    /// Unmaps everything, flushes, and frees the frames; gives their number.
    fn clear(&self, order: Order) -> Result<u64, PtError> {
        let Some(range) = self.range() else { return Ok(0) };
        let (root, mut blocks) = (kernel_root(), Ledger::new());
        let mut gather = root.gather(&KernelTables);
        root.unmap(range, &mut gather, |_, _, pte| {
            if let PteView::Present { addr, .. } = <mm::pgtable::X86_64 as PteCodec>::view(pte) {
                // SAFETY: `fill` gave the block of this leaf to the page table, which has just let go of it.
                blocks.push(unsafe { Block::from_parts(addr.pfn(), order) });
            }
        })?;
        let _ = gather.finish();
        Ok(blocks.len())
    }

    /// Stores to every leaf through the mapping and looks through the direct map.
    fn data_is_right(&self) -> bool {
        (0..self.count).all(|n| {
            let va = self.start.get() + n * self.leaf.size() + self.leaf.size() - 8;
            let Some(pa) = kernel_root().translate(VirtAddr::truncate(va)) else { return false };
            let direct = shared::layout::DIRECT_MAP + pa.get();
            // SAFETY: both addresses show the last word of a leaf of this mapping, whose frames are ours.
            unsafe {
                (va as *mut u64).write_volatile(va ^ n);
                (direct as *const u64).read_volatile() == va ^ n
            }
        })
    }
}

fn lost(error: PtError) -> ExitStatus {
    fail(ExitStatus::CheckFailed, format_args!("pt unmap: {error}"))
}

/// Maps and leaves it there.
pub fn map(args: &mut Args<'_>) -> Outcome {
    let (mut size, mut count) = (None, 1);
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("size", Some(text)) => size = Some(leaf(text)?),
            ("count", Some(text)) => count = parse::count("count", text)?,
            _ => return Err(parse::unexpected("pt map", word)),
        }
    }
    let Some(leaf) = size else { return Err(usage(format_args!("pt map: expected size=4K|2M|1G"))) };
    if count > area::MAPPING_BYTES / leaf.size() {
        return Err(einval(format_args!("{count} pages of {} are too many", SizeText(leaf.size()))));
    }
    let Some(order) = order_of(leaf) else {
        let largest = SizeText(Order::MAX.pages() * PAGE_SIZE);
        return Err(fail(ExitStatus::CheckFailed, format_args!("ENOMEM: no blocks larger than {largest}")));
    };
    let Some(slot) = STANDING.lock(&CPU).iter().position(Option::is_none) else {
        return Err(usage(format_args!("pt map: {MAPPINGS} mappings stand; unmap one first")));
    };
    let start = VirtAddr::truncate(area::MAPPINGS + slot as u64 * area::MAPPING_BYTES);
    let mapping = Mapping { start, leaf, count };
    mapping.fill(order)?;
    if let Some(entry) = STANDING.lock(&CPU).get_mut(slot) {
        *entry = Some(mapping);
    }
    let census = mapping.range().and_then(|range| kernel_root().census(range)).unwrap_or_default();
    let Leaves { pte, pmd, .. } = census.leaves;
    let right = mapping.data_is_right();
    console::print(format_args!("va={:#x} size={} count={count}\n", start.get(), SizeText(leaf.size())));
    console::print(format_args!("leafs 2M={pmd} 4K={pte}\n"));
    console::print(format_args!("tables={} data={}\n", census.tables, if right { "ok" } else { "wrong" }));
    if right && census.leaves.pages() == count * leaf.pages() {
        Ok(())
    } else {
        Err(fail(ExitStatus::CheckFailed, format_args!("pt map: the mapping is not as asked for")))
    }
}

/// Takes a mapping of [`map`] away.
pub fn unmap(args: &mut Args<'_>) -> Outcome {
    let va = super::address(args)?;
    if va.page_offset() != 0 {
        return Err(einval(format_args!("address {:#x} is not a multiple of {PAGE_SIZE}", va.get())));
    }
    let found = {
        let mut mappings = STANDING.lock(&CPU);
        mappings.iter_mut().find(|slot| slot.is_some_and(|m| m.start == va)).and_then(Option::take)
    };
    let Some(mapping) = found else {
        return Err(einval(format_args!("pt map has mapped nothing at {:#x}", va.get())));
    };
    let order = order_of(mapping.leaf).unwrap_or(Order::ZERO);
    let freed = mapping.clear(order).map_err(lost)?;
    console::print(format_args!("unmapped va={:#x} freed={freed}\n", va.get()));
    if freed == mapping.count {
        Ok(())
    } else {
        Err(fail(ExitStatus::CheckFailed, format_args!("pt unmap: {} leaves were there", mapping.count)))
    }
}
