//! I/O ports: all of them in every width, but for what would end the attack.

use super::Battle;
use crate::arch::port;
use crate::commands::support::Random;
use shared::layout::{COM1_PORT, DEBUG_EXIT_PORT};

/// Ports that ring 3 may use, up to the last that the widest access can begin at.
const PORTS: u64 = 0x1000 - 3;
/// Where most devices of a PC are.
const COMMON_PORTS: u64 = 0x400;
/// The two 8259s: unmasking their inputs would deliver interrupts as exceptions.
const PICS: [u16; 6] = [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1];
/// The keyboard controller's command port, whose reset command ends the machine.
const KEYBOARD: u16 = 0x64;
/// Bytes of the widest access.
const WIDEST: u16 = 4;

/// A read and a write somewhere.
pub fn attack(_: &Battle, random: &mut Random) -> u64 {
    let end = if random.below(2) == 0 { PORTS } else { COMMON_PORTS };
    let (from, to, value) = (random.below(end) as u16, random.below(end) as u16, random.word());
    match random.below(3) {
        0 => drop(port::read_u8(from)),
        1 => drop(port::read_u16(from)),
        _ => drop(port::read_u32(from)),
    }
    if spared(to) {
        return 1;
    }
    match random.below(3) {
        0 => port::write_u8(to, value as u8),
        1 => port::write_u16(to, value as u16),
        _ => port::write_u32(to, value as u32),
    }
    2
}

/// Whether a write that begins at `at` could reach a port that is left alone. COM1 is, too: noise there would only
/// hide the last words.
fn spared(at: u16) -> bool {
    let reaches = |port: u16| (at..at + WIDEST).contains(&port);
    PICS.into_iter().chain([KEYBOARD]).any(reaches)
        || (DEBUG_EXIT_PORT..DEBUG_EXIT_PORT + 4).any(reaches)
        || (COM1_PORT..COM1_PORT + 8).any(reaches)
}
