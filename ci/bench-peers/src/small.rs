//! Allocators of small objects.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::NonNull;
use std::sync::Arc;

use mimalloc::MiMalloc;
use snmalloc_rs::SnMalloc;
use tikv_jemallocator::Jemalloc;

use crate::machine::Board;
use crate::work::{Allocator, Subject};

/// Alignment of every object: what all give anyway.
const ALIGN: usize = 16;

/// Ours first.
pub fn subjects(_board: &'static Board) -> Vec<Arc<dyn Subject>> {
    keep_freed_memory();
    vec![
        Arc::new(Global("mimalloc", MiMalloc)),
        Arc::new(Global("jemalloc", Jemalloc)),
        Arc::new(Global("snmalloc", SnMalloc)),
        Arc::new(Global("glibc", System)),
    ]
}

/// glibc's malloc returns memory to the kernel at every chance; then page faults are measured, which the others,
/// ours included, do not have.
fn keep_freed_memory() {
    for (option, value) in [(libc::M_TRIM_THRESHOLD, i32::MAX), (libc::M_MMAP_THRESHOLD, i32::MAX)] {
        // SAFETY: the call only sets an option.
        unsafe { libc::mallopt(option, value) };
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
