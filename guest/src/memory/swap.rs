//! Swap areas: disks, partitions and files that pages go to.
//!
//! Owns: headers, where the slots of an area are, its memory, and what it is called. Stays outside: slots and pages
//! (`mm::swap`), the format of a header (`shared::disk::swap`). Invariants: an area has its memory until it is off.

use super::areas;
use super::vm::{CACHE, SWAP, VM};
use crate::drivers::blk::{self, Disk};
use crate::files::{self, Buffer, Place};
use crate::machine::CPU;
use crate::memory::slab::FRAMES;
use crate::{console, settings};
use core::fmt::{self, Write};
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::cache::FileSystem;
use mm::errno::Errno;
use mm::port::PAGE_SECTORS;
use mm::swap::{AreaInfo, AreaMemory, Extent, MAX_AREAS, SwapOn, area_bytes};
use mm::sync::SpinLock;
use shared::disk::swap::{MAX_BAD_PAGES, SwapError, SwapHeader};
use shared::params::{Value, check, lookup, occurrences};
use shared::text::swaps;

/// Parts of a file that an area can have.
const MAX_EXTENTS: usize = 512;

/// What an area is called and what it is on.
#[derive(Clone, Copy)]
struct Name {
    path: [u8; 64],
    len: usize,
    is_file: bool,
}

impl Name {
    fn path(&self) -> &str {
        self.path.get(..self.len).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or("")
    }
}

static NAMES: SpinLock<[Option<Name>; MAX_AREAS]> = SpinLock::new([None; MAX_AREAS]);

/// Why there is no area.
pub enum Refused {
    /// The call says so.
    Call(Errno),
    /// It has no header.
    BadMagic,
    /// Its header makes no sense.
    Header(SwapError),
    /// A page of the file is nowhere on the disk.
    Holes,
    /// The file has too many parts.
    Parts,
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::Call(errno)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(errno) => write!(f, "{errno}"),
            Self::BadMagic => f.write_str("bad magic"),
            Self::Header(error) => write!(f, "{error}"),
            Self::Holes => f.write_str("has holes"),
            Self::Parts => write!(f, "lies in more than {MAX_EXTENTS} parts"),
        }
    }
}

/// Where the pages of an area are.
struct Layout {
    disk: &'static Disk,
    pages: u64,
    extents: Buffer,
    parts: usize,
    is_file: bool,
}

impl Layout {
    fn add(&mut self, sector: u64, pages: u64) -> Result<(), Refused> {
        let slot = self.list().last().map_or(0, |last| last.slot + last.pages);
        let at = self.parts * size_of::<Extent>();
        let place = self.extents.bytes().get_mut(at..at + size_of::<Extent>()).ok_or(Refused::Parts)?;
        // SAFETY: the place is inside the buffer, which is page-aligned, at a multiple of the size.
        unsafe { place.as_mut_ptr().cast::<Extent>().write(Extent { slot, pages, sector }) };
        self.parts += 1;
        Ok(())
    }

    fn list(&mut self) -> &[Extent] {
        let first = self.extents.bytes().as_ptr().cast::<Extent>();
        // SAFETY: so many were written one after the other.
        unsafe { core::slice::from_raw_parts(first, self.parts) }
    }
}

/// Where the pages of what is at `path` are: a disk, a partition or a file.
fn layout(path: &str) -> Result<Layout, Refused> {
    let extents = Buffer::new(MAX_EXTENTS * size_of::<Extent>()).ok_or(Errno::Enomem)?;
    let new = |disk, is_file| Layout { disk, pages: 0, extents, parts: 0, is_file };
    if let Some(device) = path.strip_prefix("/dev/") {
        let name = device.trim_end_matches(|c: char| c.is_ascii_digit());
        let disk = blk::find(name).ok_or(Errno::Enoent)?;
        let (first, sectors) = match device.get(name.len()..).and_then(|digits| digits.parse().ok()) {
            None => (0, disk.sectors()),
            Some(number) => files::partition(disk, number).ok_or(Errno::Enoent)?,
        };
        let mut layout = new(disk, false);
        layout.pages = sectors / PAGE_SECTORS;
        layout.add(first, layout.pages)?;
        return Ok(layout);
    }
    let Place::Name(volume, name) = files::locate(path)? else { return Err(Errno::Enoent.into()) };
    let (number, size) = volume.find(name).ok_or(Errno::Enoent)?;
    let mut layout = new(volume.disk(), true);
    layout.pages = size / PAGE_SIZE;
    let mut at = 0;
    while at < layout.pages {
        let run = volume.map(number, at, layout.pages - at)?;
        layout.add(run.sector.ok_or(Refused::Holes)?, run.pages.min(layout.pages - at))?;
        at += run.pages;
    }
    Ok(layout)
}

/// Room for an area or for the table of entries.
fn reserve(bytes: u64) -> Result<NonNull<u8>, Errno> {
    let at = areas::vmalloc(bytes).map_err(|_| Errno::Enomem)?;
    NonNull::new(core::ptr::with_exposed_provenance_mut(at.get() as usize)).ok_or(Errno::Enomem)
}

