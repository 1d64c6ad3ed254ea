//! Disks, as far as the page cache and swap know them: whole pages of memory from and to runs of sectors.

use super::Ledger;
use crate::addr::Pfn;

/// Bytes of a sector, the unit of every address on a disk.
pub const SECTOR_BYTES: u64 = 512;
/// Sectors of a page.
pub const PAGE_SECTORS: u64 = crate::addr::PAGE_SIZE / SECTOR_BYTES;

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoOp {
    /// Fill memory from the disk.
    Read,
    /// Write memory to the disk.
    Write,
    /// Make all writes that are done stable.
    Flush,
    /// What is there is not needed any more.
    Discard,
}

/// Why a request was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoError {
    /// The disk tried and failed, or has failed as a whole (`EIO`).
    Io,
    /// The disk is full (`ENOSPC`).
    NoSpace,
    /// The disk cannot be written (`EROFS`).
    ReadOnly,
    /// Not within the disk, or more than a request can carry: a bug of the caller (`EINVAL`).
    Invalid,
    /// The disk knows no such requests (`EOPNOTSUPP`).
    Unsupported,
    /// As much is in flight as can be, and this code cannot wait (`EAGAIN`).
    Busy,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct IoRequest<'a> {
    /// What is asked for.
    pub op: IoOp,
    /// The first sector.
    pub sector: u64,
    /// The memory, page by page. None for a flush.
    pub pages: &'a [Pfn],
    /// How much of it, in bytes: whole sectors, all of every page but perhaps the last.
    pub bytes: u64,
    /// What names the request when it is done.
    pub cookie: u64,
}

/// A disk (Linux `struct block_device`, Mach's pager).
///
/// Every request that was taken ends once: the machine hands its cookie and how it ended to whoever the disk was made
/// for, from an interrupt or through [`BlockDevice::poll`], perhaps before [`BlockDevice::submit`] returns. Its memory is the
/// disk's until then. Requests end in any order.
pub trait BlockDevice: Sync {
    /// What it is called, for messages.
    fn name(&self) -> &str;
    /// Its size in sectors.
    fn sectors(&self) -> u64;
    /// Whether every write fails.
    fn is_read_only(&self) -> bool;
    /// Pages that one request can have at most.
    fn max_pages(&self) -> usize;
    /// Sectors that one request can give back; 0 where none can.
    fn max_discard(&self) -> u64 {
        0
    }
    /// Whether sectors beside each other are read sooner than others (Linux `queue/rotational`).
    fn is_rotational(&self) -> bool {
        true
    }
    /// What came of the requests to it.
    fn ledger(&self) -> &Ledger;
    /// Starts a request; waits for room if this code can wait.
    ///
    /// # Errors
    /// [`IoError`]: the request was not taken, and its cookie will not be heard of.
    ///
    /// # Safety
    /// The pages belong to the disk until the request has ended: for a read nobody else touches them, for a write
    /// nobody frees them. (What is written to them meanwhile may or may not reach the disk.)
    unsafe fn submit(&self, request: &IoRequest<'_>) -> Result<(), IoError>;
    /// Takes in what has ended without waiting for an interrupt, and shows it. Whoever waits for a request calls this
    /// before it sleeps.
    fn poll(&self, done: &mut dyn FnMut(u64, Result<(), IoError>));
    /// Goes on taking in what ends until `done`, for no longer than it costs to sleep and be woken: at once where that costs
    /// nothing.
    fn watch(&self, _done: &mut dyn FnMut() -> bool) {}
}
