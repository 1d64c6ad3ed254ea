//! Contexts: what Linux calls a process, as far as memory goes: a root of its own, a pid and a name.
//!
//! Owns: the table of contexts. Stays outside: their memory (`mm::space`, reached by [`Context::mm`]) and tasks.
//! Invariants: a context lives as long as somebody has a [`Context`] of it, and the table has one until it is killed; the
//! last to go gives the memory back, or has that done if he makes room for others, who may hold any lock. A task that runs in a context is joined before the context can go.
//!
//! | file | job |
//! |---|---|
//! | `oom` | who is killed when memory is out |
//! | `exit` | contexts that end later, in a task of their own |
//! | `fault` | page faults of tasks that run in a context, and what is wrong with an access |
//! | `run` | work that runs in a context, and how it ends |
//! | `trace` | the last page faults, and how many took which way |
//!
//! Work that touches a context's memory runs in a task of that context:
//!
//! ```text
//! let sum = context::run(&context, cpu, || unsafe { (at.get() as *const u64).read_volatile() })?;
//! context::run_each(&[Place { context: &a, cpu: 0 }, Place { context: &b, cpu: 1 }], &|n| ...)?;
//! ```
//!
//! A bad access kills the context: its task ends where it is, nothing that the work has on its stack is dropped, and
//! the caller gets [`Killed`]. So such work holds nothing that must be given back: no block of frames, no guard. A fault
//! with interrupts masked, as by a lock, is a bug of the kernel and ends the machine.

mod exit;
mod fault;
pub mod oom;
mod run;
pub mod trace;

use crate::arch::{time, trap};
use crate::machine::{CPU, Kernel};
use crate::memory::slab::FRAMES;
use crate::memory::vm::{RECLAIM, VM};
use crate::text::Text;
use crate::{report, task};
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
pub use exit::settle;
pub use fault::{Killed, Rights};
use mm::port::TaskFlags;
use mm::space::{Errno, MAX_MMS, Mm};
use mm::sync::SpinLock;
pub use run::{Failure, Place, run, run_each};

/// Bytes of a name, as of Linux's `comm`.
const NAME: usize = 15;

/// A name of a context.
pub type Name = Text<NAME>;

/// What is known of a context beside its memory.
struct Info {
    pid: u32,
    name: Name,
    /// Why it was killed; the first reason counts.
    killed: Option<Killed>,
    /// `oom_score_adj`.
    adj: i32,
    /// Its nice value.
    nice: i32,
    /// When it was made, in nanoseconds since boot.
    born: u64,
}

/// The place of a context, by the number of its memory.
struct Slot {
    /// How many have it.
    holders: AtomicU32,
    /// The table is one of them.
    listed: AtomicBool,
    info: SpinLock<Info>,
}

static SLOTS: [Slot; MAX_MMS] = [const {
    Slot {
        holders: AtomicU32::new(0),
        listed: AtomicBool::new(false),
        info: SpinLock::new(Info { pid: 0, name: Text::new(), killed: None, adj: 0, nice: 0, born: 0 }),
    }
}; MAX_MMS];

static NEXT_PID: AtomicU32 = AtomicU32::new(1);

/// The pid of the context that `/proc/self` means; 0 for none.
static SELF: AtomicU32 = AtomicU32::new(0);

/// One of those who have a context.
pub struct Context {
    slot: &'static Slot,
    id: u32,
}

/// From here on faults of tasks in contexts are handled, and contexts end when memory is out. Once.
pub fn boot() {
    trap::set_context_handler(fault::on_trap);
    exit::start();
    RECLAIM.kill_with(&oom::Killer);
}

fn slot(id: u32) -> Option<&'static Slot> {
    SLOTS.get(id as usize)
}

/// Makes a context with nothing mapped.
///
/// # Errors
/// `Enomem`; `Eagain` when there are as many as there can be.
pub fn create(name: &str) -> Result<Context, Errno> {
    list(RECLAIM.with_room(|| VM.create(&FRAMES))?, name)
}

/// Makes a context that has what `parent` has in the overlay window (Linux `fork`).
///
/// # Errors
/// As for [`create`].
pub fn clone(parent: &Context, name: &str) -> Result<Context, Errno> {
    list(RECLAIM.with_room(|| VM.clone_mm(parent.mm(), &FRAMES))?, name)
}

