//! Parameters of the group "OOM, contexts, pressure".

use super::{NONE, int, is, sysctl};
use crate::params::spec::Kind::{Bool, Context, Enum, PsiTrigger, Switch};
use crate::params::spec::{OnBad, ParamSpec};

pub(super) const PARAMS: &[ParamSpec] = &[
    sysctl(
        "sysctl.vm.panic_on_oom",
        int(0, 2),
        is("0"),
        "panic instead of killing; 2 also for policy limits",
    ),
    sysctl("sysctl.vm.oom_kill_allocating_task", Switch, is("0"), "kill whoever asked instead of the worst"),
    sysctl("sysctl.vm.oom_dump_tasks", Switch, is("1"), "list every context when killing"),
    ParamSpec::new(
        "oom_policy",
        Enum(&["badness", "legacy", "none"]),
        is("badness"),
        "how the victim is chosen",
    ),
    ParamSpec::new("ctx", Context, NONE, "a context to make at boot").repeats().on_bad(OnBad::Refuse),
    ParamSpec::linux("psi", Bool, is("1"), "pressure stall information"),
    ParamSpec::new(
        "psi.trigger",
        PsiTrigger,
        NONE,
        "tell the monitor when so much of a window is lost: some|full THRESHOLD WINDOW",
    )
    .unit("us"),
    ParamSpec::new("domains", Bool, is("1"), "protection domains: one page-table root per context"),
];
