//! Reverse mapping: from a folio to the entries that map it (Linux `mm/rmap.c`).
//!
//! Owns: anchors of anonymous memory and the areas linked to them, and the areas of what has pages of its own: files and
//! shared memory. Stays outside: areas and contexts themselves; here
//! they are a number of a context and a range of pages. Invariants: an anonymous folio names an anchor; every area
//! that maps it is linked to that anchor while it does, and shows page `index` of the anchor at
//! `start + (index - pgoff)`. Lock order: a context's lock, then the lock of an anchor; who comes from a folio takes
//! them the other way round and must not wait for the context.

mod anon;
mod interval;

pub use anon::{AnonLink, AnonVma, Limbo};
pub use interval::{AreaLink, AreaTree};
