//! What the prebuilt `alloc` library wants of a program. The other allocators link it; nobody allocates from it.

use spinning_top::RawSpinlock;
use talc::TalcLock;
use talc::source::Manual;

/// A heap without memory.
#[global_allocator]
static NONE: TalcLock<RawSpinlock, Manual> = TalcLock::new(Manual);

/// Named by unwinding tables. Nothing unwinds here: a panic ends the guest.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
