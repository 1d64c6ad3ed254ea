//! Last words: panics, unhandled traps, corruption, and the end of the machine.
//!
//! Owns: what is printed and the status it ends with. Everything here works with interrupts masked, on any
//! stack, with the memory manager in any state; a fault inside a report ends the machine at once.

use crate::arch::percpu;
use crate::arch::port;
use crate::arch::trap::{self, TrapFrame};
use crate::symbols::Symbol;
use crate::{console, serial};
use core::fmt;
use shared::exit::ExitStatus;
use shared::layout::{DEBUG_EXIT_PORT, IMAGE_OFFSET};

/// Frames that a backtrace follows.
const MAX_FRAMES: usize = 32;

/// Ends the machine with `status`, everything printed.
pub fn exit(status: ExitStatus) -> ! {
    console::flush();
    port::write_u32(DEBUG_EXIT_PORT, status.code());
    crate::arch::cpu::stop()
}

/// Takes this CPU into its last report; a second fault on the way ends it without one.
fn begin() {
    percpu::mask();
    if percpu::enter_fatal() > 1 {
        port::write_u32(DEBUG_EXIT_PORT, ExitStatus::GuestFault.code());
        crate::arch::cpu::stop();
    }
    console::flush();
}

/// Reports an exception nobody handles.
pub fn unhandled_trap(frame: &TrapFrame) -> ! {
    begin();
    let what = if frame.bad_stack != 0 { "kernel stack overflow, " } else { "" };
    serial::print(format_args!(
        "BUG: unhandled fault: {what}{} error={:#x} address={:#x} cpu={}\n",
        trap::name(frame.vector),
        frame.error,
        frame.cr2,
        percpu::cpu()
    ));
    serial::print(format_args!("{}", Cause(frame)));
    serial::print(format_args!("{}", Registers(frame)));
    serial::print(format_args!("Call trace:\n  {}\n", Symbol(frame.rip)));
    backtrace(frame.rbp, frame.bad_stack == 0);
    exit(ExitStatus::GuestFault)
}

/// What a page fault's error code says, in words.
struct Cause<'a>(&'a TrapFrame);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.vector != trap::PAGE_FAULT {
            return Ok(());
        }
        let error = self.0.error;
        let access = match error & 0x12 {
            0 => "read of",
            2 => "write to",
            _ => "execution of",
        };
        let why = match error & 0x9 {
            0 => "a page that is not mapped",
            1 => "a page whose rights forbid it",
            _ => "a page table with reserved bits set",
        };
        writeln!(f, "cause: {access} {why}")
    }
}

struct Registers<'a>(&'a TrapFrame);

impl fmt::Display for Registers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = self.0;
        writeln!(f, "RIP: {:04x}:{}  EFLAGS: {:08x}", r.cs, Symbol(r.rip), r.rflags)?;
        writeln!(f, "RSP: {:04x}:{:016x}", r.ss, r.rsp)?;
        writeln!(f, "RAX: {:016x} RBX: {:016x} RCX: {:016x}", r.rax, r.rbx, r.rcx)?;
        writeln!(f, "RDX: {:016x} RSI: {:016x} RDI: {:016x}", r.rdx, r.rsi, r.rdi)?;
        writeln!(f, "RBP: {:016x} R08: {:016x} R09: {:016x}", r.rbp, r.r8, r.r9)?;
        writeln!(f, "R10: {:016x} R11: {:016x} R12: {:016x}", r.r10, r.r11, r.r12)?;
        writeln!(f, "R13: {:016x} R14: {:016x} R15: {:016x}", r.r13, r.r14, r.r15)
    }
}

/// Follows the chain of frame pointers from `rbp`, inside the running stack only.
fn backtrace(mut rbp: u64, trusted: bool) {
    if !trusted {
        return;
    }
    let (low, high) = percpu::stack();
    for _ in 0..MAX_FRAMES {
        if rbp < low || rbp.saturating_add(16) > high || !rbp.is_multiple_of(8) {
            return;
        }
        // SAFETY: two words inside the bounds of the stack that this CPU runs on.
        let (next, ret) = unsafe { ((rbp as *const u64).read(), (rbp as *const u64).add(1).read()) };
        if ret < IMAGE_OFFSET {
            return;
        }
        serial::print(format_args!("  {}\n", Symbol(ret)));
        if next <= rbp {
            return;
        }
        rbp = next;
    }
}

/// Ends the machine because memory or a structure of the memory manager is corrupt.
pub fn corruption(what: fmt::Arguments<'_>) -> ! {
    begin();
    serial::print(format_args!("BUG: {what}\nCall trace:\n"));
    backtrace(frame_pointer(), true);
    exit(ExitStatus::Corruption)
}

/// Ends the machine because no memory is left that it could go on with.
pub fn out_of_memory(what: fmt::Arguments<'_>) -> ! {
    begin();
    serial::print(format_args!("Kernel panic - not syncing: Out of memory: {what}\nCall trace:\n"));
    backtrace(frame_pointer(), true);
    exit(ExitStatus::OutOfMemory)
}

/// Ends the machine because this host or monitor cannot run it.
pub fn unable(what: fmt::Arguments<'_>) -> ! {
    begin();
    serial::print(format_args!("error: {what}\n"));
    exit(ExitStatus::HostUnable)
}

#[inline(always)]
fn frame_pointer() -> u64 {
    let rbp: u64;
    // SAFETY: copies a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    rbp
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    begin();
    serial::print(format_args!("Kernel panic - not syncing: {}\n", info.message()));
    if let Some(at) = info.location() {
        serial::print(format_args!("at {}:{} cpu={}\n", at.file(), at.line(), percpu::cpu()));
    }
    serial::print(format_args!("Call trace:\n"));
    backtrace(frame_pointer(), true);
    exit(ExitStatus::GuestFault)
}
