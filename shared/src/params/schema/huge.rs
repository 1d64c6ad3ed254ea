//! Parameters of the group "Huge pages".

use super::{ANY, GIB, MIB, OFF, int, is, sysctl};
use crate::params::forms::THP_POLICIES;
use crate::params::spec::Kind::{Bool, Enum, HugePages, SizeOf, ThpAnon};
use crate::params::spec::{OnBad, ParamSpec};

const SIZES: &[u64] = &[2 * MIB, GIB];
/// Page table entries under one PMD, less one.
const PTES: i64 = 511;

pub(super) const PARAMS: &[ParamSpec] = &[
    ParamSpec::linux("hugepagesz", SizeOf(SIZES), is("2M"), "page size that the next hugepages= counts")
        .unit("bytes")
        .repeats()
        .on_bad(OnBad::Text("HugeTLB: unsupported hugepagesz={v}")),
    ParamSpec::linux("hugepages", HugePages, is("0"), "pages of the current hugepagesz= to reserve at boot")
        .repeats()
        .on_bad(OnBad::Text("HugeTLB: Invalid hugepages parameter {v}")),
    ParamSpec::linux("default_hugepagesz", SizeOf(SIZES), is("2M"), "default huge page size")
        .unit("bytes")
        .on_bad(OnBad::Text("HugeTLB: unsupported default_hugepagesz={v}")),
    ParamSpec::linux("hugetlb_free_vmemmap", Bool, OFF, "free the frame descriptors of huge pages")
        .notice("not implemented"),
    sysctl(
        "sysctl.vm.nr_overcommit_hugepages",
        int(0, ANY),
        is("0"),
        "huge pages that may be made on demand",
    )
    .unit("pages"),
    ParamSpec::linux(
        "transparent_hugepage",
        Enum(THP_POLICIES),
        is("always"),
        "who gets transparent huge pages",
    )
    .on_bad(OnBad::Text("transparent_hugepage= cannot parse, ignored")),
    ParamSpec::new(
        "thp.defrag",
        Enum(&["always", "defer", "defer+madvise", "madvise", "never"]),
        is("madvise"),
        "who may reclaim and compact to get a huge page",
    ),
    ParamSpec::linux("thp_anon", ThpAnon, is("2M:inherit"), "policy for each size of anonymous folios")
        .on_bad(OnBad::Text("thp_anon= cannot parse, ignored")),
    khugepaged("khugepaged.pages_to_scan", int(0, ANY), "4096", "pages scanned at each wake-up")
        .unit("pages"),
    khugepaged("khugepaged.scan_sleep_millisecs", int(0, ANY), "10000", "sleep between two scans").unit("ms"),
    khugepaged("khugepaged.alloc_sleep_millisecs", int(0, ANY), "60000", "sleep after a failed allocation")
        .unit("ms"),
    khugepaged("khugepaged.max_ptes_none", int(0, PTES), "511", "empty entries that a collapse may fill"),
    khugepaged("khugepaged.max_ptes_swap", int(0, PTES), "64", "swapped entries that a collapse may read"),
    khugepaged("khugepaged.max_ptes_shared", int(0, PTES), "256", "shared pages that a collapse may copy"),
];

/// A sysfs attribute of Linux's khugepaged.
const fn khugepaged(
    name: &'static str,
    kind: crate::params::spec::Kind,
    default: &'static str,
    help: &'static str,
) -> ParamSpec {
    ParamSpec::new(name, kind, is(default), help).on_bad(OnBad::Einval)
}
