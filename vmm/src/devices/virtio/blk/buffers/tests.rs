//! Short transfers: the loop goes on exactly where the last call stopped.

use std::io::{Error, ErrorKind};
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
    GuestBuffers::new(memory, segments, Permissions::Write).unwrap()
}

/// Host address of guest address 0.
fn origin(memory: &GuestRam) -> usize {
    buffers(memory, &[(0, 1)]).vectors[0].iov_base as usize
}

/// Runs `transfer` with a call that moves at most `step` bytes, and lists the guest ranges moved
/// and the file offsets they came with.
fn moved(memory: &GuestRam, segments: &[(u64, u32)], step: usize) -> Vec<(usize, usize, i64)> {
    let base = origin(memory);
    let mut log = Vec::new();
    let mut list = buffers(memory, segments);
    let total = list.bytes();
    let (done, result) = list.transfer(1000, |vectors, count, offset| {
        // SAFETY: `transfer` passes `count` valid vectors.
        let vectors = unsafe { std::slice::from_raw_parts(vectors, count as usize) };
        assert!(vectors.len() <= MAX_VECTORS);
        let (mut left, mut position) = (step, offset);
        for vector in vectors {
            let count = left.min(vector.iov_len);
            if count > 0 {
                log.push((vector.iov_base as usize - base, count, position));
            }
            left -= count;
            position += count as i64;
        }
        (step - left) as isize
    });
    result.unwrap();
    assert_eq!(done, total);
    log
}

/// Byte by byte: guest address and file offset.
fn bytes(log: &[(usize, usize, i64)]) -> Vec<(usize, i64)> {
    log.iter().flat_map(|&(at, len, offset)| (0..len).map(move |i| (at + i, offset + i as i64))).collect()
}

#[test]
fn short_transfers_continue_where_they_stopped() {
    let memory = ram();
    let segments = [(0x100, 10), (0x200, 1), (0x300, 0), (0x400, 25)];
    let whole = bytes(&moved(&memory, &segments, usize::MAX));
    let expected: Vec<_> = (0x100..0x10a).chain([0x200]).chain(0x400..0x419).zip(1000..).collect();
    assert_eq!(whole, expected);
    for step in 1..=36 {
        assert_eq!(bytes(&moved(&memory, &segments, step)), expected, "step {step}");
    }
}

#[test]
fn long_lists_go_in_pieces() {
    let memory = ram();
    let segments: Vec<_> = (0..3 * MAX_VECTORS as u64).map(|i| (i * 8, 4)).collect();
    let expected: Vec<_> =
        segments.iter().flat_map(|&(at, _)| at..at + 4).map(|at| at as usize).zip(1000..).collect();
    for step in [4095, 4096, 4097, usize::MAX] {
        assert_eq!(bytes(&moved(&memory, &segments, step)), expected, "step {step}");
    }
}

#[test]
fn errors_end_the_transfer_and_interruptions_do_not() {
    let memory = ram();
    let mut list = buffers(&memory, &[(0, 100)]);
    let mut calls = 0;
    let (done, result) = list.transfer(0, |_, _, _| {
        calls += 1;
        let code = match calls {
            1 => libc::EINTR,
            2 => return 60,
            _ => libc::ENOSPC,
        };
        // SAFETY: errno of this thread.
        unsafe { *libc::__errno_location() = code };
        -1
    });
    assert_eq!((done, calls), (60, 3));
    assert_eq!(result.unwrap_err().kind(), Error::from_raw_os_error(libc::ENOSPC).kind());
}

#[test]
fn no_progress_and_impossible_offsets_are_errors() {
    let memory = ram();
    let (done, result) = buffers(&memory, &[(0, 100)]).transfer(0, |_, _, _| 0);
    assert_eq!((done, result.unwrap_err().kind()), (0, ErrorKind::UnexpectedEof));
    let never = |_: *const libc::iovec, _, _| unreachable!("called for an impossible offset");
    let (done, result) = buffers(&memory, &[(0, 100)]).transfer(u64::MAX, never);
    assert_eq!((done, result.unwrap_err().kind()), (0, ErrorKind::InvalidInput));
    assert!(buffers(&memory, &[]).transfer(u64::MAX, never).1.is_ok());
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
