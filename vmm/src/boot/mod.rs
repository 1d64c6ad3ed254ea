//! What a guest finds in memory when it starts: start info, memory map, command line, ACPI tables.
//!
//! Owns: writing the boot structures below 1 MiB.
//! Stays outside: the kernel image (`loader`), the entry registers (`kvm::regs`).

pub mod cmdline;
pub mod e820;
pub mod pvh;
