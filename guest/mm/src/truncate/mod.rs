//! Pages of files that go: because the file becomes shorter, because what is on the disk changed, because somebody wants the
//! memory back (Linux `mm/truncate.c`, `fs/drop_caches.c`).
//!
//! Owns: the order of the steps. Stays outside: entries of page tables (`space`), the index (`cache`), which pages reclaim
//! takes. Invariants: a page leaves the index only when no entry maps it, and none can come to: its lock is held. What is
//! dirty is lost only where the file has no such byte any more.
//!
//! | file | job |
//! |---|---|
//! | `size` | what lies behind the end goes |
//! | `invalidate` | pages that are clean, or must not stay |

mod invalidate;
mod size;

use crate::addr::PAGE_SIZE;
use crate::cache::{Inode, PageCache};
use crate::folio::Folio;
use crate::port::Machine;

/// Pages of the largest file.
pub(crate) const MAX_PAGES: u64 = 1 << 36;

/// Shows every page of `inode` from `first` up to `end` that is in memory, each with a reference, until `visit` says no.
fn each_page<'p, M: Machine>(
    cache: &PageCache<'p, M>,
    inode: &Inode<'p>,
    first: u64,
    end: u64,
    mut visit: impl FnMut(Folio<'p>) -> bool,
) {
    let mut at = first;
    while at < end {
        let Some((index, folio)) = cache.find_from(inode, at, end - 1) else { return };
        at = index + 1;
        let goes_on = visit(folio);
        cache.put(folio);
        if !goes_on {
            return;
        }
    }
}

/// Pages that `bytes` bytes reach into.
pub(crate) const fn pages_of(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE_SIZE)
}
