//! `mm stress`: pages, objects and areas at once, on all CPUs, freed by whoever finds them.
//!
//! Owns: the workers and their verdict. Invariants: everything that is taken is marked and looked at before it is
//! freed, so whatever has two owners is found; at the end nothing is held, every structure is whole, and as much memory
//! is free as before.

use crate::arch::cpu::rdtsc;
use crate::arch::percpu::{self, MAX_CPUS};
use crate::arch::{smp, time};
use crate::commands::support::{Balance, Block, Random, parse};
use crate::commands::{Args, Outcome, fail};
use crate::machine::CPU;
use crate::memory::areas::{self, AREAS};
use crate::memory::slab::{self, SLABS};
use crate::memory::tables;
use crate::task::{self, Handle};
use crate::{console, report};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::{Order, PAGE_SIZE, VirtAddr};
use mm::phys::GfpFlags;
use mm::sync::SpinLock;
use shared::exit::ExitStatus;

/// Things that a worker holds at most.
const HELD: usize = 128;
/// Things on their way from one CPU to another at once.
const MAIL: usize = 64;
const LARGEST_ORDER: u64 = 5;
/// Objects have up to two to the power of one less bytes.
const OBJECT_BITS: u64 = 15;
const LARGEST_AREA: u64 = 24;
/// One step in so many empties what this CPU keeps: pages, or slabs and areas.
const DRAIN_ONE_IN: u64 = 4096;
const DEFAULT_MS: u64 = 1000;

/// Something that was taken, with the number it is marked with.
enum Thing {
    Pages(Block, u64),
    Object(NonNull<u8>, usize, u64),
    Area(VirtAddr, u64, u64),
}

// SAFETY: a thing is memory that its owner alone uses, on whichever CPU.
unsafe impl Send for Thing {}

static MAILBOX: SpinLock<[Option<Thing>; MAIL]> = SpinLock::new([const { None }; MAIL]);
static END: AtomicU64 = AtomicU64::new(0);
static SEED: AtomicU64 = AtomicU64::new(0);
static TAKEN: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
static FREED: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

/// Runs `mm stress`.
pub fn stress(args: &mut Args<'_>) -> Outcome {
    let (mut ms, mut seed) = (DEFAULT_MS, 1);
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("ms", Some(text)) => ms = parse::count("ms", text)?,
            ("seed", Some(text)) => seed = parse::number("seed", text)?,
            _ => return Err(parse::unexpected("mm stress", word)),
        }
    }
    let before = Kept::take();
    run(ms, seed)?;
    verdict(&before, &Kept::take())
}

/// Where memory is when no worker has any.
#[derive(PartialEq, Eq)]
struct Kept {
    /// Free, or kept for the next areas: their tables and descriptors stay.
    pages: u64,
    leaked: u64,
    areas: u64,
}

impl Kept {
    fn take() -> Self {
        AREAS.purge();
        let Balance { free_pages, leaked_pages } = Balance::take();
        let pages = free_pages + tables::in_use() + AREAS.descriptor_frames();
        Self { pages, leaked: leaked_pages, areas: AREAS.used_pages() }
    }
}

fn run(ms: u64, seed: u64) -> Outcome {
    TAKEN.iter().chain([&FREED, &FAILED]).for_each(|counter| counter.store(0, Ordering::Relaxed));
    SEED.store(seed, Ordering::Relaxed);
    END.store(rdtsc() + time::ns_to_tsc(ms * 1_000_000), Ordering::Release);
    let mut workers = [const { None }; MAX_CPUS];
    let mut error = None;
    for (cpu, worker) in (0..smp::online()).zip(&mut workers) {
        match task::spawn("mm stress", cpu, work, 0) {
            Ok(task) => *worker = Some(task),
            Err(why) => error = Some(why),
        }
    }
    workers.into_iter().flatten().for_each(Handle::join);
    for n in 0..MAIL {
        free(swap(n, None));
    }
    match error {
        None => Ok(()),
        Some(why) => Err(fail(ExitStatus::CheckFailed, format_args!("mm stress: no task: {why:?}"))),
    }
}

fn verdict(before: &Kept, after: &Kept) -> Outcome {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let [pages, objects, areas] = TAKEN.each_ref().map(load);
    console::print(format_args!(
        "cpus={} pages={pages} objects={objects} areas={areas} frees={} fails={}\n",
        smp::online(),
        load(&FREED),
        load(&FAILED)
    ));
    super::check_all();
    console::print(format_args!(
        "pages_diff={} areas_diff={} leaked={} verify=ok\n",
        after.pages.wrapping_sub(before.pages).cast_signed(),
        after.areas.wrapping_sub(before.areas).cast_signed(),
        after.leaked
    ));
    if pages + objects + areas != load(&FREED) {
        return Err(fail(ExitStatus::CheckFailed, format_args!("mm stress: something was not freed")));
    }
    if before != after {
        return Err(fail(ExitStatus::CheckFailed, format_args!("mm stress: memory was lost")));
    }
    Ok(())
}

/// A worker: takes, looks at, passes on and frees until the clock runs out.
fn work(_: usize) {
    let cpu = u64::from(percpu::cpu());
    let mut random = Random::new(SEED.load(Ordering::Relaxed) ^ cpu << 32);
    let mut held = [const { None }; HELD];
    while rdtsc() < END.load(Ordering::Relaxed) {
        if random.below(DRAIN_ONE_IN) == 0 {
            drain(&mut random);
        }
        let Some(slot) = held.get_mut(random.below(HELD as u64) as usize) else { return };
        let thing = match slot.take() {
            None => take(&mut random),
            // What is in the box may come from another CPU.
            Some(thing) => swap(random.below(MAIL as u64) as usize, Some(thing)),
        };
        match thing {
            None => {}
            Some(thing) if random.below(2) == 0 => free(Some(thing)),
            Some(thing) => *slot = Some(thing),
        }
    }
    held.into_iter().for_each(free);
}

