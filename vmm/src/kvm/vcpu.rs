//! One vCPU: its thread, and what to do about each exit of KVM_RUN.
//!
//! Owns: the run loop and the way to get a vCPU out of KVM_RUN ([`VcpuThread::request_stop`]).
//! Stays outside: what an access means (`devices`), what an end means (`exit`).
//! Invariants: a kick is never lost. The signal handler sets `immediate_exit` of the vCPU that runs on
//! the interrupted thread, so a signal that arrives just before KVM_RUN still makes it return.

use std::cell::Cell;
use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use kvm_bindings::{CpuId, KVM_SYSTEM_EVENT_CRASH, kvm_run};
use kvm_ioctls::{VcpuExit, VcpuFd};
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

use super::exits::{ExitCounters, ExitReason};
use super::regs;
use super::writes::CollectedWrites;
use crate::devices::bus::Bus;
use crate::exit::{End, EndSignal};
use crate::sandbox::ThreadFilter;
use crate::threads::Beside;

/// How long a kick gets to take effect.
const KICK_INTERVAL: Duration = Duration::from_micros(100);

thread_local! {
    /// `immediate_exit` of the vCPU this thread runs, for the signal handler; null elsewhere.
    static IMMEDIATE_EXIT: Cell<*mut u8> = const { Cell::new(ptr::null_mut()) };
}

/// The two address spaces of the machine.
pub struct Buses {
    /// I/O ports.
    pub pio: Bus,
    /// Guest-physical addresses without RAM.
    pub mmio: Bus,
}

/// Whether a vCPU goes back into the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Stopped,
}

/// What the vCPUs of a machine share.
pub struct Shared {
    /// Where accesses go.
    pub buses: Arc<Buses>,
    /// Writes that KVM collects, to be served before each access.
    pub writes: Arc<CollectedWrites>,
    /// Counts why vCPUs leave the guest.
    pub exits: Arc<ExitCounters>,
    /// Who learns of the end.
    pub end: Arc<EndSignal>,
}

/// A vCPU that is ready to run.
pub struct Vcpu {
    index: u8,
    fd: VcpuFd,
    cpuid: CpuId,
    buses: Arc<Buses>,
    writes: Arc<CollectedWrites>,
    exits: Arc<ExitCounters>,
    end: Arc<EndSignal>,
    stop: Arc<AtomicBool>,
}

/// The thread of a running vCPU.
pub struct VcpuThread {
    handle: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

/// Makes the kick signal of [`VcpuThread`] harmless; once per process, before any vCPU runs.
pub fn install_kick_handler() -> io::Result<()> {
    extern "C" fn on_kick(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
        let flag = IMMEDIATE_EXIT.get();
        if !flag.is_null() {
            // SAFETY: non-null only while `Vcpu::run` of this very thread holds the mapping of
            // `kvm_run` that the pointer goes into; a one-byte store cannot tear.
            unsafe { flag.write_volatile(1) };
        }
    }
    register_signal_handler(kick_signal(), on_kick)
        .map_err(|error| io::Error::from_raw_os_error(error.errno()))
}

fn kick_signal() -> libc::c_int {
    SIGRTMIN()
}

impl Vcpu {
    /// A vCPU that shows `cpuid` to the guest.
    pub fn new(index: u8, fd: VcpuFd, cpuid: CpuId, shared: Shared) -> Self {
        let Shared { buses, writes, exits, end } = shared;
        Self { index, fd, cpuid, buses, writes, exits, end, stop: Arc::new(AtomicBool::new(false)) }
    }

    /// The vCPU's descriptor, for its counters.
    pub(crate) fn fd(&self) -> &VcpuFd {
        &self.fd
    }

    /// A thread for the vCPU with this index, not started.
    pub fn thread(index: u8) -> Builder {
        Builder::new().name(format!("vcpu{index}"))
    }

    /// Runs the vCPU on a thread of its own, under `filter`. Fails when the host has no thread left.
    pub fn spawn(self, filter: ThreadFilter) -> io::Result<VcpuThread> {
        let stop = Arc::clone(&self.stop);
        let handle = Self::thread(self.index).spawn(move || self.run(&filter))?;
        Ok(VcpuThread { handle, stop })
    }

    /// Runs the vCPU on `thread`, which has begun already, under `filter`.
    pub fn go_on(self, thread: Beside, filter: ThreadFilter) -> VcpuThread {
        let stop = Arc::clone(&self.stop);
        VcpuThread { handle: thread.go_on(move || self.run(&filter)), stop }
    }

    fn run(mut self, filter: &ThreadFilter) {
        let _guard = PanicGuard { index: self.index, end: Arc::clone(&self.end) };
        // Here, because it takes 0.1 ms and the vCPUs can do it side by side.
        if let Err(error) = self.fd.set_cpuid2(&self.cpuid) {
            let report = format!("vCPU {}: KVM cannot set CPUID: {error}", self.index);
            return self.end.report(End::Failure(report));
        }
        if let Err(error) = filter.enter() {
            return self.end.report(End::Failure(error.to_string()));
        }
        let run: *mut kvm_run = self.fd.get_kvm_run();
        // SAFETY: `run` points to the mapped structure; only an address is formed.
        IMMEDIATE_EXIT.set(unsafe { &raw mut (*run).immediate_exit });
        let mut state = State::Running;
        while state == State::Running && !self.stop.load(Ordering::Acquire) {
            state = self.step();
        }
        IMMEDIATE_EXIT.set(ptr::null_mut());
    }

