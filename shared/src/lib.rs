//! What host and guest agree on.
//!
//! One crate, built on both sides, so that neither can drift: the exit statuses, the addresses, the boot
//! parameters, the statistics area, the formats on disks, the rules of a NUMA topology and the Linux texts. The guest writes the
//! statistics area and the VMM reads it; everything else is constants and pure functions. Nothing here
//! allocates, panics on outside input or uses unsafe code.
#![no_std]
#![forbid(unsafe_code)]

pub mod acpi;
pub mod disk;
pub mod exit;
pub mod journal;
pub mod layout;
pub mod numa;
pub mod params;
pub mod script;
pub mod stats;
pub mod text;
