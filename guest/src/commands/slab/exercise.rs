//! Caches at work: reuse, constructors, frees from other CPUs, all CPUs at once.

use super::named;
use crate::arch::cpu::rdtsc;
use crate::arch::percpu::{self, MAX_CPUS};
use crate::arch::{smp, time};
use crate::commands::support::{Random, Words, parse};
use crate::commands::{Args, Outcome, fail, usage};
use crate::memory::slab::{self, FRAMES, SLABS};
use crate::task::{self, Handle, SpawnError};
use crate::{console, report};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use mm::phys::GfpFlags;
use mm::slab::{Cache, CacheRequest, SlabFlags};
use shared::exit::ExitStatus;

const GFP: GfpFlags = GfpFlags::GFP_KERNEL;
/// Objects that are on their way from one CPU to another at once.
const MAIL: usize = 64;
/// Objects a CPU holds at most.
const HELD: usize = 200;

/// The cache that the workers use.
static CACHE: AtomicPtr<Cache> = AtomicPtr::new(core::ptr::null_mut());
static OPS: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);
static DAMAGED: AtomicU64 = AtomicU64::new(0);
static SHORT: AtomicBool = AtomicBool::new(false);
static MADE: AtomicU64 = AtomicU64::new(0);
/// Objects for whoever takes them.
static BOX: [AtomicPtr<u8>; MAIL] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAIL];

/// The line and the status without memory.
pub fn no_memory() -> ExitStatus {
    fail(ExitStatus::CheckFailed, format_args!("slab: not enough memory"))
}

/// Runs `entry` on every CPU and waits.
fn on_all(entry: task::Entry, argument: usize) -> Result<(), SpawnError> {
    let mut helpers = [const { None }; MAX_CPUS];
    let mut result = Ok(());
    for (cpu, helper) in (0..smp::online()).zip(&mut helpers) {
        match task::spawn("slab", cpu, entry, argument) {
            Ok(task) => *helper = Some(task),
            Err(error) => result = Err(error),
        }
    }
    helpers.into_iter().flatten().for_each(Handle::join);
    result
}

fn spawned(result: Result<(), SpawnError>) -> Outcome {
    result.map_err(|error| fail(ExitStatus::CheckFailed, format_args!("slab: no task: {error:?}")))
}

fn the_cache() -> Option<&'static Cache> {
    // SAFETY: null or a cache of the allocator, which is not destroyed while a command uses it.
    unsafe { CACHE.load(Ordering::Acquire).as_ref() }
}

/// A cache of a command's own, made on first use.
pub fn own_cache(
    name: &'static str,
    size: u32,
    ctor: Option<fn(NonNull<u8>)>,
) -> Result<&'static Cache, ExitStatus> {
    let request = CacheRequest { name, size, align: 0, flags: SlabFlags::NO_MERGE, ctor };
    let cache =
        SLABS.find(name).map_or_else(|| SLABS.create(&request, &FRAMES), Ok).map_err(|_| no_memory())?;
    CACHE.store(core::ptr::from_ref(cache).cast_mut(), Ordering::Release);
    Ok(cache)
}

/// `slab shrink CACHE`: gives back every slab that holds nothing.
pub fn shrink(args: &mut Args<'_>) -> Outcome {
    let cache = named(args.next_word())?;
    let before = cache.stats().slabs;
    SLABS.flush_all(cache);
    SLABS.shrink(cache);
    console::print(format_args!("name={} slabs={before}->{}\n", cache.name(), cache.stats().slabs));
    Ok(())
}

fn construct(object: NonNull<u8>) {
    MADE.fetch_add(1, Ordering::Relaxed);
    // SAFETY: objects of the cache have 64 bytes, and this one is nobody's yet.
    unsafe { object.write_bytes(0x77, 64) };
}

