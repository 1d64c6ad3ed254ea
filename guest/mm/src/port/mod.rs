//! The ports: what the memory manager needs from a machine, as traits.
//!
//! Owns: the contracts. Stays outside: every implementation (`guest` on real x86-64, `sim` on the host).
//! All methods take `&self`, so that many simulated machines fit in one process and the guest's are free.

mod block;
mod cpu;
mod ledger;
mod level;
mod mmu;
mod physmem;
mod pte;
mod tlb;

pub use block::{BlockDevice, IoError, IoOp, IoRequest, PAGE_SECTORS, SECTOR_BYTES};
pub use cpu::{Cpu, CpuId, IrqGuard, MemallocScope, Memstall, TaskFlags};
pub use ledger::{LEDGER_LINES, Ledger, Purpose};
pub use level::Level;
pub use mmu::{Access, Mmu};
pub use physmem::PhysMem;
pub use pte::{Pte, PteBits, PteCodec, PteView, SwapEntry};
pub use tlb::Tlb;

/// A machine: one type that names all ports, so that code has one type parameter and not four.
pub trait Machine: Sized + Sync + 'static {
    /// Page-table entries and the active root.
    type Mmu: Mmu;
    /// The direct map.
    type PhysMem: PhysMem;
    /// Flushing of cached translations.
    type Tlb: Tlb;
    /// The current CPU.
    type Cpu: Cpu;

    /// The MMU port.
    fn mmu(&self) -> &Self::Mmu;
    /// The direct-map port.
    fn physmem(&self) -> &Self::PhysMem;
    /// The TLB port.
    fn tlb(&self) -> &Self::Tlb;
    /// The CPU port.
    fn cpu(&self) -> &Self::Cpu;
}
