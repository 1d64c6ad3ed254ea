//! Swap areas: disks, partitions and files that pages go to.
//!
//! Owns: headers, where the slots of an area are, its memory, what it is called, and what is used at boot. Stays outside: slots and pages
//! (`mm::swap`), the format of a header (`shared::disk::swap`). Invariants: an area has its memory until it is off.

mod discarder;
mod layout;

use super::areas;
use super::vm::{CACHE, SWAP, VM};
use crate::drivers::blk;
use crate::files::Buffer;
use crate::machine::CPU;
use crate::memory::slab::FRAMES;
use crate::task::Mutex;
use crate::text::Text;
use crate::{console, settings};
use core::fmt::{self, Write};
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use layout::{Claim, Ground, Layout, SwapFile};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::errno::Errno;
use mm::swap::{AreaInfo, AreaMemory, MAX_AREAS, MAX_SLOTS, SwapOn, area_bytes};
use mm::sync::SpinLock;
use shared::disk::swap::{MAX_BAD_PAGES, SwapError, SwapHeader};
use shared::params::{SwapDiscard, Value, check, lookup, occurrences};
use shared::text::swaps;

/// The name of the disk that `vmm run --swap` gives.
const SWAP_DISK: &str = "swap";

/// What an area is called, and the sectors that it has if it is no file.
#[derive(Clone, Copy)]
struct Name {
    path: Text<64>,
    claim: Option<Claim>,
}

static NAMES: SpinLock<[Option<Name>; MAX_AREAS]> = SpinLock::new([None; MAX_AREAS]);

/// The files that are swapped to, by area; held while an area is switched on or off (Linux `swapon_mutex`).
static FILES: Mutex<[Option<SwapFile>; MAX_AREAS]> = Mutex::new([const { None }; MAX_AREAS]);

/// Why there is no area.
pub enum Refused {
    /// The call says so.
    Call(Errno),
    /// It has no header.
    BadMagic,
    /// Its header makes no sense.
    Header(SwapError),
    /// A file has no pages that are bad.
    BadPages,
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

/// All but what a call says is Linux's `EINVAL`, and the rest of its `swapon` says why.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(errno) => write!(f, "{errno}"),
            Self::BadMagic => f.write_str("bad magic (EINVAL)"),
            Self::Header(error) => write!(f, "{error} (EINVAL)"),
            Self::BadPages => f.write_str("bad pages in a file (EINVAL)"),
            Self::Holes => f.write_str("has holes (EINVAL)"),
            Self::Parts => f.write_str("lies in too many parts (EINVAL)"),
        }
    }
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

/// The path by which `/proc/swaps` knows an area.
fn absolute(path: &str) -> Text<64> {
    let mut text = Text::new();
    let _ = write!(text, "{}{path}", if path.starts_with('/') { "" } else { "/" });
    text
}

/// Uses what is at `path` as swap (Linux `swapon`).
///
/// # Errors
/// [`Refused`]; nothing has changed.
pub fn on(path: &str, priority: Option<u16>, discard: SwapDiscard) -> Result<(), Refused> {
    let mut files = FILES.lock();
    let path = absolute(path);
    let mut layout = layout::of(path.as_str())?;
    let claim = match layout.ground {
        Ground::Device(claim) => Some(claim),
        Ground::File(_) => None,
    };
    let is_taken = |claim: Claim| {
        let names = NAMES.lock(&CPU);
        names.iter().flatten().filter_map(|name| name.claim).any(|other| other.overlaps(&claim))
    };
    if claim.is_some_and(is_taken) {
        return Err(Errno::Ebusy.into());
    }
    let number = start(&mut layout, priority, discard)?;
    if let Some(slot) = NAMES.lock(&CPU).get_mut(number as usize) {
        *slot = Some(Name { path, claim });
    }
    if let (Some(slot), Ground::File(file)) = (files.get_mut(number as usize), layout.ground) {
        *slot = Some(file);
    }
    VM.commit().set_swap(SWAP.total_slots());
    Ok(())
}

