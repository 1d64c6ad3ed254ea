//! Disk images: data disks with a known content.
//!
//! Owns: patterns and checksums of files. Stays outside: what a guest does with a disk.

mod pattern;

pub use pattern::{crc32, write_pattern};
