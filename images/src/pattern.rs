//! Patterned data, and CRC-32 of regions of files.
//!
//! Invariant: equal seeds and lengths give equal bytes; every 64-bit word differs from its neighbours, so a sector
//! that is read from the wrong place changes the checksum.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use crc32fast::Hasher;

const CHUNK: usize = 64 << 10;

/// Writes `bytes` bytes of the pattern of `seed` to `file` from its start on, and returns their CRC-32.
///
/// # Errors
/// Whatever writing gives.
pub fn write_pattern(file: &mut File, bytes: u64, seed: u64) -> io::Result<u32> {
    file.seek(SeekFrom::Start(0))?;
    let (mut hasher, mut chunk, mut done) = (Hasher::new(), Vec::with_capacity(CHUNK), 0);
    while done < bytes {
        chunk.clear();
        chunk.extend((0..CHUNK as u64 / 8).flat_map(|n| word(seed, done / 8 + n).to_le_bytes()));
        chunk.truncate(usize::try_from(bytes - done).unwrap_or(CHUNK).min(CHUNK));
        hasher.update(&chunk);
        file.write_all(&chunk)?;
        done += chunk.len() as u64;
    }
    file.flush()?;
    Ok(hasher.finalize())
}

/// The CRC-32 of `bytes` bytes of `file` from `offset` on.
///
/// # Errors
/// Whatever reading gives; `UnexpectedEof` when the file ends before the region does.
pub fn crc32(file: &mut File, offset: u64, bytes: u64) -> io::Result<u32> {
    file.seek(SeekFrom::Start(offset))?;
    let (mut hasher, mut chunk, mut left) = (Hasher::new(), vec![0; CHUNK], bytes);
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        file.read_exact(&mut chunk[..part])?;
        hasher.update(&chunk[..part]);
        left -= part as u64;
    }
    Ok(hasher.finalize())
}

/// Word `n`: a multiplicative hash of the place and the seed.
fn word(seed: u64, n: u64) -> u64 {
    (n ^ seed.rotate_left(32)).wrapping_add(1).wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(29) ^ n
}

#[cfg(test)]
mod tests;
