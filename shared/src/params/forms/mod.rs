//! Values with a syntax of their own, one file per form.
//!
//! Owns the checked list types of [`super::value::Value`]. A list type holds text that was walked once from
//! end to end without an error; its iterator walks it again and so yields every entry.

mod context;
mod devices;
mod fault;
mod huge;
mod int_list;
mod memmap;
mod numa;
mod psi;
mod slab;

pub(super) use devices::device_name;

pub use context::{ContextSpec, THP_POLICIES};
pub use devices::{SwapArea, SwapDiscard, VirtioMmio};
pub use fault::FaultAttr;
pub use huge::{HugePages, NodeCounts, ThpAnon, ThpAnonRule};
pub use int_list::{INT_LIST_MAX, IntList};
pub use memmap::{MemmapEntry, MemmapList, MemmapType};
pub use numa::NumaOption;
pub use psi::{PsiTrigger, STALLS};
pub use slab::{SlabDebug, SlabFlags, SlabSelection};
