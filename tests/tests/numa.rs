//! NUMA: nodes as the monitor was told, and as parameters override them.

use tests::linux::{PAGE_SIZE, zoneinfo};
use tests::{Guest, Host, Run, for_each_host, kvm};

const MIB: u64 = 1 << 20;
const VMEMMAP: u64 = 0xffff_ea00_0000_0000;

/// A node of `numactl -H`.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    cpus: Vec<u64>,
    mb: u64,
}

/// The nodes and distances of `numactl -H`.
#[track_caller]
fn hardware(run: &Run, n: usize) -> (Vec<Node>, Vec<Vec<u64>>) {
    let text = run.output(n).as_str();
    let (head, matrix) =
        text.split_once("node distances:\n").unwrap_or_else(|| panic!("no distances\n{run}"));
    let numbers =
        |words: &str| words.split_whitespace().map(|word| word.parse().unwrap()).collect::<Vec<u64>>();
    let after = |label: &str| head.lines().find_map(|line| line.strip_prefix(label)).map(str::trim);
    let mut nodes = Vec::new();
    while let Some(cpus) = after(&format!("node {} cpus:", nodes.len())) {
        let size = after(&format!("node {} size: ", nodes.len())).and_then(|size| size.strip_suffix(" MB"));
        nodes.push(Node { cpus: numbers(cpus), mb: size.unwrap().parse().unwrap() });
    }
    let rows = matrix.lines().skip(1).map(|row| numbers(row.split_once(':').unwrap().1));
    (nodes, rows.collect())
}

/// The CPUs of each node and the distances, without sizes.
fn shape((nodes, distances): (Vec<Node>, Vec<Vec<u64>>)) -> (Vec<Vec<u64>>, Vec<Vec<u64>>) {
    (nodes.into_iter().map(|node| node.cpus).collect(), distances)
}

#[test]
fn t79a_nodes_are_those_given_to_the_monitor() {
    let Some(host) = kvm() else { return };
    let guest = Guest::on(host)
        .numa("node=0,cpus=0,cpus=3,mem=128M,distance=1:30,distance=2:41")
        .numa("node=1,cpus=1-2,mem=64M,distance=2:25")
        .numa("node=2,mem=32M");
    let run = guest.run(&["numactl -H", "cat /proc/zoneinfo", "cpus"]).start().assert_ok();
    let (nodes, distances) = hardware(&run, 0);
    let cpus: Vec<_> = nodes.iter().map(|node| node.cpus.clone()).collect();
    assert_eq!(cpus, [vec![0, 3], vec![1, 2], vec![]], "{run}");
    assert_eq!(distances, [vec![10, 30, 41], vec![30, 10, 25], vec![41, 25, 10]], "{run}");
    // Where the memory of each node begins and ends.
    let zones = zoneinfo(run.output(1));
    let span = |node| {
        let of_node = zones.iter().filter(move |zone| zone.node == node);
        let start = of_node.clone().map(|zone| zone.start_pfn).min().unwrap();
        let end = of_node.map(|zone| zone.start_pfn + zone.spanned).max().unwrap();
        (start * PAGE_SIZE / MIB, end * PAGE_SIZE / MIB)
    };
    assert_eq!([span(0), span(1), span(2)], [(0, 128), (128, 192), (192, 224)], "{run}");
    // The size is what the allocator got: a little less.
    for (node, mb) in nodes.iter().zip([128, 64, 32]) {
        assert!(node.mb < mb && node.mb + 8 >= mb, "{run}");
    }
    let nodes: Vec<_> = run.output(2).lines_with("cpu=").iter().map(|cpu| cpu.number("node")).collect();
    assert_eq!(nodes, [0, 1, 1, 0], "{run}");
}

