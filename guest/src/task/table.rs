//! The tasks that there are: objects of the slab cache `task_struct`, and the list of them.
//!
//! Owns: the cache, the list, numbers, and the end of a task's memory. Stays outside: running them. Invariants: a task is
//! in the list from the moment it is whole until its memory goes back, and whoever looks at a task that is not its own
//! does so under the list's lock. The memory goes back in [`Handle::join`] alone, and a task has one handle. By then
//! nothing else names the task: it is dead and off its CPU, so it is on no run queue and its timer is not set; it took
//! itself off every queue of waiters before it went on, and whoever wakes it holds that queue's lock meanwhile. A task
//! that nobody joins keeps its memory. Source: Linux `kernel/fork.c` (`task_struct_cachep`), `kernel/exit.c`
//! (`release_task`).

use super::queue::Queue;
use super::{Own, SpawnError, State, Task};
use crate::machine::CPU;
use crate::memory::slab::{self, FRAMES, SLABS};
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use mm::phys::GfpFlags;
use mm::slab::{Cache, CacheRequest, CreateError, SlabFlags};
use mm::sync::{Once, SpinLock};

/// Of which tasks are objects.
static CACHE: Once<Option<&'static Cache>> = Once::new(None);
/// All tasks, by number.
static LIST: SpinLock<Queue> = SpinLock::new(Queue::of_all());
static NEXT_ID: AtomicU32 = AtomicU32::new(1);

/// Makes the cache. At boot, once there are caches.
///
/// # Errors
/// [`CreateError`].
pub fn boot() -> Result<(), CreateError> {
    let request = CacheRequest {
        name: "task_struct",
        size: size_of::<Task>() as u32,
        align: align_of::<Task>() as u32,
        flags: SlabFlags::HWCACHE_ALIGN | SlabFlags::NO_MERGE,
        ctor: None,
    };
    let cache = SLABS.create(&request, &FRAMES)?;
    let filled = CACHE.init(|slot| {
        *slot = Some(cache);
        Ok::<(), CreateError>(())
    });
    filled.map_err(|_| CreateError::Exists)
}

fn cache() -> Option<&'static Cache> {
    *CACHE.get()?
}

/// Makes a task for `cpu`, in the memory that `space` says, runnable and on no queue.
pub(super) fn make(cpu: u32, space: u32, own: Own, gfp: GfpFlags) -> Result<&'static Task, SpawnError> {
    let memory = cache().and_then(|cache| slab::alloc(cache, gfp).ok()).ok_or(SpawnError::Memory)?;
    let memory = memory.cast::<Task>();
    // SAFETY: an object of the cache has the size and the alignment of a task, and this one is ours. It stays one until
    // its handle is joined, after which nobody has a reference; see the module documentation.
    let task: &'static Task = unsafe {
        memory.write(Task::new(cpu, space, own));
        memory.as_ref()
    };
    let mut list = LIST.lock(&CPU);
    task.id.store(NEXT_ID.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    list.push(task);
    Ok(task)
}

/// Tasks started since boot; the last one has this number.
pub fn started() -> u64 {
    u64::from(NEXT_ID.load(Ordering::Relaxed)) - 1
}

/// Calls `look` for each task, with interrupts masked: it must not wait.
pub(super) fn for_each(look: impl FnMut(&Task)) {
    LIST.lock(&CPU).iter().for_each(look);
}

/// What is shown of a task.
pub struct View {
    /// Its number.
    pub id: u32,
    /// What it is called.
    pub name: &'static str,
    /// The CPU it is pinned to.
    pub cpu: u32,
    /// What it does, in a word.
    pub condition: &'static str,
    /// How often it was switched to.
    pub switches: u64,
}

/// Every task, each as it is when its turn comes.
pub fn all() -> impl Iterator<Item = View> {
    let mut last = 0;
    core::iter::from_fn(move || {
        let view = LIST.lock(&CPU).iter().find(|task| task.id() > last).map(Task::view)?;
        last = view.id;
        Some(view)
    })
}

/// Whoever started a task may wait for its end. Dropped, the task runs on, and keeps its memory when it ends.
pub struct Handle(NonNull<Task>);

// SAFETY: a task may be looked at, and freed, on any CPU.
unsafe impl Send for Handle {}

impl Handle {
    /// The one handle of a task that was just made.
    pub(super) fn of(task: &'static Task) -> Self {
        Self(NonNull::from(task))
    }

    /// Waits until the task has ended, and frees it with all that it had.
    pub fn join(self) {
        self.exited.wait_until(|| self.state() == State::Dead);
        while self.on_cpu.load(Ordering::Acquire) {
            core::hint::spin_loop();
        }
        LIST.lock(&CPU).remove(&self);
        let Some(cache) = cache() else { return };
        // SAFETY: `make` has written the task to an object of the cache, and nothing names it any more: see the module
        // documentation.
        unsafe {
            self.0.drop_in_place();
            slab::expect_freed(SLABS.free(cache, self.0.cast()));
        }
    }
}

impl Deref for Handle {
    type Target = Task;

    fn deref(&self) -> &Task {
        // SAFETY: the task lives until its handle is joined, which takes the handle.
        unsafe { self.0.as_ref() }
    }
}
