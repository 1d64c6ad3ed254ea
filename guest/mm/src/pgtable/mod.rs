//! Page tables: formats, walks and changes, the same code for boot, the kernel and every task context.
//!
//! Owns: the entry format of x86-64.
//! Stays outside: which page belongs where (vma, fault), who owns a frame (frame, phys), instructions (ports).

mod x86_64;

pub use x86_64::X86_64;
