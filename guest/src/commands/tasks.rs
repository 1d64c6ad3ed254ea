//! Tasks: `tasks`, `ps`, `sleep`; what sleeping and giving way promise.

use super::support::parse;
use super::vm::Scratch;
use super::{Args, Command, Outcome, fail, usage};
use crate::arch::{cpu, smp, time};
use crate::console;
use crate::context;
use crate::task::{self, Handle, Mutex, WaitQueue};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use shared::exit::ExitStatus;

/// The family.
pub const TASKS: &[Command] = &[
    Command {
        name: "tasks",
        usage: "[sleepers|preempt|start N|end]",
        summary: "tasks with their CPUs and states; sleeping and giving way checked; tasks that wait for their end",
        run: tasks,
    },
    Command { name: "ps", usage: "", summary: "the same as tasks", run: list },
    Command { name: "sleep", usage: "SECONDS", summary: "waits, with decimals", run: sleep },
];

const NS_PER_MS: u64 = 1_000_000;

fn tasks(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        None => list(args),
        Some("sleepers") => sleepers(),
        Some("preempt") => preempt(),
        Some("start") => start(args),
        Some("end") => {
            end(&mut STARTED.lock());
            Ok(())
        }
        Some(other) => {
            Err(usage(format_args!("tasks: expected sleepers, preempt, start or end, not '{other}'")))
        }
    }
}

fn list(_: &mut Args<'_>) -> Outcome {
    for task in task::all() {
        console::print(format_args!(
            "id={} name={} cpu={} state={} switches={}\n",
            task.id, task.name, task.cpu, task.condition, task.switches
        ));
    }
    Ok(())
}

/// Tasks that `tasks start` can have started.
const MOST: usize = 64;

static STARTED: Mutex<[Option<Handle>; MOST]> = Mutex::new([const { None }; MOST]);
static IS_END: AtomicBool = AtomicBool::new(false);
static ENDS: WaitQueue = WaitQueue::new();

fn wait_for_end(_: usize) {
    ENDS.wait_until(|| IS_END.load(Ordering::Acquire));
}

/// `tasks start N`: N more tasks, over all CPUs, which do nothing until `tasks end`. If one cannot be made, all end.
fn start(args: &mut Args<'_>) -> Outcome {
    let count = parse::count("count", args.next_word().unwrap_or(""))? as usize;
    let mut started = STARTED.lock();
    let free = started.iter().filter(|slot| slot.is_none()).count();
    if count > free {
        return Err(usage(format_args!("tasks start: at most {free} more")));
    }
    let slots = started.iter_mut().filter(|slot| slot.is_none()).take(count);
    for (slot, cpu) in slots.zip((0..smp::online()).cycle()) {
        match task::spawn("waiter", cpu, wait_for_end, 0) {
            Ok(handle) => *slot = Some(handle),
            Err(error) => {
                end(&mut started);
                return Err(fail(ExitStatus::CheckFailed, format_args!("tasks start: no task: {error:?}")));
            }
        }
    }
    console::print(format_args!("started={count}\n"));
    Ok(())
}

/// Ends all that `tasks start` has started.
fn end(started: &mut [Option<Handle>; MOST]) {
    IS_END.store(true, Ordering::Release);
    ENDS.wake_all();
    started.iter_mut().filter_map(Option::take).for_each(Handle::join);
    IS_END.store(false, Ordering::Release);
}

fn sleep(args: &mut Args<'_>) -> Outcome {
    let ns = parse::seconds("seconds", args.next_word().unwrap_or(""))?;
    task::sleep(ns);
    Ok(())
}

/// Tasks that sleep at once on each CPU.
const SLEEPERS: usize = 8;

/// How many woke before their time, and the latest of all.
static EARLY: AtomicU64 = AtomicU64::new(0);
static LATEST: AtomicU64 = AtomicU64::new(0);

/// Sleeps four times, for `ms` milliseconds less one more each time.
fn sleep_and_look(ms: usize) {
    for less in 0..4 {
        let ns = (ms as u64 + 4 - less) * NS_PER_MS;
        let start = cpu::rdtsc();
        task::sleep(ns);
        let slept = time::tsc_to_ns(cpu::rdtsc().wrapping_sub(start));
        EARLY.fetch_add(u64::from(slept + 1000 < ns), Ordering::Relaxed);
        LATEST.fetch_max(slept.saturating_sub(ns), Ordering::Relaxed);
    }
}

