//! Virtqueues: garbage descriptors, loops, indices that jump, rings where no RAM is, resets while requests run.
//!
//! Source: VIRTIO 1.2, sections 2.7 (split virtqueues) and 4.2.2 (registers).

use super::Battle;
use super::target::{Arena, Target, nowhere, pick};
use crate::commands::support::Random;

const DRIVER_FEATURES: u64 = 0x20;
const DRIVER_FEATURES_SELECT: u64 = 0x24;
const QUEUE_SELECT: u64 = 0x30;
const QUEUE_SIZE: u64 = 0x38;
const QUEUE_READY: u64 = 0x44;
const QUEUE_NOTIFY: u64 = 0x50;
const STATUS: u64 = 0x70;
/// Low halves of the addresses of descriptors, available and used ring; the high halves follow each.
const QUEUE_ADDRESSES: [u64; 3] = [0x80, 0x90, 0xa0];
/// All registers are 32 bits wide.
const WORD: u32 = 2;

const ACKNOWLEDGE: u64 = 1;
const DRIVER: u64 = 2;
const DRIVER_OK: u64 = 4;
const FEATURES_OK: u64 = 8;
/// VIRTIO_F_VERSION_1, in the upper half of the features.
const VERSION_1: u64 = 1;
/// VIRTIO_RING_F_INDIRECT_DESC and VIRTIO_RING_F_EVENT_IDX, in the lower half.
const RING_FEATURES: u64 = 1 << 28 | 1 << 29;

const NEXT: u64 = 1;
const WRITE: u64 = 2;
const INDIRECT: u64 = 4;

/// Where the rings of a queue are in the arena: each queue has a part of the half that devices read, and its used ring
/// in the half they may write.
const RING_PART: u64 = 0x8000;
const AVAILABLE: u64 = 0x4000;
const USED: u64 = 0x8_0000;
const QUEUES: u64 = 4;
const DESCRIPTORS: u64 = 256;
/// Rounds that one bring-up of a device is good for.
const ROUNDS: u64 = 8;

/// Brings a device up in its own way and feeds it for a while.
pub fn attack(battle: &Battle, random: &mut Random) -> u64 {
    let Some(target) = battle.target(random) else { return 0 };
    let mut accesses = bring_up(target, &battle.arena, random);
    for _ in 0..ROUNDS {
        let queue = random.below(QUEUES);
        fill(&battle.arena, queue, random);
        target.write(QUEUE_NOTIFY, WORD, pick(random, &[queue]));
        accesses += 1;
        if random.below(8) == 0 {
            // While requests run.
            reset(target);
            return accesses + 1;
        }
    }
    accesses
}

/// Takes the device out of use: on return it has forgotten its rings and does nothing any more.
pub fn reset(target: &Target) {
    target.write(STATUS, WORD, 0);
}

fn bring_up(target: &Target, arena: &Arena, random: &mut Random) -> u64 {
    let mut accesses = 0;
    let mut write = |register, value| {
        target.write(register, WORD, value);
        accesses += 1;
    };
    if random.below(8) != 0 {
        write(STATUS, 0);
    }
    write(STATUS, ACKNOWLEDGE | DRIVER);
    let device_features = if random.below(2) == 0 { 0 } else { random.word() & 0xffff };
    for (half, features) in [(0, RING_FEATURES & random.word() | device_features), (1, VERSION_1)] {
        write(DRIVER_FEATURES_SELECT, half);
        write(DRIVER_FEATURES, features);
    }
    write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    for queue in 0..QUEUES {
        write(QUEUE_SELECT, queue);
        write(QUEUE_SIZE, pick(random, &[16, 64, DESCRIPTORS]));
        let base = queue * RING_PART;
        let places = [base, base + AVAILABLE, USED + base];
        for (register, place) in QUEUE_ADDRESSES.into_iter().zip(places) {
            let address = if random.below(32) == 0 { nowhere(random) } else { arena.bus(place) };
            write(register, address & u64::from(u32::MAX));
            write(register + 4, address >> 32);
        }
        write(QUEUE_READY, 1);
    }
    write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    accesses
}

/// New descriptors and a new available index for a queue, perhaps while the device reads them.
fn fill(arena: &Arena, queue: u64, random: &mut Random) {
    let base = queue * RING_PART;
    for slot in 0..random.below(DESCRIPTORS) {
        let (address, rest) = descriptor(arena, random);
        arena.store(base + 16 * slot, address);
        arena.store(base + 16 * slot + 8, rest);
    }
    // Four entries a word; the first holds flags, index and two entries.
    for word in 1..DESCRIPTORS / 4 {
        let entry = random.below(DESCRIPTORS);
        arena.store(base + AVAILABLE + 8 * word, entry * 0x0001_0001_0001_0001);
    }
    let index = pick(random, &[1, 2, 16, 255, 256, 0x7fff, 0xffff]) & 0xffff;
    arena.store(base + AVAILABLE, index << 16 | random.below(DESCRIPTORS) << 32);
}

/// Both words of a descriptor. One that devices may write to names the half that is meant for it, or no RAM.
fn descriptor(arena: &Arena, random: &mut Random) -> (u64, u64) {
    let flags = pick(random, &[0, NEXT, NEXT, WRITE, NEXT | WRITE, INDIRECT]) & 7;
    let len = pick(random, &[0, 1, 16, 512, 4096, 0x1_0000]) & u64::from(u32::MAX);
    let next = random.below(DESCRIPTORS);
    let address = match random.below(8) {
        0 => nowhere(random),
        _ if flags & WRITE != 0 => arena.writable(random, len),
        _ => arena.readable(random, len),
    };
    // Where nothing is cut off by the end of the half, the length is: what follows is the kernel's.
    let room = if flags & WRITE != 0 { 0x7_ffff } else { u64::from(u32::MAX) };
    (address, len.min(room) | flags << 32 | next << 48)
}
