//! What page tables say: entries of one address, levels, the cost of a walk.

use crate::arch::{boot::is_ring0_slow, cpu};
use crate::commands::{Outcome, fail, vm};
use crate::machine::Kernel;
use crate::memory::boot::kernel_root;
use crate::memory::vm::VM;
use crate::{console, report};
use core::fmt;
use mm::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr};
use mm::pgtable::{Leaves, PageRange, PageTable, walk_refs};
use mm::port::{Level, PteBits, PteView};
use shared::exit::ExitStatus;
use shared::layout::{TASK_END, VIRTUAL_AREAS};

/// CR4: five-level paging is on.
const LA57: u64 = 1 << 12;

/// Runs `read` on the tables that translate `va`: those of the chosen context, if it has something there.
fn with_tree<T>(va: VirtAddr, read: impl FnOnce(PageTable<'static, Kernel>) -> T) -> T {
    let context = vm::chosen().filter(|_| va.get() < TASK_END);
    match context.as_ref().map(|context| context.mm().tree()) {
        Some(tree) if tree.translate(va).is_some() => read(tree),
        _ => read(kernel_root()),
    }
}

/// Every entry that translates `va`, root first.
pub fn walk(va: VirtAddr) -> Outcome {
    match with_tree(va, |tree| tree.walk(va)) {
        Some(walk) => {
            console::print(format_args!("{walk}"));
            Ok(())
        }
        None => Err(fail(ExitStatus::CheckFailed, format_args!("no tables for {:#x}", va.get()))),
    }
}

/// Flags in the order of their bits; no-execute, the highest bit, last.
struct Flags(PteBits);

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(PteBits, &str); 13] = [
            (PteBits::WRITE, "RW"),
            (PteBits::USER, "US"),
            (PteBits::WRITE_THROUGH, "PWT"),
            (PteBits::NO_CACHE, "PCD"),
            (PteBits::ACCESSED, "A"),
            (PteBits::DIRTY, "D"),
            (PteBits::HUGE, "PS"),
            (PteBits::GLOBAL, "G"),
            (PteBits::SPECIAL, "SPECIAL"),
            (PteBits::UFFD_WP, "UFFD_WP"),
            (PteBits::SOFT_DIRTY, "SOFT_DIRTY"),
            (PteBits::EXCLUSIVE, "EXCLUSIVE"),
            (PteBits::NO_EXEC, "NX"),
        ];
        let mut set = NAMES.iter().filter(|(bit, _)| self.0.contains(*bit));
        set.try_for_each(|(_, name)| write!(f, " {name}"))
    }
}

/// What the deepest entry for `va` says.
pub fn pte(va: VirtAddr) -> Outcome {
    match with_tree(va, |tree| tree.view(va)) {
        None | Some(PteView::None) => console::print(format_args!("none\n")),
        Some(PteView::Present { addr, bits }) => {
            console::print(format_args!("pfn={:#x}{}\n", addr.pfn().get(), Flags(bits)));
        }
        Some(PteView::ProtNone { addr, bits }) => {
            console::print(format_args!("protnone pfn={:#x}{}\n", addr.pfn().get(), Flags(bits)));
        }
        Some(PteView::Migration { addr, bits }) => {
            console::print(format_args!("migration pfn={:#x}{}\n", addr.pfn().get(), Flags(bits)));
        }
        Some(PteView::Swap { entry, bits }) => {
            let (area, offset) = (entry.area(), entry.offset());
            console::print(format_args!("swap type={area} off={offset:#x}{}\n", Flags(bits)));
        }
        Some(PteView::Poisoned { pfn }) => console::print(format_args!("hwpoison pfn={:#x}\n", pfn.get())),
        Some(PteView::Bad { raw }) => {
            report::corruption(format_args!("Bad page table entry {raw:#x} for {:#x}", va.get()));
        }
    }
    Ok(())
}

/// How many levels there are: `4 (p4d folded, la57=0)`.
pub fn levels() -> Outcome {
    let levels = kernel_root().root_level().get();
    let la57 = u32::from(cpu::read_cr4() & LA57 != 0);
    let folded = if levels < Level::PGD.get() { "p4d folded, " } else { "" };
    console::print(format_args!("{levels} ({folded}la57={la57})\n"));
    if levels == Level::P4D.get() + la57 {
        Ok(())
    } else {
        Err(fail(ExitStatus::CheckFailed, format_args!("the CPU walks {} levels", Level::P4D.get() + la57)))
    }
}

/// For each kernel area and each area of the chosen context, and each size of leaf: the entries that a TLB miss reads
/// under nested paging, with 4 KiB pages on both sides, and with this leaf on both sides.
pub fn cost() -> Outcome {
    for area in VIRTUAL_AREAS.iter().filter(|area| area.start >= TASK_END) {
        let range = PageRange::new(VirtAddr::truncate(area.start), (area.end - area.start) / PAGE_SIZE);
        range.into_iter().for_each(|range| cost_of(kernel_root(), range, format_args!("{}", area.name)));
    }
    let Some(context) = vm::chosen() else { return Ok(()) };
    let (mm, mut at) = (context.mm(), VirtAddr::default());
    while let Some(area) = VM.area_from(mm, at) {
        let (start, end) =
            (VirtAddr::truncate(area.start << PAGE_SHIFT), VirtAddr::truncate(area.end << PAGE_SHIFT));
        if let Some(range) = PageRange::new(start, area.end - area.start) {
            cost_of(mm.tree(), range, format_args!("{:#x}-{:#x}", start.get(), end.get()));
        }
        at = end;
    }
    Ok(())
}

/// A line for each size of leaf that `tree` has in `range`.
fn cost_of(tree: PageTable<'static, Kernel>, range: PageRange, name: fmt::Arguments<'_>) {
    // Where ring 0 is interpreted, the host shadows our tables; elsewhere it does not say what it does.
    let tdp = if is_ring0_slow() { "shadow" } else { "unknown" };
    let refs = |level| {
        let levels = tree.walk_levels(level);
        walk_refs(levels, levels)
    };
    let census = tree.census(range).unwrap_or_default();
    let Leaves { pte, pmd, pud } = census.leaves;
    for (level, leaf, count) in [(Level::PUD, "1G", pud), (Level::PMD, "2M", pmd), (Level::PTE, "4K", pte)] {
        if count != 0 {
            console::print(format_args!(
                "region={name} leaf={leaf} leaves={count} refs={}/{} PageTables={} kB tdp={tdp}\n",
                refs(Level::PTE),
                refs(level),
                census.tables * PAGE_SIZE / 1024
            ));
        }
    }
}
