//! Short transfers: what is left is exactly what was not moved.

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, Permissions};

use super::{GuestBuffers, MAX_VECTORS, Segment};
use crate::devices::virtio::GuestRam;
use crate::memory::{HostPages, RamRange, allocate};

fn ram() -> GuestRam {
    let range = RamRange { base: 0, size: 1 << 20, node: 0 };
    Arc::new(allocate(&[range], HostPages::Small, false).unwrap())
}

fn buffers(memory: &GuestRam, segments: &[(u64, u32)]) -> GuestBuffers {
    let segments = segments.iter().map(|&(address, len)| Segment { address: GuestAddress(address), len });
    let mut buffers = GuestBuffers::none(memory);
    buffers.fill(memory, segments, Permissions::Write).unwrap();
    buffers
}

/// Host address of guest address 0.
fn origin(memory: &GuestRam) -> usize {
    buffers(memory, &[(0, 1)]).vectors()[0].iov_base as usize
}

/// Moves at most `step` bytes at a time, and lists the guest bytes in the order in which they were moved.
fn moved(memory: &GuestRam, list: &mut GuestBuffers, step: usize) -> Vec<usize> {
    let base = origin(memory);
    let mut log = Vec::new();
    while list.bytes() > 0 {
        assert!((1..=MAX_VECTORS).contains(&list.vectors().len()));
        let bytes = list.vectors().iter().flat_map(|vector| {
            let start = vector.iov_base as usize - base;
            start..start + vector.iov_len
        });
        let now: Vec<_> = bytes.take(step).collect();
        list.advance(now.len() as u64);
        log.extend(now);
    }
    assert!(list.vectors().iter().all(|vector| vector.iov_len == 0));
    log
}

#[test]
fn short_transfers_continue_where_they_stopped() {
    let memory = ram();
    let segments = [(0x100, 10), (0x200, 1), (0x300, 0), (0x400, 25)];
    let expected: Vec<_> = (0x100..0x10a).chain([0x200]).chain(0x400..0x419).collect();
    for step in (1..=36).chain([usize::MAX]) {
        assert_eq!(moved(&memory, &mut buffers(&memory, &segments), step), expected, "step {step}");
    }
}

#[test]
fn long_lists_go_in_pieces() {
    let memory = ram();
    let segments: Vec<_> = (0..3 * MAX_VECTORS as u64).map(|i| (i * 8, 4)).collect();
    let expected: Vec<_> = segments.iter().flat_map(|&(at, _)| at..at + 4).map(|at| at as usize).collect();
    for step in [4095, 4096, 4097, usize::MAX] {
        assert_eq!(moved(&memory, &mut buffers(&memory, &segments), step), expected, "step {step}");
    }
}

#[test]
fn a_cut_list_moves_its_front_only() {
    let memory = ram();
    let segments = [(0x100, 10), (0x200, 10)];
    for cut in 0..=20 {
        let mut list = buffers(&memory, &segments);
        list.truncate(cut);
        assert_eq!(list.bytes(), cut);
        let expected: Vec<_> = (0x100..0x10a).chain(0x200..0x20a).take(cut as usize).collect();
        assert_eq!(moved(&memory, &mut list, 3), expected, "cut {cut}");
    }
}

#[test]
fn alignment_is_that_of_every_piece() {
    let memory = ram();
    assert!(buffers(&memory, &[(0x1000, 512), (0x2000, 1024)]).is_aligned(4096, 512));
    assert!(!buffers(&memory, &[(0x1000, 512), (0x2004, 512)]).is_aligned(8, 512));
    assert!(!buffers(&memory, &[(0x1000, 512), (0x2000, 100)]).is_aligned(8, 512));
    let mut list = buffers(&memory, &[(0x1004, 4), (0x2000, 512)]);
    assert!(!list.is_aligned(512, 512));
    list.advance(4);
    assert!(list.is_aligned(512, 512));
}

#[test]
fn stores_only_what_fits() {
    let memory = ram();
    memory.write_slice(&[0xee; 16], GuestAddress(0)).unwrap();
    assert_eq!(buffers(&memory, &[(0, 2), (4, 3)]).store(b"abcdefgh"), 5);
    let mut seen = [0; 8];
    memory.read_slice(&mut seen, GuestAddress(0)).unwrap();
    assert_eq!(seen, *b"ab\xee\xeecde\xee");
}