/// `slab ctor-test N [xROUNDS]`: allocates and frees N constructed objects again and again.
pub fn constructors(args: &mut Args<'_>) -> Outcome {
    let count = args.next_word().map_or(Ok(1000), |text| parse::count("count", text))? as usize;
    let rounds =
        args.next_word().map_or(Ok(10), |text| parse::count("rounds", text.trim_start_matches('x')))?;
    let cache = own_cache("ctor_test", 64, Some(construct))?;
    let before = cache.stats();
    MADE.store(0, Ordering::Relaxed);
    let Some(mut words) = Words::alloc(count) else { return Err(no_memory()) };
    let Some(objects) = words.get_mut(..count) else { return Err(no_memory()) };
    for _ in 0..rounds {
        for slot in objects.iter_mut() {
            *slot = slab::alloc(cache, GFP).map_or(0, |object| object.as_ptr() as u64);
        }
        for slot in objects.iter_mut() {
            give(cache, core::mem::take(slot));
        }
    }
    let first = slab::alloc(cache, GFP).map_err(|_| no_memory())?;
    give(cache, first.as_ptr() as u64);
    let again = slab::alloc(cache, GFP).map_err(|_| no_memory())?;
    give(cache, again.as_ptr() as u64);
    let stats = cache.stats();
    let (allocs, slow) = (stats.allocs - before.allocs, stats.slow_allocs - before.slow_allocs);
    console::print(format_args!(
        "allocs={allocs} ctor_calls={} objects_in_slabs={} same_address={} fastpath={}%\n",
        MADE.load(Ordering::Relaxed),
        stats.objects,
        if first == again { "yes" } else { "no" },
        (allocs - slow) * 100 / allocs.max(1)
    ));
    Ok(())
}

/// Frees an object of `cache` by its address; 0 is none.
pub fn give(cache: &Cache, object: u64) {
    if let Some(object) = NonNull::new(object as *mut u8) {
        // SAFETY: the caller has allocated it from this cache and gives it up.
        slab::expect_freed(unsafe { SLABS.free(cache, object) });
    }
}

/// Pairs on one CPU until the clock runs out.
fn pairs(_: usize) {
    let Some(cache) = the_cache() else { return };
    let mut ops = 0;
    while rdtsc() < END.load(Ordering::Relaxed) {
        for _ in 0..100 {
            if let Ok(object) = slab::alloc(cache, GFP) {
                give(cache, object.as_ptr() as u64);
                ops += 2;
            }
        }
    }
    OPS.fetch_add(ops, Ordering::Relaxed);
}

fn until(ms: u64) {
    OPS.store(0, Ordering::Relaxed);
    DAMAGED.store(0, Ordering::Relaxed);
    SHORT.store(false, Ordering::Relaxed);
    END.store(rdtsc() + time::ns_to_tsc(ms * 1_000_000), Ordering::Release);
}

fn milliseconds(args: &mut Args<'_>, default: u64) -> Result<u64, ExitStatus> {
    args.take_key("ms").map_or(Ok(default), |text| parse::count("ms", text))
}

/// `slab bench [ms=N]`: operations a second with one CPU and with all.
pub fn bench(args: &mut Args<'_>) -> Outcome {
    let ms = milliseconds(args, 50)?;
    let cache = own_cache("slab_bench", 64, None)?;
    for cpus in [1, smp::online()] {
        let before = cache.stats();
        until(ms);
        if cpus == 1 {
            pairs(0);
        } else {
            spawned(on_all(pairs, 0))?;
        }
        let (ops, stats) = (OPS.load(Ordering::Relaxed), cache.stats());
        console::print(format_args!(
            "cpus={cpus} ops={ops} ops_per_s={} list_lock={} slow_allocs={}\n",
            ops * 1000 / ms,
            stats.list_lock - before.list_lock,
            stats.slow_allocs - before.slow_allocs
        ));
    }
    Ok(())
}

/// Allocates into the box, frees out of it: every object is freed by whoever finds it.
fn hand_over(count: usize) {
    let Some(cache) = the_cache() else { return };
    let mut random = Random::new(u64::from(percpu::cpu()));
    for _ in 0..count {
        let Ok(object) = slab::alloc(cache, GFP) else {
            SHORT.store(true, Ordering::Relaxed);
            continue;
        };
        let tag = random.word() | 1;
        mark(object, tag);
        if let Some(slot) = BOX.get(random.below(MAIL as u64) as usize) {
            let old = slot.swap(object.as_ptr(), Ordering::AcqRel);
            take_out(cache, old);
        }
    }
}

/// Writes a number to the start and the end of an object.
fn mark(object: NonNull<u8>, tag: u64) {
    // SAFETY: the object is ours, aligned to a word, and has 64 bytes at least.
    unsafe {
        object.cast::<u64>().write(tag);
        object.cast::<u64>().add(7).write(!tag);
    }
}

