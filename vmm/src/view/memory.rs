//! Bytes of guest RAM for a reader beside the running guest: mapped here, or in a file shared with QEMU.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{Ordering, fence};

use vm_memory::{Bytes, GuestAddress};

use crate::memory::GuestRam;

/// Guest RAM that can be read at any time.
pub trait GuestBytes: Send {
    /// Copies RAM from guest-physical `address` on; `None` when not all of it is RAM. Calls are not reordered.
    fn read(&self, address: u64, bytes: &mut [u8]) -> Option<()>;
}

impl GuestBytes for GuestRam {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Option<()> {
        fence(Ordering::Acquire);
        let copied = self.read_slice(bytes, GuestAddress(address));
        fence(Ordering::Acquire);
        copied.ok()
    }
}

/// RAM in a file: byte `n` is guest-physical address `n`, as far as the file goes.
impl GuestBytes for File {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Option<()> {
        self.read_exact_at(bytes, address).ok()
    }
}
