//! The map for small, large and hole-crossing machines.

use super::*;
use crate::memory::layout::ram_ranges;

const MIB: u64 = 1 << 20;

fn lines(node_sizes: &[u64]) -> Vec<String> {
    e820_map(&ram_ranges(node_sizes)).iter().map(E820Entry::to_string).collect()
}

#[test]
fn nodes_are_merged_and_the_legacy_range_is_reserved() {
    assert_eq!(
        lines(&[256 * MIB, 256 * MIB]),
        ["00000000-0009fbff : System RAM", "0009fc00-000fffff : Reserved", "00100000-1fffffff : System RAM"]
    );
}

#[test]
fn ram_goes_on_above_the_hole() {
    assert_eq!(
        lines(&[4096 * MIB, 0, 16 * MIB]),
        [
            "00000000-0009fbff : System RAM",
            "0009fc00-000fffff : Reserved",
            "00100000-bfffffff : System RAM",
            "100000000-140ffffff : System RAM"
        ]
    );
}

#[test]
fn every_byte_of_ram_is_in_the_map_once() {
    for sizes in [[16 * MIB, 0], [3072 * MIB, 2 * MIB], [2 * MIB, 5000 * MIB]] {
        let map = e820_map(&ram_ranges(&sizes));
        let total: u64 = map.iter().map(|entry| entry.size).sum();
        assert_eq!(total, sizes.iter().sum());
        assert!(map.windows(2).all(|pair| pair[0].base + pair[0].size <= pair[1].base));
    }
}
