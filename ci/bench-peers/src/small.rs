//! Allocators of small objects.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::NonNull;
use std::sync::Arc;

use anyhow::Result;
use mimalloc::MiMalloc;
use mm::phys::{GfpFlags, ZoneAllocator};
use mm::slab::Slabs;
use snmalloc_rs::SnMalloc;
use tikv_jemallocator::Jemalloc;

use crate::machine::{self, Board, Machine};
use crate::work::{Allocator, Subject};

/// Alignment of every object: what all give anyway.
const ALIGN: usize = 16;

/// Ours first.
pub fn subjects(board: &'static Board) -> Result<Vec<Arc<dyn Subject>>> {
    keep_freed_memory();
    let (slabs, frames) = (machine::boot_slabs(board)?, ZoneAllocator::new(board));
    Ok(vec![
        Arc::new(Kmalloc { slabs, frames }),
        Arc::new(KmemCache(Kmalloc { slabs, frames: ZoneAllocator::new(board) })),
        Arc::new(Global("mimalloc", MiMalloc)),
        Arc::new(Global("jemalloc", Jemalloc)),
        Arc::new(Global("snmalloc", SnMalloc)),
        Arc::new(Global("glibc", System)),
    ])
}

/// Ours: the size classes of SLUB on the simulated machine.
struct Kmalloc {
    slabs: &'static Slabs<'static, Machine>,
    frames: ZoneAllocator<'static, Machine>,
}

impl Allocator for Kmalloc {
    type Item = Object;

    fn name(&self) -> &'static str {
        "ballast"
    }

    #[inline(always)]
    fn take(&self, size: u32) -> Option<Object> {
        self.slabs.kmalloc(&self.frames, size as usize, GfpFlags::GFP_KERNEL).ok().map(Object::written)
    }

    #[inline(always)]
    unsafe fn give(&self, object: Object, _size: u32) {
        // SAFETY: the caller took it and gives it back once.
        if let Err(error) = unsafe { self.slabs.kfree(object.0.as_ptr()) } {
            panic!("memory is corrupted: {error}");
        }
    }
}

/// glibc's malloc returns memory to the kernel at every chance; then page faults are measured, which the others,
/// ours included, do not have.
fn keep_freed_memory() {
    for (option, value) in [(libc::M_TRIM_THRESHOLD, i32::MAX), (libc::M_MMAP_THRESHOLD, i32::MAX)] {
        // SAFETY: the call only sets an option.
        unsafe { libc::mallopt(option, value) };
    }
}

/// Ours for callers that know the cache, as most of a kernel does.
struct KmemCache(Kmalloc);

impl Allocator for KmemCache {
    type Item = Object;

    fn name(&self) -> &'static str {
        "ballast cache"
    }

    #[inline(always)]
    fn take(&self, size: u32) -> Option<Object> {
        let Kmalloc { slabs, frames } = &self.0;
        let cache = slabs.kmalloc_cache(size as usize, GfpFlags::GFP_KERNEL)?;
        slabs.alloc(cache, frames, GfpFlags::GFP_KERNEL).ok().map(Object::written)
    }

    #[inline(always)]
    unsafe fn give(&self, object: Object, size: u32) {
        let slabs = self.0.slabs;
        let cache = slabs.kmalloc_cache(size as usize, GfpFlags::GFP_KERNEL);
        // SAFETY: the caller took it from this cache and gives it back once.
        let freed = cache.map(|cache| unsafe { slabs.free(cache, object.0) });
        if !matches!(freed, Some(Ok(()))) {
            panic!("memory is corrupted");
        }
    }
}

/// An object on its way between threads.
#[derive(Clone, Copy)]
pub struct Object(NonNull<u8>);

// SAFETY: whoever has the value owns the object; allocators take objects back from any thread.
unsafe impl Send for Object {}

impl Object {
    /// Writes its first word, as every user of an object does.
    #[inline(always)]
    fn written(at: NonNull<u8>) -> Self {
        // SAFETY: a new object of at least 16 bytes, aligned to 16.
        unsafe { at.cast::<u64>().write(1) };
        Self(at)
    }
}

struct Global<A>(&'static str, A);

#[inline(always)]
fn layout(size: u32) -> Layout {
    // SAFETY: the alignment is a power of two and sizes are far below the limit.
    unsafe { Layout::from_size_align_unchecked(size as usize, ALIGN) }
}

impl<A: GlobalAlloc + Send + Sync + 'static> Allocator for Global<A> {
    type Item = Object;

    fn name(&self) -> &'static str {
        self.0
    }

    #[inline(always)]
    fn take(&self, size: u32) -> Option<Object> {
        // SAFETY: sizes are not 0.
        NonNull::new(unsafe { self.1.alloc(layout(size)) }).map(Object::written)
    }

    #[inline(always)]
    unsafe fn give(&self, object: Object, size: u32) {
        // SAFETY: the caller took it with this size.
        unsafe { self.1.dealloc(object.0.as_ptr(), layout(size)) };
    }
}
