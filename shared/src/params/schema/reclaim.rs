//! Parameters of the group "Reclaim, page cache, writeback".

use super::{ANY, KIB, MIB, NONE, computed, int, is, sysctl};
use crate::params::spec::Kind::{Device, Enum, Mask, Pow2, Size};
use crate::params::spec::{OnBad, ParamSpec, Problem, SizeRange};

/// Two pages: a smaller dirty limit could never be met.
const DIRTY_BYTES_MIN: u64 = 8 * KIB;

pub(super) const PARAMS: &[ParamSpec] = &[
    sysctl(
        "sysctl.vm.swappiness",
        int(0, 200),
        is("60"),
        "weight of anonymous against file pages in reclaim",
    ),
    ParamSpec::new(
        "reclaim",
        Enum(&["lru", "mglru", "clock", "fifo", "sieve"]),
        is("lru"),
        "which page replacement policy",
    ),
    ParamSpec::new(
        "lru_gen.enabled",
        Mask(7),
        computed("7 with reclaim=mglru"),
        "parts of multi-gen LRU that run",
    )
    .on_bad(OnBad::Einval),
    ParamSpec::new(
        "lru_gen.min_ttl_ms",
        int(0, ANY),
        is("0"),
        "age below which a working set is not evicted",
    )
    .unit("ms")
    .on_bad(OnBad::Einval),
    sysctl("sysctl.vm.vfs_cache_pressure", int(0, ANY), is("100"), "weight of object caches in reclaim"),
    sysctl("sysctl.vm.dirty_ratio", int(0, 100), is("20"), "dirty share at which writers are throttled")
        .unit("%"),
    sysctl(
        "sysctl.vm.dirty_background_ratio",
        int(0, 100),
        is("10"),
        "dirty share at which writeback starts",
    )
    .unit("%"),
    sysctl(
        "sysctl.vm.dirty_bytes",
        Size(SizeRange::new(DIRTY_BYTES_MIN, u64::MAX).or_zero()),
        is("0"),
        "dirty limit in bytes; overrides dirty_ratio",
    )
    .unit("bytes")
    .on_bad(OnBad::TextFor(Problem::TooSmall, "sysctl.vm.dirty_bytes=: {v} is below two pages, ignored")),
    sysctl(
        "sysctl.vm.dirty_background_bytes",
        Size(SizeRange::new(0, u64::MAX)),
        is("0"),
        "background limit in bytes; overrides dirty_background_ratio",
    )
    .unit("bytes"),
    sysctl("sysctl.vm.dirty_expire_centisecs", int(0, ANY), is("3000"), "age at which dirty data is written")
        .unit("1/100 s"),
    sysctl(
        "sysctl.vm.dirty_writeback_centisecs",
        int(0, ANY),
        is("500"),
        "time between flusher wake-ups; 0 = off",
    )
    .unit("1/100 s"),
    sysctl("sysctl.vm.laptop_mode", int(0, ANY), is("0"), "write everything so long after a disk read")
        .unit("s"),
    sysctl("sysctl.vm.block_dump", int(0, ANY), is("0"), "log block I/O")
        .notice("removed upstream, no effect"),
    sysctl("sysctl.vm.drop_caches", int(1, 4), NONE, "drop page cache (1), slab (2), both (3), silently (4)"),
    sysctl("sysctl.vm.stat_interval", int(1, ANY), is("1"), "time between folds of per-CPU counters")
        .unit("s"),
    ParamSpec::new(
        "writeback",
        Enum(&["bdi", "pdflush"]),
        is("bdi"),
        "one flusher per disk, or a pool of pdflush",
    ),
    ParamSpec::new("pdflush.min", int(1, 64), is("2"), "fewest pdflush threads"),
    ParamSpec::new("pdflush.max", int(1, 64), is("8"), "most pdflush threads"),
    ParamSpec::new("read_ahead_kb", int(0, 16384), is("128"), "largest readahead window")
        .unit("kB")
        .on_bad(OnBad::Nearest),
    ParamSpec::new(
        "fault_around_bytes",
        Pow2(SizeRange::new(4 * KIB, 2 * MIB)),
        is("65536"),
        "cached pages mapped by one read fault",
    )
    .unit("bytes")
    .on_bad(OnBad::Nearest),
    ParamSpec::linux("root", Device, is("vda"), "disk or partition that holds the files")
        .on_bad(OnBad::Text("root=: {v}: no such device")),
    ParamSpec::new("disk.N.fs", Device, is("vda"), "disk or partition that holds file system N")
        .on_bad(OnBad::Text("disk.N.fs=: {v}: no such device")),
];
