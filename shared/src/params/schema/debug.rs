//! Parameters of the group "Debug, hardening, faults".

use super::{ANY, KIB, MIB, NONE, OFF, int, is, sysctl};
use crate::params::spec::Kind::{Bool, Enum, FaultAttr, Size, Words};
use crate::params::spec::{OnBad, ParamSpec, SizeRange};

pub(super) const PARAMS: &[ParamSpec] = &[
    ParamSpec::linux(
        "page_poison",
        Bool,
        is("0"),
        "fill freed pages with 0xaa and check them when allocated",
    ),
    ParamSpec::linux("init_on_alloc", Bool, is("0"), "zero memory when it is allocated"),
    ParamSpec::linux("init_on_free", Bool, is("0"), "zero memory when it is freed"),
    ParamSpec::linux("debug_pagealloc", Bool, OFF, "unmap free pages from the direct map"),
    ParamSpec::new(
        "debug_atomic_sleep",
        Bool,
        OFF,
        "report allocations that may wait where interrupts are masked",
    ),
    ParamSpec::linux(
        "debug_guardpage_minorder",
        int(0, 5),
        is("0"),
        "order of the guard left beside split blocks",
    )
    .on_bad(OnBad::Text("Bad debug_guardpage_minorder value")),
    ParamSpec::linux("page_owner", Bool, OFF, "remember who allocated each page"),
    ParamSpec::linux("vm_debug", Bool, OFF, "checks of virtual-memory structures"),
    ParamSpec::linux("kmemleak", Bool, OFF, "scan for memory that nothing points to"),
    sysctl(
        "sysctl.vm.mem_profiling",
        Enum(&["0", "1", "never"]),
        is("0"),
        "allocation tags (/proc/allocinfo)",
    ),
    ParamSpec::linux(
        "kfence.sample_interval",
        int(0, ANY),
        is("0"),
        "time between guarded slab objects; 0 = off",
    )
    .unit("ms")
    .on_bad(OnBad::Einval),
    ParamSpec::linux("kasan", Bool, OFF, "shadow memory checks, where built in").on_bad(OnBad::Einval),
    ParamSpec::linux(
        "kasan.fault",
        Enum(&["report", "panic"]),
        is("report"),
        "what a shadow memory error does",
    )
    .on_bad(OnBad::Einval),
    fault("failslab", "make slab allocations fail"),
    fault("fail_page_alloc", "make page allocations fail"),
    fault("fail_make_request", "make block requests fail"),
    ParamSpec::new(
        "fail_page_alloc.min-order",
        int(0, 10),
        is("1"),
        "smallest order that fail_page_alloc hits",
    )
    .on_bad(OnBad::Einval),
    ParamSpec::new("fail_page_alloc.ignore-gfp-wait", Bool, is("Y"), "spare allocations that may sleep")
        .on_bad(OnBad::Einval),
    ParamSpec::linux("trace_event", Words, NONE, "events that the flight recorder keeps"),
    ParamSpec::linux(
        "trace_buf_size",
        Size(SizeRange::new(4 * KIB, 64 * MIB)),
        is("256K"),
        "flight recorder buffer, per CPU",
    )
    .unit("bytes"),
];

/// A fault-injection attribute; the text is Linux's.
const fn fault(name: &'static str, help: &'static str) -> ParamSpec {
    ParamSpec::linux(name, FaultAttr, NONE, help)
        .on_bad(OnBad::Text("FAULT_INJECTION: failed to parse arguments"))
}
