//! Runs a machine from its first instruction to its end.
//!
//! Owns: the threads, the event loop on the calling thread, time limit and signals.
//! Stays outside: how the machine was built (`builder`), what its end means (`exit`).
//! Invariants: when [`run`] returns, no vCPU runs any more and no guest output is lost.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};

use crate::devices::virtio::blk::{DiskThread, DiskWorker};
use crate::devices::virtio::console::{self, Console};
use crate::exit::{End, EndSignal};
use crate::input::TypedInput;
use crate::kvm::vcpu::{self, VcpuThread};
use crate::machine::{EventLoop, Machine};
use crate::sandbox::{Role, Sandbox, SandboxError, ThreadFilter};
use crate::signals::Signals;

/// Why a machine could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Signals cannot be received.
    #[error("cannot watch for Ctrl-C: {0}")]
    Signals(#[source] io::Error),
    /// The terminal cannot be read.
    #[error("cannot read the terminal: {0}; redirect standard input from /dev/null")]
    Input(#[source] io::Error),
    /// A disk got no thread.
    #[error("cannot start a disk's thread: {0}; raise the limit on processes (ulimit -u)")]
    DiskThread(#[source] io::Error),
    /// A vCPU got no thread.
    #[error("cannot start a vCPU thread: {0}; use fewer --cpus or raise the limit on processes (ulimit -u)")]
    Thread(#[source] io::Error),
    /// The console got no thread.
    #[error("cannot start the console's thread: {0}; raise the limit on processes (ulimit -u)")]
    Console(#[source] io::Error),
    /// The threads cannot be confined.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// Wakes the event loop when the machine has ended.
pub(crate) struct EndWatcher(Arc<EndSignal>);

impl EndWatcher {
    /// Watches `end`.
    pub(crate) fn new(end: Arc<EndSignal>) -> Self {
        Self(end)
    }
}

impl MutEventSubscriber for EndWatcher {
    fn process(&mut self, _events: Events, _ops: &mut EventOps) {
        // The loop looks at the signal itself.
        let _ = self.0.event().read();
    }

    fn init(&mut self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new(self.0.event(), EventSet::IN)) {
            self.0.report(End::Failure(format!("cannot watch the machine: {error}")));
        }
    }
}

/// How long the console may take to get rid of its last output.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Runs `machine` to its end, which is at the latest after `timeout`, every thread of it in `sandbox`. That of
/// the calling thread is for ever: it can open nothing afterwards.
///
/// The machine stays as it was at its end, for those who want to look at its memory and counters.
pub fn run(machine: &mut Machine, timeout: Option<Duration>, sandbox: Sandbox) -> Result<End, RunError> {
    let Machine { vcpus, boot_thread, events, console, disk_workers, end, .. } = machine;
    vcpu::install_kick_handler().map_err(RunError::Signals)?;
    let signals = Signals::watch(Arc::clone(end)).map_err(RunError::Signals)?;
    events.add_subscriber(Box::new(signals));
    events.add_subscriber(Box::new(EndWatcher::new(Arc::clone(end))));
    if io::stdin().is_terminal() {
        let console = Arc::clone(console);
        // A guest that has left a megabyte unread loses what is typed on top of it.
        let forward = move |line: &[u8]| {
            console.lock().unwrap_or_else(PoisonError::into_inner).push_input(line);
        };
        let input = TypedInput::new(forward).map_err(RunError::Input)?;
        events.add_subscriber(Box::new(input));
    }
    let deadline = timeout.map(|limit| Instant::now() + limit);
    let vcpu_filter = sandbox.filter(Role::Vcpu)?;
    let mut vcpus = vcpus.drain(..);
    // The boot CPU first and the others last: the guest boots while the rest is started. What it prints or asks a disk
    // for waits meanwhile, and a CPU that it starts early begins late.
    let boot = vcpus.next().zip(boot_thread.take());
    let boot = boot.map(|(vcpu, thread)| vcpu.go_on(thread, vcpu_filter.clone()));
    let mut threads: Vec<_> = boot.into_iter().collect();
    let main_filter = sandbox.filter(Role::Main)?;
    start_writer(console, sandbox.filter(Role::Console)?, end)?;
    let disks = start_disks(disk_workers, sandbox)?;
    for vcpu in vcpus {
        threads.push(vcpu.spawn(vcpu_filter.clone()).map_err(RunError::Thread)?);
    }
    main_filter.enter()?;
    let reason = serve(events, end, deadline);
    threads.iter().for_each(VcpuThread::request_stop);
    threads.into_iter().for_each(VcpuThread::join);
    disks.into_iter().for_each(DiskThread::stop);
    // What is lost here had no reader left: the status still counts.
    let _ = console::drain(console, DRAIN_LIMIT);
    Ok(reason)
}

/// Starts the threads of the disks, each in its filter.
fn start_disks(workers: &mut Vec<DiskWorker>, sandbox: Sandbox) -> Result<Vec<DiskThread>, RunError> {
    let filter = sandbox.filter(Role::Disk)?;
    let helpers = sandbox.filter(Role::DiskHelper)?;
    let start = |worker: DiskWorker| worker.spawn(filter.clone(), helpers.clone());
    workers.drain(..).map(start).collect::<Result<_, _>>().map_err(RunError::DiskThread)
}

/// Starts the writer of the console's output. A writer that cannot be confined ends the machine.
fn start_writer(
    console: &Mutex<Console>,
    filter: ThreadFilter,
    end: &Arc<EndSignal>,
) -> Result<(), RunError> {
    let end = Arc::clone(end);
    let enter = move || {
        let entered = filter.enter();
        entered.map_err(|error| end.report(End::Failure(error.to_string()))).is_ok()
    };
    let console = console.lock().unwrap_or_else(PoisonError::into_inner);
    console.start_writer(enter).map_err(RunError::Console)
}

/// Serves the devices until the machine ends or `deadline` has come.
pub(crate) fn serve(events: &mut EventLoop, end: &EndSignal, deadline: Option<Instant>) -> End {
    loop {
        if let Some(reason) = end.end() {
            return reason.clone();
        }
        let wait = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            None => -1,
            Some(Duration::ZERO) => {
                end.report(End::Timeout);
                continue;
            }
            // Rounded up, so that the last wait does not spin.
            Some(left) => left.as_millis().saturating_add(1).try_into().unwrap_or(i32::MAX),
        };
        if let Err(error) = events.run_with_timeout(wait) {
            end.report(End::Failure(format!("the event loop failed: {error}")));
        }
    }
}
