//! Last words: panics, unhandled traps, corruption, and the end of the machine.
//!
//! Owns: what is printed and the status it ends with. Everything here works with interrupts masked, on any
//! stack, with the memory manager in any state; a fault inside a report ends the machine at once.

use crate::arch::percpu;
use crate::arch::port;
use crate::arch::trap::{self, TrapFrame};
use crate::memory::PHYS;
use crate::memory::areas::Place;
use crate::symbols::{Caller, Symbol};
use crate::{console, serial, stats};
use core::fmt;
use shared::exit::ExitStatus;
use shared::layout::{DEBUG_EXIT_PORT, IMAGE_OFFSET, VMALLOC, VMALLOC_SIZE};

/// Lines of a backtrace.
const MAX_LINES: usize = 32;

/// Ends the machine with `status` by itself: everything is printed, and the monitor gets the last numbers.
pub fn exit(status: ExitStatus) -> ! {
    stats::finish();
    end(status)
}

/// Ends the machine with `status`, everything printed.
fn end(status: ExitStatus) -> ! {
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
        "BUG: unhandled fault: {what}{} error={:#x} cpu={}\n",
        trap::name(frame.vector),
        frame.error,
        percpu::cpu()
    ));
    serial::print(format_args!("{}", Cause(frame)));
    serial::print(format_args!("{}", Registers(frame)));
    serial::print(format_args!("Call trace:\n  {}\n", Symbol(frame.rip)));
    if let Some(caller) = caller_of_nowhere(frame) {
        serial::print(format_args!("  {}\n", Caller(caller)));
    }
    backtrace(frame.rbp);
    end(ExitStatus::GuestFault)
}

/// Bits of a page fault's error code.
const ERROR_PRESENT: u64 = 1;
const ERROR_WRITE: u64 = 1 << 1;
const ERROR_RESERVED: u64 = 1 << 3;
const ERROR_FETCH: u64 = 1 << 4;

/// What the exception says about its cause, in words.
struct Cause<'a>(&'a TrapFrame);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self.0.error;
        match self.0.vector {
            trap::PAGE_FAULT => {}
            trap::GENERAL_PROTECTION if error == 0 => {
                return writeln!(f, "cause: an address that is not canonical, or an instruction of ring 0");
            }
            _ => return Ok(()),
        }
        let access = match error & (ERROR_WRITE | ERROR_FETCH) {
            0 => "read of",
            ERROR_WRITE => "write to",
            _ => "execution of",
        };
        let why = match error & (ERROR_PRESENT | ERROR_RESERVED) {
            0 => "is not mapped",
            ERROR_PRESENT => "is in a page whose rights forbid it",
            _ => "is in a page table with reserved bits set",
        };
        writeln!(f, "address: {}\ncause: {access} an address that {why}", Symbol(self.0.cr2))?;
        match self.0.cr2.wrapping_sub(VMALLOC) < VMALLOC_SIZE {
            true => writeln!(f, "place: {}", Place(self.0.cr2)),
            false => Ok(()),
        }
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

/// The word at `at`, if it lies on the stack that this CPU runs on.
fn stack_word(at: u64) -> Option<u64> {
    let (low, high) = percpu::stack();
    let inside = at >= low && at.checked_add(8).is_some_and(|end| end <= high) && at.is_multiple_of(8);
    // SAFETY: a word inside the bounds of a mapped stack.
    inside.then(|| unsafe { (at as *const u64).read() })
}

/// Who jumped to an address that cannot be executed: a call has just pushed where it came from.
fn caller_of_nowhere(frame: &TrapFrame) -> Option<u64> {
    let fetch = frame.vector == trap::PAGE_FAULT && frame.error & ERROR_FETCH != 0;
    fetch.then(|| stack_word(frame.rsp)).flatten().filter(|caller| *caller >= IMAGE_OFFSET)
}

/// Fills in who called the caller of this, innermost first: addresses of code.
#[inline(never)]
pub fn callers(out: &mut [u64]) {
    let mut rbp = frame_pointer();
    for slot in out {
        let (Some(next), Some(caller)) = (stack_word(rbp), stack_word(rbp.wrapping_add(8))) else { return };
        if caller < IMAGE_OFFSET {
            return;
        }
        *slot = caller;
        // Frames lie upwards; anything else is no chain.
        if next <= rbp {
            return;
        }
        rbp = next;
    }
}

/// Follows the chain of frame pointers from `rbp`, inside the running stack only. Recursion takes one line.
fn backtrace(mut rbp: u64) {
    let (mut last, mut again) = (0, 0);
    let mut lines = 0;
    while let (Some(next), Some(caller)) = (stack_word(rbp), stack_word(rbp.wrapping_add(8))) {
        if caller < IMAGE_OFFSET || lines == MAX_LINES {
            break;
        }
        if caller == last {
            again += 1;
        } else {
            print_repeats(again);
            (last, again) = (caller, 0);
            lines += 1;
            serial::print(format_args!("  {}\n", Caller(caller)));
        }
        // Frames lie upwards; anything else is no chain.
        if next <= rbp {
            break;
        }
        rbp = next;
    }
    print_repeats(again);
}

fn print_repeats(again: u64) {
    if again > 0 {
        serial::print(format_args!("  ... {again} more times\n"));
    }
}

/// Ends the machine because memory or a structure of the memory manager is corrupt.
pub fn corruption(what: fmt::Arguments<'_>) -> ! {
    begin();
    serial::print(format_args!("BUG: {what}\nCall trace:\n"));
    backtrace(frame_pointer());
    end(ExitStatus::Corruption)
}

/// Ends the machine because no memory is left that it could go on with.
pub fn out_of_memory(what: fmt::Arguments<'_>) -> ! {
    begin();
    serial::print(format_args!("Kernel panic - not syncing: Out of memory: {what}\n"));
    for zone in PHYS.populated_zones() {
        let (free, managed) = (zone.free_pages(), zone.managed_pages());
        serial::print(format_args!("{}: free={free} managed={managed} pages\n", zone.id()));
    }
    serial::print(format_args!("Call trace:\n"));
    backtrace(frame_pointer());
    end(ExitStatus::OutOfMemory)
}

/// Ends the machine because this host or monitor cannot run it.
pub fn unable(what: fmt::Arguments<'_>) -> ! {
    begin();
    serial::print(format_args!("error: {what}\n"));
    end(ExitStatus::HostUnable)
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
    backtrace(frame_pointer());
    end(ExitStatus::GuestFault)
}
