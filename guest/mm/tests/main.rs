//! The tests of the memory manager on simulated machines: one binary, one module per subject.

mod board;
mod pte;
mod zones;
