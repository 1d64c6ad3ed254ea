//! The slab allocator of this machine: the guest's side of `mm::slab`.
//!
//! Owns: the one [`Slabs`], its boot from the parameters, and what a corrupt object does. Stays outside: all policy.

use super::vm::RECLAIM;
use super::{PHYS, checks};
use crate::arch::{cpu, time};
use crate::machine::Kernel;
use crate::{console, report, settings};
use core::ptr::NonNull;
use mm::phys::{AllocError, GfpFlags, ZoneAllocator};
use mm::reclaim::Reclaiming;
use mm::slab::{
    Cache, CreateError, Hooks, ObjectError, OrderRules, Problem, Report, SlabConfig, SlabFlags, Slabs,
};
use shared::exit::ExitStatus;
use shared::params::{self, Value};

/// The caches of the machine.
pub static SLABS: Slabs<'static, Kernel> = Slabs::new(&PHYS);
/// Frames without making room for them.
static ZONES: ZoneAllocator<'static, Kernel> = ZoneAllocator::new(&PHYS);
/// Where frames come from: whoever can wait makes room.
pub static FRAMES: Reclaiming<'static, Kernel> = Reclaiming::new(&ZONES, &RECLAIM);

/// Makes the first caches, for `cpus` CPUs.
///
/// # Errors
/// [`CreateError`].
pub fn init(cpus: u32) -> Result<(), CreateError> {
    let order =
        |name, default: u32| settings::number(name).and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
    let is_on = |name| settings::value(name).and_then(|value| value.as_bool()) == Some(true);
    let rules = OrderRules {
        min_order: order("slab_min_order", 0),
        max_order: order("slab_max_order", 3),
        min_objects: order("slab_min_objects", 0),
        cpus,
    };
    let config = SlabConfig {
        rules,
        merge: !is_on("slab_nomerge"),
        reuse: is_on("slab.reuse"),
        init_on_alloc: is_on("init_on_alloc"),
        init_on_free: is_on("init_on_free"),
        randomize: is_on("slab_freelist_random"),
        hardened: is_on("slab_freelist_hardened"),
        seed: cpu::rdtsc(),
        debug: checks_of,
        hooks: Hooks {
            report: on_report,
            now_ms: || time::since_boot_ns() / 1_000_000,
            task: || checks::running().pid,
        },
    };
    // SAFETY: CPUs are numbered in the order of the firmware's list, which has `cpus` entries.
    unsafe { SLABS.boot(&config, &FRAMES) }
}

/// Refuses an allocator that is not built in.
///
/// # Errors
/// The status to end with.
pub fn check(cmdline: &str) -> Result<(), ExitStatus> {
    match params::get_enum(cmdline, "slab_allocator") {
        None | Some("slub") => Ok(()),
        Some(other) => {
            console::print(format_args!(
                "mm: slab_allocator: {other} is not in this version; use slab_allocator=slub\n"
            ));
            Err(ExitStatus::Usage)
        }
    }
}

/// What `slab_debug=` says about the cache `name`; the last part that names it wins.
fn checks_of(name: &str) -> SlabFlags {
    let Some(Value::SlabDebug(debug)) = settings::value("slab_debug") else { return SlabFlags::empty() };
    let part = debug.selections().filter(|part| part.matches(name)).last();
    let Some(letters) = part.and_then(|part| part.flags) else { return SlabFlags::empty() };
    let chosen = [
        (letters.sanity, SlabFlags::CONSISTENCY_CHECKS),
        (letters.red_zone, SlabFlags::RED_ZONE),
        (letters.poison, SlabFlags::POISON),
        (letters.user, SlabFlags::STORE_USER),
        (letters.trace, SlabFlags::TRACE),
    ];
    chosen.into_iter().filter(|(is_on, _)| *is_on).fold(SlabFlags::empty(), |all, (_, flag)| all | flag)
}

/// A trace is printed; corruption ends the machine.
fn on_report(report: &Report<'_>) {
    match report.problem() {
        Problem::Trace(_) => console::print(format_args!("{report}")),
        _ => report::corruption(format_args!("slab corruption\n{report}")),
    }
}

/// Frees what an allocation returned; what cannot be freed is a corruption.
///
/// # Safety
/// The caller owns the object, and nobody uses it afterwards.
#[inline]
#[track_caller]
pub unsafe fn kfree(object: NonNull<u8>) {
    // SAFETY: promised by the caller.
    expect_freed(unsafe { SLABS.kfree(object.as_ptr()) });
}

/// A refused free is a corruption.
#[inline]
pub fn expect_freed(result: Result<(), ObjectError>) {
    if let Err(error) = result {
        report::corruption(format_args!("{error}"));
    }
}

/// An object of `cache`.
///
/// # Errors
/// [`AllocError`].
#[inline]
#[track_caller]
pub fn alloc(cache: &Cache, gfp: GfpFlags) -> Result<NonNull<u8>, AllocError> {
    SLABS.alloc(cache, &FRAMES, gfp)
}

/// Memory of `size` bytes.
///
/// # Errors
/// [`AllocError`].
#[inline]
#[track_caller]
pub fn kmalloc(size: usize, gfp: GfpFlags) -> Result<NonNull<u8>, AllocError> {
    SLABS.kmalloc(&FRAMES, size, gfp)
}
