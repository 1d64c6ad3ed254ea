//! Roots: what they share, and running on another one.

use crate::arch::cpu;
use crate::commands::support::{Block, parse};
use crate::commands::{Args, Outcome, fail, usage};
use crate::context;
use crate::machine::{Kernel, MACHINE};
use crate::memory::areas;
use crate::memory::boot::{kernel_root, ring_bits};
use crate::memory::tables::{self, KernelTables};
use crate::{console, report};
use core::sync::atomic::Ordering::Relaxed;
use mm::addr::{Order, PAGE_SIZE, VirtAddr};
use mm::pgtable::{PageRange, PageTable};
use mm::phys::GfpFlags;
use mm::port::{Level, Machine, Mmu, PteBits};
use shared::exit::ExitStatus;
use shared::layout::OVERLAY;

type Root = PageTable<'static, Kernel>;

/// Hashes of the entries in the lower and in the upper half of a root. Source: FNV-1a, 64 bits.
fn halves(root: &Root) -> (u64, u64) {
    let hash = |range: core::ops::Range<u64>| {
        range.fold(0xcbf2_9ce4_8422_2325, |hash: u64, slot| {
            // The sign of bit 47 goes up to bit 63.
            let va = VirtAddr::truncate(((slot << 55) as i64 >> 16) as u64);
            let entry = root.walk(va).and_then(|walk| walk.steps().first().map(|step| step.pte.raw()));
            (hash ^ entry.unwrap_or(0)).wrapping_mul(0x100_0000_01b3)
        })
    };
    let half = Level::ENTRIES as u64 / 2;
    (hash(0..half), hash(half..2 * half))
}

fn print_root(name: &str, root: &Root) {
    let (lower, upper) = halves(root);
    let cr3 = root.root().get();
    console::print(format_args!("root={name} cr3={cr3:#x} lower={lower:016x} upper={upper:016x}\n"));
}

/// The kernel's root, those of all contexts, and the one in use; whether all have the same upper half.
fn print_all() -> Outcome {
    let kernel = kernel_root();
    print_root("kernel", &kernel);
    let (mut roots, mut equal) = (1, true);
    for context in context::all() {
        let root = context.mm().tree();
        print_root(context.name().as_str(), &root);
        roots += 1;
        equal &= halves(&root).1 == halves(&kernel).1;
    }
    console::print(format_args!("active cr3={:#x}\n", cpu::read_cr3().get()));
    console::print(format_args!("roots={roots} upper={}\n", if equal { "equal" } else { "different" }));
    if equal {
        Ok(())
    } else {
        Err(fail(ExitStatus::CheckFailed, format_args!("pt roots: upper halves differ")))
    }
}

/// `pt roots [--after vmalloc SIZE]`.
pub fn list(args: &mut Args<'_>) -> Outcome {
    if !args.take("--after") {
        return print_all();
    }
    if !args.take("vmalloc") {
        return Err(usage(format_args!("pt roots: expected --after vmalloc SIZE")));
    }
    let size = parse::size("size", args.next_word().unwrap_or(""))?;
    let area = areas::vmalloc(size)
        .map_err(|error| fail(ExitStatus::CheckFailed, format_args!("pt roots: vmalloc: {error}")))?;
    let result = print_all();
    if let Err(error) = areas::vfree(area) {
        report::corruption(format_args!("{error}"));
    }
    result
}

fn no_memory() -> ExitStatus {
    fail(ExitStatus::CheckFailed, format_args!("pt switch: no memory for a root"))
}

/// A root of its own: the kernel's upper half, and one page in the overlay window.
struct Context {
    root: Root,
    page: Block,
}

fn overlay() -> Option<PageRange> {
    PageRange::new(VirtAddr::truncate(OVERLAY), 1)
}

