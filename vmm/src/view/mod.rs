//! What the monitor sees of a guest from outside, without an exit: its statistics area, and the texts of
//! `/proc` made from it.
//!
//! Owns: reading guest RAM, rendering, the directory of `--procfs`, the thread that keeps both fresh.
//! Stays outside: the layout and the renderers (`shared`), the report (`report`).
//! Invariants: the guest may be hostile: every count is bounded, every wait ends, and file names are ours.
//!
//! | file | job |
//! |---|---|
//! | `memory` | bytes of guest RAM, wherever it is |
//! | `snapshot` | one reading of the statistics area |
//! | `pressure` | what the guest tells of its pressure |
//! | `procfs` | the directory of texts |
//! | `watcher` | the thread that reads and writes while the guest runs |

pub mod memory;
pub mod pressure;
pub mod procfs;
pub mod snapshot;
pub mod watcher;
