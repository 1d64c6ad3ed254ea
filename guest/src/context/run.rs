//! Work that runs in contexts.
//!
//! Invariants: who starts work waits for its end, so the work may borrow what the caller has; work that is killed never
//! goes on, so it touches nothing of that afterwards.

use super::{Context, Killed, settle};
use crate::machine::CPU;
use crate::task::{self, Handle, SpawnError};
use core::fmt;
use mm::sync::SpinLock;

/// How many pieces of work can run at once.
const MAX_WORKERS: usize = 64;

/// Where a piece of work runs.
pub struct Place<'a> {
    /// In whose memory.
    pub context: &'a Context,
    /// On which CPU.
    pub cpu: u32,
}

/// Why work did not come to its end.
#[derive(Clone, Copy)]
pub enum Failure {
    /// It was killed, and the context with it.
    Killed(Killed),
    /// There is no task for it.
    Spawn(SpawnError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed(killed) => write!(f, "{killed}"),
            Self::Spawn(error) => write!(f, "no task: {error:?}"),
        }
    }
}

/// One piece of work.
struct Job<'a> {
    work: &'a (dyn Fn(usize) + Sync),
    number: usize,
}

fn perform(job: usize) {
    // SAFETY: `run_each` passes a job that it keeps until this task is joined.
    let job = unsafe { &*(job as *const Job<'_>) };
    (job.work)(job.number);
}

/// Runs `work(n)` at each place, all at once, and waits until all have ended.
///
/// # Errors
/// The first [`Failure`]. A context that is killed is taken out of the table.
pub fn run_each(places: &[Place<'_>], work: &(dyn Fn(usize) + Sync)) -> Result<(), Failure> {
    let jobs: [_; MAX_WORKERS] = core::array::from_fn(|number| Job { work, number });
    let mut tasks = [const { None }; MAX_WORKERS];
    let mut failure = None;
    for ((place, job), task) in places.iter().zip(&jobs).zip(&mut tasks) {
        let argument = (&raw const *job).expose_provenance();
        match task::spawn_in("context", place.cpu, place.context.mm().id(), perform, argument) {
            Ok(spawned) => *task = Some(spawned),
            Err(error) => failure = failure.or(Some(Failure::Spawn(error))),
        }
    }
    tasks.into_iter().flatten().for_each(Handle::join);
    settle();
    for place in places {
        if let Some(killed) = place.context.killed() {
            place.context.kill();
            failure = failure.or(Some(Failure::Killed(killed)));
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Runs `work` in `context` on `cpu`, and gives what it returns.
///
/// # Errors
/// [`Failure`].
pub fn run<T: Send>(context: &Context, cpu: u32, work: impl Fn() -> T + Sync) -> Result<T, Failure> {
    let result = SpinLock::new(None);
    run_each(&[Place { context, cpu }], &|_| {
        let value = work();
        *result.lock(&CPU) = Some(value);
    })?;
    let value = result.lock(&CPU).take();
    // Work that was not killed has left its result.
    value.ok_or(Failure::Spawn(SpawnError::Memory))
}
