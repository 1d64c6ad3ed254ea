//! Descriptors as the device reads them: two little-endian words. Source: VIRTIO 1.2, section 2.7.5.

/// 64-bit words of a descriptor.
pub const DESCRIPTOR_WORDS: usize = 2;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// What the device does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads it.
    Read,
    /// It writes it.
    Write,
    /// It finds a table of descriptors in it.
    Indirect,
}

/// A piece of memory for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Where the device finds it.
    pub addr: u64,
    /// Length in bytes.
    pub len: u32,
    /// What it is for.
    pub access: Access,
}

/// The words of the descriptor of `buffer`, with `next` after it in its chain.
#[must_use]
pub fn encode(buffer: Buffer, next: Option<u16>) -> [u64; DESCRIPTOR_WORDS] {
    let kind = match buffer.access {
        Access::Read => 0,
        Access::Write => WRITE,
        Access::Indirect => INDIRECT,
    };
    let flags = kind | next.map_or(0, |_| NEXT);
    let link = u64::from(next.unwrap_or(0));
    [buffer.addr, u64::from(buffer.len) | u64::from(flags) << 32 | link << 48]
}
