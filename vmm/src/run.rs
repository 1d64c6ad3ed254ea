//! Runs a machine from its first instruction to its end.
//!
//! Owns: the threads, the event loop on the calling thread, time limit and signals.
//! Stays outside: how the machine was built (`builder`), what its end means (`exit`).
//! Invariants: when [`run`] returns, no vCPU runs any more and no guest output is lost.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};

use crate::builder::Machine;
use crate::exit::{End, EndSignal};
use crate::kvm::vcpu;
use crate::signals::Signals;

/// Why a machine could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Signals cannot be received.
    #[error("cannot watch for Ctrl-C: {0}")]
    Signals(#[source] io::Error),
    /// A vCPU got no thread.
    #[error("cannot start a vCPU thread: {0}; use fewer --cpus or raise the limit on processes (ulimit -u)")]
    Thread(#[source] io::Error),
}

/// Wakes the event loop when the machine has ended.
struct EndWatcher(Arc<EndSignal>);

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

/// Runs `machine` to its end, which is at the latest after `timeout`.
pub fn run(machine: Machine, timeout: Option<Duration>) -> Result<End, RunError> {
    let Machine { vm: _vm, vcpus, mut events, end, ram: _ram } = machine;
    vcpu::install_kick_handler().map_err(RunError::Signals)?;
    let signals = Signals::watch(Arc::clone(&end)).map_err(RunError::Signals)?;
    events.add_subscriber(Box::new(signals));
    events.add_subscriber(Box::new(EndWatcher(Arc::clone(&end))));
    let deadline = timeout.map(|limit| Instant::now() + limit);
    let threads = vcpus.into_iter().map(|vcpu| vcpu.spawn()).collect::<Result<Vec<_>, _>>();
    let threads = threads.map_err(RunError::Thread)?;
    let reason = loop {
        if let Some(reason) = end.end() {
            break reason.clone();
        }
        let wait = match deadline {
            None => -1,
            Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                Some(left) => left.as_millis().saturating_add(1).try_into().unwrap_or(i32::MAX),
                None => {
                    end.report(End::Timeout);
                    continue;
                }
            },
        };
        if let Err(error) = events.run_with_timeout(wait) {
            end.report(End::Failure(format!("the event loop failed: {error}")));
        }
    };
    for thread in threads {
        thread.stop();
    }
    Ok(reason)
}
