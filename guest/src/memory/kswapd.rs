//! The tasks that keep nodes above their marks: the guest's side of `mm::reclaim`.
//!
//! Owns: one task for each node, on a CPU of it. Stays outside: what it does.

use super::PHYS;
use super::vm::RECLAIM;
use crate::arch::smp;
use crate::{report, task};
use mm::addr::NodeId;

const NAMES: [&str; NodeId::MAX_NODES] =
    ["kswapd0", "kswapd1", "kswapd2", "kswapd3", "kswapd4", "kswapd5", "kswapd6", "kswapd7"];

/// Starts them. Once, when all CPUs run.
pub fn start() {
    for node in PHYS.nodes().filter(|node| node.managed_pages() > 0) {
        let number = node.id().index();
        let name = NAMES.get(number).copied().unwrap_or("kswapd");
        let cpus = PHYS.topology().into_iter().flat_map(|topology| topology.cpus_of(node.id()));
        // Commands begin on the first, and kernel code gives way only where it sleeps.
        let cpu = cpus.map(|cpu| cpu.0).filter(|cpu| *cpu < smp::online()).last().unwrap_or(0);
        if task::spawn(name, cpu, run, number).is_err() {
            report::unable(format_args!("no {name}"));
        }
    }
}

/// Whether one was asked for room that it has not made yet.
pub fn is_busy() -> bool {
    PHYS.nodes().any(|node| RECLAIM.is_kswapd_busy(node.id()))
}

/// How long they may take to make the room that they were asked for.
const SETTLE_NS: u64 = 5_000_000_000;

/// Waits, within reason, until all of them have made the room that they were asked for: a page that one has in hand is
/// counted here and not yet there.
pub fn settle() {
    task::sleep_until(SETTLE_NS, || !is_busy());
}

fn run(number: usize) {
    if let Some(node) = NodeId::new(number as u32) {
        RECLAIM.kswapd(node, || false);
    }
}
