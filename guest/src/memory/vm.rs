//! The memory of contexts: the guest's side of `mm::space` and `mm::fault`.
//!
//! Owns: the one [`Vm`], its boot and its settings. Stays outside: all policy (`mm`), and what a context is beside its
//! memory (`context`).

use super::boot::{kernel_root, ring_bits};
use super::shrinkers::SHRINKERS;
use super::slab::{FRAMES, SLABS};
use super::{PHYS, hugetlb};
use crate::machine::Kernel;
use crate::{report, settings};
use mm::addr::PAGE_SIZE;
use mm::cache::PageCache;
use mm::io::Io;
use mm::lru::Lru;
use mm::reclaim::Reclaim;
use mm::space::{BootError, CommitInfo, Config, OvercommitMode, ThpMode, Vm};
use mm::swap::Swap;
use mm::vmstat::VmStat;
use shared::params::Value;

/// What is counted.
pub static STAT: VmStat = VmStat::new();
/// The lists that reclaim goes by.
pub static LRU: Lru<'static> = Lru::new(&STAT);
/// Requests to disks.
pub static IO: Io<'static, Kernel> = Io::new(&PHYS, &SLABS, &STAT);
/// The pages of files.
pub static CACHE: PageCache<'static, Kernel> = PageCache::new(&PHYS, &SLABS, &LRU, &IO);
/// Where pages go that have to make room.
pub static SWAP: Swap<'static, Kernel> = Swap::new(&PHYS, &IO, &LRU);
/// The memory of all contexts.
pub static VM: Vm<'static, Kernel> =
    Vm::new(&PHYS, &SLABS, &CACHE, &SWAP, |what| report::corruption(format_args!("{what}")));

/// What takes pages back.
pub static RECLAIM: Reclaim<'static, Kernel> = Reclaim::new(&PHYS, &VM, &SWAP, &SHRINKERS);

/// Prepares for contexts, when the slab allocator stands and the kernel's tables are complete.
///
/// # Errors
/// [`BootError`].
pub fn boot() -> Result<(), BootError> {
    if let Err(error) = IO.boot(&FRAMES) {
        report::corruption(format_args!("no requests to disks: {error:?}"));
    }
    if let Err(error) = CACHE.boot(&FRAMES) {
        report::corruption(format_args!("no page cache: {error:?}"));
    }
    let mut pools = hugetlb::pools();
    let config = Config { kernel: kernel_root(), user: ring_bits(), pools: [pools.next(), pools.next()] };
    // SAFETY: boot has filled all entries of the upper half of the kernel's root that will ever be used; entries with
    // the bits of this ring are what code that runs here can use.
    unsafe { VM.boot(&config, &FRAMES) }?;
    apply_settings();
    Ok(())
}

/// Gives the memory of contexts what the settings say. At boot, and after changes.
pub fn apply_settings() {
    let to = VM.settings();
    let number = |name, default| settings::number(name).unwrap_or(default);
    let pages = |name| number(name, 0) * 1024 / PAGE_SIZE;
    to.set_thp(match settings::value("transparent_hugepage") {
        Some(Value::Word("madvise")) => ThpMode::Madvise,
        Some(Value::Word("never")) => ThpMode::Never,
        _ => ThpMode::Always,
    });
    to.set_overcommit(match number("sysctl.vm.overcommit_memory", 0) {
        0 => OvercommitMode::Guess,
        1 => OvercommitMode::Always,
        _ => OvercommitMode::Never,
    });
    if !RECLAIM.set_swappiness(number("sysctl.vm.swappiness", 60) as u32) {
        report::unable(format_args!("vm.swappiness: out of range"));
    }
    to.set_overcommit_ratio(number("sysctl.vm.overcommit_ratio", 50) as u32);
    to.set_overcommit_pages(pages("sysctl.vm.overcommit_kbytes"));
    to.set_admin_reserve(pages("sysctl.vm.admin_reserve_kbytes"));
    to.set_user_reserve(pages("sysctl.vm.user_reserve_kbytes"));
    to.set_max_map_count(number("sysctl.vm.max_map_count", 65530) as u32);
    to.set_mmap_min_addr(number("sysctl.vm.mmap_min_addr", 65536));
    to.set_stack_guard_gap(number("stack_guard_gap", 256));
    to.set_fault_around_bytes(number("fault_around_bytes", 65536));
    let dirty = &CACHE.dirty().settings;
    dirty.set_ratios(number("sysctl.vm.dirty_ratio", 20), number("sysctl.vm.dirty_background_ratio", 10));
    dirty.set_bytes(number("sysctl.vm.dirty_bytes", 0), number("sysctl.vm.dirty_background_bytes", 0));
    dirty.set_times(
        number("sysctl.vm.dirty_expire_centisecs", 3000),
        number("sysctl.vm.dirty_writeback_centisecs", 500),
    );
    // They may have to look more often.
    VM.wake_flushers();
    CACHE.set_ra_pages((number("read_ahead_kb", 128) * 1024 / PAGE_SIZE) as u32);
    hugetlb::default_pool().set_overcommit(number("sysctl.vm.nr_overcommit_hugepages", 0));
    // The same seed gives the same layouts; no seed is one, too.
    let moves = !settings::is_on("norandmaps");
    to.set_seed(if moves { number("seed", 0).wrapping_add(1).max(1) } else { 0 });
}

/// What can be promised, and what has been; what is in pools of huge pages now cannot be.
pub fn commit_info() -> CommitInfo {
    VM.commit().set_hugetlb(hugetlb::pools().map(|pool| pool.counts(None).total * pool.frames()).sum());
    VM.commit_info()
}