fn take_out(cache: &Cache, object: *mut u8) {
    let Some(object) = NonNull::new(object) else { return };
    // SAFETY: whoever takes it out of the box owns it; it was marked before it went in.
    let is_whole = unsafe { object.cast::<u64>().read() == !object.cast::<u64>().add(7).read() };
    if !is_whole {
        DAMAGED.fetch_add(1, Ordering::Relaxed);
    }
    give(cache, object.as_ptr() as u64);
}

/// `slab handover [N]`: every CPU allocates N objects and frees those that others have left for it.
pub fn handover(args: &mut Args<'_>) -> Outcome {
    let count = args.next_word().map_or(Ok(20_000), |text| parse::count("count", text))? as usize;
    let cache = own_cache("slab_handover", 64, None)?;
    until(0);
    let before = cache.stats();
    let ran = on_all(hand_over, count);
    BOX.iter().for_each(|slot| take_out(cache, slot.swap(core::ptr::null_mut(), Ordering::AcqRel)));
    spawned(ran)?;
    let stats = cache.stats();
    finish(cache, "handover", stats.allocs - before.allocs)
}

/// Checks and prints what is left of a run.
fn finish(cache: &Cache, what: &str, ops: u64) -> Outcome {
    if let Err(violation) = SLABS.verify() {
        report::corruption(format_args!("{violation}"));
    }
    let (leak, damaged) = (cache.stats().active_objects, DAMAGED.load(Ordering::Relaxed));
    console::print(format_args!(
        "{what}: cpus={} ops={ops} leak={leak} damaged={damaged} slabs={} verify=ok\n",
        smp::online(),
        cache.stats().slabs
    ));
    if damaged != 0 {
        report::corruption(format_args!("{damaged} objects had two owners"));
    }
    if leak != 0 || SHORT.load(Ordering::Relaxed) {
        return Err(fail(
            ExitStatus::CheckFailed,
            format_args!("slab {what}: objects were lost or memory ran out"),
        ));
    }
    Ok(())
}

/// Random allocations and frees of random sizes, some through the box.
fn storm(seed: usize) {
    let Some(cache) = the_cache() else { return };
    let mut random = Random::new(seed as u64 ^ u64::from(percpu::cpu()) << 32);
    let mut held = [(0_u64, 0_u64); HELD];
    let mut ops = 0;
    while rdtsc() < END.load(Ordering::Relaxed) {
        let Some(slot) = held.get_mut(random.below(HELD as u64) as usize) else { return };
        ops += 1;
        match NonNull::new(slot.0 as *mut u8) {
            Some(object) => {
                // SAFETY: the object is ours and was marked with the tag.
                if unsafe { object.cast::<u64>().read() } != slot.1 {
                    DAMAGED.fetch_add(1, Ordering::Relaxed);
                }
                slot.0 = 0;
                // SAFETY: as above; it is used no more.
                unsafe { slab::kfree(object) };
            }
            None => {
                let size = 64 << random.below(5);
                let Ok(object) = slab::kmalloc(size as usize, GFP) else { continue };
                *slot = (object.as_ptr() as u64, random.word() | 1);
                mark(object, slot.1);
            }
        }
        if ops % 8 == 0 {
            hand_over(1);
        }
        if ops % 4096 == 0 {
            SLABS.flush_cpu(cache);
        }
    }
    for (object, _) in held {
        if let Some(object) = NonNull::new(object as *mut u8) {
            // SAFETY: ours, and used no more.
            unsafe { slab::kfree(object) };
        }
    }
    OPS.fetch_add(ops, Ordering::Relaxed);
}

/// `slab stress [ms=N] [seed=N]`: all CPUs at once.
pub fn stress(args: &mut Args<'_>) -> Outcome {
    let ms = milliseconds(args, 1000)?;
    let seed = args.take_key("seed").map_or(Ok(1), |text| parse::number("seed", text))?;
    if let Some(word) = args.peek() {
        return Err(usage(format_args!("slab stress: unexpected argument '{word}'; see help")));
    }
    let cache = own_cache("slab_stress", 64, None)?;
    until(ms);
    let ran = on_all(storm, seed as usize);
    BOX.iter().for_each(|slot| take_out(cache, slot.swap(core::ptr::null_mut(), Ordering::AcqRel)));
    spawned(ran)?;
    finish(cache, "stress", OPS.load(Ordering::Relaxed))
}