/// Looks at the header of an area and uses it; its number.
fn start(layout: &mut Layout, priority: Option<u16>, discard: SwapDiscard) -> Result<u32, Refused> {
    let sector = layout.list().first().ok_or(Refused::BadMagic)?.sector;
    let mut page = Buffer::new(PAGE_SIZE as usize).ok_or(Errno::Enomem)?;
    let header = SwapHeader::read(page.read(layout.disk, sector)?, layout.pages);
    let header = header.map_err(|error| match error {
        SwapError::NoSignature => Refused::BadMagic,
        error => Refused::Header(error),
    })?;
    let mut bad = [0; MAX_BAD_PAGES];
    bad.iter_mut().zip(header.bad_pages()).for_each(|(to, from)| *to = from.get().into());
    let bad = bad.get(..header.bad_pages().len()).unwrap_or(&[]);
    if !bad.is_empty() && matches!(layout.ground, Ground::File(_)) {
        return Err(Refused::BadPages);
    }
    prepare()?;
    let slots = header.pages().min(MAX_SLOTS);
    let device = layout.disk;
    let extents = layout.list();
    let memory = reserve(area_bytes(slots, extents.len() as u64))?;
    if discard.once && device.max_discard() != 0 && SWAP.discard_area(device, extents, &FRAMES).is_err() {
        // What it does not give back it can be written to all the same.
        console::print(format_args!("swapon: discard_swap failed\n"));
    }
    if discard.pages {
        discarder::start();
    }
    let discard = discard.pages;
    let request = SwapOn { device, extents, slots, bad, discard, priority, memory: AreaMemory(memory) };
    // SAFETY: the memory is of that size and nobody else's; the sectors are claimed.
    Ok(unsafe { SWAP.on(&request) }.inspect_err(|_| release(memory))?)
}

/// Brings everything in an area back and uses it no more (Linux `swapoff`).
///
/// # Errors
/// `Einval`: there is no such area. What [`mm::space::Vm::swapoff`] says; it stays on then.
pub fn off(path: &str) -> Result<(), Errno> {
    let mut files = FILES.lock();
    let path = absolute(path);
    let is_it = |name: &Option<Name>| name.is_some_and(|name| name.path.as_str() == path.as_str());
    let number = NAMES.lock(&CPU).iter().position(is_it).ok_or(Errno::Einval)?;
    let memory = VM.swapoff(number as u32, &FRAMES)?;
    release(memory.0);
    if let Some(slot) = NAMES.lock(&CPU).get_mut(number) {
        *slot = None;
    }
    if let Some(slot) = files.get_mut(number) {
        *slot = None;
    }
    VM.commit().set_swap(SWAP.total_slots());
    Ok(())
}

/// Uses what `swap=` names, and without one the disk that `--swap` gave. Once.
pub fn boot(cmdline: &str) {
    apply_settings();
    if settings::is_on("noswap") {
        return;
    }
    let mut is_named = false;
    for token in occurrences(cmdline, "swap") {
        is_named = true;
        // What cannot be was reported with the other parameters.
        let Some(Ok(Value::Swap(area))) = lookup("swap").map(|spec| check(spec, token.value)) else {
            continue;
        };
        let priority = area.priority.and_then(|priority| u16::try_from(priority).ok());
        on_at_boot(area.device, priority, area.discard);
    }
    let given = blk::disks().find(|disk| disk.serial().as_bytes() == SWAP_DISK.as_bytes());
    if let Some(disk) = given.filter(|_| !is_named) {
        on_at_boot(disk.name(), None, SwapDiscard::default());
    }
}

/// Uses a disk, a partition, or a file whose path begins with `/`; says why if it cannot be.
fn on_at_boot(device: &str, priority: Option<u16>, discard: SwapDiscard) {
    let mut path = Text::<64>::new();
    let _ = write!(path, "{}{device}", if device.starts_with('/') { "" } else { "/dev/" });
    match on(path.as_str(), priority, discard) {
        Ok(()) => {}
        Err(Refused::Call(Errno::Enoent)) => {
            console::print(format_args!("swap=: {device}: no such device\n"));
        }
        Err(Refused::BadMagic) => {
            console::print(format_args!("swap=: {device}: Unable to find swap-space signature\n"));
        }
        Err(refused) => console::print(format_args!("swap=: {device}: {refused}\n")),
    }
}

/// Gives swap what the settings say.
pub fn apply_settings() {
    SWAP.set_page_cluster(settings::number("sysctl.vm.page-cluster").unwrap_or(3) as u32);
    SWAP.set_vma_ra(settings::is_on("vma_ra_enabled"));
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
                path: name.path.as_str(),
                is_file: name.claim.is_none(),
                size: slots * kb,
                used: used * kb,
                priority,
            },
        )
    })
}
