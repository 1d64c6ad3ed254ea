//! Runs the guest under QEMU's TCG, for hosts without KVM and as a second monitor to test against.
//!
//! Owns: starting QEMU with the same guest, disks and command line; turning its end into ours.
//! Stays outside: QEMU's arguments (`args`).
//! Invariants: QEMU does not outlive this process, and dies when the time limit is over or the user
//! interrupts. Files reach it by `/proc/PID/fd` paths of ours, so a temporary disk needs no name.

mod args;

use std::any::Any;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use shared::exit::QEMU_SHIFT;

use crate::config::{DiskConfig, DiskSource, MachineConfig};
use crate::devices::transcript::{Kept, Transcript};
use crate::devices::virtio::blk::{Access, DiskError, DiskImage};
use crate::exit::{End, EndSignal};
use crate::input::TypedInput;
use crate::kernel::Kernel;
use crate::machine::EventLoop;
use crate::run::{self, EndWatcher, RunError};
use crate::sandbox::Role;
use crate::signals::Signals;
use crate::view::snapshot::StatsReader;
use crate::view::watcher::{Viewers, WatchError, Watched, Watcher};

use args::Files;

/// The program this backend runs.
pub(crate) const QEMU: &str = "qemu-system-x86_64";
/// What QEMU logs when a guest faults while it handles a double fault.
const TRIPLE_FAULT: &str = "Triple fault";

/// Why QEMU could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TcgError {
    /// QEMU is not installed.
    #[error(
        "{QEMU} is not installed; install it (Debian: apt install qemu-system-x86) or use a host with KVM"
    )]
    NotInstalled,
    /// QEMU did not start.
    #[error("cannot run {QEMU}")]
    Start(#[source] io::Error),
    /// Too many disks for QEMU's machine.
    #[error("{0} disks: the TCG machine has room for 7; use fewer, or --accel kvm")]
    TooManyDisks(usize),
    /// A disk that misbehaves in ways that only our own disk knows.
    #[error("--disk: {0} needs KVM; leave it out, or use a host with KVM")]
    Faults(&'static str),
    /// An image cannot be opened.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file that should carry something to or from QEMU.
    #[error("cannot make a temporary file; set TMPDIR to a directory with room")]
    Temporary(#[source] io::Error),
    /// Waiting for QEMU's end failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Nobody can watch.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The event loop.
    #[error("cannot create the event loop: {0}")]
    EventLoop(String),
}

impl TcgError {
    /// The exit status that tells a mistake of the user from a host that cannot run the machine.
    pub fn status(&self) -> shared::exit::ExitStatus {
        match self {
            Self::TooManyDisks(_) | Self::Faults(_) | Self::Disk(_) => shared::exit::ExitStatus::Usage,
            Self::NotInstalled
            | Self::Start(_)
            | Self::Temporary(_)
            | Self::Run(_)
            | Self::Watch(_)
            | Self::EventLoop(_) => shared::exit::ExitStatus::HostUnable,
        }
    }
}

/// Whether the search path has QEMU.
pub fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(QEMU).is_file())
}

/// A machine that ran under QEMU.
pub struct TcgRun {
    /// How it ended.
    pub end: End,
    /// Who watched, if somebody did; writes files after the run.
    pub watcher: Option<Watcher>,
    /// What was seen of the guest, if somebody watched.
    pub watched: Option<Watched>,
    /// What it printed, if that was kept.
    pub output: Kept,
}

