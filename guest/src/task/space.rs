//! Which root a CPU runs on: the kernel's, or that of the context whose memory the running task has.
//!
//! Invariants: a CPU says that it enters a context before it loads the root, and that it has left one after it has
//! loaded another, so whoever changes a context's tables knows of every CPU that may have seen them. A root is loaded
//! with interrupts masked, at a switch between tasks and nowhere else.

use crate::arch::cpu;
use crate::memory::boot::kernel_root;
use crate::memory::vm::VM;

/// The kernel's tasks: they touch no context's memory.
pub const KERNEL: u32 = 0;

/// How tasks of context number `context` say so.
pub const fn of(context: u32) -> u32 {
    context + 1
}

/// The number of the context.
pub const fn context(space: u32) -> Option<u32> {
    space.checked_sub(1)
}

/// This CPU, number `cpu`, goes from one root to another, if they differ.
#[inline]
pub fn switch(cpu: u32, from: u32, to: u32) {
    if from != to {
        load(cpu, from, to);
    }
}

fn load(cpu: u32, from: u32, to: u32) {
    let mm = |space| context(space).and_then(|id| VM.mm(id));
    let root = match mm(to) {
        Some(mm) => {
            mm.enter(cpu);
            mm.root()
        }
        None => kernel_root().root(),
    };
    // SAFETY: all roots have the upper half of the kernel's, where code, stacks and kernel data are. The context lives
    // until its tasks are joined.
    unsafe { cpu::write_cr3(root) };
    if let Some(mm) = mm(from) {
        mm.leave(cpu);
    }
}
