//! Archives in the format that Linux unpacks as its first file system: cpio, "newc".
//!
//! Source: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`.

use std::io::{self, Write};

/// File types and permissions, as in `st_mode`.
const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;

/// The entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// Writes an archive, entry by entry.
pub struct Archive<W> {
    sink: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    /// An archive that goes to `sink`.
    pub fn new(sink: W) -> Self {
        Self { sink, entries: 0 }
    }

    /// A folder; those above it come first.
    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, DIRECTORY, &[])
    }

    /// An executable file.
    pub fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.entry(path, FILE, content)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<()> {
        self.entry(TRAILER, 0, &[])?;
        self.sink.flush()
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let name_size = u32::try_from(path.len() + 1).map_err(too_large)?;
        // Inode, mode, owner, group, links, time, size, four device numbers, name size, no checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        header.push_str(path);
        header.push('\0');
        self.padded(header.as_bytes())?;
        self.padded(content)
    }

    /// Everything starts at a multiple of four.
    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.write_all(bytes)?;
        let padding = bytes.len().next_multiple_of(4) - bytes.len();
        self.sink.write_all([0; 3].get(..padding).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn entries_follow_each_other_at_multiples_of_four() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.directory("bin").unwrap();
        archive.file("bin/a", b"hello").unwrap();
        archive.finish().unwrap();
        let at = |offset: usize, len: usize| std::str::from_utf8(&bytes[offset..offset + len]).unwrap();
        // 6 + 13 * 8 = 110 bytes of header, then the name and its end.
        assert_eq!((at(0, 6), at(14, 8), at(110, 4)), ("070701", "000041ed", "bin\0"));
        let second = 116;
        assert_eq!(
            (at(second, 6), at(second + 54, 8), at(second + 110, 6)),
            ("070701", "00000005", "bin/a\0")
        );
        assert_eq!(at(second + 116, 5), "hello");
        assert_eq!(at(second + 124, 6), "070701");
        assert!(bytes.len() % 4 == 0 && at(second + 124 + 110, 10) == "TRAILER!!!");
    }
}