/// Runs the machine of `config` with `kernel` under QEMU, on the CPU model `cpu`. If the guest is watched, it
/// is for `viewers`.
pub fn run(config: &MachineConfig, kernel: &Kernel, cpu: &str, viewers: Viewers) -> Result<TcgRun, TcgError> {
    let mut kernel_file = tempfile::tempfile().map_err(TcgError::Temporary)?;
    kernel_file.write_all(kernel.bytes()).map_err(TcgError::Temporary)?;
    let mut log = tempfile::tempfile().map_err(TcgError::Temporary)?;
    let disks = config.disks.iter().map(open_disk).collect::<Result<Vec<_>, _>>()?;
    let note = kernel.stats_note().filter(|_| config.is_watched());
    let ram = note.map(|_| anonymous_file(config.topology.memory())).transpose().map_err(TcgError::Start)?;
    let mut output = tempfile::tempfile().map_err(TcgError::Temporary)?;
    let mut serial = tempfile::tempfile().map_err(TcgError::Temporary)?;
    let files = Files {
        kernel: descriptor_path(&kernel_file),
        ram: ram.as_ref().map(descriptor_path),
        // QEMU loses input where console and serial port share the standard streams and input comes fast.
        serial: config.sent_script().map(|_| descriptor_path(&serial)),
        output: config.report.is_some().then(|| descriptor_path(&output)),
        disks: disks.iter().map(|disk| disk.path.clone()).collect(),
        log: descriptor_path(&log),
    };
    let arguments = args::arguments(config, cpu, &files)?;
    let mut errors = tempfile::tempfile().map_err(TcgError::Temporary)?;
    let end = Arc::new(EndSignal::new().map_err(TcgError::Start)?);
    let mut events = EventLoop::new().map_err(|error| TcgError::EventLoop(error.to_string()))?;
    let signals = Signals::watch(Arc::clone(&end)).map_err(RunError::Signals)?;
    let mut child = start(&arguments, errors.try_clone().map_err(TcgError::Temporary)?)?;
    events.add_subscriber(Box::new(signals));
    events.add_subscriber(Box::new(EndWatcher::new(Arc::clone(&end))));
    connect_input(&mut child, config, &mut events)?;
    let watcher = if config.is_watched() {
        let reader = note.zip(ram).map(|(note, ram)| StatsReader::new(Box::new(ram), note));
        let filter = config.sandbox.filter(Role::Watcher).map_err(RunError::Sandbox)?;
        Some(Watcher::start(reader, viewers, filter)?)
    } else {
        None
    };
    events.add_subscriber(Box::new(ChildWatcher::new(&child, Arc::clone(&end)).map_err(TcgError::Start)?));
    config
        .sandbox
        .filter(Role::Qemu(child.id()))
        .and_then(|filter| filter.enter())
        .map_err(RunError::Sandbox)?;
    let deadline = config.timeout.map(|limit| Instant::now() + limit);
    let reason = run::serve(&mut events, &end, deadline);
    // It may have ended by itself; then there is nothing to kill.
    let _ = child.kill();
    let status = child.wait().map_err(TcgError::Start)?;
    let end = match reason {
        // QEMU has ended by itself; its status and log say why.
        End::Reset => interpret(status, &read_all(&mut log), &read_all(&mut errors)),
        other => other,
    };
    let kept = Transcript::default();
    kept.push(read_all(&mut output).as_bytes());
    let last_words = read_all(&mut serial);
    kept.push(last_words.as_bytes());
    // A reader that went away is no failure.
    let _ = io::stdout().write_all(last_words.as_bytes());
    let watched = watcher.as_ref().and_then(Watcher::look_back);
    Ok(TcgRun { end, watcher, watched, output: kept.kept() })
}

/// Gives QEMU the script of `config` as input, or what is typed.
fn connect_input(child: &mut Child, config: &MachineConfig, events: &mut EventLoop) -> Result<(), TcgError> {
    let Some(mut stdin) = child.stdin.take() else { return Ok(()) };
    if let Some(script) = config.sent_script() {
        let script = script.to_owned();
        // A QEMU that has ended takes no input, and its end is noticed elsewhere.
        let filter = config.sandbox.filter(Role::Console).map_err(RunError::Sandbox)?;
        let send = move || {
            if filter.enter().is_ok() {
                drop(stdin.write_all(script.as_bytes()));
            }
        };
        let sender = thread::Builder::new().name("script".to_owned()).spawn(send);
        sender.map_err(RunError::Thread)?;
    } else if io::stdin().is_terminal() {
        let forward = move |line: &[u8]| drop(stdin.write_all(line));
        events.add_subscriber(Box::new(TypedInput::new(forward).map_err(RunError::Input)?));
    }
    Ok(())
}

