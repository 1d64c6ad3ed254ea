//! Reading the memory map of a process.

use super::*;

const SMAPS: &str = "\
5000-6000 r-xp 00000000 00:00 1 /usr/bin/vmm
Size:                  4 kB
Rss:                   4 kB
AnonHugePages:         0 kB
VmFlags: rd ex
40000000-50000000 rw-p 00000000 00:00 0
Size:             262144 kB
Rss:                6144 kB
AnonHugePages:      4096 kB
Private_Hugetlb:       0 kB
50000000-60000000 rw-p 00000000 00:00 0
Rss:                   0 kB
Private_Hugetlb:    2048 kB
7f0000000000-7f0000001000 rw-p 00000000 00:00 0 [stack]
Rss:                 100 kB
";

#[test]
fn guest_ram_is_told_from_the_rest() {
    let ram = [0x4000_0000..0x5000_0000, 0x5000_0000..0x6000_0000];
    let expected = MemoryUsage { ram: 6144 + 2048, ram_huge: 4096 + 2048, other: 104 };
    assert_eq!(memory_usage(SMAPS, &ram), expected);
    assert_eq!(memory_usage(SMAPS, &[]), MemoryUsage { other: 6248, ..Default::default() });
}
