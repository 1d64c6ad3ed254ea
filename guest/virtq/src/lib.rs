//! The driver's half of a split virtqueue, for any memory that driver and device share.
//!
//! Owns: the rings, the free descriptors, and when either side is to be told. Stays outside: the transport, where the
//! rings lie, what a request means, locks (a queue has one user at a time), and all `unsafe`: the caller brings the
//! shared memory as slices of atomics.
//! Invariants: a descriptor is free or part of one chain with the device; whatever the device writes, nothing is
//! indexed by it unchecked, and a chain is given back at most once. Indices are compared modulo 2^16, so a queue works
//! for ever.
//!
//! Why not a crate: `virtio-drivers` 0.13 compares event indices without wrap-around, allocates for indirect tables,
//! and has no way to add many requests with one notification (ADR 0004).
//!
//! Source: VIRTIO 1.2, section 2.7.

#![no_std]
#![forbid(unsafe_code)]

mod descriptor;
mod queue;
mod rings;

pub use descriptor::{Access, Buffer, DESCRIPTOR_WORDS, encode};
pub use queue::{Broken, Full, Queue, Used};
pub use rings::{Layout, Rings};
