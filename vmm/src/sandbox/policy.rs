//! The system calls each kind of thread may make, and with which arguments.
//!
//! The lists come from `strace -f` over every feature, and from what libc does for the ones that a trace meets rarely:
//! waiting for a lock, growing the heap, ending a thread, dying of a panic.
//! Invariants: no list has a call that connects, executes or starts anything, and only the watcher's has calls that
//! make files. Memory is mapped without
//! a file and never executable; signals go to this process only.

use std::collections::BTreeMap;

use kvm_bindings::{kvm_regs, kvm_sregs};
use libc::c_long;
use seccompiler::{BackendError, BpfProgram, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::{Role, dispatch};

/// A condition on one argument.
#[derive(Debug, Clone, Copy)]
enum Test {
    /// It has this value.
    Is(u64),
    /// It has none of these bits.
    Without(u64),
    /// It has all of these bits.
    With(u64),
    /// It is the id of this process.
    Myself,
}

/// An argument, counted from 0, and its condition. Arguments are compared as 32-bit values: all that are named here
/// are of type int.
type Argument = (u8, Test);

/// A system call that may be made when all conditions hold.
type Rule = (c_long, &'static [Argument]);

/// `_IO(KVMIO, 0x80)`.
const KVM_RUN: u64 = 0xae80;
/// `_IOR(KVMIO, 0x81, struct kvm_regs)`.
const KVM_GET_REGS: u64 = kvm_ior(0x81, size_of::<kvm_regs>());
/// `_IOR(KVMIO, 0x83, struct kvm_sregs)`.
const KVM_GET_SREGS: u64 = kvm_ior(0x83, size_of::<kvm_sregs>());

const fn kvm_ior(number: u64, size: usize) -> u64 {
    2 << 30 | (size as u64) << 16 | 0xae << 8 | number
}

/// What any thread does: lock, allocate, take a signal, end.
const COMMON: &[Rule] = &[
    (libc::SYS_futex, &[]),
    // A channel whose other end is in the middle of sending or receiving.
    (libc::SYS_sched_yield, &[]),
    // The heap. Arenas are reserved without rights and opened for reading and writing as they grow.
    (
        libc::SYS_mmap,
        &[(2, Test::Without(libc::PROT_EXEC as u64)), (3, Test::With(libc::MAP_ANONYMOUS as u64))],
    ),
    (libc::SYS_mprotect, &[(2, Test::Without(libc::PROT_EXEC as u64))]),
    (libc::SYS_munmap, &[]),
    // A large block of the heap that grows. Rights and contents stay what they were.
    (libc::SYS_mremap, &[]),
    (libc::SYS_brk, &[]),
    // A thread that ends gives its stack back.
    (libc::SYS_madvise, &[(2, Test::Is(libc::MADV_DONTNEED as u64))]),
    (libc::SYS_sigaltstack, &[]),
    (libc::SYS_rt_sigprocmask, &[]),
    (libc::SYS_rt_sigreturn, &[]),
    (libc::SYS_exit, &[]),
    (libc::SYS_exit_group, &[]),
    // The last words of a panic and of a forbidden call; eventfds; guest output.
    (libc::SYS_write, &[]),
    (libc::SYS_poll, &[]),
    // A wait with a time limit that a stop signal (Ctrl-Z) interrupted.
    (libc::SYS_restart_syscall, &[]),
    // abort().
    (libc::SYS_getpid, &[]),
    (libc::SYS_gettid, &[]),
    (libc::SYS_tgkill, &[(0, Test::Myself)]),
    // Hosts whose clock the vDSO cannot read.
    (libc::SYS_clock_gettime, &[]),
    (libc::SYS_close, &[]),
];

/// In builds with debug assertions, `std` asks whether a descriptor is open before it closes it.
const DEBUG_ONLY: &[Rule] =
    if cfg!(debug_assertions) { &[(libc::SYS_fcntl, &[(1, Test::Is(libc::F_GETFD as u64))])] } else { &[] };

/// The event loop of a machine on KVM.
const MAIN: &[Rule] = &[
    (libc::SYS_epoll_wait, &[]),
    // A standard input at its end is no longer watched.
    (libc::SYS_epoll_ctl, &[(1, Test::Is(libc::EPOLL_CTL_DEL as u64))]),
    // Eventfds, signals, the terminal.
    (libc::SYS_read, &[]),
    // A pipe that takes guest output.
    (libc::SYS_pwritev2, &[]),
    // The end of a disk that has requests under way.
    (libc::SYS_io_uring_enter, &[]),
    // --stats: KVM's counters and the memory map of this process, both open since before.
    (libc::SYS_pread64, &[]),
    (libc::SYS_lseek, &[]),
    (libc::SYS_statx, &[]),
    // Between kicks of a vCPU that is slow to stop.
    (libc::SYS_clock_nanosleep, &[]),
];

/// A vCPU, and the devices whose registers it reaches.
const VCPU: &[Rule] = &[
    (libc::SYS_ioctl, &[(1, Test::Is(KVM_RUN))]),
    // The report of a crash.
    (libc::SYS_ioctl, &[(1, Test::Is(KVM_GET_REGS))]),
    (libc::SYS_ioctl, &[(1, Test::Is(KVM_GET_SREGS))]),
    // The console's emergency write to a pipe.
    (libc::SYS_pwritev2, &[]),
    // The reset of a disk that has requests under way.
    (libc::SYS_io_uring_enter, &[]),
];

/// A disk. Its ring takes no operations but those on open files that a disk needs; that is fixed when it is made.
const DISK: &[Rule] = &[(libc::SYS_ppoll, &[]), (libc::SYS_read, &[]), (libc::SYS_io_uring_enter, &[])];

/// A helper of a disk.
const DISK_HELPER: &[Rule] = &[
    (libc::SYS_preadv2, &[]),
    (libc::SYS_pwritev2, &[]),
    (libc::SYS_fdatasync, &[]),
    (libc::SYS_fallocate, &[]),
];

/// The watcher: files of `--procfs` and `--report`, written under another name and renamed.
const WATCHER: &[Rule] = &[
    (libc::SYS_openat, &[(2, Test::With((libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC) as u64))]),
    (libc::SYS_rename, &[]),
    (libc::SYS_unlink, &[]),
    // The RAM of a guest under QEMU, which is a file.
    (libc::SYS_pread64, &[]),
    // Between two looks at a group that changes.
    (libc::SYS_clock_nanosleep, &[]),
];

/// The event loop beside QEMU.
const QEMU: &[Rule] = &[
    (libc::SYS_epoll_wait, &[]),
    (libc::SYS_epoll_ctl, &[(1, Test::Is(libc::EPOLL_CTL_DEL as u64))]),
    (libc::SYS_read, &[]),
    // QEMU's log and its messages.
    (libc::SYS_lseek, &[]),
    (libc::SYS_statx, &[]),
    (libc::SYS_wait4, &[]),
];

/// The filter of threads with this role.
pub(super) fn compile(role: Role) -> Result<BpfProgram, BackendError> {
    let own: &[Rule] = match role {
        Role::Main => MAIN,
        Role::Vcpu => VCPU,
        Role::Console => &[],
        Role::Disk => DISK,
        Role::DiskHelper => DISK_HELPER,
        Role::Watcher => WATCHER,
        Role::Qemu(_) => QEMU,
    };
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
    for (call, arguments) in COMMON.iter().chain(DEBUG_ONLY).chain(own) {
        let ways = rules.entry(*call).or_default();
        if !arguments.is_empty() {
            ways.push(conditions(arguments)?);
        }
    }
    if let Role::Qemu(child) = role {
        let it = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, child.into())?;
        rules.insert(libc::SYS_kill, vec![SeccompRule::new(vec![it])?]);
    }
    dispatch::compile(rules)
}

fn conditions(arguments: &[Argument]) -> Result<SeccompRule, BackendError> {
    let condition = |&(index, test): &Argument| {
        let (operator, value) = match test {
            Test::Is(value) => (SeccompCmpOp::Eq, value),
            Test::Without(bits) => (SeccompCmpOp::MaskedEq(bits), 0),
            Test::With(bits) => (SeccompCmpOp::MaskedEq(bits), bits),
            Test::Myself => (SeccompCmpOp::Eq, std::process::id().into()),
        };
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
    };
    SeccompRule::new(arguments.iter().map(condition).collect::<Result<_, _>>()?)
}
