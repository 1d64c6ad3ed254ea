//! `/proc/iomem`: the physical address space as a tree.
//!
//! Owns: collecting the ranges and nesting them. RAM comes from the memory map that is in use, so `mem=` and
//! `memmap=` show; what is not RAM from the firmware's, `memmap=`, the image and the devices.
//! Source: Linux `arch/x86/kernel/e820.c` (`e820_type_to_string`), `setup.c`.

use crate::boot_info;
use crate::memory::{PHYS, boot};
use crate::text::Text;
use core::fmt::{self, Write};
use mm::addr::PAGE_SIZE;
use shared::layout::{IMAGE_OFFSET, IOAPIC, LAPIC};
use shared::params::{self, MemmapEntry, MemmapType, Value};
use shared::text::e820::E820Type;
use shared::text::iomem::{MAX_DEPTH, Resource, write_resource};

/// More ranges are left out.
const CAPACITY: usize = 192;
/// Bytes of the I/O APIC's window.
const IOAPIC_BYTES: u64 = 0x400;

/// One range; `end` is its last address.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    end: u64,
    name: &'static str,
    /// Goes behind the name (`virtio-mmio.0`).
    number: Option<u32>,
}

struct Spans {
    all: [Span; CAPACITY],
    count: usize,
}

impl Spans {
    /// Adds `size` bytes from `start`; nothing if `size` is 0.
    fn add(&mut self, start: u64, size: u64, name: &'static str, number: Option<u32>) {
        if let (Some(slot), Some(last)) = (self.all.get_mut(self.count), size.checked_sub(1)) {
            *slot = Span { start, end: start.saturating_add(last), name, number };
            self.count += 1;
        }
    }

    /// Parents before children, neighbours by address.
    fn sorted(&mut self) -> &[Span] {
        let used = &mut self.all[..self.count];
        used.sort_unstable_by_key(|span| (span.start, u64::MAX - span.end));
        used
    }
}

/// Writes `/proc/iomem`.
pub fn iomem(w: &mut dyn Write) -> fmt::Result {
    let mut spans = Spans { all: [Span { start: 0, end: 0, name: "", number: None }; CAPACITY], count: 0 };
    add_ram(&mut spans);
    add_firmware(&mut spans);
    add_image(&mut spans);
    add_devices(&mut spans);
    let mut open = [0; MAX_DEPTH as usize];
    let mut depth = 0;
    for span in spans.sorted() {
        while depth > 0 && open[depth - 1] < span.end {
            depth -= 1;
        }
        let mut name = Text::<32>::new();
        match span.number {
            Some(number) => write!(name, "{}.{number}", span.name)?,
            None => name.write_str(span.name)?,
        }
        let (start, end) = (span.start, span.end);
        write_resource(w, &Resource { depth: depth as u32, start, end, name: name.as_str() })?;
        if let Some(slot) = open.get_mut(depth) {
            *slot = end;
            depth += 1;
        }
    }
    Ok(())
}

/// RAM, whatever node it is on.
fn add_ram(spans: &mut Spans) {
    let Some(memory) = PHYS.memblock() else { return };
    let neighbours = |a: &mm::memblock::Region, b: &mm::memblock::Region| a.end == b.start;
    for run in memory.memory().chunk_by(neighbours) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        spans.add(first.start, last.end - first.start, "System RAM", None);
    }
}

fn add_firmware(spans: &mut Spans) {
    let Some(info) = boot_info::get() else { return };
    for range in info.ranges() {
        let name = match E820Type::from_code(range.kind) {
            E820Type::Usable => continue,
            E820Type::Reserved => "Reserved",
            E820Type::AcpiData => "ACPI Tables",
            E820Type::AcpiNvs => "ACPI Non-volatile Storage",
            E820Type::Unusable => "Unusable memory",
        };
        spans.add(range.start, range.size, name, None);
    }
    for token in params::occurrences(info.cmdline(), "memmap") {
        let checked = params::lookup("memmap").map(|spec| params::check(spec, token.value));
        let Some(Ok(Value::Memmap(list))) = checked else { continue };
        for entry in list.entries() {
            match entry {
                MemmapEntry::Range { start, size, kind: MemmapType::Reserved } if !is_ram(start) => {
                    spans.add(start, size, "Reserved", None);
                }
                MemmapEntry::Range { start, size, kind: MemmapType::Acpi } if !is_ram(start) => {
                    spans.add(start, size, "ACPI Tables", None);
                }
                _ => {}
            }
        }
    }
}

/// Whether an address is in RAM that is used: then a `memmap=` that names it was refused.
fn is_ram(at: u64) -> bool {
    PHYS.memblock()
        .is_some_and(|map| map.memory().iter().any(|region| (region.start..region.end).contains(&at)))
}

fn add_image(spans: &mut Spans) {
    let [text, rodata, (data, end)] = boot::image_sections();
    let bss = boot::image_bss();
    for ((start, end), name) in [
        (text, "Kernel code"),
        (rodata, "Kernel rodata"),
        ((data, bss), "Kernel data"),
        ((bss, end), "Kernel bss"),
    ] {
        spans.add(start - IMAGE_OFFSET, end - start, name, None);
    }
}

fn add_devices(spans: &mut Spans) {
    spans.add(IOAPIC, IOAPIC_BYTES, "IOAPIC 0", None);
    spans.add(LAPIC, PAGE_SIZE, "Local APIC", None);
    let spec = params::lookup("virtio_mmio.device");
    let words = params::occurrences(boot_info::cmdline(), "virtio_mmio.device");
    for (number, token) in (0..).zip(words) {
        if let Some(Ok(Value::VirtioMmio(window))) = spec.map(|spec| params::check(spec, token.value)) {
            spans.add(window.base, window.size, "virtio-mmio", Some(window.id.unwrap_or(number)));
        }
    }
}
