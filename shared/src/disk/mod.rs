//! What is on a disk: the formats that the host writes and the guest reads, and the other way round.
//!
//! Owns: the structures byte by byte, and the checks that tell a sound one from a damaged one. Stays outside:
//! files and devices, and who allocates which block. Described for people in `docs/image-format.md`.
//! Invariants: any bytes can be given to the checks here; what they accept can be used without looking again.

pub mod files;
pub mod gpt;
pub mod swap;
pub mod uuid;

/// Bytes of a sector, the unit of partition tables.
pub const SECTOR: u64 = 512;

/// Bytes of a block, the unit of the file table and of swap areas: one page.
pub const BLOCK: u64 = 4096;

/// CRC-32 (IEEE 802.3) of several pieces, one after the other.
pub(crate) fn crc32(pieces: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    pieces.iter().for_each(|piece| hasher.update(piece));
    hasher.finalize()
}
