//! Two file systems for tests: files of extents with holes, and a disk as one file.
//!
//! Owns: where the pages of each file are, and what of that is stable. Invariants: no two pages have the same place; a page has
//! none before somebody allocates it or a test puts it there; behind the part that is known to be written a file reads as
//! zeroes, whatever its pages' places hold. Nothing of it is on the disk.

use crate::Disk;
use mm::addr::PAGE_SIZE;
use mm::cache::{FileSystem, Run};
use mm::errno::Errno;
use mm::port::{BlockDevice, PAGE_SECTORS, SECTOR_BYTES};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a file system keeps of a file.
#[derive(Clone, Default)]
struct Record {
    size: u64,
    /// All before this byte was written, or has no place.
    valid: u64,
    /// The sector of each page that has one.
    pages: BTreeMap<u64, u64>,
}

#[derive(Default)]
struct File {
    now: Record,
    /// As of the last time that it was made stable.
    stable: Record,
}

impl Record {
    /// The sector that page `index` is read from.
    fn readable(&self, index: u64) -> Option<u64> {
        self.pages.get(&index).copied().filter(|_| index < self.valid.div_ceil(PAGE_SIZE))
    }
}

#[derive(Default)]
struct State {
    files: BTreeMap<u64, File>,
    used: HashSet<u64>,
    /// How often places can be given up; `None` for always.
    releases: Option<u64>,
}

/// Files of extents.
pub struct Extents<'m> {
    disk: &'m Disk<'m>,
    state: Mutex<State>,
}

