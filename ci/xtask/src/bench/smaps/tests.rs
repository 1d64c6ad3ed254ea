//! Tests of telling guest RAM from the monitor's own memory.

use super::{overhead, overhead_of};

fn mapping(rights: &str, size: u64, rss: u64, name: &str) -> String {
    format!(
        "7f0000000000-7f0040000000 {rights} 00000000 00:00 0    {name}\n\
         Size:    {size} kB\nKernelPageSize:        4 kB\nRss:     {rss} kB\nPss:     {rss} kB\n\
         VmFlags: rd wr mr mw me ac sd\n"
    )
}

#[test]
fn guest_ram_is_left_out() {
    let smaps = [
        mapping("r-xp", 3000, 1200, "/usr/bin/vmm"),
        mapping("rw-p", 524_288, 70_000, ""),
        mapping("rw-s", 262_144, 30_000, "/memfd:ram (deleted)"),
        mapping("rw-p", 1_048_576, 2048, "[anon:ram]"),
        mapping("---p", 65_000, 0, ""),
        mapping("rw-p", 132, 40, "[heap]"),
        mapping("rw-p", 2048, 16, ""),
        mapping("rw-p", 40_000, 8, "/tmp/disk.img"),
    ];
    assert_eq!(overhead_of(&smaps.concat()), 1200 + 40 + 16 + 8);
}

#[test]
fn this_process_has_memory_and_a_dead_one_none() {
    assert!(overhead(std::process::id()).is_some_and(|kb| kb > 100));
    assert_eq!(overhead(u32::MAX), None);
}
