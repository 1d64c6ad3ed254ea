//! Defaults, and every rule with its line.

use super::super::numa::parse_node;
use super::*;

const MIB: u64 = 1 << 20;

fn topology(cpus: Option<u32>, mem: Option<u64>, numa: &[&str]) -> Result<Topology, TopologyError> {
    let nodes: Vec<_> = numa.iter().map(|text| parse_node(text).unwrap()).collect();
    Topology::new(cpus, mem, &nodes)
}

fn error(cpus: Option<u32>, mem: Option<u64>, numa: &[&str]) -> String {
    topology(cpus, mem, numa).unwrap_err().to_string()
}

#[test]
fn two_nodes_only_when_nothing_is_said() {
    let default = topology(None, None, &[]).unwrap();
    assert_eq!(default.nodes(), [256 * MIB, 256 * MIB]);
    assert_eq!(default.cpu_nodes().collect::<Vec<_>>(), [0, 1]);
    assert_eq!((default.distance(0, 0), default.distance(0, 1), default.distance(1, 0)), (10, 20, 20));
    let cpus = topology(Some(4), None, &[]).unwrap();
    assert_eq!((cpus.nodes(), cpus.cpu_count()), ([512 * MIB].as_slice(), 4));
    let mem = topology(None, Some(16 * MIB), &[]).unwrap();
    assert_eq!((mem.nodes(), mem.cpu_count()), ([16 * MIB].as_slice(), 2));
}

#[test]
fn nodes_may_come_in_any_order_and_lack_memory_or_cpus() {
    let numa = ["node=2,mem=0,cpus=1", "node=0,cpus=0,mem=32M,distance=2:40", "node=1,mem=64M,distance=0:30"];
    let topology = topology(Some(2), Some(96 * MIB), &numa).unwrap();
    assert_eq!(topology.nodes(), [32 * MIB, 64 * MIB, 0]);
    assert_eq!(topology.cpu_nodes().collect::<Vec<_>>(), [0, 2]);
    assert_eq!((topology.distance(2, 0), topology.distance(0, 1), topology.distance(1, 2)), (40, 30, 20));
    assert_eq!(topology.memory(), 96 * MIB);
}

#[test]
fn memory_rules() {
    assert_eq!(error(None, Some(MIB), &[]), "memory size 1 MiB is below the minimum 16 MiB");
    assert_eq!(error(None, Some(0), &[]), "memory size 0 bytes is below the minimum 16 MiB");
    assert_eq!(error(None, Some(1 << 60), &[]), "memory size 1024 PiB is above the maximum 256 GiB");
    assert_eq!(error(None, Some(33 * MIB), &[]), "memory size 33 MiB is not a multiple of 2 MiB");
    assert_eq!(
        error(None, Some(64 * MIB), &["node=0,cpus=0,mem=32M"]),
        "the NUMA nodes have 32 MiB of memory, --mem says 64 MiB; make them equal or drop --mem"
    );
    let huge = format!("mem={}", u64::MAX);
    let nodes = [format!("node=0,cpus=0,{huge}"), format!("node=1,{huge}")];
    assert!(error(None, None, &[&nodes[0], &nodes[1]]).ends_with("is above the maximum 256 GiB"));
}

#[test]
fn cpu_rules() {
    assert_eq!(error(Some(0), None, &[]), "0 vCPUs: a machine has 1 to 64");
    assert_eq!(error(Some(65), None, &[]), "65 vCPUs: a machine has 1 to 64");
    assert_eq!(error(None, None, &["node=0,mem=32M"]), "0 vCPUs: a machine has 1 to 64");
    assert_eq!(
        error(None, None, &["node=0,mem=32M,cpus=4294967295"]),
        "4294967295 vCPUs: a machine has 1 to 64"
    );
    assert_eq!(
        error(None, None, &["node=0,cpus=0-1,mem=32M", "node=1,cpus=1,mem=32M"]),
        "vCPU 1 is in more than one NUMA node; put it into one"
    );
    assert_eq!(
        error(None, None, &["node=0,cpus=0,cpus=2,mem=32M"]),
        "vCPU 1 is in no NUMA node; add it to the cpus= of one"
    );
    assert_eq!(
        error(Some(2), None, &["node=0,cpus=0-2,mem=32M"]),
        "NUMA nodes name vCPU 2, but --cpus 2 ends at vCPU 1; raise --cpus or drop it"
    );
}

#[test]
fn node_rules() {
    let gap = ["node=0,cpus=0,mem=32M", "node=2,mem=32M"];
    assert_eq!(error(None, None, &gap), "NUMA nodes must be numbered 0 to 1 without gaps, each given once");
    let twice = ["node=0,cpus=0,mem=32M", "node=0,mem=32M"];
    assert_eq!(error(None, None, &twice), "NUMA nodes must be numbered 0 to 1 without gaps, each given once");
    let many = ["node=0,cpus=0,mem=32M"; MAX_NODES + 1];
    assert_eq!(error(None, None, &many), "9 NUMA nodes: a machine has at most 8");
}

#[test]
fn a_node_that_names_itself_means_all_others() {
    let matrix = |nodes: &[&str]| {
        let nodes: Vec<_> = nodes.iter().map(|text| parse_node(text).unwrap()).collect();
        let topology = Topology::new(None, None, &nodes).unwrap();
        let row = |from| (0..nodes.len()).map(|to| topology.distance(from, to)).collect::<Vec<_>>();
        (0..nodes.len()).map(row).collect::<Vec<_>>()
    };
    let first = "node=0,cpus=0,mem=32M";
    assert_eq!(matrix(&[first, "node=1,mem=32M,distance=1:30"]), [[10, 30], [30, 10]]);
    assert_eq!(matrix(&[first, "node=1,mem=32M,distance=1:10"]), [[10, 20], [20, 10]]);
    let far = ["node=0,cpus=0,mem=32M,distance=2:50", "node=1,mem=32M", "node=2,mem=32M,distance=2:40"];
    assert_eq!(matrix(&far), [[10, 20, 50], [20, 10, 40], [50, 40, 10]]);
}

#[test]
fn distance_rules() {
    let with = |first: &str, second: &str| {
        let nodes = [format!("node=0,cpus=0,mem=32M,{first}"), format!("node=1,mem=32M,{second}")];
        error(None, None, &[&nodes[0], &nodes[1]])
    };
    let same = "distance=1:20";
    let text = |from: u32, to: u32, rest: &str| {
        format!("invalid SLIT entry: distance of node {from} to node {to} is {rest}")
    };
    assert_eq!(with("distance=1:9", same), text(0, 1, "9, use 11 to 254"));
    assert_eq!(with("distance=1:10", same), text(0, 1, "10, use 11 to 254"));
    assert_eq!(with("distance=1:255", same), text(0, 1, "255, use 11 to 254"));
    assert_eq!(with("distance=0:9", "distance=1:9"), text(0, 1, "9, use 11 to 254"));
    assert_eq!(with("distance=2:20", "distance=0:20"), text(0, 2, "20, but there is no node 2"));
    assert_eq!(
        with("distance=4294967295:20", same),
        text(0, u32::MAX, "20, but there is no node 4294967295")
    );
    assert_eq!(with("distance=1:20", "distance=0:30"), text(0, 1, "20 but 30 back, use the same both ways"));
}
