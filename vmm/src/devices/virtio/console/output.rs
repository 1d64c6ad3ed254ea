//! Console output on its way to the host.
//!
//! Owns: the sink, the thread that writes to it, and the bytes the guest was told are taken but
//! the sink has not got yet.
//! Stays outside: where the bytes come from (`device`).
//! Invariants: bytes reach the sink exactly as the guest wrote them, in order, or are counted as
//! lost. Only the writer thread ever waits for the sink: a terminal that is stopped or a pipe that
//! nobody reads holds up neither disks nor the monitor's own signals and time limit. A pipe with room
//! is written to directly, which saves the first output the start of a thread. A sink that has failed
//! takes nothing any more, and the guest never notices.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use super::super::lock;
use super::super::queue::QueueWaker;

/// Bytes that may wait for the sink before the guest has to wait too.
const ROOM: usize = 1024 * 1024;

/// Output that did not reach the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputLoss {
    /// How many bytes are missing; when a write was cut short, at most how many.
    pub bytes: u64,
    /// Why, in the host's words.
    pub reason: String,
    /// Nobody wanted it: the reader has gone, or is stuck.
    pub reader_gone: bool,
}

/// The near end of the way to the sink.
pub struct Output {
    shared: Arc<Shared>,
    sink: Arc<File>,
    /// The sink can tell at once that it would block.
    is_pipe: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// `state` has changed: there is work for the writer, or the writer is done with some.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    /// Bytes the writer has taken out of `pending` and not finished.
    in_flight: usize,
    /// Set once, when the sink has failed.
    loss: Option<OutputLoss>,
    /// Who wants to know that there is room again.
    waker: Option<QueueWaker>,
    /// Nothing more will come.
    closed: bool,
}

impl Output {
    /// Output to `sink`: a terminal, a pipe or a file, blocking or not.
    pub fn new(sink: File) -> Self {
        let is_pipe = sink.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
        Self { shared: Arc::default(), sink: Arc::new(sink), is_pipe }
    }

    /// What did not reach the sink so far. Once the sink has failed, all later bytes are lost.
    pub fn loss(&self) -> Option<OutputLoss> {
        lock(&self.shared.state).loss.clone()
    }

    /// Starts the writer, once, on a thread that begins with `enter` and does nothing else if that says false.
    /// It inherits the signal mask of the caller. What has to wait before waits for it.
    pub fn start(&self, enter: impl FnOnce() -> bool + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let sink = Arc::clone(&self.sink);
        let write = move || {
            if enter() {
                write_out(&sink, &shared);
            }
        };
        thread::Builder::new().name("console".to_owned()).spawn(write).map(drop)
    }

    /// Takes `bytes`, all of them. Call [`Self::flush`] after the last of several.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut state = lock(&self.shared.state);
        match &mut state.loss {
            Some(loss) => loss.bytes += bytes.len() as u64,
            None => state.pending.extend_from_slice(bytes),
        }
    }

    /// Has what was pushed written. Does not wait for it.
    pub fn flush(&mut self) {
        let mut state = lock(&self.shared.state);
        if self.is_pipe && state.in_flight == 0 {
            let written = write_at_once(&self.sink, &state.pending);
            state.pending.drain(..written);
        }
        // To wake the writer for nothing would stop the caller for a while.
        let is_work_left = state.is_work_left();
        drop(state);
        if is_work_left {
            self.shared.changed.notify_all();
        }
    }

    /// Whether as much waits for the sink as may wait.
    pub fn is_full(&self) -> bool {
        lock(&self.shared.state).pending.len() >= ROOM
    }

    /// Whether more output may be pushed now. If not, `waker` is used once when it may.
    pub fn has_room(&self, waker: impl FnOnce() -> QueueWaker) -> bool {
        let mut state = lock(&self.shared.state);
        if state.pending.len() < ROOM {
            return true;
        }
        state.waker = Some(waker());
        false
    }

    /// Waits until all pending bytes are written or lost, or until `deadline`; what is left then
    /// counts as lost, with everything that comes later.
    pub fn settle(&mut self, deadline: Instant) {
        self.flush();
        let mut state = self.shared.wait_while(deadline, State::is_busy);
        state.give_up("the reader is stuck", true);
    }

    /// Waits until there is room, or until `deadline`.
    pub fn wait_for_room(&mut self, deadline: Instant) {
        self.flush();
        drop(self.shared.wait_while(deadline, |state| state.pending.len() >= ROOM));
    }

    /// For others that write to the same sink, in their turn.
    pub fn written(&self) -> Written {
        Written(Arc::clone(&self.shared))
    }
}