fn release(at: NonNull<u8>) {
    let freed = VirtAddr::new(at.as_ptr().expose_provenance() as u64).map(areas::vfree);
    debug_assert!(matches!(freed, Some(Ok(()))));
}

/// The table of entries is there.
fn prepare() -> Result<(), Errno> {
    if SWAP.is_booted() {
        return Ok(());
    }
    let words = SWAP.entry_words();
    let memory = reserve(words * size_of::<AtomicU32>() as u64)?;
    // SAFETY: the area is large enough, mapped, and ours alone; zeroes are words that say nothing.
    let entries = unsafe {
        memory.write_bytes(0, words as usize * size_of::<AtomicU32>());
        NonNull::slice_from_raw_parts(memory.cast::<AtomicU32>(), words as usize).as_ref()
    };
    if !SWAP.boot(CACHE.nodes().ok_or(Errno::Enomem)?, entries) {
        release(memory);
    }
    Ok(())
}

/// Uses what is at `path` as swap (Linux `swapon`).
pub fn on(path: &str, priority: Option<u16>) -> Result<(), Refused> {
    if named(path).is_some() {
        return Err(Errno::Ebusy.into());
    }
    let mut layout = layout(path)?;
    let sector = layout.list().first().ok_or(Refused::BadMagic)?.sector;
    let mut page = Buffer::new(PAGE_SIZE as usize).ok_or(Errno::Enomem)?;
    let header = SwapHeader::read(page.read(layout.disk, sector)?, layout.pages);
    let header = header.map_err(|error| match error {
        SwapError::NoSignature => Refused::BadMagic,
        error => Refused::Header(error),
    })?;
    let slots = header.pages();
    let mut bad = [0; MAX_BAD_PAGES];
    bad.iter_mut().zip(header.bad_pages()).for_each(|(to, from)| *to = from.get().into());
    let bad = bad.get(..header.bad_pages().len()).unwrap_or(&[]);
    prepare()?;
    let (disk, parts, is_file) = (layout.disk, layout.parts as u64, layout.is_file);
    let memory = reserve(area_bytes(slots, parts))?;
    let extents = layout.list();
    let request = SwapOn { device: disk, extents, slots, bad, priority, memory: AreaMemory(memory) };
    // SAFETY: the memory is of that size and nobody else's; whoever writes to the disk otherwise is told not to.
    let number = unsafe { SWAP.on(&request) }.inspect_err(|_| release(memory))?;
    let mut name = Name { path: [0; 64], len: path.len().min(64), is_file };
    name.path.iter_mut().zip(path.bytes()).for_each(|(to, from)| *to = from);
    if let Some(slot) = NAMES.lock(&CPU).get_mut(number as usize) {
        *slot = Some(name);
    }
    VM.commit().set_swap(SWAP.total_slots());
    Ok(())
}

/// The number of the area that is called so.
fn named(path: &str) -> Option<u32> {
    let names = NAMES.lock(&CPU);
    let at = names.iter().position(|name| name.is_some_and(|name| name.path() == path))?;
    Some(at as u32)
}

/// Brings everything in an area back and uses it no more (Linux `swapoff`).
pub fn off(path: &str) -> Result<(), Errno> {
    let number = named(path).ok_or(Errno::Einval)?;
    let memory = VM.swapoff(number, &FRAMES)?;
    release(memory.0);
    if let Some(slot) = NAMES.lock(&CPU).get_mut(number as usize) {
        *slot = None;
    }
    VM.commit().set_swap(SWAP.total_slots());
    Ok(())
}

/// Uses what `swap=` names, and without one the disk that was given for it. Once.
pub fn boot(cmdline: &str) {
    apply_settings();
    if settings::is_on("noswap") {
        return;
    }
    for token in occurrences(cmdline, "swap") {
        // What cannot be was reported with the other parameters.
        let Some(Ok(Value::Swap(area))) = lookup("swap").map(|spec| check(spec, token.value)) else {
            continue;
        };
        let mut path = crate::text::Text::<64>::new();
        let prefix = if area.device.starts_with('/') { "" } else { "/dev/" };
        let _ = write!(path, "{prefix}{}", area.device);
        let priority = area.priority.and_then(|priority| u16::try_from(priority).ok());
        if let Err(refused) = on(path.as_str(), priority) {
            console::print(format_args!("swapon: {}: {refused}\n", path.as_str()));
        }
    }
}

/// Gives swap what the settings say.
pub fn apply_settings() {
    SWAP.set_page_cluster(settings::number("sysctl.vm.page-cluster").unwrap_or(3) as u32);
}

/// Writes `/proc/swaps`.
pub fn show(w: &mut dyn Write) -> fmt::Result {
    swaps::write_head(w)?;
    let names = *NAMES.lock(&CPU);
    SWAP.areas().try_for_each(|AreaInfo { area, slots, used, priority }| {
        let Some(Some(name)) = names.get(area as usize) else { return Ok(()) };
        let kb = PAGE_SIZE / 1024;
        swaps::write_area(
            w,
            &swaps::SwapLine {
                path: name.path(),
                is_file: name.is_file,
                size: slots * kb,
                used: used * kb,
                priority,
            },
        )
    })
}
