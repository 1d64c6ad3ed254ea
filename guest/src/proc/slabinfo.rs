//! `/proc/slabinfo`.

use crate::memory::slab::SLABS;
use core::fmt::{self, Write};
use shared::text::slabinfo::{self, CacheLine};

/// Writes `/proc/slabinfo`, the newest cache first.
pub fn slabinfo(w: &mut dyn Write) -> fmt::Result {
    slabinfo::write_header(w)?;
    for cache in SLABS.caches() {
        let (geometry, stats) = (cache.geometry(), cache.stats());
        let line = CacheLine {
            name: cache.name().as_str(),
            active_objs: stats.active_objects,
            num_objs: stats.objects,
            objsize: geometry.size.into(),
            objperslab: geometry.objects.into(),
            pagesperslab: geometry.order.pages(),
            active_slabs: stats.slabs,
            num_slabs: stats.slabs,
        };
        slabinfo::write_cache(w, &line)?;
    }
    Ok(())
}
