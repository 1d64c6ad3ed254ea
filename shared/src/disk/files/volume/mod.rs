//! A data volume in use: its files as they are now, and what of that the disk has.
//!
//! Owns: the files, and which blocks are free. Stays outside: reading and writing the disk, and when; who waits for whom.
//! Invariants: `now` never breaks a rule of the format. A block is free when no file has it now, in the table that the
//! disk has, or in the one that is on its way there: so nobody writes a block before the table that gave it up is stable.
//! Nor has a file it that is planned.
//! A file has a block only when it was written, will be before [`Volume::written`] passes it, or holds zeroes.
//!
//! | file | job |
//! |---|---|
//! | `place` | which blocks a file gets |

mod place;

use zerocopy::{FromZeros, Immutable, IntoBytes, KnownLayout};

use place::Window;
pub use place::{MAX_ZEROES, Plan};

use super::{BLOCK, FileEntry, MAX_EXTENTS, MAX_FILES, MAX_SIZE, Table, TableError, TableHeader, is_name};

/// Why a file is not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeError {
    /// There is no such file.
    Missing,
    /// There is one already.
    Exists,
    /// A name that no file can have.
    Name,
    /// Larger than a file can be.
    TooBig,
    /// No free block, no entry in the table, or too many pieces.
    Full,
}

/// See the module documentation. Large; all zeroes is a volume without a file and without room.
#[derive(FromZeros, Immutable, KnownLayout)]
#[repr(C)]
pub struct Volume {
    header: TableHeader,
    /// By number; one without a name is none.
    now: [FileEntry; MAX_FILES],
    /// What the table on the disk has.
    stable: [FileEntry; MAX_FILES],
    /// What the table that is written next has; the same as `stable` when none is.
    next: [FileEntry; MAX_FILES],
    windows: [Window; MAX_FILES],
    /// What a file becomes when zeroes are where it needs them; without a block when nobody writes any.
    planned: FileEntry,
    next_header: TableHeader,
    /// Counts changes of `now`; which of them the disk has, and which are on their way.
    changes: u64,
    stable_changes: u64,
    next_changes: u64,
}

/// Blocks in a row of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The first on the disk; `None` where the file reads as zeroes.
    pub start: Option<u32>,
    /// How many; not 0.
    pub blocks: u64,
}

impl Volume {
    /// Takes over the files of `table`, the current one of a disk.
    pub fn load(&mut self, table: &Table<'_>) {
        self.zero();
        self.header = *table.header();
        for files in [&mut self.now, &mut self.stable, &mut self.next] {
            files.iter_mut().zip(table.files()).for_each(|(to, from)| *to = *from);
        }
    }

