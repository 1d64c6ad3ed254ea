//! Traps after entry: the saved state, and who handles what.
//!
//! Owns: [`TrapFrame`] and the dispatch of exceptions. Stays outside: entry and exit (`trap.s`), interrupts
//! ([`super::irq`]), what a fault means (its handler). Invariants: handlers run with the soft mask raised
//! by one; the frame is what the interrupted code goes on with.

use super::percpu::{self, Counter};
use super::probe;
use crate::report;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicPtr, Ordering};

/// The interrupted state, on the interrupted stack.
#[derive(Clone)]
#[repr(C)]
#[allow(missing_docs, reason = "registers by their names")]
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rax: u64,
    /// Exception vector; 255 for a fault of CPL0 code under ring 3.
    pub vector: u64,
    /// Error code, where the vector has one.
    pub error: u64,
    /// Fault address of a page fault.
    pub cr2: u64,
    /// Not 0: the interrupted stack was unusable and this frame is on the emergency stack.
    pub bad_stack: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Offsets for the assembly.
#[allow(missing_docs, reason = "registers by their names")]
pub mod offset {
    use super::*;
    pub const BYTES: usize = size_of::<TrapFrame>();
    pub const R15: usize = offset_of!(TrapFrame, r15);
    pub const R14: usize = offset_of!(TrapFrame, r14);
    pub const R13: usize = offset_of!(TrapFrame, r13);
    pub const R12: usize = offset_of!(TrapFrame, r12);
    pub const RBP: usize = offset_of!(TrapFrame, rbp);
    pub const RBX: usize = offset_of!(TrapFrame, rbx);
    pub const R11: usize = offset_of!(TrapFrame, r11);
    pub const R10: usize = offset_of!(TrapFrame, r10);
    pub const R9: usize = offset_of!(TrapFrame, r9);
    pub const R8: usize = offset_of!(TrapFrame, r8);
    pub const RDI: usize = offset_of!(TrapFrame, rdi);
    pub const RSI: usize = offset_of!(TrapFrame, rsi);
    pub const RDX: usize = offset_of!(TrapFrame, rdx);
    pub const RCX: usize = offset_of!(TrapFrame, rcx);
    pub const RAX: usize = offset_of!(TrapFrame, rax);
    pub const VECTOR: usize = offset_of!(TrapFrame, vector);
    pub const ERROR: usize = offset_of!(TrapFrame, error);
    pub const CR2: usize = offset_of!(TrapFrame, cr2);
    pub const BAD_STACK: usize = offset_of!(TrapFrame, bad_stack);
    pub const RIP: usize = offset_of!(TrapFrame, rip);
}

const _: () = assert!(offset::BYTES.is_multiple_of(16) && offset::RIP + 40 == offset::BYTES);

/// The page-fault vector.
pub const PAGE_FAULT: u64 = 14;
/// The general-protection vector.
pub const GENERAL_PROTECTION: u64 = 13;
/// Vector of a fault of CPL0 code under ring 3, as `trap.s` marks it.
pub const CPL0_FAULT: u64 = 255;

/// A handler of exceptions: true if the interrupted code may go on with the (changed) frame.
pub type Handler = fn(&mut TrapFrame) -> bool;

static HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static CONTEXT_HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Installs the handler that sees every exception before it is reported as fatal; returns the one before.
pub fn set_handler(handler: Option<Handler>) -> Option<Handler> {
    let raw = handler.map_or(core::ptr::null_mut(), |h| h as *mut ());
    as_handler(HANDLER.swap(raw, Ordering::AcqRel))
}

/// Installs the handler that sees every exception first: that of tasks whose memory is a context's.
pub fn set_context_handler(handler: Handler) {
    CONTEXT_HANDLER.store(handler as *mut (), Ordering::Release);
}

fn as_handler(raw: *mut ()) -> Option<Handler> {
    // SAFETY: the statics hold null or a `Handler` cast to a pointer, from the functions above only.
    (!raw.is_null()).then(|| unsafe { core::mem::transmute::<*mut (), Handler>(raw) })
}

/// Called by `trap.s` for every exception.
#[unsafe(no_mangle)]
extern "C" fn trap_dispatch(frame: &mut TrapFrame) {
    percpu::count(if frame.vector == PAGE_FAULT { Counter::PageFaults } else { Counter::Exceptions });
    let ask = |handler: &AtomicPtr<()>, frame: &mut TrapFrame| {
        as_handler(handler.load(Ordering::Acquire)).is_some_and(|handler| handler(frame))
    };
    let handled =
        frame.bad_stack == 0 && (ask(&CONTEXT_HANDLER, frame) || probe::fix(frame) || ask(&HANDLER, frame));
    if !handled {
        report::unhandled_trap(frame)
    }
}

/// The name of an exception, with its mnemonic.
pub fn name(vector: u64) -> &'static str {
    match vector {
        0 => "#DE divide error",
        1 => "#DB debug",
        3 => "#BP breakpoint",
        4 => "#OF overflow",
        5 => "#BR bound range",
        6 => "#UD invalid opcode",
        7 => "#NM device not available",
        8 => "#DF double fault",
        10 => "#TS invalid TSS",
        11 => "#NP segment not present",
        12 => "#SS stack segment",
        13 => "#GP general protection",
        14 => "#PF page fault",
        16 => "#MF x87",
        17 => "#AC alignment check",
        18 => "#MC machine check",
        19 => "#XM SIMD",
        CPL0_FAULT => "fault in a CPL0 stub",
        _ => "reserved exception",
    }
}
