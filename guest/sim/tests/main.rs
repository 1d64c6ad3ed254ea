//! Tests of the simulated machine itself.

mod cpu;
mod mmu;
mod ram;
mod tables;
mod tlb;
