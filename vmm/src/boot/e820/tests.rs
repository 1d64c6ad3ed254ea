//! The map for small, large and hole-crossing machines.

use super::*;
use crate::memory::layout::ram_ranges;

const MIB: u64 = 1 << 20;

fn lines(node_sizes: &[u64]) -> Vec<String> {
    text(&e820_map(&ram_ranges(node_sizes))).lines().map(str::to_owned).collect()
}

#[test]
fn nodes_are_merged_and_the_legacy_range_is_reserved() {
    assert_eq!(
        lines(&[256 * MIB, 256 * MIB]),
        [
            "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable",
            "BIOS-e820: [mem 0x000000000009fc00-0x00000000000fffff] reserved",
            "BIOS-e820: [mem 0x0000000000100000-0x000000001fffffff] usable"
        ]
    );
}

#[test]
fn ram_goes_on_above_the_hole() {
    assert_eq!(
        lines(&[4096 * MIB, 0, 16 * MIB]),
        [
            "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable",
            "BIOS-e820: [mem 0x000000000009fc00-0x00000000000fffff] reserved",
            "BIOS-e820: [mem 0x0000000000100000-0x00000000bfffffff] usable",
            "BIOS-e820: [mem 0x0000000100000000-0x0000000140ffffff] usable"
        ]
    );
}

#[test]
fn every_byte_of_ram_is_in_the_map_once() {
    for sizes in [[16 * MIB, 0], [3072 * MIB, 2 * MIB], [2 * MIB, 5000 * MIB]] {
        let map = e820_map(&ram_ranges(&sizes));
        let total: u64 = map.iter().map(|entry| entry.size).sum();
        assert_eq!(total, sizes.iter().sum::<u64>());
        assert!(map.windows(2).all(|pair| pair[0].start + pair[0].size <= pair[1].start));
    }
}
