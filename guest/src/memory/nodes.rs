//! The nodes of this machine's arrays: the guest's side of `mm::xarray`.
//!
//! Owns: the one [`NodeCache`], made when it is first asked for. Stays outside: the arrays.

use super::slab::{FRAMES, SLABS};
use crate::machine::Kernel;
use mm::slab::CreateError;
use mm::sync::Once;
use mm::xarray::NodeCache;

type Nodes = NodeCache<'static, 'static, Kernel>;

static NODES: Once<Option<Nodes>> = Once::new(None);

/// The supply of nodes; `None` without memory for it.
pub fn nodes() -> Option<&'static Nodes> {
    // Whoever comes second finds it made, or is told that there is none yet.
    let _ = NODES.init(|slot| {
        *slot = Some(NodeCache::new(&SLABS, &FRAMES)?);
        Ok::<(), CreateError>(())
    });
    NODES.get()?.as_ref()
}
