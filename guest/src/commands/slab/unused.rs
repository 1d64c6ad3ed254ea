//! `slab fill`, `slab shrinkers`: objects that are kept though nobody uses them, and who gives them back.
//!
//! The objects stand for what a file system remembers: a cache of them grows with use, and nobody frees one until a
//! shrinker is asked. Invariant: every object of the cache is on the list, linked through its first word.

use crate::commands::support::parse;
use crate::commands::{Args, Outcome, fail};
use crate::console;
use crate::machine::CPU;
use crate::memory::shrinkers::{self, SHRINKERS};
use crate::memory::slab::{self, FRAMES, SLABS};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use mm::addr::NodeId;
use mm::phys::GfpFlags;
use mm::shrinker::{Shrink, ShrinkControl, Shrinker};
use mm::slab::{Cache, CacheRequest, SlabFlags};
use mm::sync::SpinLock;
use shared::exit::ExitStatus;

const GFP: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::__GFP_RECLAIMABLE);
/// As large as a dentry of Linux.
const REQUEST: CacheRequest<'static> = CacheRequest {
    name: "unused",
    size: 192,
    align: 0,
    flags: SlabFlags::RECLAIM_ACCOUNT.union(SlabFlags::NO_MERGE),
    ctor: None,
};

static OBJECTS: SpinLock<Objects> = SpinLock::new(Objects { newest: core::ptr::null_mut(), count: 0 });
static UNUSED: Shrinker<'static> = Shrinker::new("unused", &Unused);
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// All objects.
struct Objects {
    newest: *mut u8,
    count: u64,
}

// SAFETY: the objects belong to the list, which one CPU at a time has.
unsafe impl Send for Objects {}

impl Objects {
    fn push(&mut self, object: NonNull<u8>) {
        // SAFETY: the object is the list's now, aligned to a word, and has one at its start.
        unsafe { object.cast::<*mut u8>().write(self.newest) };
        self.newest = object.as_ptr();
        self.count += 1;
    }

    fn pop(&mut self) -> Option<NonNull<u8>> {
        let object = NonNull::new(self.newest)?;
        // SAFETY: `push` wrote the word, and the object has been the list's since.
        self.newest = unsafe { object.cast::<*mut u8>().read() };
        self.count -= 1;
        Some(object)
    }
}

struct Unused;

impl Shrink for Unused {
    fn count_objects(&self, _: &ShrinkControl) -> u64 {
        OBJECTS.lock(&CPU).count
    }

    fn scan_objects(&self, control: &mut ShrinkControl) -> Option<u64> {
        let cache = SLABS.find(REQUEST.name)?;
        let mut freed = 0;
        while freed < control.nr_to_scan {
            let Some(object) = OBJECTS.lock(&CPU).pop() else { break };
            // SAFETY: the object was on the list, so nobody uses it.
            slab::expect_freed(unsafe { SLABS.free(cache, object) });
            freed += 1;
        }
        Some(freed)
    }
}

fn cache() -> Result<&'static Cache, ExitStatus> {
    SLABS.find(REQUEST.name).map_or_else(|| SLABS.create(&REQUEST, &FRAMES), Ok).map_err(|_| no_memory())
}

fn no_memory() -> ExitStatus {
    fail(ExitStatus::CheckFailed, format_args!("slab fill: not enough memory"))
}

/// `slab fill N`: N more objects that nobody uses.
pub fn fill(args: &mut Args<'_>) -> Outcome {
    let count = args.next_word().map_or(Ok(10_000), |text| parse::count("count", text))?;
    let cache = cache()?;
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        shrinkers::register(&UNUSED);
    }
    for _ in 0..count {
        let object = slab::alloc(cache, GFP).map_err(|_| no_memory())?;
        OBJECTS.lock(&CPU).push(object);
    }
    console::print(format_args!("objects={} slabs={}\n", OBJECTS.lock(&CPU).count, cache.stats().slabs));
    Ok(())
}

/// `slab shrinkers [priority=N] [gfp=FLAGS]`: asks all of them with a priority, and shows what they keep.
pub fn shrinkers(args: &mut Args<'_>) -> Outcome {
    let priority = args.take_key("priority").map(|text| parse::number("priority", text)).transpose()?;
    let gfp = args.take_key("gfp").map_or(Ok(GfpFlags::GFP_KERNEL), parse::gfp)?;
    if let Some(priority) = priority {
        let (before, node) = (SHRINKERS.scanned(), NodeId::ZERO);
        let freed = shrinkers::shrink_slab(gfp, node, u32::try_from(priority).unwrap_or(u32::MAX));
        let scanned = SHRINKERS.scanned() - before;
        console::print(format_args!("priority={priority} scanned={scanned} freed={freed}\n"));
    }
    for shrinker in SHRINKERS.all(&CPU) {
        console::print(format_args!(
            "shrinker={} objects={} deferred={}\n",
            shrinker.name(),
            shrinker.count(gfp, NodeId::ZERO),
            shrinker.deferred(NodeId::ZERO)
        ));
    }
    Ok(())
}
