//! Tasks: scheduled threads of the kernel, each pinned to one CPU.
//!
//! Owns: the tasks (`table`), a run queue a CPU, switching, parking, which root a CPU runs on. Stays outside: what a
//! root maps, and how long its context lives (`context`). Invariants: only a task's own CPU runs it or takes it off
//! its queue, so its saved stack pointer needs no lock; a switch happens with the soft mask at exactly one;
//! kernel code is never preempted, it parks. Source: the token protocol of `std::thread::park`.

mod about;
mod census;
mod mutex;
mod preempt;
pub mod pressure;
mod queue;
mod ready;
mod sleep;
mod space;
mod switch;
mod table;
mod wait;

use crate::arch::percpu::{self, MAX_CPUS};
use crate::arch::{cpu, irq, lapic, smp};
use crate::machine::CPU;
use crate::memory::{self, stack::Stack};
use crate::timer::Timer;
pub use census::{census, idle_ns, switches};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use mm::phys::GfpFlags;
use mm::port::TaskFlags;
use mm::sync::SpinLock;
pub use mutex::{Mutex, MutexGuard};
use preempt::set_workload;
pub use preempt::{after_interrupt, give_way_if_wanted, is_alone, pause, workload};
use queue::Link;
use ready::Ready;
pub use sleep::{sleep, sleep_until};
pub use table::{Handle, all, boot, started};
pub use wait::{WaitQueue, wait_on, wait_on_for, wake};

/// Where a task is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum State {
    /// On a run queue or running.
    Runnable,
    /// Waits for [`Task::unpark`].
    Parked,
    /// Its function has returned; waits for [`Handle::join`].
    Dead,
}

/// What a task runs.
pub type Entry = fn(usize);

/// A task.
pub struct Task {
    state: AtomicU32,
    /// An unpark that came before the park it is for.
    token: AtomicBool,
    /// Still on its stack: it may be dead or parked and not yet switched away from.
    on_cpu: AtomicBool,
    cpu: AtomicU32,
    id: AtomicU32,
    /// The context whose memory it runs in, as [`space`] writes it.
    space: AtomicU32,
    link: Link,
    wait_link: Link,
    all_link: Link,
    /// Ends a sleep.
    timer: Timer,
    switches: AtomicU64,
    /// [`TaskFlags`]; the task itself changes them.
    flags: AtomicU32,
    /// It waits for memory, or makes room for itself; the task itself changes it.
    stalled: AtomicBool,
    exited: WaitQueue,
    /// Written by the spawner before the task runs, afterwards only by the task's own CPU.
    own: UnsafeCell<Own>,
}

struct Own {
    rsp: u64,
    _stack: Option<Stack>,
    bounds: (u64, u64),
    entry: Entry,
    argument: usize,
    name: &'static str,
}

// SAFETY: all fields but `own` are atomics; `own` has one user at a time, see its comment.
unsafe impl Sync for Task {}

/// The queue of one CPU.
struct RunQueue {
    ready: SpinLock<Ready>,
    idle: AtomicPtr<Task>,
    /// The CPU sleeps or is about to: whoever queues work must wake it.
    sleeping: AtomicBool,
    /// How many tasks of the kernel are in `ready`.
    wanted: AtomicU32,
    /// The CPU runs a task of a context, which gives way to the kernel's.
    in_context: AtomicBool,
    /// It runs code that may be interrupted anywhere; see `preempt`.
    workload: AtomicBool,
    /// Whom this CPU switched away from last.
    previous: AtomicPtr<Task>,
    /// Switches so far. Written by the queue's CPU only, as the two below.
    switches: AtomicU64,
    /// TSC ticks slept so far.
    slept: AtomicU64,
    /// The TSC when the CPU went to sleep; 0 while it is awake.
    asleep_since: AtomicU64,
}

static QUEUES: [RunQueue; MAX_CPUS] = [const {
    RunQueue {
        ready: SpinLock::new(Ready::new()),
        idle: AtomicPtr::new(core::ptr::null_mut()),
        sleeping: AtomicBool::new(false),
        wanted: AtomicU32::new(0),
        in_context: AtomicBool::new(false),
        workload: AtomicBool::new(false),
        previous: AtomicPtr::new(core::ptr::null_mut()),
        switches: AtomicU64::new(0),
        slept: AtomicU64::new(0),
        asleep_since: AtomicU64::new(0),
    }
}; MAX_CPUS];

