//! When the host gets more of a stream of reads.
//!
//! Owns: whether the driver reads in a row by a queue, and whether its next read has to wait. Stays outside: what is done about it
//! (`core`), and how far the host reads ahead (`readahead`).
//!
//! A disk may tell of what it has done only when nothing is left to do, as the disks of virtual machines like to. What joins
//! its work late then makes everybody wait for all of it, and the disk is idle while all of that is copied. So a stream goes
//! to the host in batches, the next one when the first of the last one's reads is over. A disk that tells of each read at once has
//! one to two batches at any time.
//!
//! Where the host reads further ahead than a batch, it chooses what the disk gets: Linux asks for the next window when
//! somebody touches the first page of the last, even if he has to wait for that page. So nobody touches a batch before all of
//! it is there, which a look at its last byte tells.
//!
//! Measured: ADR 0011. Source: Linux `page_cache_async_ra` (`mm/readahead.c`).

use super::image::DiskImage;

/// Bytes of a batch, and bytes that follow a read and make a stream. A window of Linux begins with a large folio, of up to 2 MiB:
/// the last byte must not be in that. And it doubles with each window of a stream up to its limit: the look must not be where
/// nothing has been asked for.
pub const BATCH: u64 = 4 << 20;

/// What opens the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// Nothing: it is open.
    Nothing,
    /// The end of a read of the batch that begins here; until then there is room for the rest of that.
    Read(u64),
    /// The end of a look.
    Look,
}

/// See the module documentation.
pub struct Stream {
    /// Bytes of the disk, if batches are looked at.
    looks: Option<u64>,
    /// Where the last read ended.
    next: u64,
    /// Bytes up to there that followed a read.
    run: u64,
    /// Where the batch ends.
    end: u64,
    awaited: Awaited,
}

impl Stream {
    /// No reads of `image` yet.
    pub fn new(image: &DiskImage) -> Self {
        Self::of(image.size(), image.ahead())
    }

    /// The same for a disk of `size` bytes of which the host reads `ahead` bytes by itself.
    fn of(size: u64, ahead: u64) -> Self {
        let looks = (ahead >= BATCH).then_some(size);
        // Nothing ends there, so the first read follows none.
        Self { looks, next: u64::MAX, run: 0, end: 0, awaited: Awaited::Nothing }
    }

    /// A read of `bytes` bytes at `offset` begins. Returns the offset of the byte to look at now, if there is one.
    pub fn begin(&mut self, offset: u64, bytes: u64) -> Option<u64> {
        self.run = if offset == self.next { self.run.saturating_add(bytes) } else { 0 };
        self.next = offset.saturating_add(bytes);
        if self.run < BATCH {
            (self.end, self.awaited) = (self.next, Awaited::Nothing);
            return None;
        }
        match self.looks {
            Some(size) => self.look(size),
            None => {
                if offset >= self.end {
                    (self.end, self.awaited) = (offset.saturating_add(BATCH), Awaited::Read(offset));
                }
                None
            }
        }
    }

    /// The last byte of the next batch of a disk of `size` bytes, if this one is used up.
    fn look(&mut self, size: u64) -> Option<u64> {
        if self.next < self.end || self.next >= size {
            return None;
        }
        // Above `next`, so no less than 1.
        self.end = (self.next / BATCH + 1).saturating_mul(BATCH).min(size);
        self.awaited = Awaited::Look;
        Some(self.end - 1)
    }

    /// A read at `offset` is over.
    pub fn end(&mut self, offset: u64) {
        if let Awaited::Read(start) = self.awaited
            && (start..self.end).contains(&offset)
        {
            self.awaited = Awaited::Nothing;
        }
    }

    /// The look is over.
    pub fn looked(&mut self) {
        if self.awaited == Awaited::Look {
            self.awaited = Awaited::Nothing;
        }
    }

    /// Whether the next read has to wait.
    pub fn is_held(&self) -> bool {
        match self.awaited {
            Awaited::Nothing => false,
            Awaited::Read(_) => self.next >= self.end,
            Awaited::Look => true,
        }
    }
}

#[cfg(test)]
mod tests;
