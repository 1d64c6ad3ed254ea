//! Write-behind: writes stay in memory, and go to the disk later, in order, or when somebody asks (Linux
//! `generic_perform_write`, `fs/fs-writeback.c`, `mm/page-writeback.c`, 6.18).
//!
//! Owns: making pages dirty by writing, sending them out, waiting for that, when flushers do what, and slowing writers down.
//! Stays outside: the states of a page (`cache`), entries that map it (`space`), tasks (the guest runs flushers). Invariants: a
//! page is sent as it is after all writes that were there when it became clean; what was synced is on the disk; an error is
//! told to everybody who has the file open, once.
//!
//! | file | job |
//! |---|---|
//! | `write` | writing through the cache |
//! | `pages` | sending the dirty pages of a file |
//! | `sync` | `fsync`, `fdatasync`, `sync_file_range`, `sync` |
//! | `msync` | the same, of what was written through mappings |
//! | `limits` | how much may be dirty now |
//! | `resize` | another size of a file |
//! | `throttle` | slowing writers down |
//! | `flusher` | what is written when nobody asks |
//! | `direct` | around the cache |
//! | `swapfile` | files that are swapped to |
//! | `dontneed` | what nobody needs soon |

mod direct;
mod dontneed;
mod flusher;
mod limits;
mod msync;
mod pages;
mod resize;
mod swapfile;
mod sync;
mod throttle;
mod write;

pub use flusher::{FlushKind, FlushStats};
pub use msync::MsFlags;
pub use pages::SyncMode;
pub use sync::RangeSync;
