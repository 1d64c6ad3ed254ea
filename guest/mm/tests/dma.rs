//! Devices that cannot reach all memory: bounce buffers and what they carry.

use crate::board::{Board, MIB, Plan, addr};
use mm::addr::PhysAddr;
use mm::dma::{Direction, DmaError, DmaMask};
use mm::phys::GfpFlags;
use mm::port::{Machine, PhysMem};

const LEN: u64 = 3 * 4096 + 100;

fn board() -> Board {
    let mut plan = Plan::ram(&[MIB..64 * MIB]);
    plan.ram = 64 * MIB;
    plan.boot()
}

fn fill(board: &Board, at: PhysAddr, byte: u8) {
    for n in 0..LEN {
        let at = board.machine().physmem().ptr(at.checked_add(n).unwrap()).unwrap();
        // SAFETY: simulated RAM that this test allocated.
        unsafe { at.write(byte) };
    }
}

fn sum(board: &Board, at: PhysAddr) -> u64 {
    let byte = |n| board.machine().physmem().ptr(at.checked_add(n).unwrap()).unwrap();
    // SAFETY: simulated RAM that this test allocated.
    (0..LEN).map(|n| u64::from(unsafe { byte(n).read() })).sum()
}

/// Four pages at an address that 24 bits do not reach.
fn high_block(board: &Board) -> u64 {
    let at = board.take(GfpFlags::GFP_KERNEL, 2).unwrap();
    assert!(at >= 16 * MIB / 4096, "ordinary requests leave DMA memory alone");
    at
}

/// The device sees the data under its mask, and its answer arrives in the original; nothing stays allocated.
#[test]
fn a_page_out_of_reach_is_bounced_both_ways() {
    let board = board();
    let block = high_block(&board);
    let (at, free) = (addr(block * 4096 + 50), board.total_free_pages());
    for (direction, answer) in
        [(Direction::ToDevice, 3), (Direction::FromDevice, 9), (Direction::Bidirectional, 9)]
    {
        fill(&board, at, 3);
        // SAFETY: the block is the test's.
        let mapping = unsafe { board.dma_map(at, LEN, DmaMask::bits(24).unwrap(), direction) }.unwrap();
        assert!(mapping.is_bounced() && mapping.bus().get() + LEN <= 16 * MIB);
        assert_eq!(sum(&board, mapping.bus()), 3 * LEN, "the device sees what is in the buffer");
        fill(&board, mapping.bus(), 9);
        // SAFETY: the device is this test.
        unsafe { board.dma_unmap(mapping) }.unwrap();
        assert_eq!(sum(&board, at), answer * LEN, "{direction:?}");
        assert_eq!(board.total_free_pages(), free);
    }
}

/// What the device reaches, it gets as it is.
#[test]
fn a_page_in_reach_is_not_copied() {
    let board = board();
    let low = board.take(GfpFlags::GFP_DMA, 2).unwrap();
    let high = high_block(&board);
    for (block, bits) in [(low, 24), (high, 26), (high, 64)] {
        let at = addr(block * 4096);
        // SAFETY: the block is the test's.
        let mapping =
            unsafe { board.dma_map(at, LEN, DmaMask::bits(bits).unwrap(), Direction::ToDevice) }.unwrap();
        assert_eq!((mapping.bus(), mapping.is_bounced()), (at, false));
        // SAFETY: the device is this test.
        unsafe { board.dma_unmap(mapping) }.unwrap();
    }
}

/// No memory under the mask, no memory at all, no buffer: errors, and nothing is lost.
#[test]
fn what_cannot_be_mapped_is_refused() {
    let board = board();
    let at = addr(high_block(&board) * 4096);
    let free = board.total_free_pages();
    let mask = |bits| DmaMask::bits(bits).unwrap();
    // SAFETY: nothing is mapped in any of these cases.
    let map = |at, len, mask| unsafe { board.dma_map(at, len, mask, Direction::ToDevice) }.err();
    assert_eq!(map(at, LEN, mask(16)), Some(DmaError::MaskTooSmall));
    assert_eq!(map(at, 0, mask(24)), Some(DmaError::BadBuffer));
    assert_eq!(map(at, 4 * MIB + 1, mask(24)), Some(DmaError::BadBuffer));
    assert_eq!(map(addr(1 << 40), LEN, mask(24)), Some(DmaError::BadBuffer));
    assert_eq!(board.total_free_pages(), free);
    while board.take(GfpFlags::GFP_DMA, 0).is_some() {}
    assert!(matches!(map(at, LEN, mask(24)), Some(DmaError::NoMemory(_))));
    assert_eq!((DmaMask::bits(11), DmaMask::bits(65)), (None, None));
}
