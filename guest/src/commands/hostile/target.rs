//! What is attacked and with what: a device's registers, and the memory that devices are pointed at.

use crate::commands::support::{Block, Random};
use crate::memory::areas;
use core::arch::asm;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use mm::addr::{Order, PAGE_SIZE, PhysAddr};
use mm::phys::GfpFlags;
use shared::params::VirtioMmio;

/// Bytes of a window of ours, its registers at the front.
pub const WINDOW: u64 = PAGE_SIZE;
/// The arena: 1 MiB.
const ARENA_ORDER: u32 = 8;
const ARENA: u64 = PAGE_SIZE << ARENA_ORDER;
/// Where buffers begin, after the rings; each of 16 bytes is the head of a disk request: type and sector.
const HEADS: u64 = 0x2_0000;
const HEAD: u64 = 16;
/// Types of VIRTIO 1.2, section 5.2.6: read, write, flush, id, discard, write zeroes, and one that is none.
const DISK_REQUESTS: [u64; 7] = [0, 1, 4, 8, 11, 13, 99];
/// Addresses where no machine of ours has RAM: device windows, interrupt controllers, the end of the first 4 GiB, and
/// far beyond any RAM.
const NO_RAM: [u64; 7] = [
    0xd000_0000,
    0xfec0_0000,
    0xfee0_0000,
    0xffff_f000,
    1 << 46,
    0x000f_ffff_ffff_f000,
    0xffff_ffff_ffff_f000,
];

/// The register window of one device.
pub struct Target {
    registers: NonNull<u8>,
}

// SAFETY: the window is mapped for good, and an access to it is a single instruction.
unsafe impl Sync for Target {}

impl Target {
    /// Maps a window once more, beside its driver's mapping.
    pub fn open(window: &VirtioMmio) -> Option<Self> {
        let registers = areas::ioremap(PhysAddr::new(window.base)?, WINDOW)?;
        Some(Self { registers })
    }

    /// Reads `1 << size` bytes at `offset`, aligned or not, all of them in the window.
    pub fn read(&self, offset: u64, size: u32) -> u64 {
        let at = self.at(offset, size);
        let value: u64;
        // SAFETY: `at` keeps the access inside the window, which is no memory of ours.
        unsafe {
            match size {
                0 => {
                    asm!("movzx {:e}, byte ptr [{}]", out(reg) value, in(reg) at, options(nostack, readonly))
                }
                1 => {
                    asm!("movzx {:e}, word ptr [{}]", out(reg) value, in(reg) at, options(nostack, readonly))
                }
                2 => asm!("mov {:e}, dword ptr [{}]", out(reg) value, in(reg) at, options(nostack, readonly)),
                _ => asm!("mov {}, qword ptr [{}]", out(reg) value, in(reg) at, options(nostack, readonly)),
            }
        }
        value
    }

    /// Writes the low `1 << size` bytes of `value` at `offset`, aligned or not, all of them in the window.
    pub fn write(&self, offset: u64, size: u32, value: u64) {
        let at = self.at(offset, size);
        // SAFETY: as for `read`. What a device then does to memory is what this command is about.
        unsafe {
            match size {
                0 => asm!("mov byte ptr [{}], {}", in(reg) at, in(reg_byte) value as u8, options(nostack)),
                1 => asm!("mov word ptr [{}], {:x}", in(reg) at, in(reg) value, options(nostack)),
                2 => asm!("mov dword ptr [{}], {:e}", in(reg) at, in(reg) value, options(nostack)),
                _ => asm!("mov qword ptr [{}], {}", in(reg) at, in(reg) value, options(nostack)),
            }
        }
    }

    fn at(&self, offset: u64, size: u32) -> u64 {
        self.registers.as_ptr() as u64 + offset.min(WINDOW - (1 << size))
    }
}

/// Memory for rings and buffers. The lower half holds what devices read, the upper half what they may write.
pub struct Arena(Block);

impl Arena {
    /// An arena; `None` without memory. Where devices read buffers there are heads of disk requests, so that some get
    /// further than the first look.
    pub fn alloc(random: &mut Random) -> Option<Self> {
        let block =
            Block::alloc(GfpFlags::GFP_KERNEL | GfpFlags::__GFP_ZERO, Order::new(ARENA_ORDER)?).ok()?;
        let arena = Self(block);
        for offset in (HEADS..ARENA / 2).step_by(HEAD as usize) {
            arena.store(offset, pick(random, &DISK_REQUESTS));
            arena.store(offset + 8, pick(random, &[0, 1, 8, 1000, 1 << 16, u64::MAX >> 9, u64::MAX]));
        }
        Some(arena)
    }

    /// The address that devices use for byte `offset`.
    pub fn bus(&self, offset: u64) -> u64 {
        self.0.pfn().addr().get() + offset
    }

    /// Stores a word at byte `offset`, of which the arena's size and the word's alignment are taken.
    pub fn store(&self, offset: u64, word: u64) {
        self.0.word((offset / 8) as usize).store(word, Ordering::Release);
    }

    /// Somewhere in the half that devices read, `len` bytes before its end at least.
    pub fn readable(&self, random: &mut Random, len: u64) -> u64 {
        self.bus(random.below(ARENA / 2 - len.min(ARENA / 2 - 1)) & !(HEAD - 1))
    }

    /// Somewhere in the half that devices may write, `len` bytes before its end at least.
    pub fn writable(&self, random: &mut Random, len: u64) -> u64 {
        self.bus(ARENA / 2 + random.below(ARENA / 2 - len.min(ARENA / 2 - 1)))
    }
}

/// An address without RAM behind it.
pub fn nowhere(random: &mut Random) -> u64 {
    let base = NO_RAM.get(random.below(NO_RAM.len() as u64) as usize).copied().unwrap_or(u64::MAX);
    base.wrapping_add(random.below(PAGE_SIZE))
}

/// One of `choices`, or a random number now and then.
pub fn pick(random: &mut Random, choices: &[u64]) -> u64 {
    if random.below(8) == 0 {
        return random.word() >> random.below(64);
    }
    choices.get(random.below(choices.len().max(1) as u64) as usize).copied().unwrap_or(0)
}
