//! Boots real guests and asserts on what they print. One binary for all, so that there is one thing to link.
//!
//! Names of tests begin with the row of `docs/rows.md` that they prove. A test that names no host runs on the fastest
//! one of this machine; [`tests::for_each_host`] is for what may differ between hosts, and says on which it was.
//!
//! | module | rows |
//! |---|---|
//! | `machine` | the tour, traps, CPU features |
//! | `memory` | T01, T13, T15: memory map, direct map, frames |
//! | `contexts` | T02 to T09, T22, T24: contexts and their memory |
//! | `tables` | T16 to T21: page tables |
//! | `api` | T31, T43, T49, T50, T83, T84: the calls of kernel developers |
//! | `buddy` | T27 to T33: the buddy system |
//! | `fragmentation` | T86: what is left of large blocks; all users at once |
//! | `mempool` | T35: pages set aside |
//! | `highmem` | T49: temporary mappings |
//! | `hugetlb` | T72, T73: pools of huge pages |
//! | `thp` | T16, T74 to T76: sizes of leaves, transparent huge pages |
//! | `coherence` | T22, T23, T25, T26: faults, copy-on-write, translations that are gone |
//! | `vm_refusals` | bad input of commands on contexts |
//! | `vmalloc` | T85: areas of contiguous addresses |
//! | `zones` | T45 to T48: zones |
//! | `reserves` | T34, T35, T51: per-CPU lists, watermarks, reserves |
//! | `numa` | T79: nodes |
//! | `disks` | data read and written |
//! | `images` | B3: images built, inspected and read |
//! | `disk_faults` | disks that misbehave on purpose, ways of doing I/O |
//! | `durability` | flushed data survives the kill of the monitor |
//! | `crash` | how a guest dies |
//! | `linux_guest` | Linux under our monitor |
//! | `readme` | the sample of README.md |
//! | `hostile` | attacks on the monitor |
//! | `lacking` | hosts without rights, KVM, QEMU, room or a reader |
//! | `neighbours` | machines side by side; what a killed one leaves behind |
//! | `input` | long scripts, the prompt |
//! | `page_cache` | T53 to T61, B1: files through the page cache |
//! | `file_input` | bad input of files |
//! | `flushers` | T57: who writes behind |
//! | `readahead` | T55: requests of a guest against a model |
//! | `reclaim` | T62, T63: what is taken back, and what stays |
//! | `vmstat` | T89: every counter of /proc/vmstat |
//! | `export`, `report` | what the host sees of a guest, for its tools and for programs |
//! | `refusals` | T01f, T79c, B30: bad input |

mod api;
mod buddy;
mod coherence;
mod contexts;
mod crash;
mod disk_faults;
mod disks;
mod durability;
mod export;
mod faults;
mod file_input;
mod flushers;
mod fragmentation;
mod highmem;
mod hostile;
mod hugetlb;
mod images;
mod input;
mod lacking;
mod linux_guest;
mod machine;
mod mapped_files;
mod memory;
mod mempool;
mod neighbours;
mod numa;
mod oom;
mod page_cache;
mod pressure;
mod procfs;
mod readahead;
mod readme;
mod reclaim;
mod reclaim_replay;
mod refusals;
mod report;
mod reserves;
mod slab;
mod swap;
mod swap_ahead;
mod swap_areas;
mod tables;
mod thp;
mod vm_refusals;
mod vmalloc;
mod vmstat;
mod witness;
mod writeback;
mod zones;