/// Puts the new context `mm` in the table.
fn list(mm: &Mm<'static, Kernel>, name: &str) -> Result<Context, Errno> {
    let id = mm.id();
    let slot = slot(id).ok_or(Errno::Eagain)?;
    {
        let mut info = slot.info.lock(&CPU);
        let (pid, born) = (NEXT_PID.fetch_add(1, Ordering::Relaxed), time::since_boot_ns());
        *info = Info { pid, name: Name::new(), killed: None, adj: 0, nice: 0, born };
        // What is too long is cut off.
        let _ = info.name.write_str(name);
    }
    slot.listed.store(true, Ordering::Relaxed);
    // The table's and the caller's.
    slot.holders.store(2, Ordering::Release);
    Ok(Context { slot, id })
}

/// Every context of the table.
pub fn all() -> impl Iterator<Item = Context> {
    (0..MAX_MMS as u32).filter_map(|id| {
        let slot = slot(id)?;
        let more = |holders: u32| (holders != 0).then(|| holders + 1);
        slot.holders.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).ok()?;
        Some(Context { slot, id }).filter(|_| slot.listed.load(Ordering::Acquire))
    })
}

/// From now on `/proc/self` is this context.
pub fn choose(context: &Context) {
    SELF.store(context.pid(), Ordering::Relaxed);
}

/// The pid of the context that was chosen last.
pub fn chosen() -> Option<u32> {
    match SELF.load(Ordering::Relaxed) {
        0 => None,
        pid => Some(pid),
    }
}

/// The context with this number.
pub fn find(pid: u32) -> Option<Context> {
    all().find(|context| context.pid() == pid)
}

/// The context with this name; the youngest, if there are more.
pub fn find_name(name: &str) -> Option<Context> {
    all().filter(|context| context.name().as_str() == name).max_by_key(Context::pid)
}

impl Context {
    /// Its memory.
    pub fn mm(&self) -> &Mm<'static, Kernel> {
        match VM.mm(self.id) {
            Some(mm) => mm,
            // The memory goes with the last holder, and this is one.
            None => report::corruption(format_args!("context {} has no memory", self.id)),
        }
    }

    /// Its number, unique for the life of the machine.
    pub fn pid(&self) -> u32 {
        self.slot.info.lock(&CPU).pid
    }

    /// What it is called.
    pub fn name(&self) -> Name {
        self.slot.info.lock(&CPU).name
    }

    /// Why it was killed, if it was.
    pub fn killed(&self) -> Option<Killed> {
        self.slot.info.lock(&CPU).killed
    }

    /// How readily it is killed for its memory, -1000 to 1000 (`oom_score_adj`).
    pub fn oom_score_adj(&self) -> i32 {
        self.slot.info.lock(&CPU).adj
    }

    /// Sets that; the caller has checked the range.
    pub fn set_oom_score_adj(&self, adj: i32) {
        self.slot.info.lock(&CPU).adj = adj;
    }

    /// How little its work matters, -20 to 19.
    pub fn nice(&self) -> i32 {
        self.slot.info.lock(&CPU).nice
    }

    /// Sets that; the caller has checked the range.
    pub fn set_nice(&self, nice: i32) {
        self.slot.info.lock(&CPU).nice = nice;
    }

    /// For how long there has been one, in seconds.
    pub fn age(&self) -> u64 {
        time::since_boot_ns().saturating_sub(self.slot.info.lock(&CPU).born) / 1_000_000_000
    }

    /// Takes it out of the table: it goes with the last who has it.
    pub fn kill(&self) {
        if self.slot.listed.swap(false, Ordering::AcqRel) {
            drop(Self { slot: self.slot, id: self.id });
        }
    }
}

impl Clone for Context {
    fn clone(&self) -> Self {
        self.slot.holders.fetch_add(1, Ordering::Relaxed);
        Self { slot: self.slot, id: self.id }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.slot.holders.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let may_hold_locks = task::flags().contains(TaskFlags::PF_MEMALLOC);
        if !may_hold_locks || !exit::hand_over(self.id) {
            end(self.id);
        }
    }
}

/// Gives the memory of a context back that nobody holds any more.
fn end(id: u32) {
    // SAFETY: there is no holder: no task runs in the context, for those who start one hold it until the task is joined, and
    // a CPU leaves the root before a task counts as joined.
    if let Err(error) = unsafe { VM.destroy(id, &FRAMES) } {
        report::corruption(format_args!("a context cannot be freed: {error}"));
    }
}