impl RunQueue {
    /// Puts `task` into `ready`, which is this queue's.
    fn push(&self, ready: &mut Ready, task: &'static Task) {
        if ready.push(task) {
            self.wanted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes the task that runs next; the idle one if none is ready.
    fn pop(&self) -> &'static Task {
        let mut ready = self.ready.lock(&CPU);
        let next = ready.pop();
        if next.is_some_and(|(_, is_kernel)| is_kernel) {
            self.wanted.fetch_sub(1, Ordering::Relaxed);
        }
        self.in_context.store(next.is_some_and(|(_, is_kernel)| !is_kernel), Ordering::Relaxed);
        next.map_or_else(
            // SAFETY: a CPU that parks has an idle task, which nobody joins.
            || unsafe { &*self.idle.load(Ordering::Acquire) },
            |(task, _)| task,
        )
    }

    /// Halts the CPU, which is the queue's own, and counts how long.
    fn sleep(&self) {
        let start = cpu::rdtsc();
        self.asleep_since.store(start, Ordering::Relaxed);
        cpu::halt();
        self.asleep_since.store(0, Ordering::Relaxed);
        let slept = self.slept.load(Ordering::Relaxed);
        self.slept.store(slept.wrapping_add(cpu::rdtsc().wrapping_sub(start)), Ordering::Relaxed);
    }
}

/// Why a task could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpawnError {
    /// No memory for it or its stack.
    Memory,
    /// The CPU does not run.
    Cpu,
}

fn run_queue(cpu: u32) -> &'static RunQueue {
    // A CPU number is below MAX_CPUS from the moment it is given.
    &QUEUES[cpu as usize % MAX_CPUS]
}

/// The running task.
pub fn current() -> &'static Task {
    let task = percpu::current() as *const Task;
    // SAFETY: `adopt` set the word before anything on this CPU asks; a task lives while it runs.
    unsafe { &*task }
}

/// The running task, if there is one yet.
#[inline(always)]
fn running() -> Option<&'static Task> {
    // SAFETY: null before `adopt`, afterwards a task, which lives while it runs.
    unsafe { (percpu::current() as *const Task).as_ref() }
}

/// What the running task is in the middle of; nothing before there is one.
#[inline]
pub fn flags() -> TaskFlags {
    TaskFlags::from_bits_retain(running().map_or(0, |task| task.flags.load(Ordering::Relaxed)))
}

/// Sets what the running task is in the middle of.
pub fn set_flags(flags: TaskFlags) {
    current().flags.store(flags.bits(), Ordering::Relaxed);
}

impl Task {
    fn new(cpu: u32, space: u32, own: Own) -> Self {
        Self {
            state: AtomicU32::new(State::Runnable as u32),
            token: AtomicBool::new(false),
            on_cpu: AtomicBool::new(false),
            cpu: AtomicU32::new(cpu),
            id: AtomicU32::new(0),
            space: AtomicU32::new(space),
            link: Link::new(),
            wait_link: Link::new(),
            all_link: Link::new(),
            timer: Timer::new(sleep::on_timer),
            switches: AtomicU64::new(0),
            flags: AtomicU32::new(0),
            stalled: AtomicBool::new(false),
            exited: WaitQueue::new(),
            own: UnsafeCell::new(own),
        }
    }

    fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Runnable,
            1 => State::Parked,
            _ => State::Dead,
        }
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u32, Ordering::Release);
    }

    /// The CPU it is pinned to.
    pub fn cpu(&self) -> u32 {
        self.cpu.load(Ordering::Relaxed)
    }

    /// Its number, unique for the life of the machine.
    pub fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    /// Lets a parked task run again; before its park, makes that park return at once.
    fn unpark(&'static self) {
        let cpu = self.cpu();
        let queue = run_queue(cpu);
        let mut ready = queue.ready.lock(&CPU);
        if self.state() == State::Parked {
            self.set_state(State::Runnable);
            pressure::runs(self);
            queue.push(&mut ready, self);
        } else {
            self.token.store(true, Ordering::Release);
        }
        let must_give_way = queue.in_context.load(Ordering::Relaxed);
        drop(ready);
        if cpu != percpu::cpu()
            && (queue.sleeping.swap(false, Ordering::SeqCst) || must_give_way)
            && let Some(area) = smp::area(cpu)
        {
            lapic::send_ipi(percpu::apic_id_of(area), irq::line::IPI);
        }
    }
}

/// Makes a task of the code that runs now, on the stack from `bottom` to `top`. Once a CPU, first of all.
pub fn adopt(name: &'static str, bottom: u64, top: u64) -> Result<&'static Task, SpawnError> {
    let own = Own { rsp: 0, _stack: None, bounds: (bottom, top), entry: |_| (), argument: 0, name };
    let task = table::make(percpu::cpu(), space::KERNEL, own, GfpFlags::GFP_NOWAIT)?;
    task.on_cpu.store(true, Ordering::Release);
    percpu::set_current(task as *const Task as u64);
    pressure::runs(task);
    Ok(task)
}

/// Starts `entry(argument)` as a task on `cpu`.
pub fn spawn(name: &'static str, cpu: u32, entry: Entry, argument: usize) -> Result<Handle, SpawnError> {
    start(name, cpu, space::KERNEL, entry, argument)
}

/// As [`spawn`], in the memory of context number `context`, which must live until the task is joined.
pub fn spawn_in(
    name: &'static str,
    cpu: u32,
    context: u32,
    entry: Entry,
    argument: usize,
) -> Result<Handle, SpawnError> {
    start(name, cpu, space::of(context), entry, argument)
}

fn start(
    name: &'static str,
    cpu: u32,
    space: u32,
    entry: Entry,
    argument: usize,
) -> Result<Handle, SpawnError> {
    if cpu >= smp::online() {
        return Err(SpawnError::Cpu);
    }
    let task = prepare(name, cpu, space, entry, argument)?;
    task.set_state(State::Parked);
    let handle = Handle::of(task);
    task.unpark();
    Ok(handle)
}

fn prepare(
    name: &'static str,
    cpu: u32,
    space: u32,
    entry: Entry,
    argument: usize,
) -> Result<&'static Task, SpawnError> {
    let stack = Stack::alloc().ok_or(SpawnError::Memory)?;
    let bounds = (stack.bottom(), stack.top());
    let rsp = switch::first_frame(&stack);
    let own = Own { rsp, _stack: Some(stack), bounds, entry, argument, name };
    table::make(cpu, space, own, GfpFlags::GFP_KERNEL)
}

