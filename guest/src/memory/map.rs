//! From the firmware's memory map and the parameters to memblock.
//!
//! Invariants: what the image, the boot data and the first MiB occupy is taken before anything is allocated.
//! Source: Linux `e820__memblock_setup`, `setup_arch`.

use super::boot;
use crate::boot_info::{BootInfo, USABLE};
use crate::console;
use mm::addr::PhysAddr;
use mm::memblock::{Memblock, MemblockError};
use shared::layout::{EXTENDED_RAM_START, IMAGE_LOAD, IMAGE_OFFSET, MIN_MEM};
use shared::params::{self, MemmapEntry, MemmapType, Value};

/// Builds the memory map.
pub fn build(info: &BootInfo, cmdline: &str) -> Result<Memblock, MemblockError> {
    let mut map = Memblock::new();
    for range in info.ranges().iter().filter(|range| range.kind == USABLE && range.size > 0) {
        map.add(PhysAddr::truncate(range.start), range.size, None)?;
    }
    for token in params::occurrences(cmdline, "memmap") {
        apply_memmap(&mut map, params::lookup("memmap").map(|spec| params::check(spec, token.value)))?;
    }
    apply_limit(&mut map, cmdline)?;
    // Linux keeps the first MiB for firmware, trampolines and devices that can reach nothing else.
    map.reserve(PhysAddr::truncate(0), EXTENDED_RAM_START)?;
    map.reserve(PhysAddr::truncate(IMAGE_LOAD), boot::image_end() - IMAGE_OFFSET - IMAGE_LOAD)?;
    Ok(map)
}

fn apply_memmap(
    map: &mut Memblock,
    checked: Option<Result<Value<'_>, params::BadValue<'_>>>,
) -> Result<(), MemblockError> {
    let Some(Ok(Value::Memmap(list))) = checked else { return Ok(()) };
    for entry in list.entries() {
        match entry {
            MemmapEntry::Exact => *map = Memblock::new(),
            MemmapEntry::Range { start, size, kind } => {
                let image = IMAGE_LOAD..boot::image_end() - IMAGE_OFFSET;
                let base = PhysAddr::truncate(start);
                match kind {
                    MemmapType::Ram => map.add(base, size, None)?,
                    _ if start < image.end && start.saturating_add(size) > image.start => {
                        console::print(format_args!(
                            "memmap=: {size:#x}${start:#x} overlaps the kernel, ignored\n"
                        ));
                    }
                    MemmapType::Reserved | MemmapType::Acpi => map.remove(base, size)?,
                }
            }
        }
    }
    Ok(())
}

/// `mem=`: an address above which RAM is not used.
fn apply_limit(map: &mut Memblock, cmdline: &str) -> Result<(), MemblockError> {
    let Some(limit) = params::get_u64(cmdline, "mem") else { return Ok(()) };
    if limit < MIN_MEM || limit > map.end().get() {
        return Ok(()); // the check of the parameters has said so
    }
    map.limit(PhysAddr::truncate(limit))
}