/// A file of `size` bytes in memory, without a name.
fn anonymous_file(size: u64) -> io::Result<File> {
    // SAFETY: the name is a string that ends in NUL; the call makes a new descriptor.
    let fd = unsafe { libc::memfd_create(c"guest-ram".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(size)?;
    Ok(file)
}

/// A disk as QEMU gets it.
struct OpenDisk {
    path: PathBuf,
    /// What must stay open while QEMU runs: the only name of a temporary disk, or the lock of an image.
    _held: Box<dyn Any>,
}

fn open_disk(disk: &DiskConfig) -> Result<OpenDisk, TcgError> {
    match &disk.source {
        DiskSource::Temporary(size) => {
            let file = tempfile::tempfile().map_err(TcgError::Temporary)?;
            file.set_len(*size).map_err(TcgError::Temporary)?;
            Ok(OpenDisk { path: descriptor_path(&file), _held: Box::new(file) })
        }
        DiskSource::TemporarySwap(size) => {
            let disk = DiskImage::temporary_swap(*size)?;
            Ok(OpenDisk { path: descriptor_path(disk.file()), _held: Box::new(disk) })
        }
        DiskSource::Image(path) => {
            let access = if disk.read_only { Access::ReadOnly } else { Access::ReadWrite };
            Ok(OpenDisk { path: path.clone(), _held: Box::new(DiskImage::open(path, access)?) })
        }
    }
}

/// A path under which another process of the same user can open `file`.
fn descriptor_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()))
}

fn start(arguments: &[String], errors: File) -> Result<Child, TcgError> {
    let mut command = Command::new(QEMU);
    command.args(arguments).stdin(Stdio::piped()).stderr(errors);
    // In a group of its own it gets no Ctrl-C from the terminal; this process ends it instead.
    command.process_group(0);
    let parent = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe calls are made: prctl, getppid and the calls that
    // restore the signal mask, which the child would inherit blocked.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // A parent that died before the line above sends no signal any more.
            if libc::getppid().cast_unsigned() != parent {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let mut none = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
            Ok(())
        });
    }
    command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => TcgError::NotInstalled,
        _ => TcgError::Start(error),
    })
}

/// Raises the end signal when QEMU has ended.
struct ChildWatcher {
    descriptor: OwnedFd,
    end: Arc<EndSignal>,
}

impl ChildWatcher {
    fn new(child: &Child, end: Arc<EndSignal>) -> io::Result<Self> {
        // SAFETY: takes two integers; the child has not been waited for, so its id is still its own.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        Ok(Self { descriptor: unsafe { OwnedFd::from_raw_fd(fd as i32) }, end })
    }
}

impl MutEventSubscriber for ChildWatcher {
    fn process(&mut self, _events: Events, ops: &mut EventOps) {
        self.end.report(End::Reset);
        // Readable for ever from now on.
        let _ = ops.remove(Events::empty(&self.descriptor));
    }

    fn init(&mut self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new(&self.descriptor, EventSet::IN)) {
            self.end.report(End::Failure(format!("cannot watch QEMU: {error}")));
        }
    }
}

/// What QEMU's end means: `log` has the CPU resets, `errors` what it printed to standard error.
fn interpret(status: ExitStatus, log: &str, errors: &str) -> End {
    let mistake = errors.lines().find(|line| !line.trim().is_empty() && !line.contains("warning:"));
    if log.contains(TRIPLE_FAULT) {
        return End::Crash(String::from(
            "triple fault (under QEMU without registers; --accel kvm shows them)",
        ));
    }
    match (status.code(), mistake) {
        (Some(0), _) => End::Reset,
        (Some(code), None) if code & 1 == 1 => End::Guest(code as u32 >> QEMU_SHIFT),
        (Some(code @ 3..), Some(_)) if code & 1 == 1 => End::Guest(code as u32 >> QEMU_SHIFT),
        (_, Some(line)) => End::Failure(line.to_owned()),
        (Some(code), None) => End::Failure(format!("{QEMU} ended with status {code}")),
        (None, None) => End::Failure(format!("{QEMU} was killed by signal {}", status.signal().unwrap_or(0))),
    }
}

fn read_all(file: &mut File) -> String {
    let mut bytes = Vec::new();
    // A log that cannot be read is one that says nothing.
    let _ = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
