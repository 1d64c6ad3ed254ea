//! `/proc/slabinfo`, version 2.1. Source: Linux `mm/slab_common.c` (`print_slabinfo_header`, `cache_show`).

use core::fmt;

/// One cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLine<'a> {
    /// Its name.
    pub name: &'a str,
    /// Objects in use.
    pub active_objs: u64,
    /// Objects there are.
    pub num_objs: u64,
    /// Bytes from one object to the next.
    pub objsize: u64,
    /// Objects of a slab.
    pub objperslab: u64,
    /// Pages of a slab.
    pub pagesperslab: u64,
    /// Slabs with objects in use; SLUB does not tell them apart and says all.
    pub active_slabs: u64,
    /// Slabs there are.
    pub num_slabs: u64,
}

/// Writes the two lines at the top.
///
/// # Errors
/// Those of the writer.
pub fn write_header(w: &mut dyn fmt::Write) -> fmt::Result {
    w.write_str(
        "slabinfo - version: 2.1\n# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : \
         tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n",
    )
}

/// Writes the line of one cache. SLUB has nothing to tune.
///
/// # Errors
/// Those of the writer.
pub fn write_cache(w: &mut dyn fmt::Write, cache: &CacheLine<'_>) -> fmt::Result {
    let CacheLine { name, active_objs, num_objs, objsize, objperslab, pagesperslab, active_slabs, num_slabs } =
        cache;
    write!(w, "{name:<17} {active_objs:>6} {num_objs:>6} {objsize:>6} {objperslab:>4} {pagesperslab:>4}")?;
    write!(w, " : tunables {0:>4} {0:>4} {0:>4}", 0)?;
    writeln!(w, " : slabdata {active_slabs:>6} {num_slabs:>6} {:>6}", 0)
}
