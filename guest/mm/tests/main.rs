//! The tests of the memory manager on simulated machines: one binary, one module per subject.
#![allow(clippy::single_range_in_vec_init, reason = "a list of one range of RAM is what is meant")]

mod board;
mod buddy;
mod buddy_model;
mod contig;
mod dma;
mod fault_inject;
mod hugetlb;
mod inspect;
mod kmap;
mod map;
mod map_change;
mod map_fixture;
mod map_model;
mod map_race;
mod map_tlb;
mod memblock;
mod mempool;
mod page_checks;
mod pcp;
mod pte;
mod reserves;
mod scopes;
mod shrinker;
mod slab;
mod slab_checked;
mod slab_fixture;
mod slab_model;
mod slab_plain;
mod vmalloc;
mod walk;
mod zones;
mod zones_fallback;
mod zones_gfp;
mod zones_verify;
