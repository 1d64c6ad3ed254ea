//! The Ballast microVM monitor as a library: configuration, assembly of a machine, its run loop.
//!
//! The binary `vmm` only parses arguments, calls in here, prints and exits. One direction:
//! `cli` → `config` → `builder` (memory, KVM, devices, boot data) → `run` → `exit`.

pub mod accel;
pub mod acpi;
pub mod boot;
pub mod builder;
pub mod cli;
pub mod config;
pub mod devices;
pub mod exit;
pub mod files;
pub mod image;
pub mod input;
pub mod kernel;
pub mod kvm;
pub mod loader;
pub mod machine;
pub mod manual;
pub mod memory;
pub mod params;
pub mod probe;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod signals;
pub mod stats;
pub mod tcg;
pub mod threads;
pub mod timing;
pub mod view;
pub mod witness;
