//! The filters as programs: what they let through and what not, per role. That real threads of a real monitor run
//! under them is shown in `tests/sandbox.rs`, on a process that a filter may end.

use super::policy::compile;
use super::*;

/// A filter's answers.
const ALLOW: u32 = 0x7fff_0000;
const TRAP: u32 = 0x0003_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_I386`.
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

/// What `program` answers to a call. The instructions are those that filters consist of
/// (Linux `Documentation/networking/filter.rst`).
fn answer(program: &BpfProgram, architecture: u32, call: i64, arguments: [u64; 6]) -> u32 {
    let mut data = [0u8; 64];
    data[..4].copy_from_slice(&(call as u32).to_le_bytes());
    data[4..8].copy_from_slice(&architecture.to_le_bytes());
    for (at, argument) in arguments.iter().enumerate() {
        data[16 + 8 * at..][..8].copy_from_slice(&argument.to_le_bytes());
    }
    let (mut at, mut a) = (0, 0u32);
    loop {
        let step = &program[at];
        at += 1;
        match step.code {
            0x20 => a = u32::from_le_bytes(data[step.k as usize..][..4].try_into().unwrap()),
            0x54 => a &= step.k,
            0x05 => at += step.k as usize,
            0x35 => at += usize::from(if a >= step.k { step.jt } else { step.jf }),
            0x15 => at += usize::from(if a == step.k { step.jt } else { step.jf }),
            0x06 => return step.k,
            code => panic!("instruction {code:#x} at {}", at - 1),
        }
    }
}

fn roles() -> [(Role, BpfProgram); 7] {
    let all = [
        Role::Main,
        Role::Vcpu,
        Role::Console,
        Role::Disk,
        Role::DiskHelper,
        Role::Watcher,
        Role::Qemu(1234),
    ];
    all.map(|role| (role, compile(role).unwrap()))
}

#[test]
fn no_thread_can_open_connect_start_or_trace_anything() {
    let forbidden = [
        libc::SYS_open,
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_creat,
        libc::SYS_unlink,
        libc::SYS_rename,
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_sendmsg,
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_writev,
        libc::SYS_bpf,
        libc::SYS_seccomp,
        libc::SYS_prctl,
        libc::SYS_rt_sigaction,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_register,
        libc::SYS_memfd_create,
        libc::SYS_setuid,
        libc::SYS_mount,
        libc::SYS_chmod,
        libc::SYS_kill,
    ];
    for (role, program) in roles() {
        let makes_files = [libc::SYS_unlink, libc::SYS_rename];
        for call in forbidden {
            if role == Role::Watcher && makes_files.contains(&call) {
                continue;
            }
            assert_eq!(answer(&program, X86_64, call, [0; 6]), TRAP, "{role:?}: call {call}");
        }
    }
}

/// Every call of every list is found behind the table that leads to it, and what lies between them is not.
#[test]
fn exactly_the_listed_calls_are_allowed() {
    let common = [libc::SYS_write, libc::SYS_futex, libc::SYS_munmap, libc::SYS_exit, libc::SYS_exit_group];
    for (role, program) in roles() {
        let allowed: Vec<_> =
            (0..600).filter(|call| answer(&program, X86_64, *call, [u64::MAX; 6]) == ALLOW).collect();
        assert!(common.iter().all(|call| allowed.contains(call)), "{role:?}: {allowed:?}");
        assert!((common.len()..35).contains(&allowed.len()), "{role:?}: {allowed:?}");
        let waits = [Role::Main, Role::Qemu(1234)].contains(&role);
        assert_eq!(allowed.contains(&libc::SYS_epoll_wait), waits, "{role:?}: {allowed:?}");
    }
}

#[test]
fn the_watcher_makes_files_and_reads_none() {
    let program = compile(Role::Watcher).unwrap();
    let open = |flags: i32| answer(&program, X86_64, libc::SYS_openat, [0, 0, flags as u64, 0, 0, 0]);
    let new = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
    assert_eq!(open(new), ALLOW);
    assert_eq!([libc::O_RDONLY, libc::O_RDWR, libc::O_WRONLY, libc::O_CREAT].map(open), [TRAP; 4]);
    assert_eq!(answer(&program, X86_64, libc::SYS_read, [0; 6]), TRAP);
}

#[test]
fn calls_of_another_architecture_end_the_process() {
    for (role, program) in roles() {
        assert_eq!(answer(&program, I386, libc::SYS_write, [0; 6]), KILL_PROCESS, "{role:?}");
        // The x32 numbers carry bit 30.
        assert_eq!(answer(&program, X86_64, libc::SYS_write | 1 << 30, [0; 6]), TRAP, "{role:?}");
    }
}

#[test]
fn memory_is_never_executable_and_never_a_file() {
    let (read, write, exec) = (1, 2, 4);
    let (private, anonymous) = (libc::MAP_PRIVATE as u64, libc::MAP_ANONYMOUS as u64);
    for (role, program) in roles() {
        let map =
            |rights, flags| answer(&program, X86_64, libc::SYS_mmap, [0, 4096, rights, flags, u64::MAX, 0]);
        assert_eq!(map(read | write, private | anonymous), ALLOW, "{role:?}");
        assert_eq!(map(read | exec, private | anonymous), TRAP, "{role:?}");
        assert_eq!(map(read, private), TRAP, "{role:?}");
        let protect = |rights| answer(&program, X86_64, libc::SYS_mprotect, [0, 4096, rights, 0, 0, 0]);
        assert_eq!((protect(read | write), protect(exec)), (ALLOW, TRAP), "{role:?}");
    }
}

#[test]
fn signals_stay_in_the_process() {
    let me = u64::from(std::process::id());
    for (role, program) in roles() {
        let send = |call, target| answer(&program, X86_64, call, [target, target, 9, 0, 0, 0]);
        assert_eq!((send(libc::SYS_tgkill, me), send(libc::SYS_tgkill, 1)), (ALLOW, TRAP), "{role:?}");
        let to_qemu = if matches!(role, Role::Qemu(_)) { ALLOW } else { TRAP };
        assert_eq!((send(libc::SYS_kill, 1234), send(libc::SYS_kill, 1)), (to_qemu, TRAP), "{role:?}");
    }
}

#[test]
fn only_vcpus_reach_kvm_and_only_to_run_and_look() {
    // KVM_RUN, KVM_GET_REGS, KVM_GET_SREGS; KVM_SET_REGS, KVM_CREATE_VM, KVM_SET_USER_MEMORY_REGION, TIOCSTI.
    let (fine, others) = ([0xae80, 0x8090_ae81, 0x8138_ae83], [0x4090_ae82, 0xae01, 0x4020_ae46, 0x5412]);
    for (role, program) in roles() {
        let ioctl = |request| answer(&program, X86_64, libc::SYS_ioctl, [3, request, 0, 0, 0, 0]);
        let expected = if role == Role::Vcpu { ALLOW } else { TRAP };
        assert_eq!(fine.map(ioctl), [expected; 3], "{role:?}");
        assert_eq!(others.map(ioctl), [TRAP; 4], "{role:?}");
    }
}

#[test]
fn without_a_sandbox_a_thread_stays_free() {
    let filter = Sandbox::Off.filter(Role::Main).unwrap();
    filter.enter().unwrap();
    // SAFETY: takes no pointer; 0 is no valid domain, so it only fails.
    assert_eq!(unsafe { libc::socket(0, 0, 0) }, -1, "and the process lives");
}
