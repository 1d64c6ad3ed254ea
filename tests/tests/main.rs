//! Boots real guests and asserts on what they print. One binary for all, so that there is one thing to link.
//!
//! Names of tests begin with the row of `docs/rows.md` that they prove. A test that names no host runs on the fastest
//! one of this machine; [`tests::for_each_host`] is for what may differ between hosts, and says on which it was.

mod crash;
mod refusals;
