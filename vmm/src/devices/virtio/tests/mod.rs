//! Tests of the virtio devices from the guest's side: a small driver lays out rings in guest
//! memory and speaks only through the register window. No KVM is needed.

mod anywhere;
mod blk;
mod blk_malformed;
mod console;
pub mod driver;
mod images;
mod ring;
mod soup;
mod transport;
