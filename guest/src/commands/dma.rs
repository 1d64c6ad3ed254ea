//! `dma map`: a device with few address lines, and the bounce buffer that serves it.
//!
//! Owns: the device, an imitation of an ISA bus master: it has an address register as wide as its mask, and it
//! inverts the bytes it is pointed at.

use super::words::number;
use super::{Args, Command, Outcome, fail, usage};
use crate::console;
use crate::machine::MACHINE;
use crate::memory::{self, PHYS};
use mm::addr::{Order, PAGE_SIZE, Pfn, PhysAddr};
use mm::dma::{Direction, DmaMask};
use mm::phys::GfpFlags;
use mm::port::{Machine, PhysMem};
use shared::exit::ExitStatus;

/// The family.
pub const DMA: &[Command] = &[Command {
    name: "dma",
    usage: "map mask=BITS [gfp=GFP_DMA]",
    summary: "lends a page to a device with BITS address lines and checks what comes back",
    run: dma,
}];

/// The imitated device.
struct InvertingDevice {
    /// What its address register holds: higher bits do not exist.
    address: u64,
}

impl InvertingDevice {
    fn new(bits: u32, bus: PhysAddr) -> Self {
        let lines = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
        Self { address: bus.get() & lines }
    }

    /// Inverts a page where the register points; false if there is no memory.
    ///
    /// # Safety
    /// The page was lent to this device.
    unsafe fn run(&self) -> bool {
        let Some(page) = MACHINE.physmem().ptr(PhysAddr::truncate(self.address)) else { return false };
        for n in 0..PAGE_SIZE as usize {
            // SAFETY: a byte of the page that the caller vouches for.
            unsafe { page.add(n).write_volatile(!page.add(n).read_volatile()) };
        }
        true
    }
}

fn dma(args: &mut Args<'_>) -> Outcome {
    if !args.take("map") {
        return Err(usage(format_args!("dma: expected 'map mask=BITS'")));
    }
    let bits = args.take_key("mask").and_then(number).and_then(|bits| u32::try_from(bits).ok());
    let Some((bits, mask)) = bits.and_then(|bits| Some((bits, DmaMask::bits(bits)?))) else {
        return Err(usage(format_args!("dma: expected mask=BITS (12..64)")));
    };
    let gfp = match args.take_key("gfp") {
        None => GfpFlags::GFP_KERNEL,
        Some(name) => {
            GfpFlags::parse_name(name).ok_or_else(|| usage(format_args!("dma: unknown flag '{name}'")))?
        }
    };
    let frames = PHYS
        .alloc_pages(gfp, Order::ZERO)
        .map_err(|error| fail(ExitStatus::OutOfMemory, format_args!("dma: {error}")))?;
    let (pfn, order) = frames.into_raw();
    let outcome = lend(pfn, bits, mask);
    memory::free_block(pfn, order);
    outcome
}

fn lend(pfn: Pfn, bits: u32, mask: DmaMask) -> Outcome {
    let Some(page) = MACHINE.physmem().ptr(pfn.addr()) else { return Err(ExitStatus::CheckFailed) };
    let byte = |n: usize| (n as u8).wrapping_mul(31).wrapping_add(bits as u8);
    for n in 0..PAGE_SIZE as usize {
        // SAFETY: the page is ours.
        unsafe { page.add(n).write_volatile(byte(n)) };
    }
    // SAFETY: the page is ours, and nothing but the device touches it until the unmap.
    let mapping = unsafe { PHYS.dma_map(pfn.addr(), PAGE_SIZE, mask, Direction::Bidirectional) }
        .map_err(|error| fail(ExitStatus::CheckFailed, format_args!("dma: {error}")))?;
    let (bus, bounced) = (mapping.bus(), mapping.is_bounced());
    // SAFETY: the page at `bus` was lent to the device; its mask reaches it, so the register holds all of it.
    let ran = unsafe { InvertingDevice::new(bits, bus).run() };
    // SAFETY: the device is done.
    if let Err(error) = unsafe { PHYS.dma_unmap(mapping) } {
        crate::report::corruption(format_args!("{error}"));
    }
    // SAFETY: the page is ours again.
    let right = ran && (0..PAGE_SIZE as usize).all(|n| unsafe { page.add(n).read_volatile() } == !byte(n));
    console::print(format_args!(
        "pfn={:#x} bus={:#x} mask={bits} bounce={} data={}\n",
        pfn.get(),
        bus.get(),
        u8::from(bounced),
        if right { "ok" } else { "wrong" }
    ));
    if right { Ok(()) } else { Err(ExitStatus::CheckFailed) }
}