fn drain(random: &mut Random) {
    match random.below(3) {
        0 => crate::memory::PHYS.drain_local_pages(),
        1 => {
            if let Some(cache) = SLABS.kmalloc_cache(64, GfpFlags::GFP_KERNEL) {
                SLABS.flush_cpu(cache);
                SLABS.shrink(cache);
            }
        }
        _ => {
            AREAS.purge();
        }
    }
}

/// Puts something into the box and takes out what was there.
fn swap(place: usize, thing: Option<Thing>) -> Option<Thing> {
    let mut mailbox = MAILBOX.lock(&CPU);
    match mailbox.get_mut(place) {
        Some(slot) => core::mem::replace(slot, thing),
        None => thing,
    }
}

fn take(random: &mut Random) -> Option<Thing> {
    let (tag, kind) = (random.word() | 1, random.below(16));
    let made = match kind {
        0 => area(1 + random.below(LARGEST_AREA), tag),
        1..=6 => pages(random, tag),
        _ => {
            let most = 1 << random.below(OBJECT_BITS);
            object(16 + random.below(most) as usize, tag)
        }
    };
    let counter = match made {
        Some(Thing::Pages(..)) => &TAKEN[0],
        Some(Thing::Object(..)) => &TAKEN[1],
        Some(Thing::Area(..)) => &TAKEN[2],
        None => &FAILED,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    made
}

fn pages(random: &mut Random, tag: u64) -> Option<Thing> {
    let order = Order::new(random.below(LARGEST_ORDER + 1) as u32)?;
    let gfp = match random.below(4) {
        0 => GfpFlags::GFP_KERNEL | GfpFlags::__GFP_RECLAIMABLE,
        1 => GfpFlags::GFP_HIGHUSER_MOVABLE,
        2 => GfpFlags::GFP_ATOMIC,
        _ => GfpFlags::GFP_KERNEL,
    };
    let block = Block::alloc(gfp | GfpFlags::__GFP_NOWARN, order).ok()?;
    block.mark(tag);
    Some(Thing::Pages(block, tag))
}

fn object(size: usize, tag: u64) -> Option<Thing> {
    let object = slab::kmalloc(size, GfpFlags::GFP_KERNEL).ok()?;
    // SAFETY: the object is ours and has at least 16 bytes.
    unsafe { write_ends(object, size, tag) };
    Some(Thing::Object(object, size, tag))
}

fn area(pages: u64, tag: u64) -> Option<Thing> {
    let at = areas::vmalloc(pages * PAGE_SIZE).ok()?;
    for page in each_page(at, pages) {
        // SAFETY: the area is ours and has that many pages.
        unsafe { write_ends(page, PAGE_SIZE as usize, tag ^ page.as_ptr() as u64) };
    }
    Some(Thing::Area(at, pages, tag))
}

fn each_page(at: VirtAddr, pages: u64) -> impl Iterator<Item = NonNull<u8>> {
    (0..pages).filter_map(move |n| NonNull::new((at.get() + n * PAGE_SIZE) as *mut u8))
}

/// Writes `tag` to the first word of `size` bytes and its complement to the last.
///
/// # Safety
/// The bytes are the caller's, and at least 16.
unsafe fn write_ends(at: NonNull<u8>, size: usize, tag: u64) {
    // SAFETY: promised by the caller.
    unsafe {
        at.cast::<u64>().write_unaligned(tag);
        at.add(size - 8).cast::<u64>().write_unaligned(!tag);
    }
}

/// Whether [`write_ends`] was the last to write.
///
/// # Safety
/// As for [`write_ends`].
unsafe fn has_ends(at: NonNull<u8>, size: usize, tag: u64) -> bool {
    // SAFETY: promised by the caller.
    unsafe {
        at.cast::<u64>().read_unaligned() == tag && at.add(size - 8).cast::<u64>().read_unaligned() == !tag
    }
}

/// Looks at a thing and frees it. One that somebody else has written to had two owners.
fn free(thing: Option<Thing>) {
    let Some(thing) = thing else { return };
    FREED.fetch_add(1, Ordering::Relaxed);
    let whole = match &thing {
        Thing::Pages(block, tag) => block.damage(*tag).is_none(),
        // SAFETY: the object is ours, of that size.
        Thing::Object(object, size, tag) => unsafe { has_ends(*object, *size, *tag) },
        Thing::Area(at, pages, tag) => {
            // SAFETY: the area is ours and has that many pages.
            each_page(*at, *pages)
                .all(|page| unsafe { has_ends(page, PAGE_SIZE as usize, tag ^ page.as_ptr() as u64) })
        }
    };
    if !whole {
        report::corruption(format_args!("Bad content: memory with two owners"));
    }
    match thing {
        Thing::Pages(block, _) => drop(block),
        // SAFETY: it is ours, and used no more.
        Thing::Object(object, ..) => unsafe { slab::kfree(object) },
        Thing::Area(at, ..) => {
            if let Err(error) = areas::vfree(at) {
                report::corruption(format_args!("Trying to vfree() {error}"));
            }
        }
    }
}
