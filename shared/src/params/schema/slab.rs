//! Parameters of the group "Slab".

use super::{ANY, OFF, computed, int, is};
use crate::params::spec::Kind::{Bool, Enum, Flag, SlabDebug};
use crate::params::spec::{OnBad, ParamSpec};

pub(super) const PARAMS: &[ParamSpec] = &[
    ParamSpec::new("slab_allocator", Enum(&["slub", "slab", "slob"]), is("slub"), "which slab allocator"),
    ParamSpec::linux("slab_debug", SlabDebug, OFF, "checks on slab objects, per cache")
        .aliases(&["slub_debug"])
        .on_bad(OnBad::Text("slab_debug option '{c}' unknown. skipped")),
    ParamSpec::linux("slab_min_order", int(0, 10), is("0"), "smallest order of a slab")
        .aliases(&["slub_min_order"])
        .on_bad(OnBad::Nearest),
    ParamSpec::linux("slab_max_order", int(0, 10), is("3"), "largest order of a slab")
        .aliases(&["slub_max_order"])
        .on_bad(OnBad::Nearest),
    ParamSpec::linux("slab_min_objects", int(0, ANY), computed("auto"), "fewest objects in a slab")
        .aliases(&["slub_min_objects"])
        .on_bad(OnBad::Nearest),
    ParamSpec::linux("slab_nomerge", Flag, OFF, "keep caches of equal size apart").aliases(&["slub_nomerge"]),
    ParamSpec::linux("slab_merge", Flag, is("on"), "let caches of equal size share slabs")
        .aliases(&["slub_merge"]),
    ParamSpec::new(
        "slab_freelist_random",
        Bool,
        is("0"),
        "order the objects of new slabs at random (CONFIG_SLAB_FREELIST_RANDOM)",
    ),
    ParamSpec::new(
        "slab_freelist_hardened",
        Bool,
        is("0"),
        "hide the links of free slab objects (CONFIG_SLAB_FREELIST_HARDENED)",
    ),
    ParamSpec::new("slab.reuse", Bool, is("1"), "free places in slabs are used again (0 for tests)"),
    ParamSpec::linux("slab_strict_numa", Flag, OFF, "apply memory policies to every object, not to slabs"),
];
