//! How much of a stream of reads the host has at once.
//!
//! Owns: whether the driver reads in a row, and the bytes of its reads that the host has. Stays outside: what is done about
//! it (`core`).
//!
//! Through the page cache a stream gains nothing from many reads at once: the host reads ahead of it by itself. Where the
//! part that they wait for comes all together, the host copies it for all of them before we hear of the first, and for so
//! long the driver sleeps, asks for nothing more, and the disk below is idle. With few reads at once the driver is awake
//! while most is copied.

/// Bytes in a row that make a stream.
const STREAM: u64 = 1 << 20;
/// Bytes of a stream that the host has at once.
const ENOUGH: u64 = 1 << 20;

/// See the module documentation.
#[derive(Default)]
pub struct Stream {
    /// Where the last read ended.
    next: u64,
    /// Bytes that followed each other up to there.
    run: u64,
    /// Bytes that the host has.
    under_way: u64,
}

impl Stream {
    /// A read of `bytes` bytes at `offset` begins.
    pub fn begin(&mut self, offset: u64, bytes: u64) {
        self.run = if offset == self.next { self.run.saturating_add(bytes) } else { 0 };
        self.next = offset.saturating_add(bytes);
        self.under_way += bytes;
    }

    /// A read of `bytes` bytes is over.
    pub fn end(&mut self, bytes: u64) {
        self.under_way -= bytes.min(self.under_way);
    }

    /// Whether more reads at once bring nothing.
    pub fn is_enough(&self) -> bool {
        self.run >= STREAM && self.under_way >= ENOUGH
    }
}

#[cfg(test)]
mod tests;
