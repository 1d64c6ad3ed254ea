//! The devices a guest sees, and the buses that route its accesses to them.

pub mod bus;
