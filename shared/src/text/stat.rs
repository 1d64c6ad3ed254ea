//! `/proc/stat`, `/proc/uptime` and `/proc/loadavg`. Source: Linux `fs/proc/stat.c`, `uptime.c`, `loadavg.c`.

use crate::stats::{CpuTimes, TaskGroup, TrapGroup};
use core::fmt;

/// Nanoseconds in a hundredth of a second, the unit of `/proc/stat` (`USER_HZ`).
const TICK_NS: u64 = 10_000_000;
/// Kinds of softirqs that Linux lists; there are none here.
const SOFTIRQS: usize = 10;

/// Entries of the first `cpus` CPUs.
fn times(tasks: &TaskGroup, cpus: u64) -> &[CpuTimes] {
    let count = usize::try_from(cpus).unwrap_or(usize::MAX).min(tasks.cpus.len());
    tasks.cpus.get(..count).unwrap_or_default()
}

/// user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice. Nothing runs but the kernel.
fn write_cpu(w: &mut dyn fmt::Write, times: CpuTimes) -> fmt::Result {
    writeln!(w, " 0 0 {} {} 0 0 0 0 0 0", times.system_ns / TICK_NS, times.idle_ns / TICK_NS)
}

fn sum(times: &[CpuTimes]) -> CpuTimes {
    times.iter().fold(CpuTimes::default(), |sum, cpu| CpuTimes {
        system_ns: sum.system_ns.wrapping_add(cpu.system_ns),
        idle_ns: sum.idle_ns.wrapping_add(cpu.idle_ns),
    })
}

/// Ticks of all CPUs together: those of the kernel, and those without work.
pub(super) fn ticks(tasks: &TaskGroup, cpus: u64) -> (u64, u64) {
    let all = sum(times(tasks, cpus));
    (all.system_ns / TICK_NS, all.idle_ns / TICK_NS)
}

/// All interrupts.
pub(super) fn interrupts(traps: &TrapGroup) -> u64 {
    traps.irq.wrapping_add(traps.timer).wrapping_add(traps.ipi)
}

/// Writes `/proc/stat` of a machine with `cpus` CPUs. The guest has no wall clock, so `btime` is 0.
///
/// # Errors
/// Those of the writer.
pub fn write_stat(w: &mut dyn fmt::Write, cpus: u64, tasks: &TaskGroup, traps: &TrapGroup) -> fmt::Result {
    let times = times(tasks, cpus);
    w.write_str("cpu ")?;
    write_cpu(w, sum(times))?;
    for (cpu, times) in times.iter().enumerate() {
        write!(w, "cpu{cpu}")?;
        write_cpu(w, *times)?;
    }
    writeln!(w, "intr {}\nctxt {}\nbtime 0\nprocesses {}", interrupts(traps), tasks.switches, tasks.started)?;
    write!(w, "procs_running {}\nprocs_blocked 0\nsoftirq 0", tasks.running)?;
    (0..SOFTIRQS).try_for_each(|_| w.write_str(" 0"))?;
    w.write_char('\n')
}

/// Writes `/proc/uptime` of a machine with `cpus` CPUs.
///
/// # Errors
/// Those of the writer.
pub fn write_uptime(w: &mut dyn fmt::Write, cpus: u64, tasks: &TaskGroup) -> fmt::Result {
    let (up, idle) = (tasks.uptime_ns / TICK_NS, sum(times(tasks, cpus)).idle_ns / TICK_NS);
    writeln!(w, "{}.{:02} {}.{:02}", up / 100, up % 100, idle / 100, idle % 100)
}

/// Writes `/proc/loadavg`. The averages are not kept and say 0.
///
/// # Errors
/// Those of the writer.
pub fn write_loadavg(w: &mut dyn fmt::Write, tasks: &TaskGroup) -> fmt::Result {
    writeln!(w, "0.00 0.00 0.00 {}/{} {}", tasks.running, tasks.tasks, tasks.started)
}
