//! Areas: what is mapped where in a context, and with which rights (Linux `vm_area_struct`, `mm/vma.c`).
//!
//! Owns: the areas of a context in order, and their memory. Stays outside: entries of page tables, counters and who may
//! ask for what (`space`). Invariants: areas of a context do not overlap; the tree and the areas say the same; an area
//! with an anchor is on its list. A change cannot fail half way: what it may need is there before it begins.

mod area;
mod areas;
mod flags;
mod objects;

pub use area::{Backing, Vma, VmaInit, VmaKind};
pub use areas::Areas;
pub(crate) use areas::Supply;
pub use flags::VmFlags;
pub use objects::Objects;
