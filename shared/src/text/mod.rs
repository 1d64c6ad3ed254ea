//! Linux texts, byte for byte as Linux 6.18 prints them.
//!
//! Owns formats only: each renderer takes plain numbers and a [`core::fmt::Write`]. The guest renders its
//! console with them and the VMM the files it exports, so both print the same bytes. Collecting the numbers
//! stays outside. The tests compare every renderer with texts recorded on a 6.18 kernel.

pub mod buddyinfo;
pub mod cpuinfo;
pub mod e820;
pub mod extfrag;
pub mod iomem;
pub mod maps;
pub mod meminfo;
pub mod names;
pub mod numactl;
pub mod oom;
pub mod page_owner;
pub mod pagetypeinfo;
pub mod pressure;
pub mod procps;
pub mod slabinfo;
pub mod stat;
pub mod status;
pub mod swaps;
pub mod vmallocinfo;
pub mod vmstat;
pub mod zoneinfo;

/// Orders of the buddy allocator: free blocks of 2^0 to 2^10 pages.
pub const ORDERS: usize = 11;