#[test]
fn t79a_sysfs_shows_the_same_nodes() {
    let Some(host) = kvm() else { return };
    let node = "/sys/devices/system/node/node";
    let guest = Guest::on(host).numa("node=0,cpus=0-1,mem=64M,distance=1:33").numa("node=1,cpus=2,mem=64M");
    let show = |name: &str| format!("cat {node}{name}");
    let commands = [show("0/distance"), show("1/distance"), show("0/cpulist"), show("1/cpulist")];
    let run = guest.run(&commands.each_ref().map(String::as_str)).start().assert_ok();
    for (n, expected) in ["10 33", "33 10", "0-1", "2"].iter().enumerate() {
        assert_eq!(run.output(n).as_str().trim(), *expected, "{run}");
    }
}

/// Memory comes from the node that is asked, and when it is full from the other, and both count that.
#[test]
fn t81c_numastat_tells_who_got_what_it_wanted() {
    let Some(host) = kvm() else { return };
    let guest = Guest::on(host).numa("node=0,cpus=0,mem=128M").numa("node=1,cpus=1,mem=64M");
    let stat = [0, 1].map(|node| format!("cat /sys/devices/system/node/node{node}/numastat"));
    let commands = [
        stat[0].as_str(),
        stat[1].as_str(),
        "alloc 10 node=1",
        stat[1].as_str(),
        "alloc until-fail node=1 order=0",
        stat[0].as_str(),
        stat[1].as_str(),
    ];
    let run = guest.run(&commands).start().assert_ok();
    let counts = |command: usize| -> Vec<u64> {
        let names = ["numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node"];
        let lines: Vec<_> = run.output(command).lines().collect();
        assert_eq!(lines.len(), names.len(), "{run}");
        let number = |(line, name): (&&str, &str)| line.strip_prefix(name)?.trim().parse().ok();
        lines.iter().zip(names).map(|pair| number(pair).unwrap_or_else(|| panic!("{run}"))).collect()
    };
    assert_eq!(run.output(2).number("node"), 1, "{run}");
    // The task runs on node 0: what it has from node 1 on purpose is a hit there, and other.
    let (before, asked) = (counts(1), counts(3));
    assert!(asked[0] > before[0] && asked[5] > before[5] && asked[1] == before[1], "{run}");
    let taken = |node: u64| -> u64 {
        let zones = run.output(4).lines_with("blocks=");
        zones.iter().filter(|zone| zone.number("node") == node).map(|zone| zone.number("blocks")).sum()
    };
    let (first, second) = (counts(5), counts(6));
    let (own, foreign) = (taken(1), taken(0));
    assert!(own > 10_000 && foreign > 20_000, "{run}");
    assert!(second[0] - asked[0] >= own, "{run}");
    // A page that node 0 gave instead is a miss there, local to the task, and foreign to node 1.
    let near = |count: u64| (foreign..foreign + 100).contains(&count);
    assert!(near(first[1] - counts(0)[1]) && near(second[2] - asked[2]), "{run}");
    assert!(first[4] - counts(0)[4] >= foreign, "{run}");
}