    /// Blocks that it has, the tables included.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.header.blocks()
    }

    /// Blocks that no file has now.
    #[must_use]
    pub fn free_blocks(&self) -> u64 {
        let used: u64 = self.files().map(|(_, file)| file.blocks()).sum();
        u64::from(self.blocks()).saturating_sub(u64::from(super::DATA_START)).saturating_sub(used)
    }

    /// The files with their numbers, which stay the same.
    pub fn files(&self) -> impl Iterator<Item = (usize, &FileEntry)> {
        self.now.iter().enumerate().filter(|(_, file)| !file.name_bytes().is_empty())
    }

    /// File number `file`.
    #[must_use]
    pub fn file(&self, file: usize) -> Option<&FileEntry> {
        self.now.get(file).filter(|file| !file.name_bytes().is_empty())
    }

    /// The number of the file with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.files().find(|(_, file)| file.name_bytes() == name.as_bytes()).map(|(number, _)| number)
    }

    /// Makes a file of no bytes; its number.
    ///
    /// # Errors
    /// `Name`, `Exists`, `Full`.
    pub fn create(&mut self, name: &str) -> Result<usize, VolumeError> {
        if !is_name(name) {
            return Err(VolumeError::Name);
        }
        if self.find(name).is_some() {
            return Err(VolumeError::Exists);
        }
        let free = self.now.iter().position(|file| file.name_bytes().is_empty()).ok_or(VolumeError::Full)?;
        let entry = FileEntry::new(name, 0, 0, &[]).ok_or(VolumeError::Name)?;
        self.replace(free, entry);
        Ok(free)
    }

    /// Takes a file away.
    ///
    /// # Errors
    /// `Missing`.
    pub fn remove(&mut self, file: usize) -> Result<(), VolumeError> {
        self.file(file).ok_or(VolumeError::Missing)?;
        self.replace(file, FileEntry::new_zeroed());
        self.forget_window(file);
        Ok(())
    }

    /// Where block `block` of a file is, and up to `blocks` blocks from there on.
    #[must_use]
    pub fn map(&self, file: usize, block: u64, blocks: u64) -> Option<Piece> {
        let entry = self.file(file)?;
        let written = entry.valid().div_ceil(BLOCK);
        if block >= written {
            return Some(Piece { start: None, blocks: blocks.max(1) });
        }
        let most = blocks.clamp(1, written - block);
        for extent in entry.extents() {
            let (first, end) =
                (u64::from(extent.logical()), u64::from(extent.logical()) + u64::from(extent.blocks()));
            if block < first {
                return Some(Piece { start: None, blocks: most.min(first - block) });
            }
            if block < end {
                let start = extent.start() + (block - first) as u32;
                return Some(Piece { start: Some(start), blocks: most.min(end - block) });
            }
        }
        Some(Piece { start: None, blocks: most })
    }

    /// As [`Volume::map`] for a write: whether the block was written before makes no difference.
    #[must_use]
    pub fn place_of(&self, file: usize, block: u64) -> Option<u32> {
        let holds = |extent: &&super::Extent| {
            (u64::from(extent.logical())..u64::from(extent.logical()) + u64::from(extent.blocks()))
                .contains(&block)
        };
        let extent = self.file(file)?.extents().iter().find(holds)?;
        Some(extent.start() + (block - u64::from(extent.logical())) as u32)
    }

    /// The file ends at `size` from now on; blocks behind it are given up.
    ///
    /// # Errors
    /// `Missing`, `TooBig`.
    pub fn set_size(&mut self, file: usize, size: u64) -> Result<(), VolumeError> {
        let entry = *self.file(file).ok_or(VolumeError::Missing)?;
        if size > MAX_SIZE {
            return Err(VolumeError::TooBig);
        }
        if size == entry.size() {
            return Ok(());
        }
        let end = size.div_ceil(BLOCK);
        let mut kept = [super::Extent::default(); MAX_EXTENTS];
        let mut count = 0;
        let shrinks = size < entry.size();
        for (to, from) in kept.iter_mut().zip(entry.extents()) {
            let blocks = end.saturating_sub(from.logical().into()).min(from.blocks().into()) as u32;
            let blocks = if shrinks { blocks } else { from.blocks() };
            if blocks == 0 {
                break;
            }
            *to = super::Extent::new(from.logical(), from.start(), blocks);
            count += 1;
        }
        let kept = kept.get(..count).unwrap_or_default();
        let changed = FileEntry::new(entry.name(), size, entry.valid().min(size), kept);
        self.replace(file, changed.ok_or(VolumeError::TooBig)?);
        if shrinks {
            self.forget_window(file);
        }
        Ok(())
    }

    /// All of the file before byte `end` is on the disk.
    pub fn written(&mut self, file: usize, end: u64) {
        let Some(entry) = self.file(file).copied() else { return };
        let valid = entry.valid().max(end.min(entry.size()));
        if valid != entry.valid()
            && let Some(changed) = FileEntry::new(entry.name(), entry.size(), valid, entry.extents())
        {
            self.replace(file, changed);
        }
    }

    fn replace(&mut self, file: usize, entry: FileEntry) {
        if let Some(slot) = self.now.get_mut(file) {
            *slot = entry;
            self.changes += 1;
        }
    }

    /// Whether the table on the disk says all that is known now.
    #[must_use]
    pub fn is_stable(&self) -> bool {
        self.changes == self.stable_changes
    }

    /// Whether the next table can make room when it is stable: for it, blocks that files gave up are not free yet.
    #[must_use]
    pub fn waits_for_table(&self) -> bool {
        !self.is_stable() && self.free_blocks() != 0
    }

    /// Makes the next table of what is known now, as it lies in a slot, but for what [`seal`](super::seal) does: which slot,
    /// and how many bytes of `into`, whole blocks. Until [`Volume::commit`] its blocks are taken, too.
    ///
    /// # Errors
    /// `into` is too short.
    pub fn prepare(&mut self, into: &mut [u8]) -> Result<(u32, usize), TableError> {
        let mut count = 0;
        let named = self.now.iter().filter(|file| !file.name_bytes().is_empty());
        for (to, from) in self.next.iter_mut().zip(named) {
            *to = *from;
            count += 1;
        }
        let (files, rest) = self.next.split_at_mut_checked(count).ok_or(TableError::Length)?;
        rest.iter_mut().for_each(FromZeros::zero);
        self.next_changes = self.changes;
        self.next_header = self.header.successor(count)?;
        let header = self.next_header.as_bytes();
        let end = header.len() + size_of_val(files);
        let whole = end.next_multiple_of(BLOCK as usize);
        let into = into.get_mut(..whole).ok_or(TableError::Length)?;
        into.fill(0);
        into.iter_mut().zip(header.iter().chain(files.as_bytes())).for_each(|(to, from)| *to = *from);
        Ok((self.next_header.slot(), whole))
    }

    /// The table that was prepared is on the disk, for good.
    pub fn commit(&mut self) {
        self.header = self.next_header;
        self.stable = self.next;
        self.stable_changes = self.next_changes;
    }
}
