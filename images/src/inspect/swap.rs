//! What a swap area says, and whether it is sound.

use std::ops::Range;

use shared::disk::BLOCK;
use shared::disk::swap::SwapHeader;

use super::{Inspection, SwapFacts};
use crate::ImageError;
use crate::source::Source;

/// Reports on the swap area in the bytes `place` of the image, which is partition `partition`, or all of it.
pub fn inspect(
    source: &Source,
    partition: Option<u32>,
    place: Range<u64>,
    found: &mut Inspection,
) -> Result<(), ImageError> {
    let within = partition.map_or_else(String::new, |number| format!("partition {number}: "));
    let pages = (place.end - place.start) / BLOCK;
    let page = source.read(place.start, BLOCK as usize)?;
    let header = match SwapHeader::read(&page, pages) {
        Ok(header) => header,
        Err(error) => {
            found.errors.push(format!("{within}{error}"));
            return Ok(());
        }
    };
    if header.pages() < pages {
        let used = header.pages();
        found
            .warnings
            .push(format!("{within}the swap area has {used} pages where there is room for {pages}"));
    }
    found.swap.push(SwapFacts {
        partition,
        pages: header.pages(),
        bad_pages: header.bad_pages().iter().map(|page| page.get()).collect(),
        label: String::from_utf8_lossy(header.label()).into_owned(),
        uuid: header.uuid().to_string(),
    });
    Ok(())
}
