//! The OOM killer: when memory is out, one context goes (Linux `mm/oom_kill.c`, 6.18).
//!
//! Owns: whom to kill, and what is said of it. Stays outside: who the worst is (`mm::oom`), and when somebody has to go
//! (`mm::reclaim`), which makes room in all other ways before. Invariants: one CPU at a time kills; a context that was chosen is
//! not chosen again, and none of its tasks goes on after its next fault, so that its memory can be taken at once. All locks that
//! are taken here mask interrupts; what needs others, the end of a context, is done elsewhere (`exit`), and is waited for no
//! longer than a while.
//!
//! Unlike Linux, which panics, an allocation of the kernel for itself fails when nobody can be killed: commands say so and go on.

use super::{Context, Killed, all, exit, slot};
use crate::machine::CPU;
use crate::memory::PHYS;
use crate::memory::slab::FRAMES;
use crate::memory::vm::{STAT, VM};
use crate::{console, proc, report, settings, task};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use mm::addr::{Order, PAGE_SIZE};
use mm::oom::{Candidate, Policy};
use mm::phys::GfpFlags;
use mm::port::Cpu;
use mm::reclaim::OomKiller;
use mm::space::{Rss, Usage};
use mm::vmstat::VmEvent;
use shared::params::Value;
use shared::text::oom::{OomTask, TITLE};

/// Somebody is killing.
static BUSY: AtomicBool = AtomicBool::new(false);

/// How long one who comes second waits before he tries again.
const WAIT_NS: u64 = 1_000_000;
/// How long a context that ends is waited for: as long as Linux's `oom_reaper` tries.
const PATIENCE_NS: u64 = 1_000_000_000;

/// Until when somebody may wait for the one that was killed last.
static PATIENCE: AtomicU64 = AtomicU64::new(0);

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

/// See the module documentation.
pub(super) struct Killer;

impl OomKiller for Killer {
    fn out_of_memory(&self, gfp: GfpFlags, order: Order) -> bool {
        let Some(policy) = policy() else { return false };
        if self.is_victim() {
            // Chosen since it asked. What it needs to end, it gets from the reserves.
            return true;
        }
        if BUSY.swap(true, Ordering::Acquire) {
            CPU.wait_for(WAIT_NS);
            return true;
        }
        let is_worth_it = if is_another_ending() {
            CPU.wait_for(WAIT_NS);
            true
        } else {
            kill_one(policy, &Asker { context: task::running_space(), gfp, order })
        };
        BUSY.store(false, Ordering::Release);
        is_worth_it
    }

    fn is_victim(&self) -> bool {
        task::running_space().and_then(|id| VM.mm(id)).is_some_and(|mm| mm.is_unstable())
    }
}

/// Whether one that was killed before may be waited for: it will give back more than the reaper took.
fn is_another_ending() -> bool {
    exit::is_busy() && CPU.now() < PATIENCE.load(Ordering::Relaxed)
}

/// Who found no memory, for what.
struct Asker {
    /// In the memory of this one; `None` for the kernel itself.
    context: Option<u32>,
    gfp: GfpFlags,
    order: Order,
}

/// Kills the worst; whether there is one.
fn kill_one(policy: Policy, asker: &Asker) -> bool {
    let asking = all().find(|context| Some(context.id) == asker.context);
    if settings::number("sysctl.vm.panic_on_oom").unwrap_or(0) != 0 {
        dump(asker, asking.as_ref());
        let how = match settings::number("sysctl.vm.panic_on_oom") {
            Some(2) => "compulsory",
            _ => "system-wide",
        };
        report::out_of_memory(format_args!("{how} panic_on_oom is enabled"));
    }
    let takes_asker = settings::is_on("sysctl.vm.oom_kill_allocating_task")
        && asking.as_ref().is_some_and(|context| badness(context).is_some());
    let (victim, why) = if takes_asker {
        (asking.clone(), "Out of memory (oom_kill_allocating_task)")
    } else {
        (worst(policy), "Out of memory")
    };
    if victim.is_none() && asker.context.is_none() {
        return false;
    }
    dump(asker, asking.as_ref());
    match victim {
        Some(victim) => kill(&victim, why),
        None => {
            console::print(format_args!("Out of memory and no killable processes...\n"));
            report::out_of_memory(format_args!("no killable processes"));
        }
    }
    true
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
fn dump(asker: &Asker, asking: Option<&Context>) {
    let name = asking.map(Context::name);
    console::print(format_args!(
        "{} invoked oom-killer: gfp_mask={}, order={}, oom_score_adj={}\n",
        name.as_ref().map_or("kernel", |name| name.as_str()),
        asker.gfp,
        asker.order.get(),
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
    PATIENCE.store(CPU.now() + PATIENCE_NS, Ordering::Relaxed);
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
