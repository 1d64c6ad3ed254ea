//! The OOM killer: when memory is out, one context goes (Linux `mm/oom_kill.c`, 6.18).
//!
//! Owns: when to kill and what is said of it. Stays outside: who is the worst (`mm::oom`), and making room in other
//! ways, which was tried before. Invariants: one CPU at a time kills; a context that was chosen is not chosen again, and
//! none of its tasks goes on after its next fault, so that its memory can be taken at once.

use super::{Context, Killed, all, slot};
use crate::machine::CPU;
use crate::memory::PHYS;
use crate::memory::slab::FRAMES;
use crate::memory::vm::{STAT, VM};
use crate::task::pressure;
use crate::{console, proc, report, settings};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use mm::addr::PAGE_SIZE;
use mm::frame::ZoneKind;
use mm::oom::{Candidate, Policy};
use mm::phys::GfpFlags;
use mm::port::Cpu;
use mm::space::{Rss, Usage};
use mm::vmstat::VmEvent;
use shared::params::Value;
use shared::text::oom::{OomTask, TITLE};

/// Somebody is killing.
static BUSY: AtomicBool = AtomicBool::new(false);

/// How often in a row room was found where an allocation had failed.
static IN_VAIN: AtomicU32 = AtomicU32::new(0);
/// After so many times the failures are believed (Linux `MAX_RECLAIM_RETRIES`).
const MAX_IN_VAIN: u32 = 16;

/// How long one who comes second waits before he tries again.
const WAIT_NS: u64 = 1_000_000;

/// How the worst is found; `None` if nobody is to be killed but who asks.
fn policy() -> Option<Policy> {
    match settings::value("oom_policy") {
        Some(Value::Word("legacy")) => Some(Policy::Legacy),
        Some(Value::Word("none")) => None,
        _ => Some(Policy::Badness),
    }
}

/// Memory and swap, in pages.
fn total_pages() -> u64 {
    PHYS.total_managed_pages() + proc::meminfo().swap_total * 1024 / PAGE_SIZE
}

/// What the formulas go by.
fn candidate(context: &Context) -> Candidate {
    let counters = context.mm().counters();
    Candidate {
        rss: counters.resident(),
        swapents: counters.rss(Rss::Swap),
        // As Linux counts them, without the root.
        tables: counters.tables().saturating_sub(1),
        adj: context.oom_score_adj(),
        nice: context.nice(),
        run_time: context.age(),
    }
}

/// The number in `/proc/PID/oom_score`.
pub fn score(context: &Context) -> i64 {
    policy().unwrap_or(Policy::Badness).score(&candidate(context), total_pages())
}

/// How bad a context is, in pages; `None` if it must not be killed.
pub fn badness(context: &Context) -> Option<i64> {
    policy().unwrap_or(Policy::Badness).badness(&candidate(context), total_pages())
}

/// No room could be made for context `asker`: kills the worst. Whether it is worth trying again; if not, who asks has to
/// go himself.
pub fn out_of_memory(asker: u32) -> bool {
    let Some(policy) = policy() else { return false };
    let _stalled = pressure::memstall();
    if BUSY.swap(true, Ordering::Acquire) {
        CPU.wait_for(WAIT_NS);
        return true;
    }
    let is_worth_it = if has_room() {
        // Somebody made room meanwhile, or the failure was made on purpose, which can go on for ever.
        IN_VAIN.fetch_add(1, Ordering::Relaxed) < MAX_IN_VAIN
    } else {
        IN_VAIN.store(0, Ordering::Relaxed);
        kill_one(policy, asker);
        true
    };
    BUSY.store(false, Ordering::Release);
    is_worth_it
}

/// Whether a zone that pages of contexts come from is above its high mark (the last attempt of Linux's
/// `__alloc_pages_may_oom`).
fn has_room() -> bool {
    PHYS.populated_zones()
        .any(|zone| zone.free_pages() > zone.watermarks().high + zone.lowmem_reserve(ZoneKind::Movable))
}

