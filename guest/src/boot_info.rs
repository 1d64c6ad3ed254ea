//! What the monitor handed over: memory map, command line, where the ACPI tables are.
//!
//! Owns: copies of all of it, made before any of that memory can be reused. Stays outside: what the words
//! mean. Source: Xen `xen/include/public/arch-x86/hvm/start_info.h`.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use shared::layout::{DIRECT_MAP, EXTENDED_RAM_START};

const MAGIC: u32 = 0x336e_c578;
/// The boot tables show this much of physical memory.
const VISIBLE: u64 = 1 << 30;
/// Entries of a memory map that are kept.
pub const MAX_RANGES: usize = 64;
/// Longest command line, in bytes.
pub const MAX_CMDLINE: usize = 4096;

#[repr(C)]
#[derive(Clone, Copy)]
struct StartInfo {
    magic: u32,
    version: u32,
    _flags: u32,
    _modules: u32,
    _modules_at: u64,
    cmdline_at: u64,
    rsdp_at: u64,
    memmap_at: u64,
    memmap_entries: u32,
    _reserved: u32,
}

/// One entry of the firmware's memory map.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
    /// E820 type: 1 is usable RAM.
    pub kind: u32,
    _reserved: u32,
}

/// E820 type of usable memory.
pub const USABLE: u32 = 1;

/// See the module documentation.
pub struct BootInfo {
    ranges: [Range; MAX_RANGES],
    range_count: usize,
    cmdline: [u8; MAX_CMDLINE],
    cmdline_len: usize,
    rsdp: u64,
}

/// The monitor's hand-over is unusable.
#[derive(Clone, Copy, Debug)]
pub enum BadBoot {
    /// No PVH start info at the address in `%ebx`.
    NoStartInfo,
    /// The start info has no memory map (version 0).
    NoMemoryMap,
    /// The command line is not UTF-8.
    BadCmdline,
}

struct Cell(UnsafeCell<BootInfo>);
// SAFETY: written once by the boot CPU before READ says so, afterwards only read.
unsafe impl Sync for Cell {}

static INFO: Cell = Cell(UnsafeCell::new(BootInfo {
    ranges: [Range { start: 0, size: 0, kind: 0, _reserved: 0 }; MAX_RANGES],
    range_count: 0,
    cmdline: [0; MAX_CMDLINE],
    cmdline_len: 0,
    rsdp: 0,
}));
static READ: AtomicBool = AtomicBool::new(false);

/// A value at a physical address that the boot tables show.
fn peek<T: Copy>(at: u64) -> Option<T> {
    if at == 0 || at.checked_add(size_of::<T>() as u64)? > VISIBLE {
        return None;
    }
    // SAFETY: the boot tables map the first GiB; `T` is plain old data in every use below.
    Some(unsafe { ((DIRECT_MAP + at) as *const T).read_unaligned() })
}

/// Reads the start info. Once, on the boot CPU, before anything allocates.
pub fn read(start_info: u32) -> Result<&'static BootInfo, BadBoot> {
    let start: StartInfo = peek(u64::from(start_info)).ok_or(BadBoot::NoStartInfo)?;
    if start.magic != MAGIC {
        return Err(BadBoot::NoStartInfo);
    }
    if start.version == 0 || start.memmap_entries == 0 {
        return Err(BadBoot::NoMemoryMap);
    }
    // SAFETY: the only writer, before READ makes the structure visible to anyone.
    let info: &mut BootInfo = unsafe { &mut *INFO.0.get() };
    info.rsdp = start.rsdp_at;
    for n in 0..u64::from(start.memmap_entries) {
        let entry = peek::<Range>(start.memmap_at + n * size_of::<Range>() as u64);
        if let (Some(entry), Some(slot)) = (entry, info.ranges.get_mut(info.range_count)) {
            *slot = entry;
            info.range_count += 1;
        }
    }
    for n in 0..MAX_CMDLINE as u64 {
        match peek::<u8>(start.cmdline_at + n) {
            Some(byte) if byte != 0 => {
                info.cmdline[n as usize] = byte;
                info.cmdline_len += 1;
            }
            _ => break,
        }
    }
    core::str::from_utf8(&info.cmdline[..info.cmdline_len]).map_err(|_| BadBoot::BadCmdline)?;
    READ.store(true, Ordering::Release);
    Ok(info)
}

/// What [`read`] found; empty before.
pub fn get() -> Option<&'static BootInfo> {
    // SAFETY: written once, before READ.
    READ.load(Ordering::Acquire).then(|| unsafe { &*INFO.0.get() })
}

/// The kernel command line; empty before [`read`].
pub fn cmdline() -> &'static str {
    get().map_or("", BootInfo::cmdline)
}

impl BootInfo {
    /// The firmware's memory map.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges[..self.range_count]
    }

    /// The kernel command line.
    pub fn cmdline(&self) -> &str {
        // Checked by `read`; the empty string stands for what cannot happen.
        core::str::from_utf8(&self.cmdline[..self.cmdline_len]).unwrap_or("")
    }

    /// Bytes of RAM as the monitor sold it: the hole that PCs have below 1 MiB counts as RAM.
    pub fn ram_bytes(&self) -> u64 {
        let usable = self.ranges().iter().filter(|range| range.kind == USABLE);
        let above = usable.map(|range| {
            let end = range.start.saturating_add(range.size);
            end.saturating_sub(range.start.max(EXTENDED_RAM_START))
        });
        above.fold(EXTENDED_RAM_START, u64::saturating_add)
    }

    /// Physical address of the RSDP; 0 if the monitor names none.
    pub fn rsdp(&self) -> u64 {
        self.rsdp
    }
}