/// Makes the running task this CPU's idle task and never returns: the end of a CPU's boot.
pub fn become_idle() -> ! {
    let me = current();
    let queue = run_queue(me.cpu());
    queue.idle.store(me as *const Task as *mut Task, Ordering::Release);
    pressure::stops(me);
    idle(me.cpu() as usize);
    unreachable_end()
}

/// Gives this CPU an idle task of its own; the running task stays what it is.
pub fn start_idle() -> Result<(), SpawnError> {
    let cpu = percpu::cpu();
    let task = prepare("idle", cpu, space::KERNEL, idle, cpu as usize)?;
    run_queue(cpu).idle.store(task as *const Task as *mut Task, Ordering::Release);
    Ok(())
}

fn idle(cpu: usize) {
    let queue = run_queue(cpu as u32);
    loop {
        memory::before_idle(cpu);
        irq::disable();
        queue.sleeping.store(true, Ordering::SeqCst);
        if queue.ready.lock(&CPU).is_empty() {
            queue.sleep();
            queue.sleeping.store(false, Ordering::SeqCst);
        } else {
            queue.sleeping.store(false, Ordering::SeqCst);
            schedule();
        }
        irq::enable();
    }
}

fn unreachable_end() -> ! {
    cpu::stop()
}

/// Waits for [`Task::unpark`]. May return early; the caller checks what it waited for.
pub fn park() {
    let me = current();
    irq::disable();
    let ready = run_queue(me.cpu()).ready.lock(&CPU);
    if me.token.swap(false, Ordering::AcqRel) {
        drop(ready);
        irq::enable();
        return;
    }
    me.set_state(State::Parked);
    pressure::stops(me);
    drop(ready);
    schedule();
    irq::enable();
}

/// Switches to the next task of this CPU. The running one is queued, parked or dead; the mask is at one.
fn schedule() {
    let me = current();
    let queue = run_queue(me.cpu());
    let next = queue.pop();
    if core::ptr::eq(next, me) {
        return;
    }
    next.on_cpu.store(true, Ordering::Release);
    next.switches.fetch_add(1, Ordering::Relaxed);
    queue.switches.store(queue.switches.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    queue.previous.store(me as *const Task as *mut Task, Ordering::Relaxed);
    percpu::set_current(next as *const Task as u64);
    let workload = set_workload(false);
    space::switch(me.cpu(), me.space.load(Ordering::Relaxed), next.space.load(Ordering::Relaxed));
    // SAFETY: both tasks are pinned to this CPU, which runs neither but here; interrupts are masked.
    unsafe {
        let (bottom, top) = (*next.own.get()).bounds;
        percpu::set_stack(bottom, top);
        switch::task_switch(&raw mut (*me.own.get()).rsp, (*next.own.get()).rsp);
    }
    finish_switch();
    set_workload(workload);
}

/// The first thing on the new stack: the task we came from has left its own.
fn finish_switch() {
    let previous = run_queue(percpu::cpu()).previous.load(Ordering::Relaxed);
    // SAFETY: `schedule` on this CPU stored the task just before the switch; it is freed only after this store.
    unsafe { (*previous).on_cpu.store(false, Ordering::Release) };
}

/// Called by `switch.s` on a new task's stack, mask at one.
#[unsafe(no_mangle)]
extern "C" fn task_main() -> ! {
    finish_switch();
    let me = current();
    irq::enable();
    // SAFETY: `own` was filled by the spawner and is this task's now.
    let (entry, argument) = unsafe { ((*me.own.get()).entry, (*me.own.get()).argument) };
    entry(argument);
    irq::disable();
    abandon()
}

/// Ends the running task where it is: nothing on its stack is dropped. The mask is at one.
pub fn abandon() -> ! {
    let me = current();
    me.set_state(State::Dead);
    pressure::stops(me);
    me.exited.wake_all();
    schedule();
    unreachable_end()
}

/// The number of the context whose memory the running task has; `None` for the kernel's tasks.
#[inline]
pub fn running_space() -> Option<u32> {
    space::context(running()?.space.load(Ordering::Relaxed))
}
