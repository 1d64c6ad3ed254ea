//! Simulated CPUs: host threads play them.
//!
//! Owns: which thread is which CPU, how deep each CPU has masked interrupts, and interrupts themselves.
//! Invariants: one thread plays a CPU at a time; a thread that plays none is CPU 0. An interrupt runs on the thread
//! that sends it, as the CPU it is for, while that CPU is outside of every masked section: what its own thread does
//! in between cannot be told from an interrupt between two instructions.
//!
//! The thread's choice is kept in a thread-local list. It holds no state of a machine: only pairs of a
//! machine's identity and a CPU number, for the time of [`Cpus::run_on`].

use mm::port::{Cpu, CpuId, TaskFlags};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

thread_local! {
    /// Which CPU of which machine this thread plays, innermost last. The address of a borrowed `Cpus` names
    /// the machine: it cannot be reused while `run_on` borrows it.
    static PLAYING: RefCell<Vec<(*const Cpus, CpuId, Part)>> = const { RefCell::new(Vec::new()) };
}

/// What of a CPU a thread plays.
#[derive(Clone, Copy)]
enum Part {
    /// What runs on it by itself.
    Code,
    /// An interrupt.
    Interrupt,
}

/// The CPUs of one machine.
pub struct Cpus {
    cpus: Box<[State]>,
    /// Nanoseconds since boot. Time passes when somebody sleeps, or a test lets it.
    clock: AtomicU64,
}

/// One CPU.
#[derive(Default)]
struct State {
    played: AtomicBool,
    /// Interrupts are masked while this is not 0.
    irq_depth: AtomicU32,
    /// The same within an interrupt, whose thread runs beside the one that plays the CPU until that masks.
    interrupt_depth: AtomicU32,
    /// A masked section or an interrupt is running.
    busy: AtomicBool,
    /// Of the one task that the CPU runs.
    task_flags: AtomicU32,
}

impl State {
    /// Waits until neither a masked section nor an interrupt runs, and starts one.
    fn enter(&self) {
        while self.busy.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
    }

    fn leave(&self) {
        self.busy.store(false, Ordering::Release);
    }
}

impl Cpus {
    /// `count` CPUs.
    ///
    /// # Panics
    /// If `count` is 0.
    #[must_use]
    pub fn new(count: u32) -> Self {
        assert!(count > 0, "a machine needs at least one CPU");
        Self { cpus: (0..count).map(|_| State::default()).collect(), clock: AtomicU64::new(0) }
    }

    /// Lets `ns` nanoseconds pass.
    pub fn pass(&self, ns: u64) {
        self.clock.fetch_add(ns, Ordering::Relaxed);
    }

    /// Every CPU number.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = CpuId> + use<> {
        (0..self.cpus.len() as u32).map(CpuId)
    }

    /// Runs `work` while this thread plays CPU `id`.
    ///
    /// # Panics
    /// If there is no such CPU, or another `run_on` plays it.
    pub fn run_on<R>(&self, id: CpuId, work: impl FnOnce() -> R) -> R {
        let played = &self.state(id).played;
        assert!(!played.swap(true, Ordering::Acquire), "{id:?} is already played: one thread per CPU");
        PLAYING.with_borrow_mut(|p| p.push((self, id, Part::Code)));
        let _leave = Leave(played);
        work()
    }

    /// How deep CPU `id` has masked interrupts.
    ///
    /// # Panics
    /// If there is no such CPU.
    #[must_use]
    pub fn irq_depth(&self, id: CpuId) -> u32 {
        self.state(id).irq_depth.load(Ordering::Relaxed)
    }

    /// The depth of what this thread plays of the CPU with this `state`.
    fn depth<'a>(&self, state: &'a State) -> &'a AtomicU32 {
        let part = PLAYING.with_borrow(|p| {
            p.iter()
                .rev()
                .find(|(machine, ..)| std::ptr::eq(*machine, self))
                .map_or(Part::Code, |&(.., part)| part)
        });
        match part {
            Part::Code => &state.irq_depth,
            Part::Interrupt => &state.interrupt_depth,
        }
    }

    fn state(&self, id: CpuId) -> &State {
        let count = self.cpus.len();
        self.cpus.get(id.0 as usize).unwrap_or_else(|| panic!("{id:?} of a machine with {count} CPUs"))
    }
}

