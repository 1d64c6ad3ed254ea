//! Boots a tiny kernel through the `vmm` binary, on every accelerator this host has. One binary for all, so that
//! there is one thing to link.
//!
//! | module | what it shows |
//! |---|---|
//! | `boot` | how a machine begins and ends, and what its user sees of it |
//! | `sandbox` | threads that are taken over get no further |
//!
//! Stays outside: the real guest, which the `tests` crate boots.

mod boot;
mod sandbox;
mod support;
