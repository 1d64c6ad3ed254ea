//! Sends the texts that only the guest can write to the monitor: one buffer in RAM, announced in the
//! statistics area when the machine ends by itself. Nobody needs the memory any more then.

use super::tick;
use crate::machine::MACHINE;
use crate::memory::PHYS;
use crate::proc;
use core::fmt::{self, Write};
use mm::addr::{Order, PAGE_SIZE};
use mm::phys::GfpFlags;
use mm::port::{Machine, PhysMem};
use shared::stats::{MAX_TEXTS_SIZE, TEXTS, TextGroup, record_header};

/// Counts the bytes of a text.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// A buffer that fills up; a text that does not fit fails.
struct Buffer {
    bytes: &'static mut [u8],
    used: usize,
}

impl Buffer {
    fn push(&mut self, bytes: &[u8]) -> fmt::Result {
        let room = self.bytes.get_mut(self.used..).and_then(|room| room.get_mut(..bytes.len()));
        room.ok_or(fmt::Error)?.copy_from_slice(bytes);
        self.used += bytes.len();
        Ok(())
    }

    /// Adds a text, or nothing of it.
    fn push_text(&mut self, number: usize, file: &proc::File) -> fmt::Result {
        let start = self.used;
        let (placeholder, _) = record_header(number, 0);
        let added = self.push(&placeholder).and_then(|()| file.render(self)).and_then(|()| {
            let length = self.used - start - placeholder.len();
            let (header, filling) = record_header(number, length);
            if let Some(place) = self.bytes.get_mut(start..start + header.len()) {
                place.copy_from_slice(&header);
            }
            self.push(&[0; 8][..filling])
        });
        if added.is_err() {
            self.used = start;
        }
        added
    }
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes())
    }
}

/// The texts of the list that exist, with their numbers.
fn files() -> impl Iterator<Item = (usize, proc::File)> {
    TEXTS.iter().enumerate().filter_map(|(number, name)| {
        let mut path = crate::text::Text::<64>::new();
        write!(path, "/proc/{name}").ok()?;
        Some((number, proc::find(path.as_str())?))
    })
}

/// Bytes that a text takes in the buffer now.
fn size_of_record(file: &proc::File) -> usize {
    let mut length = Length(0);
    // Counting cannot fail.
    let _ = file.render(&mut length);
    let (header, filling) = record_header(0, length.0);
    header.len() + length.0 + filling
}

/// Writes all texts and announces them, if a monitor watches. A text that does not fit is left out, and said.
pub fn send() {
    if !tick::is_watched() {
        return;
    }
    // A page more, because the texts may grow by what is done here.
    let need = files().map(|(_, file)| size_of_record(&file)).sum::<usize>() + PAGE_SIZE as usize;
    let Some((address, bytes)) = allocate(need.min(MAX_TEXTS_SIZE)) else { return };
    let mut buffer = Buffer { bytes, used: 0 };
    let missing = files().filter(|(number, file)| buffer.push_text(*number, file).is_err()).count();
    let length = buffer.used as u64;
    super::announce_texts(&TextGroup { sequence: 0, address, length, truncated: (missing > 0).into() });
}

/// The largest free block of up to `bytes`, below 4 GiB where every monitor finds it: its physical address and its bytes.
fn allocate(bytes: usize) -> Option<(u64, &'static mut [u8])> {
    let most = Order::covering(bytes.div_ceil(PAGE_SIZE as usize) as u64)?;
    let gfp = GfpFlags::GFP_KERNEL | GfpFlags::GFP_DMA32 | GfpFlags::__GFP_NOWARN;
    let block = (0..=most.get()).rev().filter_map(Order::new).find_map(|order| {
        let (pfn, order) = PHYS.alloc_pages(gfp, order).ok()?.into_raw();
        Some((pfn.addr(), order))
    });
    let (address, order) = block?;
    let start = MACHINE.physmem().ptr(address)?;
    // SAFETY: a block of this order that was just allocated, mapped by the direct map; nobody else has it.
    let buffer =
        unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), (order.pages() * PAGE_SIZE) as usize) };
    Some((address.get(), buffer))
}
