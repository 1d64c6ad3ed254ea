//! Tests of the simulated machine itself.

mod cpu;
mod ram;
