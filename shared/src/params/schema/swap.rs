//! Parameters of the group "Swap".

use super::{ANY, NONE, OFF, computed, int, is, sysctl};
use crate::params::spec::Kind::{Bool, Device, Enum, Flag, Size, Swap};
use crate::params::spec::{OnBad, ParamSpec, SizeRange};

const COMPRESSORS: &[&str] = &["lzo", "lz4", "zstd", "deflate"];

pub(super) const PARAMS: &[ParamSpec] = &[
    ParamSpec::new("swap", Swap, NONE, "a swap area to switch on at boot").repeats(),
    ParamSpec::new("noswap", Flag, OFF, "no swap at all"),
    sysctl("sysctl.vm.page-cluster", int(0, 31), is("3"), "swap readahead as a power of two; 0 = off")
        .unit("log2 pages"),
    ParamSpec::new(
        "nonrot",
        Device,
        NONE,
        "a disk that does not turn: Linux's queue/rotational is 0, where it is 1 for a virtio disk",
    )
    .repeats()
    .on_bad(OnBad::Text("nonrot=: {v}: no such device")),
    ParamSpec::new(
        "vma_ra_enabled",
        Bool,
        is("1"),
        "if no swap area is on a disk that turns, a page's neighbours in memory come back with it",
    ),
    ParamSpec::linux("zswap.enabled", Bool, is("0"), "compressed cache in front of the swap areas"),
    ParamSpec::linux("zswap.compressor", Enum(COMPRESSORS), is("lz4"), "compressor of zswap")
        .on_bad(OnBad::Text("zswap: compressor {v} not available, using default lz4")),
    sysctl("zswap.max_pool_percent", int(1, 100), is("20"), "largest share of RAM for zswap").unit("%"),
    sysctl(
        "zswap.accept_threshold_percent",
        int(1, 100),
        is("90"),
        "pool level at which zswap accepts again",
    )
    .unit("%"),
    ParamSpec::linux("zswap.shrinker_enabled", Bool, is("0"), "write cold zswap pages back under pressure"),
    ParamSpec::linux("zswap.zpool", Enum(&["zsmalloc"]), is("zsmalloc"), "allocator of zswap")
        .on_bad(OnBad::Text("zswap.zpool=: {v}: obsolete, zsmalloc used")),
    ParamSpec::linux("zram.num_devices", int(0, 8), is("0"), "compressed RAM disks").on_bad(OnBad::Einval),
    ParamSpec::new(
        "zramN.disksize",
        Size(SizeRange::new(0, u64::MAX)),
        is("0"),
        "size of zram disk N; at most 4 times RAM",
    )
    .unit("bytes")
    .on_bad(OnBad::Einval),
    ParamSpec::new("zramN.comp_algorithm", Enum(COMPRESSORS), is("lz4"), "compressor of zram disk N")
        .on_bad(OnBad::Text("zram: compressor {v} not available, using default lz4")),
    sysctl(
        "sysctl.vm.overcommit_memory",
        int(0, 2),
        is("0"),
        "0 guess, 1 always, 2 never beyond the commit limit",
    ),
    sysctl("sysctl.vm.overcommit_ratio", int(0, ANY), is("50"), "share of RAM in the commit limit").unit("%"),
    sysctl(
        "sysctl.vm.overcommit_kbytes",
        int(0, ANY),
        is("0"),
        "commit limit in kB; overrides overcommit_ratio",
    )
    .unit("kB"),
    sysctl(
        "sysctl.vm.admin_reserve_kbytes",
        int(0, ANY),
        computed("min(3 %, 8M)"),
        "kept for the administrator",
    )
    .unit("kB"),
    sysctl(
        "sysctl.vm.user_reserve_kbytes",
        int(0, ANY),
        computed("min(3 %, 128M)"),
        "kept for recovery by the user",
    )
    .unit("kB"),
    sysctl("sysctl.vm.max_map_count", int(0, ANY), is("65530"), "most mappings of one context"),
    sysctl("sysctl.vm.mmap_min_addr", int(0, ANY), is("65536"), "lowest address a task may map")
        .unit("bytes"),
];
