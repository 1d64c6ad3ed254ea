//! Register windows: every offset, every width, anything written.

use super::Battle;
use super::target::{WINDOW, pick};
use crate::commands::support::Random;

/// The end of the registers that a virtio-mmio device has, and of its configuration space.
const REGISTERS: u64 = 0x140;
/// Widths are 1, 2, 4 and 8 bytes.
const SIZES: u64 = 4;
/// The four bytes behind which rings are taken from, and notified.
const QUEUE_ADDRESSES: core::ops::Range<u64> = 0x80..0xb0;

/// No RAM, whichever half of an address it becomes.
const NO_RAM: u64 = 0xffff_f000_ffff_f000;

/// A read and a write somewhere.
pub fn attack(battle: &Battle, random: &mut Random) -> u64 {
    let Some(target) = battle.target(random) else { return 0 };
    let end = if random.below(4) == 0 { WINDOW } else { REGISTERS };
    let aligned = random.below(4) != 0;
    let mut place = || {
        let offset = random.below(end);
        let size = random.below(SIZES) as u32;
        (if aligned { offset & !((1 << size) - 1) } else { offset }, size)
    };
    let ((from, from_size), (to, to_size)) = (place(), place());
    target.read(from, from_size);
    // Queues by accident are pointed where nothing is: only `rings` may name RAM.
    let value = match to + (1 << to_size) > QUEUE_ADDRESSES.start && to < QUEUE_ADDRESSES.end {
        true => NO_RAM,
        false => pick(random, &[0, 1, 2, 3, 7, 8, 15, 64, 128, 256, 0xffff, u32::MAX.into(), u64::MAX]),
    };
    target.write(to, to_size, value);
    2
}
