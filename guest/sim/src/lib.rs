//! A simulated machine for the memory manager: what a host test uses in place of hardware.
//!
//! Owns: RAM with holes, CPUs that host threads play, an MMU of its own that walks the real tables, and TLBs
//! that keep what they have cached until they are told to flush, disks that end requests in any order and fail.
//! Stays outside: every decision of `mm`; the walker shares no code with it, so each checks the other.
//! Invariants: no machine state outside [`Machine`], so hundreds of machines live in one process; where
//! hardware may do the surprising thing (stale translation, poisoned RAM), the simulation does it.
//! A misuse of the simulation itself panics: it exists only in tests.

mod access;
mod builder;
mod cpu;
mod disk;
mod extents;
mod fault;
mod machine;
mod mmu;
mod ram;
mod tables;
mod tlb;
mod walker;

pub use access::Core;
pub use builder::Builder;
pub use cpu::Cpus;
pub use disk::{Disk, DiskFault, Logged};
pub use extents::{Extents, WholeDisk};
pub use fault::{Fault, FaultCode};
pub use machine::Machine;
pub use mmu::Mmu;
pub use ram::Ram;
pub use tables::TablePool;
pub use tlb::{Tlb, TlbStats};
