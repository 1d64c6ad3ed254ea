//! The hole, node boundaries and memory-less nodes.

use super::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn range(base: u64, size: u64, node: u32) -> RamRange {
    RamRange { base, size, node }
}

#[test]
fn nodes_follow_each_other_below_the_hole() {
    let ranges = ram_ranges(&[256 * MIB, 256 * MIB]);
    assert_eq!(ranges, [range(0, 256 * MIB, 0), range(256 * MIB, 256 * MIB, 1)]);
    assert_eq!(ram_top(&ranges), 512 * MIB);
}

#[test]
fn a_node_is_split_only_where_the_hole_cuts_it() {
    assert_eq!(ram_ranges(&[3 * GIB]), [range(0, 3 * GIB, 0)]);
    assert_eq!(ram_ranges(&[3 * GIB, GIB]), [range(0, 3 * GIB, 0), range(4 * GIB, GIB, 1)]);
    let ranges = ram_ranges(&[2 * GIB, 4 * GIB, 2 * GIB]);
    assert_eq!(
        ranges,
        [
            range(0, 2 * GIB, 0),
            range(2 * GIB, GIB, 1),
            range(4 * GIB, 3 * GIB, 1),
            range(7 * GIB, 2 * GIB, 2)
        ]
    );
    assert_eq!(ram_top(&ranges), 9 * GIB);
}

#[test]
fn a_node_without_memory_has_no_range() {
    assert_eq!(ram_ranges(&[0, 16 * MIB, 0]), [range(0, 16 * MIB, 1)]);
    assert_eq!(ram_ranges(&[]), []);
    assert_eq!(ram_top(&[]), 0);
}

#[test]
fn no_byte_is_lost_and_none_is_in_the_hole() {
    for total_mib in (16..9000).step_by(254) {
        let sizes = [total_mib / 3 * MIB, total_mib / 2 * MIB, 40 * MIB];
        let ranges = ram_ranges(&sizes);
        let mut end = 0;
        for r in &ranges {
            assert!(r.size > 0 && r.base >= end);
            assert!(r.end() <= HOLE_START || r.base >= HOLE_END);
            end = r.end();
        }
        for (node, size) in (0..).zip(sizes) {
            assert_eq!(ranges.iter().filter(|r| r.node == node).map(|r| r.size).sum::<u64>(), size);
        }
    }
}
