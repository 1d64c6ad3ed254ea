//! The Ballast microVM monitor as a library: configuration, assembly of a machine, its run loop.
//!
//! The binary `vmm` only parses arguments, calls in here, prints and exits.

pub mod devices;
pub mod memory;
