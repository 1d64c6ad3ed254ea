//! Boots of real guests through the real `vmm` binary, and readers of what they print: for the tests of this
//! repository and of others. `docs/testing.md` shows how, `examples/facts.rs` is a complete example.
//!
//! | file | job |
//! |---|---|
//! | `binary` | where `vmm` is; builds it when it is not there |
//! | `host` | what can run a guest here: software KVM, hardware KVM, QEMU's TCG |
//! | `guest` | a guest to be: its machine, parameters and script |
//! | `chances` | numbers by chance that follow from a seed |
//! | `kill` | power cuts: the monitor is killed while its guest writes |
//! | `storm` | swap storms on bad disks, while contexts and the monitor are killed |
//! | `run` | a guest that has ended: status, output, time |
//! | `text` | facts (`key=value`) and lines of an output |
//! | `linux` | Linux's texts: memory map, /proc/buddyinfo, /proc/zoneinfo, /proc/meminfo |
//!
//! Stays outside: the tests and what they expect. Invariants: every guest has a time limit and does not outlive its
//! test; a host that is missing is said on standard error, captured or not.
//!
//! A test fails by a panic, so the functions here panic where an output is not what its reader asks for, with the
//! host, the command line and the whole output in the message.

mod binary;
mod chances;
mod guest;
mod host;
mod kill;
mod kill_files;
pub mod linux;
mod run;
mod storm;
mod text;

pub use binary::vmm;
pub use guest::Guest;
pub use host::{Host, any_host, for_each_host, kvm, not_tested};
pub use kill::kill_rounds;
pub use kill_files::kill_file_rounds;
pub use run::Run;
pub use storm::{Storms, swap_storms};
pub use text::Text;