/// A task's memory comes from the node of its CPU: all of it while there is some, the rest from the other node.
#[test]
fn t81d_a_task_has_its_memory_on_the_node_of_its_cpu() {
    let Some(host) = kvm() else { return };
    let guest = Guest::on(host).numa("node=0,cpus=0,mem=128M").numa("node=1,cpus=1,mem=64M");
    let stat = [0, 1].map(|node| format!("cat /sys/devices/system/node/node{node}/numastat"));
    let commands = [
        "ctx new A",
        stat[1].as_str(),
        "vm touch 8M cpu=1",
        stat[1].as_str(),
        stat[0].as_str(),
        "vm touch 72M cpu=1",
        stat[0].as_str(),
        stat[1].as_str(),
        "vm verify",
        "mm balance",
    ];
    let run = guest.append("transparent_hugepage=never").run(&commands).start().assert_ok();
    let count = |command: usize, name: &str| -> u64 {
        let line = run.output(command).line_with(&format!("{name} "));
        line.as_str().split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    // Its pages, and a few page tables.
    let local = count(3, "local_node") - count(1, "local_node");
    assert!((2048..2048 + 16).contains(&local), "{local}\n{run}");
    assert_eq!(count(3, "numa_foreign"), count(1, "numa_foreign"), "{run}");
    // More than its node has.
    let missed = count(6, "numa_miss") - count(4, "numa_miss");
    assert!(missed > 2048 && missed == count(7, "numa_foreign") - count(3, "numa_foreign"), "{run}");
    assert_eq!(run.output(8).line_with("verify=").fact("verify"), "ok", "{run}");
}

#[test]
fn t79d_a_node_without_memory_works() {
    let Some(host) = kvm() else { return };
    let guest = Guest::on(host).numa("node=0,cpus=0,mem=128M").numa("node=1,cpus=1,mem=0");
    let commands = ["numactl -H", "alloc node=1", "buddy storm ops=2000 seed=3 tasks", "mm verify", "cpus"];
    let run = guest.run(&commands).start().assert_ok();
    let (nodes, distances) = hardware(&run, 0);
    assert_eq!(nodes.len(), 2, "{run}");
    assert_eq!((nodes[1].cpus.clone(), nodes[1].mb), (vec![1], 0), "{run}");
    assert_eq!(distances, [[10, 20], [20, 10]], "{run}");
    // Memory near it is memory of the other node.
    assert_eq!(run.output(1).number("node"), 0, "{run}");
    assert_eq!(run.output(2).number("cpus"), 2, "{run}");
}

#[test]
fn t79e_descriptors_lie_on_the_node_of_their_frames() {
    for_each_host(descriptors_lie_on_the_node_of_their_frames);
}

/// On QEMU, which has no tables, the guest makes two nodes of the same size itself.
fn descriptors_lie_on_the_node_of_their_frames(host: Host) {
    let machine = |commands: &[&str]| {
        let guest = Guest::on(host).numa("node=0,cpus=0,mem=256M").numa("node=1,cpus=1,mem=256M");
        guest.run(commands).start().assert_ok()
    };
    // How many bytes a descriptor takes follows from the pages that the kernel keeps for them.
    let run = machine(&["mm pfns", "pt cost"]);
    let leaves = run.output(1).lines_with("region=vmemmap ");
    let kb = |leaf: &str| if leaf == "2M" { 2048 } else { 4 };
    let total: u64 = leaves.iter().map(|line| line.number("leaves") * kb(line.fact("leaf"))).sum();
    let bytes = total * 1024 / run.output(0).line_with("total ").number("spanned");
    for (pfn, node) in [(0x4000, 0), (0xf000, 0), (0x1_1000, 1), (0x1_f000, 1)] {
        let run = machine(&[&format!("pt pte {:#x}", VMEMMAP + pfn * bytes)]);
        // 256 MiB are 0x10000 frames.
        assert_eq!(run.output(0).number("pfn") / 0x1_0000, node, "frame {pfn:#x}\n{run}");
    }
}

#[test]
fn t79f_parameters_override_the_tables() {
    for_each_host(|host| {
        let boot = |append: &str| {
            let guest =
                Guest::on(host).numa("node=0,cpus=0,mem=128M,distance=1:40").numa("node=1,cpus=1,mem=128M");
            guest.append(append).run(&["numactl -H", "mm verify"]).start().assert_ok()
        };
        // QEMU has no tables; there the monitor asks the guest for two nodes.
        let far = if host.is_kvm() { 40 } else { 20 };
        let run = boot("");
        let expected = (vec![vec![0], vec![1]], vec![vec![10, far], vec![far, 10]]);
        assert_eq!(shape(hardware(&run, 0)), expected, "{run}");
        for off in ["numa=off", "numa=noacpi"] {
            let run = boot(off);
            assert_eq!(shape(hardware(&run, 0)), (vec![vec![0, 1]], vec![vec![10]]), "{run}");
        }
        let run = boot("numa=fake=4");
        let (nodes, distances) = hardware(&run, 0);
        assert_eq!((nodes.len(), distances.len()), (4, 4), "{run}");
        let run = boot("numa=fake=64M");
        assert_eq!(hardware(&run, 0).0.len(), 4, "{run}");
    });
}
