//! Loads and stores at addresses that somebody asked for, which may be any number.
//!
//! Owns: the two instructions, so that an exception of theirs is known: one at an address that is not canonical is a
//! general-protection fault, which does not say where. Stays outside: what a fault leads to (its handler).

use super::trap::TrapFrame;
use core::arch::global_asm;

global_asm!(
    ".section .text.touch, \"ax\", @progbits",
    ".globl touch_load",
    ".globl touch_store",
    ".globl touch_end",
    "touch_load:",
    "movzbl (%rdi), %eax",
    "ret",
    "touch_store:",
    "movb %sil, (%rdi)",
    "ret",
    "touch_end:",
    ".text",
    options(att_syntax)
);

unsafe extern "C" {
    fn touch_load(address: u64) -> u8;
    fn touch_store(address: u64, value: u8);
    static touch_end: u8;
}

/// The byte at `address`.
///
/// # Safety
/// The running task is one of a context, so that a fault ends the task and not the machine.
pub unsafe fn load(address: u64) -> u8 {
    // SAFETY: a read, which faults if it must.
    unsafe { touch_load(address) }
}

/// Writes the byte at `address`.
///
/// # Safety
/// As for [`load`]; and nobody but the caller's context has anything at `address`.
pub unsafe fn store(address: u64, value: u8) {
    // SAFETY: promised by the caller.
    unsafe { touch_store(address, value) }
}

/// The address that an interrupted [`load`] or [`store`] is for; `None` if the frame is of something else.
pub fn address_of(frame: &TrapFrame) -> Option<u64> {
    let (start, end) = (touch_load as *const () as u64, (&raw const touch_end) as u64);
    (start..end).contains(&frame.rip).then_some(frame.rdi)
}