/// Ends a [`Cpus::run_on`], also when the work panics.
struct Leave<'a>(&'a AtomicBool);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        PLAYING.with_borrow_mut(Vec::pop);
        self.0.store(false, Ordering::Release);
    }
}

impl Cpu for Cpus {
    #[inline]
    fn id(&self) -> CpuId {
        PLAYING.with_borrow(|p| {
            p.iter()
                .rev()
                .find(|(machine, ..)| std::ptr::eq(*machine, self))
                .map_or(CpuId(0), |&(_, id, _)| id)
        })
    }

    fn irq_disable(&self) {
        let state = self.state(self.id());
        // Only this thread changes the depth: the CPU's code and its interrupts have one each.
        let depth = self.depth(state);
        if depth.load(Ordering::Relaxed) == 0 {
            state.enter();
        }
        depth.fetch_add(1, Ordering::Relaxed);
    }

    fn irq_enable(&self) {
        let id = self.id();
        let depth = self.depth(self.state(id));
        let lower = depth.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |d| d.checked_sub(1));
        if lower == Ok(1) {
            self.state(id).leave();
        }
        // While a test already unwinds, a second panic would hide the first.
        if lower.is_err() && !std::thread::panicking() {
            panic!("{id:?} unmasks interrupts that it has not masked");
        }
    }

    fn can_wait(&self) -> bool {
        self.depth(self.state(self.id())).load(Ordering::Relaxed) == 0
    }

    fn wait_on(&self, _key: u64, done: &mut dyn FnMut() -> bool) {
        assert!(self.can_wait(), "a task sleeps with interrupts masked on {:?}", self.id());
        self.irq_disable();
        let is_done = done();
        self.irq_enable();
        // Sleepers are never told here: they look again and again, and whoever they wait for runs meanwhile.
        if !is_done {
            self.pass(1_000);
            std::thread::yield_now();
        }
    }

    fn wake(&self, _key: u64) {}

    fn wait_for(&self, ns: u64) {
        assert!(self.can_wait(), "a task sleeps with interrupts masked on {:?}", self.id());
        self.pass(ns);
        std::thread::yield_now();
    }

    fn wait_on_for(&self, key: u64, ns: u64, done: &mut dyn FnMut() -> bool) {
        let mut is_done = false;
        self.wait_on(key, &mut || {
            is_done = done();
            is_done
        });
        if !is_done {
            self.pass(ns);
        }
    }

    fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn task_flags(&self) -> TaskFlags {
        TaskFlags::from_bits_retain(self.state(self.id()).task_flags.load(Ordering::Relaxed))
    }

    fn set_task_flags(&self, flags: TaskFlags) {
        self.state(self.id()).task_flags.store(flags.bits(), Ordering::Relaxed);
    }

    fn call_on(&self, cpu: CpuId, work: &(dyn Fn() + Sync)) {
        let state = self.state(cpu);
        if cpu == self.id() {
            self.irq_disable();
            work();
            return self.irq_enable();
        }
        assert!(self.can_wait(), "{cpu:?} is called with interrupts masked on {:?}", self.id());
        state.enter();
        PLAYING.with_borrow_mut(|p| p.push((self, cpu, Part::Interrupt)));
        state.interrupt_depth.store(1, Ordering::Relaxed);
        work();
        state.interrupt_depth.store(0, Ordering::Relaxed);
        PLAYING.with_borrow_mut(Vec::pop);
        state.leave();
    }
}
