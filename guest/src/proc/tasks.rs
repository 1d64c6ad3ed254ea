//! `/proc/stat`, `/proc/uptime`, `/proc/loadavg`, `/proc/cpuinfo`.

use crate::arch::{smp, time};
use crate::memory::flusher;
use crate::{stats, task};
use core::fmt::{self, Write};
use shared::stats::{CpuTimes, MAX_CPUS, TaskGroup};
use shared::text::cpuinfo as cpus;
use shared::text::stat;

/// Tasks and time.
pub fn numbers() -> TaskGroup {
    let uptime_ns = time::since_boot_ns();
    let mut times = [CpuTimes::default(); MAX_CPUS];
    for (times, cpu) in times.iter_mut().zip(0..smp::online()) {
        let idle_ns = task::idle_ns(cpu).min(uptime_ns);
        *times = CpuTimes { system_ns: uptime_ns - idle_ns, idle_ns };
    }
    let census = task::census();
    TaskGroup {
        sequence: 0,
        uptime_ns,
        switches: task::switches(),
        tasks: census.tasks,
        running: census.running,
        started: task::started(),
        cpus: times,
    }
}

/// Writes `/proc/stat`.
pub fn stat(w: &mut dyn Write) -> fmt::Result {
    stat::write_stat(w, smp::online().into(), &numbers(), &stats::traps())
}

/// Writes `/proc/sys/vm/nr_pdflush_threads`, which Linux had up to 2.6.31.
pub fn nr_pdflush_threads(w: &mut dyn Write) -> fmt::Result {
    writeln!(w, "{}", flusher::threads())
}

/// Writes `/proc/uptime`: seconds since boot, and seconds of idleness of all CPUs.
pub fn uptime(w: &mut dyn Write) -> fmt::Result {
    stat::write_uptime(w, smp::online().into(), &numbers())
}

/// Writes `/proc/loadavg`.
pub fn loadavg(w: &mut dyn Write) -> fmt::Result {
    stat::write_loadavg(w, &numbers())
}

/// Writes `/proc/cpuinfo`.
pub fn cpuinfo(w: &mut dyn Write) -> fmt::Result {
    cpus::write_cpus(w, smp::online().into(), time::tsc_khz())
}
