//! Parameters of the group "Page allocator and compaction".

use super::{ANY, MIB, NONE, computed, int, is, sysctl};
use crate::params::forms::INT_LIST_MAX;
use crate::params::spec::Kind::{Bool, Enum, Int, IntList, SizeAt, Switch, Text};
use crate::params::spec::{OnBad, ParamSpec, Range, SizeRange};

pub(super) const PARAMS: &[ParamSpec] = &[
    ParamSpec::new("page_alloc", Enum(&["buddy", "llfree", "bitmap"]), is("buddy"), "which page allocator"),
    ParamSpec::new("buddy.merge", Bool, is("1"), "free blocks merge with their buddies (0 for tests)"),
    sysctl(
        "sysctl.vm.min_free_kbytes",
        int(128, ANY),
        computed("sqrt(16 * lowmem kB)"),
        "free memory kept for allocations that cannot wait; at most 25 % of RAM",
    )
    .unit("kB"),
    sysctl("sysctl.vm.watermark_scale_factor", int(1, 3000), is("10"), "distance between the watermarks")
        .unit("1/10000 of the zone"),
    sysctl(
        "sysctl.vm.watermark_boost_factor",
        int(0, ANY),
        is("15000"),
        "how far the high watermark rises after fragmentation",
    )
    .unit("1/10000 of the high watermark"),
    sysctl(
        "sysctl.vm.lowmem_reserve_ratio",
        IntList(INT_LIST_MAX, Range::new(0, ANY)),
        is("256 256 32 0 0"),
        "share of the higher zones kept free in each lower zone",
    ),
    sysctl(
        "sysctl.vm.percpu_pagelist_high_fraction",
        Int(Range::or_zero(8, ANY)),
        is("0"),
        "largest share of a zone, as a divisor, on one CPU's lists",
    ),
    sysctl(
        "sysctl.vm.compaction_proactiveness",
        int(0, 100),
        is("20"),
        "how hard kcompactd works in advance",
    ),
    sysctl(
        "sysctl.vm.extfrag_threshold",
        int(0, 1000),
        is("500"),
        "fragmentation index above which to compact",
    ),
    sysctl("sysctl.vm.compact_unevictable_allowed", Switch, is("1"), "compaction may move unevictable pages"),
    ParamSpec::new("compaction", Bool, is("1"), "compaction at all (for tests)"),
    ParamSpec::linux(
        "cma",
        SizeAt(SizeRange::new(0, u64::MAX).multiple(4 * MIB)),
        is("0"),
        "contiguous memory area, optionally at a physical address",
    )
    .unit("bytes")
    .on_bad(OnBad::Nearest),
    ParamSpec::linux("hashdist", Text(64), NONE, "spread large hash tables over nodes")
        .notice(NOT_APPLICABLE),
    ParamSpec::linux("percpu_alloc", Text(64), NONE, "first-chunk allocator of per-CPU memory")
        .notice(NOT_APPLICABLE),
];

const NOT_APPLICABLE: &str = "not applicable";
