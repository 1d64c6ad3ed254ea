//! How a run ends: the one set of exit statuses of the guest and of `vmm`.
//!
//! Owns the numbers and the encoding of the `isa-debug-exit` device. Who writes the port (guest) and who
//! turns a stop into a process exit (VMM) stays outside. Invariant: the numbers are part of the command
//! line contract and never change meaning. Source: the command line contract in the user documentation;
//! QEMU's `isa-debug-exit` device for the encoding.

use core::fmt;

/// Why a run ended. The guest writes [`ExitStatus::code`] as one 32-bit store to
/// [`crate::layout::DEBUG_EXIT_PORT`]; `vmm` exits with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ExitStatus {
    /// All is well.
    Ok = 0,
    /// A check of a command failed.
    CheckFailed = 1,
    /// Bad usage, a bad parameter or an unknown command.
    Usage = 2,
    /// The guest ran out of memory and had nothing left to kill.
    OutOfMemory = 3,
    /// Memory-management state is corrupt (`BUG:`).
    Corruption = 4,
    /// A fault that nothing handles.
    GuestFault = 5,
    /// The guest crashed (triple fault or a reset it did not ask for).
    Crashed = 6,
    /// The time limit of the run is over.
    Timeout = 7,
    /// This host cannot run the guest.
    HostUnable = 8,
}

/// Every status, in the order of its number.
pub const ALL: [ExitStatus; 9] = [
    ExitStatus::Ok,
    ExitStatus::CheckFailed,
    ExitStatus::Usage,
    ExitStatus::OutOfMemory,
    ExitStatus::Corruption,
    ExitStatus::GuestFault,
    ExitStatus::Crashed,
    ExitStatus::Timeout,
    ExitStatus::HostUnable,
];

/// Exit status of `vmm` after Ctrl-C: 128 plus the number of SIGINT, as shells count it.
pub const INTERRUPTED: u8 = 130;

/// Bits by which plain QEMU shifts the value written to `isa-debug-exit`.
pub const QEMU_SHIFT: u32 = 1;

/// Bit that plain QEMU always sets in its own exit status after a write to `isa-debug-exit`.
pub const QEMU_SET: u32 = 1;

impl ExitStatus {
    /// The number of this status.
    #[must_use]
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The status with the number `code`, or `None` for a number outside the contract.
    #[must_use]
    pub const fn from_code(code: u32) -> Option<Self> {
        let mut i = 0;
        while i < ALL.len() {
            if ALL[i].code() == code {
                return Some(ALL[i]);
            }
            i += 1;
        }
        None
    }

    /// One short English phrase, without a final stop.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Ok => "all well",
            Self::CheckFailed => "a check failed",
            Self::Usage => "bad usage or bad parameter",
            Self::OutOfMemory => "guest out of memory",
            Self::Corruption => "corruption detected",
            Self::GuestFault => "unhandled guest fault",
            Self::Crashed => "guest crashed",
            Self::Timeout => "time limit reached",
            Self::HostUnable => "this host cannot run the guest",
        }
    }

    /// The exit status of a plain QEMU process whose guest wrote this status: `(code << 1) | 1`.
    #[must_use]
    pub const fn to_qemu(self) -> u32 {
        (self.code() << QEMU_SHIFT) | QEMU_SET
    }

    /// Undoes [`Self::to_qemu`]. `None` when QEMU ended for another reason (an even status, such as 0
    /// after a reset with `-no-reboot`) or the number is outside the contract. QEMU's own failures also
    /// exit with 1; the caller tells them apart by QEMU's error line.
    #[must_use]
    pub const fn from_qemu(status: u32) -> Option<Self> {
        if status & QEMU_SET == 0 {
            return None;
        }
        Self::from_code(status >> QEMU_SHIFT)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe())
    }
}