/// Many tasks on every CPU sleep, each for its own time.
fn sleepers() -> Outcome {
    EARLY.store(0, Ordering::Relaxed);
    LATEST.store(0, Ordering::Relaxed);
    let mut sleepers = 0;
    for cpu in 0..smp::online() {
        let mut tasks = [const { None }; SLEEPERS];
        for (n, slot) in tasks.iter_mut().enumerate() {
            // Neither in order nor in reverse.
            *slot = task::spawn("sleeper", cpu, sleep_and_look, n * 5 % SLEEPERS + 1).ok();
        }
        sleepers += tasks.iter().flatten().count();
        tasks.into_iter().flatten().for_each(Handle::join);
    }
    let early = EARLY.load(Ordering::Relaxed);
    let latest = LATEST.load(Ordering::Relaxed) / 1000;
    console::print(format_args!("sleepers={sleepers} early={early} latest_us={latest}\n"));
    match early {
        0 => Ok(()),
        _ => Err(fail(ExitStatus::CheckFailed, format_args!("a sleep ended before its time"))),
    }
}

/// How often the kernel's task asks for the CPU.
const ROUNDS: u64 = 20;
/// Workload that is not interrupted ends by itself, much later than any pause of the host.
const GIVE_UP_NS: u64 = 20_000 * NS_PER_MS;

static ASKED: AtomicU64 = AtomicU64::new(0);
static DONE: AtomicU64 = AtomicU64::new(0);
static TURN: WaitQueue = WaitQueue::new();

/// Sleeps once each time `hold` asks; its time comes while that one has the CPU.
fn answer(_: usize) {
    for n in 0..ROUNDS {
        TURN.wait_until(|| ASKED.load(Ordering::Acquire) > n);
        task::sleep(NS_PER_MS);
        DONE.fetch_add(1, Ordering::Release);
        TURN.wake_all();
    }
}

/// Wakes by itself, keeps the CPU for a while as the kernel's tasks may, and waits for the answer.
fn hold(_: usize) {
    for n in 0..ROUNDS {
        ASKED.fetch_add(1, Ordering::Release);
        TURN.wake_all();
        task::sleep(NS_PER_MS);
        time::delay(4 * NS_PER_MS);
        TURN.wait_until(|| DONE.load(Ordering::Acquire) > n);
    }
}

/// A context computes without end, and the kernel's tasks on its CPU still get their turns: one that wakes by itself,
/// one that another wakes, and one that wakes while another runs, so that no interrupt finds the context.
fn preempt() -> Outcome {
    let scratch = Scratch::new("preempt")?;
    let mut sum = 0;
    for cpu in 0..smp::online() {
        DONE.store(0, Ordering::Release);
        ASKED.store(0, Ordering::Release);
        let no_task = || fail(ExitStatus::CheckFailed, format_args!("no task"));
        let answers = task::spawn("daemon", cpu, answer, 0).map_err(|_| no_task())?;
        let Ok(holds) = task::spawn("daemon", cpu, hold, 0) else {
            ASKED.store(ROUNDS, Ordering::Release);
            TURN.wake_all();
            answers.join();
            return Err(no_task());
        };
        let (start, limit) = (cpu::rdtsc(), time::ns_to_tsc(GIVE_UP_NS));
        let compute = || {
            let is_late = || cpu::rdtsc().wrapping_sub(start) > limit;
            task::workload(|| {
                while DONE.load(Ordering::Acquire) < ROUNDS && !is_late() {
                    core::hint::spin_loop();
                }
            });
            DONE.load(Ordering::Acquire)
        };
        let seen = context::run(&scratch.context, cpu, compute);
        [holds, answers].into_iter().for_each(Handle::join);
        sum += seen.unwrap_or(0);
    }
    let expected = ROUNDS * u64::from(smp::online());
    console::print(format_args!("turns={sum} expected={expected}\n"));
    match sum == expected {
        true => Ok(()),
        false => Err(fail(ExitStatus::CheckFailed, format_args!("workload kept the CPU"))),
    }
}
