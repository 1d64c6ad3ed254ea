//! The thread that looks at a running guest: it reads the statistics area at a steady pace and keeps the
//! directory of `--procfs` up to date, and says when the guest tells of pressure. It is also the one that writes the report, because a thread that has
//! served a guest can open no file any more.
//!
//! Owns: the thread, its orders and the last good reading. Invariants: the thread does what it is asked within
//! one reading; a guest that publishes nothing, or garbage, costs nothing but its numbers.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use shared::stats::{CommandGroup, StatsError};

use super::pressure::PressureLog;
use super::procfs::{Procfs, ProcfsError};
use super::snapshot::{SentText, Snapshot, StatsReader};
use crate::files;
use crate::sandbox::{SandboxError, ThreadFilter};
use crate::signals;

/// Time between two readings; also what the guest is told to take between two updates.
pub const INTERVAL: Duration = Duration::from_millis(100);

/// Looks at a guest while it runs. The thread ends with this value.
pub struct Watcher {
    orders: Sender<Order>,
    looks: Receiver<Watched>,
    writes: Receiver<io::Result<()>>,
}

/// For whom it looks.
#[derive(Default)]
pub struct Viewers {
    /// The directory to write.
    pub procfs: Option<Procfs>,
    /// Says a line about the pressure in the guest.
    pub pressure: Option<fn(&str)>,
}

/// What the thread is asked to do.
enum Order {
    /// The guest has stopped: look for the last time.
    LookBack,
    /// Write this file.
    Write(PathBuf, Vec<u8>),
}

/// What became of the watching, and of the guest at its end.
#[derive(Debug)]
pub struct Watched {
    /// The last numbers that could be read, or why there never were any.
    pub snapshot: Result<Snapshot, StatsError>,
    /// The commands that ended.
    pub commands: Result<CommandGroup, StatsError>,
    /// What the guest has told of its pressure.
    pub pressure: PressureLog,
    /// The first file that could not be written.
    pub failure: Option<ProcfsError>,
}

/// Why nobody watches; a complete line.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// There is no thread.
    #[error("cannot start the watcher thread: {0}; raise the limit on processes (ulimit -u)")]
    Thread(#[source] io::Error),
    /// It could not be confined.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

impl Watcher {
    /// Begins to watch, behind `filter`. `reader` reads the guest, if it can be read.
    pub fn start(
        reader: Option<StatsReader>,
        viewers: Viewers,
        filter: ThreadFilter,
    ) -> Result<Self, WatchError> {
        let (orders, ordered) = mpsc::channel();
        let (look, looks) = mpsc::channel();
        let (write, writes) = mpsc::channel();
        let (enter, entered) = mpsc::channel();
        let run = move || {
            let confined = filter.enter();
            let stop = confined.is_err();
            // Whoever started this waits for it.
            let _ = enter.send(confined);
            if !stop {
                Eye::new(reader, viewers).run(&ordered, &look, &write);
            }
        };
        // The thread begins before anybody watches for signals, and would have them end the process.
        signals::block().map_err(WatchError::Thread)?;
        thread::Builder::new().name("watcher".to_owned()).spawn(run).map_err(WatchError::Thread)?;
        match entered.recv() {
            Ok(confined) => confined?,
            Err(_) => return Err(WatchError::Thread(io::ErrorKind::BrokenPipe.into())),
        }
        Ok(Self { orders, looks, writes })
    }

    /// Takes the last look, at a guest that has stopped. `None` from a thread that is gone, which has said why.
    pub fn look_back(&self) -> Option<Watched> {
        self.orders.send(Order::LookBack).ok()?;
        self.looks.recv().ok()
    }

    /// Gives the file at `path` the contents `bytes`, in one step.
    pub fn write(&self, path: PathBuf, bytes: Vec<u8>) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.orders.send(Order::Write(path, bytes)).map_err(|_| gone())?;
        self.writes.recv().map_err(|_| gone())?
    }
}

struct Eye {
    reader: Option<StatsReader>,
    viewers: Viewers,
    last: Result<Snapshot, StatsError>,
    pressure: PressureLog,
    failure: Option<ProcfsError>,
}

impl Eye {
    fn new(reader: Option<StatsReader>, viewers: Viewers) -> Self {
        let pressure = PressureLog::default();
        Self { reader, viewers, last: Err(StatsError::NotYet), pressure, failure: None }
    }

    fn run(mut self, orders: &Receiver<Order>, looks: &Sender<Watched>, writes: &Sender<io::Result<()>>) {
        loop {
            let sent = match orders.recv_timeout(INTERVAL) {
                Ok(Order::LookBack) => looks.send(self.look_back()).is_ok(),
                Ok(Order::Write(path, bytes)) => writes.send(files::replace(&path, &bytes)).is_ok(),
                Err(RecvTimeoutError::Timeout) => {
                    self.look();
                    true
                }
                Err(RecvTimeoutError::Disconnected) => false,
            };
            if !sent {
                return;
            }
        }
    }

    fn look(&mut self) {
        let Some(reader) = &self.reader else { return };
        // What cannot be read now is heard at a later look.
        let lines = reader.pressure().map(|group| self.pressure.hear(&group)).unwrap_or_default();
        if let Some(say) = self.viewers.pressure {
            lines.iter().for_each(|line| say(line));
        }
        match reader.snapshot() {
            Ok(snapshot) => {
                self.write(|procfs| procfs.update(&snapshot));
                self.last = Ok(snapshot);
            }
            // A guest that was stopped in the middle of a change leaves the reading before.
            Err(error) if self.last.is_err() => self.last = Err(error),
            Err(_) => {}
        }
    }

    /// The last look; nothing is left to look at afterwards.
    fn look_back(&mut self) -> Watched {
        self.look();
        let reader = self.reader.take();
        let texts: Vec<SentText> = reader.as_ref().and_then(|reader| reader.texts().ok()).unwrap_or_default();
        self.write(|procfs| procfs.finish(texts));
        Watched {
            snapshot: self.last.clone(),
            commands: reader.map_or(Err(StatsError::NotYet), |reader| reader.commands()),
            pressure: std::mem::take(&mut self.pressure),
            failure: self.failure.take(),
        }
    }

    fn write(&mut self, write: impl FnOnce(&mut Procfs) -> Result<(), ProcfsError>) {
        if let Some(Err(error)) = self.viewers.procfs.as_mut().map(write) {
            self.failure.get_or_insert(error);
        }
    }
}
