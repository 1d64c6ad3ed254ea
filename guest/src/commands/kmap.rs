//! `kmap`: temporary mappings, their limits and their mistakes.
//!
//! Everything goes through the windows, whether the frame is in the direct map or not: so the windows can be looked at
//! on every machine (Linux: `CONFIG_DEBUG_KMAP_LOCAL_FORCE_MAP`).

use super::support::parse;
use super::{Args, Command, Outcome, fail, usage};
use crate::arch::probe;
use crate::memory::highmem::{self, WINDOWS};
use crate::memory::{self, PHYS, areas};
use crate::task::WaitQueue;
use crate::{console, report, task};
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use mm::addr::{Order, Pfn, VirtAddr};
use mm::kmap::{KmapError, LOCAL_SLOTS, POOL_SLOTS};
use mm::phys::GfpFlags;
use mm::port::{CpuId, Machine, PhysMem};
use shared::exit::ExitStatus;
use shared::layout::DIRECT_MAP;

/// The family.
pub const KMAP: &[Command] = &[Command {
    name: "kmap",
    usage: "nest N | order | pool N | wait | data",
    summary: "temporary mappings: how deep they nest, in which order they go, how many there are",
    run: kmap,
}];

fn kmap(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("nest") => nest(parse::count("depth", args.next_word().unwrap_or(""))?),
        Some("order") => order(),
        Some("pool") => pool(parse::count("pages", args.next_word().unwrap_or(""))?),
        Some("wait") => wait(),
        Some("data") => data(),
        _ => Err(usage(format_args!("kmap: expected 'nest N', 'order', 'pool N', 'wait' or 'data'"))),
    }
}

fn failed(what: impl fmt::Display) -> ExitStatus {
    fail(ExitStatus::CheckFailed, format_args!("{what}"))
}

/// A page that may be anywhere, and is freed when dropped.
struct Page(Pfn);

impl Page {
    fn alloc() -> Result<Self, ExitStatus> {
        let frames = PHYS.alloc_pages(GfpFlags::GFP_HIGHUSER, Order::ZERO);
        frames.map(|frames| Self(frames.into_raw().0)).map_err(failed)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        memory::free_block(self.0, Order::ZERO);
    }
}

/// Word `n` of the page that is seen at `at`.
fn word(at: VirtAddr, n: usize) -> &'static AtomicU64 {
    // SAFETY: every caller passes a mapping of a page of its own and an index inside it, uses the result before it
    // unmaps, and reaches the page by atomics only.
    unsafe { AtomicU64::from_ptr((at.get() as *mut u64).add(n)) }
}

fn verdict(good: bool) -> &'static str {
    if good { "ok" } else { "bad" }
}

/// Maps one page again and again, and looks at it through every mapping.
fn nest(depth: u64) -> Outcome {
    let page = Page::alloc()?;
    let (mut made, mut count, mut error) = ([VirtAddr::default(); LOCAL_SLOTS], 0, None);
    for n in 0..depth {
        match WINDOWS.map_local(page.0) {
            Err(why) => {
                error = Some(why);
                break;
            }
            Ok(at) => {
                word(at, count).store(!n, Ordering::Relaxed);
                if let Some(slot) = made.get_mut(count) {
                    *slot = at;
                }
                count += 1;
            }
        }
    }
    let used = made.get(..count).unwrap_or_default();
    let right = used.iter().all(|at| (0..count).all(|n| word(*at, n).load(Ordering::Relaxed) == !(n as u64)));
    let undone = used.iter().rev().try_for_each(|at| WINDOWS.unmap_local(*at));
    console::print(format_args!("nested={count} data={}\n", verdict(right)));
    undone.map_err(failed)?;
    match error {
        Some(error) => Err(failed(error)),
        None if right => Ok(()),
        None => Err(failed("kmap nest: the mappings differ")),
    }
}

/// Unmaps the first of two before the second: a warning, and nothing else happens.
fn order() -> Outcome {
    let page = Page::alloc()?;
    let first = WINDOWS.map_local(page.0).map_err(failed)?;
    let second = WINDOWS.map_local(page.0);
    let wrong = WINDOWS.unmap_local(first);
    let right =
        second.and_then(|second| WINDOWS.unmap_local(second)).and_then(|()| WINDOWS.unmap_local(first));
    let again = WINDOWS.unmap_local(first);
    right.map_err(failed)?;
    match (wrong, again) {
        (Err(wrong @ KmapError::OutOfOrder { .. }), Err(again @ KmapError::NotMapped(_))) => {
            console::print(format_args!("WARNING: {wrong}\nWARNING: {again}\n"));
            leaks()
        }
        _ => Err(failed("kmap order: a wrong order was accepted")),
    }
}

/// No CPU has a mapping of its own left.
fn leaks() -> Outcome {
    let held: usize = (0..crate::arch::smp::online()).map(|cpu| WINDOWS.locals_of(CpuId(cpu))).sum();
    console::print(format_args!("kmap_local held={held} kmap held={}\n", WINDOWS.pool_in_use()));
    match (held, WINDOWS.pool_in_use()) {
        (0, 0) => Ok(()),
        (0, _) => Err(failed("kmap: pages of the pool were leaked")),
        _ => Err(failed("kmap_local: slots were leaked")),
    }
}

/// Pages mapped by the pool, all at once; unmapped and freed when dropped.
struct Pool {
    pages: [Option<Page>; POOL_SLOTS],
    at: [VirtAddr; POOL_SLOTS],
    count: usize,
}

