//! Files that are measured on.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

/// Makes a file of `bytes` bytes, whole MiB, without holes, so that reads reach the disk.
pub fn write(path: &Path, bytes: u64) -> Result<()> {
    let mut file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut word = 1u64;
    let mut chunk = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        for bytes in chunk.chunks_exact_mut(8) {
            word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        file.write_all(&chunk).with_context(|| format!("cannot write {}", path.display()))?;
    }
    file.sync_all().context("cannot write the image to the disk")
}
