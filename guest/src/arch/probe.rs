//! A look at an address that may fault.
//!
//! Owns: the one load that is allowed to, and where it goes on then. Source: Linux's exception table, `copy_from_kernel_nofault`.

use super::trap::{PAGE_FAULT, TrapFrame};
use core::arch::global_asm;

global_asm!(
    ".section .text.probe_load, \"ax\", @progbits",
    ".globl probe_load",
    ".globl probe_load_end",
    "probe_load:",
    "movzbl (%rdi), %eax",
    "xorl %edx, %edx",
    "probe_load_end:",
    "ret",
    ".text",
    options(att_syntax)
);

/// What the load returns: a byte and 0, or after a fault its error code and 1.
#[repr(C)]
struct Loaded {
    value: u64,
    faulted: u64,
}

unsafe extern "C" {
    fn probe_load(address: u64) -> Loaded;
    static probe_load_end: u8;
}

/// The byte at `address`, or the error code of the page fault that reading it raises. Any other exception (an address
/// that is not canonical) is not caught.
pub fn load(address: u64) -> Result<u8, u64> {
    // SAFETY: a read; should it fault, `fix` makes it return.
    let loaded = unsafe { probe_load(address) };
    if loaded.faulted == 0 { Ok(loaded.value as u8) } else { Err(loaded.value) }
}

/// Lets an interrupted [`load`] return with its fault; false if the frame is of something else.
pub fn fix(frame: &mut TrapFrame) -> bool {
    if frame.vector != PAGE_FAULT || frame.rip != probe_load as *const () as u64 {
        return false;
    }
    frame.rax = frame.error;
    frame.rdx = 1;
    frame.rip = (&raw const probe_load_end) as u64;
    true
}
