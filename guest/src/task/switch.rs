//! The switch itself: what a stack holds while its task does not run.

use crate::memory::stack::Stack;
use core::arch::global_asm;

global_asm!(include_str!("switch.s"), options(att_syntax));

unsafe extern "C" {
    /// Saves the running task's stack pointer to `save` and goes on with the one at `next`.
    pub fn task_switch(save: *mut u64, next: u64);
    fn task_first();
}

/// Registers that `task_switch` pops, then its return address.
const SAVED: u64 = 6;

/// Lays out a new stack as if its task had been switched away from at its very beginning.
pub fn first_frame(stack: &Stack) -> u64 {
    // At `task_first`'s call the stack must be 16-byte aligned: returning to it must leave nothing on the stack.
    let at = stack.top() - 8;
    let rsp = at - SAVED * 8;
    // SAFETY: the words lie in the new stack, which nobody uses yet.
    unsafe {
        (at as *mut u64).write(task_first as *const () as u64);
        for n in 0..SAVED {
            ((rsp + n * 8) as *mut u64).write(0);
        }
    }
    rsp
}
