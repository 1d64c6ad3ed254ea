//! Kernel images: what is in the file, and loading it into RAM.

use std::cell::RefCell;

use vmm::kernel::{Kernel, Protocol};
use vmm::loader;
use vmm::memory::{GuestRam, HostPages, RamRange, allocate};

thread_local! {
    static RAM: RefCell<GuestRam> = RefCell::new(ram());
}

/// RAM with a hole, and nothing behind its end. Little of it, because an image may ask for all of it to be cleared.
fn ram() -> GuestRam {
    let ranges = [0, 1 << 20].map(|base| RamRange { base, size: 256 << 10, node: 0 });
    allocate(&ranges, HostPages::Small, false).expect("RAM")
}

/// Reads the image and, if it is a kernel, loads it.
pub fn elf(data: &[u8]) {
    let Ok(kernel) = Kernel::from_bytes("fuzz".to_owned(), data.to_vec()) else { return };
    if let Protocol::Pvh(entry) = kernel.protocol() {
        assert!(entry <= u32::MAX.into(), "a PVH entry has 32 bits");
    }
    let _ = kernel.is_ballast();
    RAM.with_borrow(|ram| {
        if let Err(error) = loader::load(ram, &kernel) {
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    });
}
