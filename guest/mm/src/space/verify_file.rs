//! Checking the pages of a file: the index, the folios, and who has them.

use super::Vm;
use crate::addr::Pfn;
use crate::cache::Inode;
use crate::folio::{Folio, FolioFlags};
use crate::port::Machine;
use crate::xarray::Mark;

/// What was found of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileCensus {
    /// Pages in memory.
    pub pages: u64,
    /// Those that the disk does not have yet.
    pub dirty: u64,
    /// Entries that map them.
    pub mapped: u64,
    /// References beside those of the index and of entries.
    pub held: u64,
    /// Shadows of pages that were evicted.
    pub shadows: u64,
    /// Areas that show the file.
    pub areas: u64,
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Checks what is in memory of a file, and counts it.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub fn verify_file(&self, inode: &Inode<'p>) -> Result<FileCensus, &'static str> {
        let (cpu, mapping) = (self.machine().cpu(), inode.mapping());
        let table = self.frame_table().ok_or("there are no frames")?;
        let mut census = FileCensus { areas: mapping.areas.len(cpu).into(), ..FileCensus::default() };
        mapping.areas.verify(cpu)?;
        mapping.pages.verify(cpu).map_err(|_| "the index is corrupt")?;
        let pages = mapping.pages.lock(cpu);
        let mut at = 0;
        while let Some(found) = pages.find(at, u64::MAX, None) {
            at = found.last() + 1;
            let Some(pfn) = found.entry.as_handle().and_then(Pfn::new) else {
                census.shadows += 1;
                continue;
            };
            let folio = Folio::of(table, pfn).ok_or("something in the index that is no folio")?;
            self.verify_page(inode, found.index, folio, &mut census)?;
            if pages.has_mark(found.index, Mark::Dirty) != folio.flags().contains(FolioFlags::DIRTY) {
                return Err("a page and its mark disagree about whether it is dirty");
            }
        }
        if census.pages != mapping.nrpages() {
            return Err("pages are counted wrong");
        }
        Ok(census)
    }

    /// A page that stands at `index`.
    fn verify_page(
        &self,
        inode: &Inode<'p>,
        index: u64,
        folio: Folio<'_>,
        census: &mut FileCensus,
    ) -> Result<(), &'static str> {
        if folio.mapping() != inode.of_pages() || folio.index() != index {
            return Err("a page that belongs elsewhere");
        }
        let (refs, entries) = (u64::from(folio.refs()), folio.mapcount());
        census.pages += 1;
        census.mapped += entries;
        census.dirty += u64::from(folio.flags().contains(FolioFlags::DIRTY));
        census.held += refs.checked_sub(1 + entries).ok_or("a page with fewer references than entries")?;
        Ok(())
    }
}
