//! The tests of the memory manager on simulated machines: one binary, one module per subject.

mod board;
mod inspect;
mod map;
mod map_fixture;
mod pte;
mod walk;
mod zones;