    /// Enters the guest once and serves the exit.
    fn step(&mut self) -> State {
        let exit = match self.fd.run() {
            Ok(exit) => exit,
            Err(error) => return self.run_failed(error),
        };
        self.writes.deliver(&self.buses.mmio);
        self.exits.count(reason(&exit));
        match exit {
            VcpuExit::IoIn(port, data) => {
                self.buses.pio.read(port.into(), data);
                State::Running
            }
            VcpuExit::IoOut(port, data) => {
                self.buses.pio.write(port.into(), data);
                State::Running
            }
            VcpuExit::MmioRead(address, data) => {
                self.buses.mmio.read(address, data);
                State::Running
            }
            VcpuExit::MmioWrite(address, data) => {
                self.buses.mmio.write(address, data);
                State::Running
            }
            VcpuExit::Intr | VcpuExit::IrqWindowOpen => State::Running,
            VcpuExit::Shutdown => {
                let lost = regs::is_after_init(&self.fd);
                self.crash(if lost { "triple fault; the CPU lost where:" } else { "triple fault" })
            }
            VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_CRASH, _) => self.crash("it reported a crash to KVM"),
            VcpuExit::SystemEvent(..) => {
                self.end.report(End::Reset);
                State::Stopped
            }
            VcpuExit::InternalError => self.internal_error(),
            VcpuExit::FailEntry(reason, _) => {
                let what = format!("the CPU refused the guest state (reason {reason:#x})");
                self.crash(&what)
            }
            VcpuExit::MemoryFault { gpa, .. } => {
                let what = format!("no host memory behind guest address {gpa:#x}");
                self.crash(&what)
            }
            other => {
                let what = format!("KVM stopped it with the exit {other:?}");
                self.crash(&what)
            }
        }
    }

    fn run_failed(&mut self, error: kvm_ioctls::Error) -> State {
        match error.errno() {
            // A kick: the loop looks at the stop flag. Other signals only interrupt.
            libc::EINTR => {
                self.exits.count(ExitReason::Interrupted);
                self.fd.set_kvm_immediate_exit(0);
                State::Running
            }
            // A vCPU that waited for its start-up IPI has got it.
            libc::EAGAIN => State::Running,
            _ => {
                let report = format!("vCPU {}: KVM_RUN failed: {error}", self.index);
                self.end.report(End::Failure(report));
                State::Stopped
            }
        }
    }

    fn internal_error(&mut self) -> State {
        // SAFETY: KVM fills this member of the union when it exits with KVM_EXIT_INTERNAL_ERROR; all
        // its fields are plain integers.
        let internal = unsafe { self.fd.get_kvm_run().__bindgen_anon_1.internal };
        let count = internal.data.len().min(internal.ndata as usize);
        let data = internal.data.get(..count).unwrap_or_default();
        let what = format!("KVM internal error {} {data:x?}", internal.suberror);
        self.crash(&what)
    }

    fn crash(&mut self, what: &str) -> State {
        let registers = regs::describe(&self.fd);
        self.end.report(End::Crash(format!("vCPU {}: {what} {registers}", self.index)));
        State::Stopped
    }
}

fn reason(exit: &VcpuExit<'_>) -> ExitReason {
    match exit {
        VcpuExit::IoIn(..) => ExitReason::IoIn,
        VcpuExit::IoOut(..) => ExitReason::IoOut,
        VcpuExit::MmioRead(..) => ExitReason::MmioRead,
        VcpuExit::MmioWrite(..) => ExitReason::MmioWrite,
        VcpuExit::Intr => ExitReason::Interrupted,
        _ => ExitReason::Other,
    }
}

/// Ends the machine when its thread panics: without the vCPU the guest would hang for ever.
struct PanicGuard {
    index: u8,
    end: Arc<EndSignal>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end.report(End::Failure(format!("vCPU {}: its thread panicked; this is a bug", self.index)));
        }
    }
}

impl VcpuThread {
    /// Asks the vCPU to leave the guest for good. Returns at once.
    pub fn request_stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.kick();
    }

    /// Waits for the thread, which was asked to stop, to end.
    pub fn join(self) {
        // A kick can come just before the thread blocks on something other than KVM_RUN, such as a
        // standard output that nobody reads; so it is repeated.
        while !self.handle.is_finished() {
            std::thread::sleep(KICK_INTERVAL);
            self.kick();
        }
        // A vCPU thread that panicked has nothing left to stop.
        let _ = self.handle.join();
    }

    fn kick(&self) {
        // SAFETY: the thread has not been joined, so its id is valid; the handler is harmless.
        unsafe { libc::pthread_kill(self.handle.as_pthread_t(), kick_signal()) };
    }
}