impl Shared {
    fn wait_while(&self, deadline: Instant, busy: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        while busy(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // A poisoned lock is used on, as in `lock`.
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        state
    }
}

/// Tells when the sink has got everything that was taken.
pub struct Written(Arc<Shared>);

impl Written {
    /// Waits until nothing is pending, or until `deadline`; whether nothing is.
    pub fn wait(&self, deadline: Instant) -> bool {
        !self.0.wait_while(deadline, State::is_busy).is_busy()
    }
}

impl Drop for Output {
    /// The writer finishes on its own; nobody waits for a reader that may never come.
    fn drop(&mut self) {
        lock(&self.shared.state).closed = true;
        self.flush();
    }
}

impl State {
    fn is_busy(&self) -> bool {
        self.in_flight + self.pending.len() > 0
    }

    /// Whether the writer has anything to do.
    fn is_work_left(&self) -> bool {
        !self.pending.is_empty() || self.waker.is_some() || self.closed
    }

    /// Counts all that is not written yet as lost because of `reason`, unless there is nothing.
    fn give_up(&mut self, reason: &str, reader_gone: bool) {
        let bytes = (self.in_flight + mem::take(&mut self.pending).len()) as u64;
        if bytes > 0 && self.loss.is_none() {
            self.loss = Some(OutputLoss { bytes, reason: reason.to_owned(), reader_gone });
        }
    }
}

/// The writer thread: writes what is pending, in batches as large as they come, until closed.
fn write_out(sink: &File, shared: &Shared) {
    let mut batch = Vec::new();
    loop {
        let mut state = lock(&shared.state);
        while state.pending.is_empty() {
            if state.closed {
                return;
            }
            state = match shared.changed.wait(state) {
                Ok(state) => state,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
        batch.clear();
        mem::swap(&mut batch, &mut state.pending);
        state.in_flight = batch.len();
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        drop(state);
        shared.changed.notify_all();
        let outcome = write_all(sink, &batch);
        let mut state = lock(&shared.state);
        if let Err((left, error)) = outcome {
            state.in_flight = left;
            state.give_up(&error.to_string(), error.kind() == ErrorKind::BrokenPipe);
        }
        state.in_flight = 0;
        drop(state);
        shared.changed.notify_all();
    }
}

/// Writes as many of `bytes` as `pipe` takes without waiting. Errors are left to the writer.
fn write_at_once(pipe: &File, bytes: &[u8]) -> usize {
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the descriptor is open because `pipe` is borrowed; `part` describes `bytes`, which the call
    // only reads. Offset -1 is what a pipe wants.
    let written = unsafe { libc::pwritev2(pipe.as_raw_fd(), &raw const part, 1, -1, libc::RWF_NOWAIT) };
    usize::try_from(written).unwrap_or(0).min(bytes.len())
}

/// Writes all of `bytes`; an error comes with how many are not written.
fn write_all(mut sink: &File, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match sink.write(rest) {
            Ok(0) => return Err((rest.len(), ErrorKind::WriteZero.into())),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait_writable(sink),
            Err(error) => return Err((rest.len(), error)),
        }
    }
    Ok(())
}

/// Waits until `sink`, which somebody made non-blocking, takes bytes again or has failed.
fn wait_writable(sink: &File) {
    let mut poll = libc::pollfd { fd: sink.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: `poll` is one valid entry and outlives the call; the descriptor is open because
    // `sink` is borrowed. A failed wait only means that the caller tries again.
    unsafe { libc::poll(&mut poll, 1, -1) };
}
