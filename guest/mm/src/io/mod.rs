//! Requests to disks: made of pages in a row, sent, and ended (Linux `block/bio.c`).
//!
//! Owns: the slab cache `bio` with a reserve, so that writing out never waits for memory; what the end of a request does.
//! Stays outside: disks ([`BlockDevice`]), which pages are read or written and where they are. Invariants: a request has one
//! holder: who makes it, then the disk by its cookie, then whoever ends it; it ends once.
//!
//! | file | job |
//! |---|---|
//! | `bio` | one request |
//! | `batch` | requests that somebody waits for |
//! | `pool` | where requests come from |
//! | `submit` | sending and ending |

mod batch;
mod bio;
mod pool;
mod submit;

use crate::fault_inject::{FaultAttr, FaultConfig};
use crate::frame::FrameTable;
use crate::mempool::Mempool;
use crate::phys::Phys;
use crate::port::Machine;
use crate::slab::{Cache, CreateError, Slabs};
use crate::sync::Once;
use crate::vmstat::VmStat;
pub use bio::MAX_PAGES;
pub(crate) use bio::{End, EndIo, Job};
use pool::Owned;
pub(crate) use submit::{Batch, Gather};

/// Requests set aside, at least so many can be on their way without memory.
const RESERVE: usize = 16;

/// Why there are no requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootError {
    /// They are there already.
    AlreadyBooted,
    /// The page allocator is not booted.
    NotReady,
    /// No memory for the reserve.
    NoMemory,
    /// No slab cache.
    Cache(CreateError),
}

/// What is made at boot.
#[derive(Clone, Copy)]
struct Ground<'p> {
    cache: &'p Cache,
    table: &'p FrameTable,
}

/// See the module documentation. Lives in a static; everything goes through `&self`.
pub struct Io<'p, M: Machine> {
    phys: &'p Phys<M>,
    slabs: &'p Slabs<'p, M>,
    stat: &'p VmStat,
    ground: Once<Option<Ground<'p>>>,
    reserve: Mempool<Owned<'p>, RESERVE>,
    /// Which requests fail on purpose (`fail_make_request=`).
    faults: FaultAttr,
}

impl<'p, M: Machine> Io<'p, M> {
    /// Before boot nothing can be asked for. What goes over disks is counted in `stat`.
    #[must_use]
    pub const fn new(phys: &'p Phys<M>, slabs: &'p Slabs<'p, M>, stat: &'p VmStat) -> Self {
        Self { phys, slabs, stat, ground: Once::new(None), reserve: Mempool::new(), faults: FaultAttr::new() }
    }

    /// Sets which requests fail before their disk is asked, as if it had (Linux `fail_make_request`, of every disk). The
    /// space is in bytes.
    pub fn set_fail_make_request(&self, config: FaultConfig) {
        self.faults.configure(config);
    }

    fn ground(&self) -> Option<Ground<'p>> {
        *self.ground.get()?
    }

    /// The machine.
    #[inline(always)]
    pub(crate) fn machine(&self) -> &'p M {
        self.phys.machine()
    }
}