impl Context {
    fn new(tag: u64) -> Option<Self> {
        let page = Block::alloc(GfpFlags::GFP_KERNEL, Order::ZERO).ok()?;
        page.mark(tag);
        let context = Self { root: kernel_root().new_sharing_upper(&KernelTables)?, page };
        let bits = PteBits::WRITE | PteBits::NO_EXEC | ring_bits();
        let (va, pa) = (VirtAddr::truncate(OVERLAY), context.page.pfn().addr());
        context.root.map(va, pa, Level::PTE, bits, &KernelTables).ok()?;
        Some(context)
    }

    /// Runs on this root: what CR3 is, what the overlay window shows, whether memory can be allocated and freed.
    fn visit(&self) -> Visit {
        // SAFETY: the root has the kernel's upper half, where code, stacks and all kernel data are.
        unsafe { MACHINE.mmu().activate(self.root.root()) };
        let cr3 = cpu::read_cr3().get();
        // SAFETY: the window is mapped in this root, to a page of ours.
        let seen = unsafe { (OVERLAY as *const u64).read_volatile() };
        let works = Block::alloc(GfpFlags::GFP_KERNEL, Order::ZERO).is_ok_and(|block| {
            block.mark(cr3);
            block.damage(cr3).is_none()
        });
        // SAFETY: the kernel's own root.
        unsafe { MACHINE.mmu().activate(kernel_root().root()) };
        Visit { cr3, seen, works }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let mut gather = self.root.gather(&KernelTables);
        if let Some(range) = overlay() {
            // One small leaf: nothing has to be split, so nothing can fail.
            let _ = self.root.unmap(range, &mut gather, |_, _, _| {});
        }
        let _ = gather.finish();
        // SAFETY: the root came from these frames, no CPU runs on it since `visit`, and the kernel's root keeps the
        // upper half.
        if unsafe { self.root.free_root(&KernelTables) }.is_err() {
            report::corruption(format_args!("Bad page table: a root is not empty"));
        }
    }
}

struct Visit {
    cr3: u64,
    seen: u64,
    works: bool,
}

/// Makes two roots with names, runs on both, comes back and frees them.
pub fn switch(args: &mut Args<'_>) -> Outcome {
    let names = [args.next_word().unwrap_or("A"), args.next_word().unwrap_or("B")];
    if let Some(extra) = args.next_word() {
        return Err(parse::unexpected("pt switch", extra));
    }
    let (before, home) = (tables::in_use(), cpu::read_cr3().get());
    let mut right = true;
    {
        let contexts = [Context::new(1).ok_or_else(no_memory)?, Context::new(2).ok_or_else(no_memory)?];
        let visits = contexts.each_ref().map(Context::visit);
        let mut seen = [home, 0, 0];
        for (n, ((name, context), visit)) in names.iter().zip(&contexts).zip(&visits).enumerate() {
            print_root(name, &context.root);
            let pfn = context.page.pfn().get();
            let own = visit.seen == context.page.word(0).load(Relaxed);
            let (cr3, works) = (visit.cr3, visit.works);
            console::print(format_args!(
                "on {name}: cr3={cr3:#x} va={OVERLAY:#x} pfn={pfn:#x} own_page={} alloc={}\n",
                u32::from(own),
                if works { "ok" } else { "failed" }
            ));
            right &= own && works && cr3 == context.root.root().get() && !seen.contains(&cr3);
            if let Some(slot) = seen.get_mut(n + 1) {
                *slot = cr3;
            }
        }
        let (kernel, shared) = (halves(&kernel_root()), contexts.each_ref().map(|c| halves(&c.root)));
        right &= shared.iter().all(|(lower, upper)| *upper == kernel.1 && *lower != kernel.0);
        right &= shared[0].0 != shared[1].0;
    }
    let (back, leaked) = (cpu::read_cr3().get(), tables::in_use() - before);
    console::print(format_args!("back cr3={back:#x} tables_left={} kB\n", leaked * PAGE_SIZE / 1024));
    if right && back == home && leaked == 0 {
        console::print(format_args!("switch=ok\n"));
        Ok(())
    } else {
        Err(fail(ExitStatus::CheckFailed, format_args!("pt switch: a root is not as it should be")))
    }
}
