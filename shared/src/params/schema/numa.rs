//! Parameters of the group "NUMA".

use super::{ANY, computed, int, is, sysctl};
use crate::params::spec::Kind::{self, Enum, Numa, Switch};
use crate::params::spec::{OnBad, ParamSpec};

pub(super) const PARAMS: &[ParamSpec] = &[
    ParamSpec::linux("numa", Numa, is("on"), "where the nodes come from; fake= splits RAM into nodes")
        .on_bad(OnBad::Text("numa=: unknown option")),
    ParamSpec::linux(
        "numa_balancing",
        Enum(&["enable", "disable"]),
        computed("enable with more than one node"),
        "move pages to the node that uses them",
    )
    .on_bad(OnBad::Text("Unable to parse numa_balancing=")),
    balancing("numa_balancing.scan_delay_ms", int(1, ANY), "1000", "age of a task at its first scan")
        .unit("ms"),
    balancing("numa_balancing.scan_period_min_ms", int(1, ANY), "1000", "shortest time between scans")
        .unit("ms"),
    balancing("numa_balancing.scan_period_max_ms", int(1, ANY), "60000", "longest time between scans")
        .unit("ms"),
    balancing("numa_balancing.scan_size_mb", int(1, ANY), "256", "memory unmapped by each scan").unit("MB"),
    ParamSpec::new("numa.remote_ns", int(0, 1_000_000), is("0"), "delay added to a modelled remote access")
        .unit("ns"),
    sysctl(
        "sysctl.vm.zone_reclaim_mode",
        int(0, 7),
        is("0"),
        "reclaim on the local node before going remote",
    ),
    sysctl("sysctl.vm.numa_stat", Switch, is("1"), "count numa_hit and its like"),
    sysctl("sysctl.vm.numa_zonelist_order", Enum(&["Node"]), is("Node"), "order of the fallback zones"),
];

/// A debugfs attribute of Linux's NUMA balancing.
const fn balancing(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> ParamSpec {
    ParamSpec::new(name, kind, is(default), help).on_bad(OnBad::Einval)
}
