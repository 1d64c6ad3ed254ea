//! Builds swap areas.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use shared::disk::BLOCK;
use shared::disk::swap::{MAX_LABEL, MIN_PAGES, SwapHeader};
use shared::disk::uuid::Uuid;
use zerocopy::IntoBytes;

use crate::draft::{Draft, Existing};
use crate::{ImageError, random};

/// What size a swap area can have.
const SIZE_RULE: &str = "a swap area is a multiple of 4096 bytes, from 40K to 16T";

/// A swap area to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SwapSpec {
    /// Bytes, the header included.
    pub size: u64,
    /// Its name, at most 15 bytes.
    pub label: String,
    /// Its identifier; a random one by default.
    pub uuid: Option<Uuid>,
    /// Pages not to be used; page 0 is the header.
    pub bad_pages: Vec<u32>,
}

impl SwapSpec {
    /// Whether an area can have `size` bytes.
    #[must_use]
    pub fn is_size(size: u64) -> bool {
        size.is_multiple_of(BLOCK) && (MIN_PAGES..=1 << 32).contains(&(size / BLOCK))
    }

    /// The header of the area.
    pub(crate) fn header(&self) -> Result<SwapHeader, ImageError> {
        let pages = self.size / BLOCK;
        if !Self::is_size(self.size) {
            return Err(ImageError::Size { what: "a swap area".into(), bytes: self.size, rule: SIZE_RULE });
        }
        if self.label.len() > MAX_LABEL || self.label.contains('\0') {
            return Err(ImageError::Swap("a label has at most 15 bytes, none of them zero"));
        }
        if self.bad_pages.iter().any(|page| *page == 0 || u64::from(*page) >= pages) {
            return Err(ImageError::Swap("bad pages are from 1, behind the header, to the last page"));
        }
        let uuid = self.uuid.map_or_else(random::uuid, Ok)?;
        let header = SwapHeader::new(pages, uuid, &self.label, &self.bad_pages);
        header.ok_or(ImageError::Swap("a header has room for 637 bad pages"))
    }
}

/// Builds the swap area `spec` at `path` and returns its header.
pub fn make_swap(path: &Path, spec: &SwapSpec, existing: Existing) -> Result<SwapHeader, ImageError> {
    let header = spec.header()?;
    // What was in memory is nobody else's business: swapon warns of anything else.
    let draft = Draft::new(path, existing, 0o600)?;
    draft.file().set_len(spec.size).map_err(draft.error())?;
    write_header(draft.file(), 0, &header).map_err(draft.error())?;
    draft.finish()?;
    Ok(header)
}

/// Makes `file`, which is as large as the area, the swap area `spec`.
pub fn format_swap(file: &File, spec: &SwapSpec) -> Result<SwapHeader, ImageError> {
    let header = spec.header()?;
    write_header(file, 0, &header).map_err(ImageError::write(Path::new("a temporary swap disk")))?;
    Ok(header)
}

/// Writes `header` at byte `offset`.
pub(crate) fn write_header(file: &File, offset: u64, header: &SwapHeader) -> io::Result<()> {
    file.write_all_at(header.as_bytes(), offset)
}