impl Pool {
    /// Maps up to `wanted` pages; with the error that ended it early.
    fn fill(&mut self, wanted: usize) -> Result<Option<KmapError>, ExitStatus> {
        while self.count < wanted {
            let page = Page::alloc()?;
            let at = match WINDOWS.map(page.0) {
                Ok(at) => at,
                Err(error) => return Ok(Some(error)),
            };
            word(at, 0).store(page.0.get(), Ordering::Relaxed);
            if let (Some(slot), Some(place)) = (self.pages.get_mut(self.count), self.at.get_mut(self.count)) {
                (*slot, *place) = (Some(page), at);
            }
            self.count += 1;
        }
        Ok(None)
    }

    fn is_right(&self) -> bool {
        let mapped = self.pages.iter().flatten().zip(self.at);
        mapped.into_iter().all(|(page, at)| word(at, 0).load(Ordering::Relaxed) == page.0.get())
    }
}

impl Drop for Pool {
    /// Unmaps all; what nobody uses any more is flushed before its frame is free.
    fn drop(&mut self) {
        for at in self.at.get(..self.count).unwrap_or_default() {
            if let Err(error) = WINDOWS.unmap(*at) {
                report::corruption(format_args!("{error}"));
            }
        }
        WINDOWS.flush();
    }
}

const NO_POOL: Pool =
    Pool { pages: [const { None }; POOL_SLOTS], at: [VirtAddr::truncate(0); POOL_SLOTS], count: 0 };

fn pool(pages: u64) -> Outcome {
    let mut pool = NO_POOL;
    let error = pool.fill(usize::try_from(pages).unwrap_or(usize::MAX))?;
    let (count, right) = (pool.count, pool.is_right());
    drop(pool);
    console::print(format_args!("mapped={count} data={}\n", verdict(right)));
    match error {
        Some(error) => Err(failed(error)),
        None if right => leaks(),
        None => Err(failed("kmap pool: a page shows another frame")),
    }
}

/// What the waiting task has seen: 0 before it has its mapping.
static SEEN: AtomicU64 = AtomicU64::new(0);

/// Whether the waiting task has begun.
static HAS_ASKED: AtomicBool = AtomicBool::new(false);
static ASKED: WaitQueue = WaitQueue::new();

fn wait_for_room(pfn: usize) {
    HAS_ASKED.store(true, Ordering::Release);
    ASKED.wake_all();
    let page = Pfn::new(pfn as u64).map(highmem::kmap_high);
    if let Some(Ok(page)) = page {
        let at = VirtAddr::truncate(page.as_ptr() as u64);
        SEEN.store(word(at, 1).load(Ordering::Relaxed), Ordering::Release);
        highmem::kunmap_high(page);
    }
}

/// A task that finds the pool full sleeps until a page is unmapped.
fn wait() -> Outcome {
    let mut pool = NO_POOL;
    if let Some(error) = pool.fill(POOL_SLOTS)? {
        return Err(failed(error));
    }
    let page = Page::alloc()?;
    let mark = !page.0.get();
    let own = WINDOWS.map_local(page.0).map_err(failed)?;
    word(own, 1).store(mark, Ordering::Relaxed);
    WINDOWS.unmap_local(own).map_err(failed)?;
    SEEN.store(0, Ordering::Relaxed);
    HAS_ASKED.store(false, Ordering::Relaxed);
    let waiter = task::spawn("kmap", task::current().cpu(), wait_for_room, page.0.get() as usize);
    let waiter = waiter.map_err(|_| failed("kmap wait: no task"))?;
    // It says so, finds no room and sleeps; only then does this task go on.
    ASKED.wait_until(|| HAS_ASKED.load(Ordering::Acquire));
    let waited = SEEN.load(Ordering::Acquire) == 0;
    let last = pool.count - 1;
    if let Some(at) = pool.at.get(last).and_then(|at| NonNull::new(at.get() as *mut u8)) {
        highmem::kunmap_high(at);
        pool.count = last;
    }
    waiter.join();
    let right = SEEN.load(Ordering::Acquire) == mark;
    drop(pool);
    console::print(format_args!("waited={} data={}\n", if waited { "yes" } else { "no" }, verdict(right)));
    if waited && right { leaks() } else { Err(failed("kmap wait: the task was not woken with its page")) }
}

/// A page through all its mappings, and whether the direct map shows it.
fn data() -> Outcome {
    let page = Page::alloc()?;
    let local = WINDOWS.map_local(page.0).map_err(failed)?;
    (0..512).for_each(|n| word(local, n).store(!(n as u64), Ordering::Relaxed));
    WINDOWS.unmap_local(local).map_err(failed)?;
    let shared = WINDOWS.map(page.0).map_err(failed)?;
    let kept = (0..512).all(|n| word(shared, n).load(Ordering::Relaxed) == !(n as u64));
    // SAFETY: the page is this command's.
    unsafe { crate::machine::MACHINE.physmem().zero(page.0) };
    let zeroed = (0..512).all(|n| word(shared, n).load(Ordering::Relaxed) == 0);
    WINDOWS.unmap(shared).map_err(failed)?;
    WINDOWS.flush();
    let gone = probe::load(local.get()).is_err() && probe::load(shared.get()).is_err();
    let direct = DIRECT_MAP + page.0.addr().get();
    match probe::load(direct) {
        Ok(_) => console::print(format_args!("pfn={:#x} direct map={direct:#x}\n", page.0.get())),
        Err(error) => {
            console::print(format_args!(
                "read {direct:#x}: fault error={error:#x} {}\n",
                areas::Place(direct)
            ));
        }
    }
    console::print(format_args!(
        "data={} zero={} unmapped={}\n",
        verdict(kept),
        verdict(zeroed),
        verdict(gone)
    ));
    if kept && zeroed && gone { leaks() } else { Err(failed("kmap data: the windows are wrong")) }
}
