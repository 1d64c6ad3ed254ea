//! Parameters of the group "Virtio, reporting, monitor".

use super::{ANY, NONE, OFF, computed, int, is};
use crate::params::spec::Kind::{self, Bool, Enum, Flag, IntOr, Size, Text, VirtioMmio};
use crate::params::spec::{DefaultValue, OnBad, ParamSpec, Range, SizeRange};

/// Longest `run=` text in bytes; longer command lists go over the console.
pub(super) const RUN_MAX: usize = 1500;

pub(super) const PARAMS: &[ParamSpec] = &[
    ParamSpec::linux(
        "page_reporting.page_reporting_order",
        int(0, 11),
        is("9"),
        "smallest order reported free to the host; above 10 = off",
    )
    .on_bad(OnBad::Nearest),
    ParamSpec::new(
        "page_reporting.delay_ms",
        int(0, 60000),
        is("2000"),
        "time before free pages are reported",
    )
    .unit("ms"),
    ParamSpec::new(
        "balloon.deflate_on_oom",
        Bool,
        is("1"),
        "take pages back from the balloon before killing",
    ),
    ParamSpec::new("balloon.stats", Bool, is("1"), "answer the host's requests for statistics"),
    ParamSpec::linux(
        "virtio_mem.unplug_online",
        Bool,
        is("1"),
        "unplug blocks without setting them offline first",
    ),
    ParamSpec::linux(
        "memory_hotplug.online_policy",
        Enum(&["contig-zones", "auto-movable"]),
        is("contig-zones"),
        "zone of newly plugged memory",
    ),
    ParamSpec::linux(
        "memhp_default_state",
        Enum(&["online", "offline", "online_kernel", "online_movable"]),
        is("online_movable"),
        "state of newly plugged memory",
    ),
    damon("damon.enabled", Bool, is("N"), "monitor accesses by sampled regions"),
    damon("damon.sample_us", int(1, ANY), is("5000"), "time between samples").unit("us"),
    damon("damon.aggr_us", int(1, ANY), is("100000"), "time over which samples add up").unit("us"),
    damon_reclaim("damon_reclaim.enabled", Bool, is("N"), "reclaim what stays cold"),
    damon_reclaim(
        "damon_reclaim.min_age",
        int(0, i64::MAX),
        is("120000000"),
        "time without access that makes cold",
    )
    .unit("us"),
    damon_reclaim("damon_reclaim.quota_ms", int(0, ANY), is("10"), "time per second for reclaim").unit("ms"),
    damon_reclaim("damon_reclaim.quota_sz", SIZE, is("128M"), "memory per second for reclaim").unit("bytes"),
    damon_reclaim("damon_reclaim.wmarks_high", int(0, 1000), is("500"), "free memory above which it sleeps")
        .unit("1/1000"),
    damon_reclaim("damon_reclaim.wmarks_mid", int(0, 1000), is("400"), "free memory below which it starts")
        .unit("1/1000"),
    damon_reclaim("damon_reclaim.wmarks_low", int(0, 1000), is("200"), "free memory below which it stops")
        .unit("1/1000"),
    damon_reclaim("damon_reclaim.skip_anon", Bool, is("N"), "leave anonymous pages alone"),
    damon_reclaim("damon_reclaim.monitor_region_start", SIZE, is("0"), "first physical address watched"),
    damon_reclaim(
        "damon_reclaim.monitor_region_end",
        SIZE,
        is("0"),
        "first physical address not watched; 0 = all",
    ),
    ParamSpec::linux(
        "swiotlb",
        IntOr(Range::new(0, ANY), &["force", "noforce"]),
        computed("64M"),
        "bounce buffer in slabs of 2 KiB, or when to use it",
    )
    .unit("slabs"),
    ParamSpec::linux("console", Text(64), is("ttyS0"), "where messages go").repeats(),
    ParamSpec::linux("loglevel", int(0, 7), is("4"), "messages below this level are printed"),
    ParamSpec::linux("quiet", Flag, OFF, "print only warnings"),
    ParamSpec::linux(
        "panic",
        int(-1, ANY),
        is("0"),
        "wait before the reset after a panic; 0 = stop, -1 = at once",
    )
    .unit("s"),
    ParamSpec::new("run", Text(RUN_MAX), NONE, "commands to run, separated by semicolons"),
    ParamSpec::new(
        "run_bytes",
        int(0, RUN_BYTES_MAX),
        is("0"),
        "size of the commands that come over the console instead of in run=",
    )
    .unit("bytes"),
    ParamSpec::new(
        "stats.interval_ms",
        int(0, 3_600_000),
        is("0"),
        "time between updates of the numbers that the monitor reads; 0 = when a command looks",
    )
    .unit("ms"),
    ParamSpec::linux("init", Enum(&["shell"]), is("shell"), "what reads commands after run="),
    ParamSpec::new(
        "params",
        Enum(&["strict", "lenient"]),
        computed("strict in vmm, lenient in the guest"),
        "whether a bad parameter stops the run",
    ),
    ParamSpec::new(
        "ring",
        Enum(&["auto", "0", "3"]),
        is("auto"),
        "privilege level of the kernel's Rust code",
    ),
    ParamSpec::linux("virtio_mmio.device", VirtioMmio, NONE, "a virtio device, named by the monitor")
        .repeats(),
];

/// Longest list of commands over the console in bytes.
const RUN_BYTES_MAX: i64 = 1 << 20;

const SIZE: Kind = Size(SizeRange::new(0, u64::MAX));

const fn damon(name: &'static str, kind: Kind, default: DefaultValue, help: &'static str) -> ParamSpec {
    ParamSpec::new(name, kind, default, help).on_bad(OnBad::Einval)
}

const fn damon_reclaim(
    name: &'static str,
    kind: Kind,
    default: DefaultValue,
    help: &'static str,
) -> ParamSpec {
    ParamSpec::linux(name, kind, default, help).on_bad(OnBad::Einval)
}