impl<'m> Extents<'m> {
    /// No files, on a disk that is free.
    #[must_use]
    pub fn new(disk: &'m Disk<'m>) -> Self {
        Self { disk, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a file of `size` bytes, all of it a hole.
    pub fn create(&self, ino: u64, size: u64) {
        let now = Record { size, valid: size, pages: BTreeMap::new() };
        let file = File { stable: now.clone(), now };
        self.state().files.insert(ino, file);
    }

    /// Gives `pages` pages from `index` a place from `sector` on.
    ///
    /// # Panics
    /// If there is no such file, or the place is taken.
    pub fn place(&self, ino: u64, index: u64, pages: u64, sector: u64) {
        let mut state = self.state();
        for n in 0..pages {
            let at = sector + n * PAGE_SECTORS;
            assert!(state.used.insert(at), "sector {at} is taken");
            let file = state.files.get_mut(&ino).expect("no such file");
            file.now.pages.insert(index + n, at);
            file.stable.pages.insert(index + n, at);
        }
    }

    /// A file of `size` bytes, nothing of it written, that has a place from `sector` on for each of its pages.
    pub fn create_with_room(&self, ino: u64, size: u64, pages: u64, sector: u64) {
        self.create(ino, size);
        self.place(ino, 0, pages, sector);
        let mut state = self.state();
        if let Some(file) = state.files.get_mut(&ino) {
            (file.now.valid, file.stable.valid) = (0, 0);
        }
    }

    /// Places can be given up `times` times from now on.
    pub fn limit_releases(&self, times: u64) {
        self.state().releases = Some(times);
    }

    /// The size of a file.
    #[must_use]
    pub fn size(&self, ino: u64) -> Option<u64> {
        self.state().files.get(&ino).map(|file| file.now.size)
    }

    /// Its size as of the last time that it was made stable.
    #[must_use]
    pub fn stable_size(&self, ino: u64) -> Option<u64> {
        self.state().files.get(&ino).map(|file| file.stable.size)
    }

    /// The sector of a page.
    #[must_use]
    pub fn sector(&self, ino: u64, index: u64) -> Option<u64> {
        self.state().files.get(&ino)?.now.pages.get(&index).copied()
    }

    /// The sector that a page is read from when the machine starts again; none for zeroes.
    #[must_use]
    pub fn stable_sector(&self, ino: u64, index: u64) -> Option<u64> {
        self.state().files.get(&ino)?.stable.readable(index)
    }
}

impl FileSystem for Extents<'_> {
    fn device(&self) -> &dyn BlockDevice {
        self.disk
    }

    fn map(&self, ino: u64, index: u64, pages: u64) -> Result<Run, Errno> {
        let state = self.state();
        let file = state.files.get(&ino).ok_or(Errno::Enoent)?;
        let sector = file.now.readable(index);
        let goes_on = |n: &u64| file.now.readable(index + n) == sector.map(|first| first + n * PAGE_SECTORS);
        let run = (1..pages).take_while(goes_on).count() as u64 + 1;
        Ok(Run { sector, pages: run })
    }

    fn place(&self, ino: u64, index: u64) -> Result<Option<u64>, Errno> {
        Ok(self.state().files.get(&ino).ok_or(Errno::Enoent)?.now.pages.get(&index).copied())
    }

    fn valid(&self, ino: u64) -> u64 {
        self.state().files.get(&ino).map_or(0, |file| file.now.valid)
    }

    fn allocate(&self, ino: u64, index: u64, pages: u64) -> Result<(), Errno> {
        if self.disk.is_read_only() {
            return Err(Errno::Erofs);
        }
        let mut state = self.state();
        let end = self.disk.sectors() / PAGE_SECTORS * PAGE_SECTORS;
        let missing: Vec<u64> = {
            let file = state.files.get(&ino).ok_or(Errno::Enoent)?;
            (index..index + pages).filter(|page| !file.now.pages.contains_key(page)).collect()
        };
        let free: Vec<u64> = (0..end)
            .step_by(PAGE_SECTORS as usize)
            .filter(|sector| !state.used.contains(sector))
            .take(missing.len())
            .collect();
        if free.len() < missing.len() {
            return Err(Errno::Enospc);
        }
        for (page, sector) in missing.into_iter().zip(free) {
            state.used.insert(sector);
            if let Some(file) = state.files.get_mut(&ino) {
                file.now.pages.insert(page, sector);
                if file.now.readable(page).is_some() {
                    self.disk.poke(sector * SECTOR_BYTES, &[0; PAGE_SIZE as usize]);
                }
            }
        }
        Ok(())
    }

    fn release(&self, ino: u64, index: u64, pages: u64) -> Result<(), Errno> {
        let mut state = self.state();
        if let Some(limit) = &mut state.releases {
            *limit = limit.checked_sub(1).ok_or(Errno::Enospc)?;
        }
        let file = state.files.get_mut(&ino).ok_or(Errno::Enoent)?;
        let given: Vec<u64> =
            file.now.pages.range(index..index.saturating_add(pages)).map(|(&page, _)| page).collect();
        let sectors: Vec<u64> = given.iter().filter_map(|page| file.now.pages.remove(page)).collect();
        // What the stable table names is not free yet.
        let kept: Vec<u64> = file.stable.pages.values().copied().collect();
        for sector in sectors.iter().filter(|sector| !kept.contains(sector)) {
            state.used.remove(sector);
        }
        Ok(())
    }

    fn set_size(&self, ino: u64, size: u64) -> Result<(), Errno> {
        let mut state = self.state();
        let file = state.files.get_mut(&ino).ok_or(Errno::Enoent)?;
        file.now.size = size;
        file.now.valid = file.now.valid.min(size);
        let behind = file.now.pages.split_off(&size.div_ceil(PAGE_SIZE));
        for sector in behind.values() {
            state.used.remove(sector);
        }
        Ok(())
    }

    fn written(&self, ino: u64, end: u64) {
        if let Some(file) = self.state().files.get_mut(&ino) {
            file.now.valid = file.now.valid.max(end.min(file.now.size));
        }
    }

    fn sync_inode(&self, ino: u64, _data_only: bool) -> Result<(), Errno> {
        let mut state = self.state();
        let file = state.files.get_mut(&ino).ok_or(Errno::Enoent)?;
        file.stable = file.now.clone();
        Ok(())
    }
}

/// A disk as one file.
pub struct WholeDisk<'m> {
    disk: &'m Disk<'m>,
}

impl<'m> WholeDisk<'m> {
    /// All of `disk`.
    #[must_use]
    pub fn new(disk: &'m Disk<'m>) -> Self {
        Self { disk }
    }
}

impl FileSystem for WholeDisk<'_> {
    fn device(&self) -> &dyn BlockDevice {
        self.disk
    }

    fn map(&self, _ino: u64, index: u64, pages: u64) -> Result<Run, Errno> {
        Ok(Run { sector: Some(index * PAGE_SECTORS), pages })
    }

    fn allocate(&self, _ino: u64, _index: u64, _pages: u64) -> Result<(), Errno> {
        if self.disk.is_read_only() { Err(Errno::Erofs) } else { Ok(()) }
    }

    fn set_size(&self, _ino: u64, _size: u64) -> Result<(), Errno> {
        Err(Errno::Einval)
    }

    fn written(&self, _ino: u64, _end: u64) {}

    fn sync_inode(&self, _ino: u64, _data_only: bool) -> Result<(), Errno> {
        Ok(())
    }
}
