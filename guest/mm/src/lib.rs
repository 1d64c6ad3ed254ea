//! The memory manager of Ballast: portable, all policy and mechanism above the page-table-entry codec.
//!
//! Purpose: everything Linux's `mm/` does that does not name a register or a device.
//! Owns: the boot memory map, frames, zones, free lists, page tables.
//! Stays outside: instructions, interrupts, devices and parsing; they reach the crate through [`port`].
//! Invariants: no statics, no heap, no panic on any path; every allocation is fallible.
//!
//! Modules are ranked and calls only go down (`cargo xtask layers` checks it):
//!
//! | rank | modules |
//! |---|---|
//! | 0 | [`addr`], [`mutant`], [`oom`] |
//! | 1 | [`port`] |
//! | 2 | [`sync`], [`errno`], [`frame`], [`memblock`], [`fault_inject`] |
//! | 3 | [`phys`], [`errseq`] |
//! | 4 | [`pgtable`], [`dma`], [`slab`], [`mempool`], [`hugetlb`], [`shrinker`], [`folio`], [`vmstat`], [`psi`] |
//! | 5 | [`vmalloc`], [`kmap`], [`maple`], [`rmap`], [`xarray`], [`io`], [`dirty`] |
//! | 6 | [`lru`] |
//! | 7 | [`shmem`], [`cache`], [`swap`] |
//! | 8 | [`vma`] |
//! | 9 | [`space`] |
//! | 10 | [`fault`], [`truncate`] |
//! | 11 | [`reclaim`], [`writeback`] |
#![no_std]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod addr;
#[cfg(not(all(loom, test)))]
pub mod cache;
#[cfg(not(all(loom, test)))]
pub mod dirty;
#[cfg(not(all(loom, test)))]
pub mod dma;
pub mod errno;
pub mod errseq;
#[cfg(not(all(loom, test)))]
pub mod fault;
pub mod fault_inject;
#[cfg(not(all(loom, test)))]
pub mod folio;
#[cfg(not(all(loom, test)))]
pub mod frame;
#[cfg(not(all(loom, test)))]
pub mod hugetlb;
#[cfg(not(all(loom, test)))]
pub mod io;
#[cfg(not(all(loom, test)))]
pub mod kmap;
#[cfg(not(all(loom, test)))]
pub mod lru;
#[cfg(not(all(loom, test)))]
pub mod maple;
#[cfg(not(all(loom, test)))]
pub mod memblock;
#[cfg(not(all(loom, test)))]
pub mod mempool;
mod mutant;
#[cfg(not(all(loom, test)))]
pub mod oom;
pub mod pgtable;
#[cfg(not(all(loom, test)))]
pub mod phys;
pub mod port;
#[cfg(not(all(loom, test)))]
pub mod psi;
#[cfg(not(all(loom, test)))]
pub mod reclaim;
#[cfg(not(all(loom, test)))]
pub mod rmap;
#[cfg(not(all(loom, test)))]
pub mod shmem;
#[cfg(not(all(loom, test)))]
pub mod shrinker;
#[cfg(not(all(loom, test)))]
pub mod slab;
#[cfg(not(all(loom, test)))]
pub mod space;
#[cfg(not(all(loom, test)))]
pub mod swap;
pub mod sync;
#[cfg(not(all(loom, test)))]
pub mod truncate;
#[cfg(not(all(loom, test)))]
pub mod vma;
#[cfg(not(all(loom, test)))]
pub mod vmalloc;
#[cfg(not(all(loom, test)))]
pub mod vmstat;
#[cfg(not(all(loom, test)))]
pub mod writeback;
pub mod xarray;
