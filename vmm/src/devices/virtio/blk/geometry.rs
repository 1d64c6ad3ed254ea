//! What a disk says of itself in its configuration space.
//!
//! Owns: the layout of `struct virtio_blk_config` and the limits in it. Stays outside: keeping the limits (`core`).
//!
//! Source: VIRTIO 1.2, section 5.2.4.

use virtio_bindings::virtio_blk::VIRTIO_BLK_ID_BYTES;

use super::SECTOR_SIZE;

/// Descriptors of a queue.
pub const QUEUE_SIZE: u16 = 512;
/// Data buffers of one request: what fits into the ring beside the header and the status. With pages of 4 KiB that is
/// nearly 2 MiB.
pub const SEG_MAX: u32 = QUEUE_SIZE as u32 - 2;
/// Bytes of one data buffer.
pub const SIZE_MAX: u32 = 4 << 20;
/// Sectors of one discard or write-zeroes request: 2 GiB.
pub const MAX_EXTENT_SECTORS: u32 = 1 << 22;
/// Extents of one such request.
const MAX_EXTENTS: u32 = 1;
/// Queues that a disk can have. A queue for each vCPU is enough, and they share one interrupt anyway.
pub const MAX_QUEUES: u16 = 8;
/// Bytes of a disk's name.
pub const ID_BYTES: usize = VIRTIO_BLK_ID_BYTES as usize;

/// `struct virtio_blk_config` up to the end of the write-zeroes fields.
pub const CONFIG_BYTES: usize = 60;

/// The configuration space of a disk of `size` bytes with `queues` queues.
pub fn config_space(size: u64, queues: u16) -> [u8; CONFIG_BYTES] {
    let mut config = [0; CONFIG_BYTES];
    let mut put = |offset: usize, field: &[u8]| {
        for (to, from) in config.iter_mut().skip(offset).zip(field) {
            *to = *from;
        }
    };
    let sectors_per_page = (4096 / SECTOR_SIZE) as u32;
    put(0, &(size / SECTOR_SIZE).to_le_bytes());
    put(8, &SIZE_MAX.to_le_bytes());
    put(12, &SEG_MAX.to_le_bytes());
    put(20, &(SECTOR_SIZE as u32).to_le_bytes());
    put(34, &queues.to_le_bytes());
    put(36, &MAX_EXTENT_SECTORS.to_le_bytes());
    put(40, &MAX_EXTENTS.to_le_bytes());
    // A hole has whole pages of the file system.
    put(44, &sectors_per_page.to_le_bytes());
    put(48, &MAX_EXTENT_SECTORS.to_le_bytes());
    put(52, &MAX_EXTENTS.to_le_bytes());
    // Write-zeroes may give the sectors back.
    put(56, &[1]);
    config
}
