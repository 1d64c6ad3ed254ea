//! Threads that live as long as the run, so that what an allocator keeps for each thread stays warm.
//!
//! Invariant: thread `n` plays CPU `n` of the simulated machine and nobody else does.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use anyhow::{Context, Result};

use crate::machine;
use crate::work::{Seat, Subject, Work};

/// One measurement of one thread.
struct Job {
    subject: Arc<dyn Subject>,
    work: Work,
    seat: Seat,
    done: Sender<Vec<f64>>,
}

/// See the module documentation.
pub struct Pool {
    seats: Vec<Sender<Job>>,
}

impl Pool {
    /// `count` threads.
    pub fn new(count: usize) -> Result<Self> {
        let mut seats = Vec::new();
        for cpu in 0..count {
            let (sender, jobs) = mpsc::channel();
            let name = format!("cpu{cpu}");
            thread::Builder::new().name(name).spawn(move || serve(cpu, &jobs)).context("no thread")?;
            seats.push(sender);
        }
        Ok(Self { seats })
    }

    /// Measures once; the slowest thread counts.
    pub fn run(&self, subject: &Arc<dyn Subject>, work: Work) -> Vec<f64> {
        let (done, results) = mpsc::channel();
        let (barrier, swap) = (Arc::new(Barrier::new(work.threads)), Arc::new(Mutex::new(Vec::new())));
        for (index, sender) in self.seats.iter().take(work.threads).enumerate() {
            let seat = Seat { index, barrier: Arc::clone(&barrier), swap: Arc::clone(&swap) };
            let job = Job { subject: Arc::clone(subject), work, seat, done: done.clone() };
            sender.send(job).unwrap_or_else(|_| panic!("a measuring thread has ended"));
        }
        drop(done);
        let all: Vec<Vec<f64>> = results.iter().collect();
        assert_eq!(all.len(), work.threads, "a measuring thread has ended");
        (0..work.metrics().len()).map(|n| all.iter().map(|one| one[n]).fold(0.0, f64::max)).collect()
    }
}

fn serve(cpu: usize, jobs: &Receiver<Job>) {
    machine::play(cpu as u32);
    for Job { subject, work, seat, done } in jobs {
        // The receiver waits for it; when it is gone, so is the run.
        let _ = done.send(subject.sample(work, &seat));
    }
}
