//! Last words.

use crate::arch::port;
use crate::arch::trap::{self, TrapFrame};
use crate::serial;
use shared::exit::ExitStatus;
use shared::layout::DEBUG_EXIT_PORT as DEBUG_EXIT;

/// Ends the machine with a status.
pub fn exit(status: ExitStatus) -> ! {
    port::write_u32(DEBUG_EXIT, status.code());
    crate::arch::cpu::stop()
}

/// Reports an exception nobody handles.
pub fn unhandled_trap(frame: &TrapFrame) -> ! {
    serial::write_fmt(format_args!("unhandled {} error={:#x} rip={:#x} rsp={:#x} cr2={:#x} bad_stack={}\n", trap::name(frame.vector), frame.error, frame.rip, frame.rsp, frame.cr2, frame.bad_stack));
    exit(ExitStatus::GuestFault)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    serial::write_fmt(format_args!("{info}\n"));
    exit(ExitStatus::GuestFault)
}
