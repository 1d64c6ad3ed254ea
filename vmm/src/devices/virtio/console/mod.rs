//! The virtio console: one port, guest output to a file of the host, host input to the guest.
//!
//! Owns: the device (`device`) and its output (`output`).
//! Stays outside: rings and registers (the parent module), terminal modes, and who reads the
//! host's standard input.
//!
//! Source: VIRTIO 1.2, section 5.3.

mod device;
mod output;

pub use device::{Console, drain};
pub use output::{OutputLoss, Written};
