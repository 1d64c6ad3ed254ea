//! What there is and what it does: `getconf`, `numactl`, `cpus`, `stats`, `uptime`.

use super::{Args, Command, Outcome, usage};
use crate::arch::percpu::{self, Counter, LINES, MAX_CPUS};
use crate::arch::{smp, time};
use crate::console;
use crate::memory::{self, PHYS};
use crate::proc;
use crate::stats;
use mm::addr::{NodeId, PAGE_SIZE};
use mm::port::CpuId;
use shared::text::numactl::{Node, write_hardware};

/// The family.
pub const MACHINE: &[Command] = &[
    Command { name: "getconf", usage: "[NAME]", summary: "configuration variables of POSIX", run: getconf },
    Command {
        name: "numactl",
        usage: "-H",
        summary: "nodes, their CPUs and memory, distances",
        run: numactl,
    },
    Command { name: "cpus", usage: "", summary: "CPUs with their nodes and traps", run: cpus },
    Command { name: "stats", usage: "", summary: "the counters that the monitor sees", run: stats },
    Command { name: "uptime", usage: "", summary: "time since boot", run: uptime },
];

/// A variable and its value.
type Variable = (&'static str, fn() -> u64);

/// Those variables of POSIX and GNU that have a meaning here.
const VARIABLES: &[Variable] = &[
    ("PAGESIZE", || PAGE_SIZE),
    ("PAGE_SIZE", || PAGE_SIZE),
    ("_NPROCESSORS_CONF", || smp::online().into()),
    ("_NPROCESSORS_ONLN", || smp::online().into()),
    ("_PHYS_PAGES", || PHYS.total_managed_pages()),
    ("_AVPHYS_PAGES", || PHYS.total_free_pages()),
    ("LONG_BIT", || u64::BITS.into()),
];

fn getconf(args: &mut Args<'_>) -> Outcome {
    let Some(wanted) = args.next_word() else {
        for (name, value) in VARIABLES {
            console::print(format_args!("{name} {}\n", value()));
        }
        return Ok(());
    };
    match VARIABLES.iter().find(|(name, _)| *name == wanted) {
        Some((_, value)) => {
            console::print(format_args!("{}\n", value()));
            Ok(())
        }
        None => Err(usage(format_args!("getconf: no variable '{wanted}', see `getconf`"))),
    }
}

fn numactl(args: &mut Args<'_>) -> Outcome {
    if !args.take("-H") && !args.take("--hardware") {
        return Err(usage(format_args!("numactl: expected -H")));
    }
    let Some(topology) = PHYS.topology() else { return Ok(()) };
    let mut cpus = [0; MAX_CPUS];
    let mut distances = [[0; NodeId::MAX_NODES]; NodeId::MAX_NODES];
    const NODE: Node<'_> = Node { id: 0, cpus: &[], size: 0, free: 0, distances: &[] };
    let mut nodes = [NODE; NodeId::MAX_NODES];
    let mut count = 0;
    let mut free_cpus = cpus.as_mut_slice();
    for ((slot, row), node) in nodes.iter_mut().zip(&mut distances).zip(PHYS.nodes()) {
        for (distance, other) in row.iter_mut().zip(PHYS.nodes()) {
            *distance = topology.distance(node.id(), other.id());
        }
        let mut own = 0;
        for (slot, cpu) in free_cpus.iter_mut().zip(proc::cpus_of(node.id())) {
            *slot = cpu;
            own += 1;
        }
        let (mine, rest) = free_cpus.split_at_mut(own);
        free_cpus = rest;
        *slot = Node {
            id: node.id().index() as u32,
            cpus: mine,
            size: memory::bytes(node.managed_pages()),
            free: memory::bytes(node.free_pages()),
            distances: row,
        };
        count += 1;
    }
    let nodes = &mut nodes[..count];
    for node in nodes.iter_mut() {
        node.distances = &node.distances[..count];
    }
    // The console takes everything.
    let _ = write_hardware(&mut console::writer(), nodes);
    Ok(())
}

fn cpus(_: &mut Args<'_>) -> Outcome {
    for cpu in 0..smp::online() {
        let Some(area) = smp::area(cpu) else { continue };
        let node = PHYS.topology().map_or(0, |topology| topology.node_of(CpuId(cpu)).index());
        let interrupts: u64 = (0..LINES).map(|line| percpu::interrupts_of(area, line)).sum();
        console::print(format_args!(
            "cpu={cpu} apic_id={} node={node} interrupts={interrupts} page_faults={} exceptions={} gates={}\n",
            percpu::apic_id_of(area),
            percpu::counter_of(area, Counter::PageFaults),
            percpu::counter_of(area, Counter::Exceptions),
            percpu::counter_of(area, Counter::Gates)
        ));
    }
    Ok(())
}

fn stats(_: &mut Args<'_>) -> Outcome {
    stats::refresh();
    for (name, value) in stats::fields() {
        console::print(format_args!("{name}={value}\n"));
    }
    Ok(())
}

fn uptime(_: &mut Args<'_>) -> Outcome {
    let us = time::since_boot_ns() / 1000;
    console::print(format_args!("uptime={}.{:06}\n", us / 1_000_000, us % 1_000_000));
    Ok(())
}
