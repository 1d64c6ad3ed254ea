//! What host and guest agree on.
//!
//! One crate, built on both sides, so that neither can drift: the exit statuses, the addresses, the boot
//! parameters. Nothing here allocates, panics on outside input or uses unsafe code.
#![no_std]
#![forbid(unsafe_code)]

pub mod acpi;
pub mod exit;
pub mod layout;
pub mod params;
