//! The syntax of `--numa`.

use super::*;

#[test]
fn a_full_node_is_parsed() {
    let node = parse_node("node=1,cpus=2-3,cpus=7,mem=256M,distance=0:21,distance=2:31").unwrap();
    assert_eq!(
        node,
        NodeSpec { id: 1, cpus: vec![2, 3, 7], memory: 256 << 20, distances: vec![(0, 21), (2, 31)] }
    );
    assert_eq!(parse_node("mem=0,node=0").unwrap().cpus, [0_u32; 0]);
}

#[test]
fn every_mistake_has_its_line() {
    let cases = [
        ("", "--numa: unknown option \"\"; known are node=, cpus=, mem= and distance="),
        (
            "node=0,mem=1G,size=4",
            "--numa: unknown option \"size=4\"; known are node=, cpus=, mem= and distance=",
        ),
        ("node=x,mem=1G", "--numa: bad value \"x\" for node=; write node=0"),
        ("node=0,mem=1X", "--numa: bad value \"1X\" for mem=; write mem=256M"),
        ("node=0,mem", "--numa: bad value \"\" for mem=; write mem=256M"),
        ("node=0,cpus=3-1,mem=1G", "--numa: bad value \"3-1\" for cpus=; write cpus=0-1 or cpus=3"),
        (
            "node=0,cpus=0-4000000000,mem=1G",
            "--numa: bad value \"0-4000000000\" for cpus=; write cpus=0-1 or cpus=3",
        ),
        ("node=0,mem=1G,distance=20", "--numa: bad value \"20\" for distance=; write distance=1:20"),
        ("node=0,mem=1G,distance=1:256", "--numa: bad value \"1:256\" for distance=; write distance=1:20"),
        ("mem=1G", "--numa \"mem=1G\" does not say which node; start with node=NUMBER"),
        ("node=3", "--numa: node 3 does not say how much memory it has; add mem=SIZE (mem=0 for none)"),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_node(text).unwrap_err().to_string(), expected, "{text:?}");
    }
}