fn kill_one(policy: Policy, asker: u32) {
    let asking = all().find(|context| context.id == asker);
    if settings::number("sysctl.vm.panic_on_oom").unwrap_or(0) != 0 {
        dump(asking.as_ref());
        let how = match settings::number("sysctl.vm.panic_on_oom") {
            Some(2) => "compulsory",
            _ => "system-wide",
        };
        report::out_of_memory(format_args!("{how} panic_on_oom is enabled"));
    }
    let takes_asker = settings::is_on("sysctl.vm.oom_kill_allocating_task")
        && asking.as_ref().is_some_and(|context| badness(context).is_some());
    dump(asking.as_ref());
    let (victim, why) = if takes_asker {
        (asking, "Out of memory (oom_kill_allocating_task)")
    } else {
        (worst(policy), "Out of memory")
    };
    match victim {
        Some(victim) => kill(&victim, why),
        None => {
            console::print(format_args!("Out of memory and no killable processes...\n"));
            report::out_of_memory(format_args!("no killable processes"));
        }
    }
}

/// The worst of all contexts that have not been chosen before. Numbers rise in the order of making.
fn worst(policy: Policy) -> Option<Context> {
    let mut last = 0;
    let by_age = core::iter::from_fn(|| {
        let next = all().filter(|context| context.pid() > last).min_by_key(Context::pid)?;
        last = next.pid();
        Some(next)
    });
    let living = by_age.filter(|context| context.killed().is_none());
    let candidates = living.map(|context| {
        let candidate = candidate(&context);
        (context, candidate)
    });
    policy.select(candidates, total_pages())
}

fn task<'a>(context: &Context, name: &'a str) -> OomTask<'a> {
    let counters = context.mm().counters();
    OomTask {
        pid: context.pid(),
        name,
        total_vm: counters.usage(Usage::Total),
        rss_anon: counters.rss(Rss::Anon),
        rss_file: counters.rss(Rss::File),
        rss_shmem: counters.rss(Rss::Shmem),
        pgtables_bytes: counters.tables().saturating_sub(1) * PAGE_SIZE,
        swapents: counters.rss(Rss::Swap),
        oom_score_adj: context.oom_score_adj(),
    }
}

/// Says who asks, where memory is and who has it (Linux `dump_header`).
fn dump(asking: Option<&Context>) {
    let name = asking.map(Context::name);
    let gfp = GfpFlags::GFP_HIGHUSER_MOVABLE | GfpFlags::__GFP_ZERO;
    console::print(format_args!(
        "{} invoked oom-killer: gfp_mask={gfp}, order=0, oom_score_adj={}\n",
        name.as_ref().map_or("kernel", |name| name.as_str()),
        asking.map_or(0, Context::oom_score_adj)
    ));
    // The console takes everything.
    let _ = proc::show_mem(&mut console::writer());
    if settings::is_on("sysctl.vm.oom_dump_tasks") {
        console::print(format_args!("{TITLE}"));
        for context in all().filter(|context| context.killed().is_none()) {
            let name = context.name();
            let _ = task(&context, name.as_str()).write_row(&mut console::writer());
        }
    }
}

/// Ends a context: takes it out of the table, stops its tasks at their next fault, and takes its memory.
fn kill(victim: &Context, why: &str) {
    let name = victim.name();
    let row = task(victim, name.as_str());
    console::print(format_args!(
        "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/,\
         task={},pid={},uid=0\n",
        row.name, row.pid
    ));
    let _ = row.write_killed(&mut console::writer(), why);
    if let Some(slot) = slot(victim.id) {
        slot.info.lock(&CPU).killed.get_or_insert(Killed::chosen());
    }
    STAT.count(&CPU, VmEvent::OomKill, 1);
    match VM.reap(victim.mm(), &FRAMES) {
        Ok(_) => console::print(format_args!(
            "oom_reaper: reaped process {} ({}), now anon-rss:{}kB, file-rss:{}kB, shmem-rss:{}kB\n",
            row.pid,
            row.name,
            victim.mm().counters().rss(Rss::Anon) * 4,
            victim.mm().counters().rss(Rss::File) * 4,
            victim.mm().counters().rss(Rss::Shmem) * 4
        )),
        Err(error) => report::corruption(format_args!("oom_reaper: {error}")),
    }
    victim.kill();
}
