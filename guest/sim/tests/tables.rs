//! Hand-made page tables for the tests of the MMU: raw words at fixed frames, no help from `mm`.

use mm::addr::{PhysAddr, VirtAddr};
use mm::port::{Level, Machine as _, Mmu, PhysMem};
use sim::Machine;
use std::sync::atomic::{AtomicU64, Ordering};

pub const P: u64 = 1;
pub const RW: u64 = 2;
pub const US: u64 = 4;
pub const A: u64 = 0x20;
pub const D: u64 = 0x40;
pub const PS: u64 = 0x80;
pub const G: u64 = 0x100;
pub const NX: u64 = 1 << 63;

/// Where the table of each level is: level 5 at 0x5000 and so on down to 0x1000.
pub const fn table(level: u64) -> u64 {
    level << 12
}

/// Where the tests put their data.
pub const DATA: u64 = 0x20_0000;

pub fn pa(addr: u64) -> PhysAddr {
    PhysAddr::new(addr).unwrap()
}

pub fn va(addr: u64) -> VirtAddr {
    VirtAddr::new(addr).unwrap()
}

/// The word of RAM at `addr`.
pub fn word(m: &Machine, addr: u64) -> &AtomicU64 {
    let ptr = m.physmem().ptr(pa(addr)).unwrap();
    // SAFETY: an aligned word of RAM that lives as long as the machine and is shared by atomics only.
    unsafe { AtomicU64::from_ptr(ptr.as_ptr().cast()) }
}

/// The slot that translates `va` in the table of `level`.
pub fn slot(m: &Machine, level: u64, va: VirtAddr) -> &AtomicU64 {
    word(m, table(level) + (va.get() >> (12 + 9 * (level - 1)) & 511) * 8)
}

pub fn entry(m: &Machine, level: u64, va: VirtAddr) -> u64 {
    slot(m, level, va).load(Ordering::Relaxed)
}

pub fn set(m: &Machine, level: u64, va: VirtAddr, raw: u64) {
    slot(m, level, va).store(raw, Ordering::Relaxed);
}

/// 8 MiB of RAM, as many CPUs as wanted, and a root of `levels` levels active on each.
pub fn machine(levels: u32, cpus: u32) -> Machine {
    let level = Level::new(levels).unwrap();
    let m = Machine::builder().ram(0..0x80_0000).cpus(cpus).root_level(level).phys_bits(46).build();
    for id in m.cpu().ids() {
        // SAFETY: this machine runs no code of its own.
        m.cpu().run_on(id, || unsafe { m.mmu().activate(pa(table(levels.into()))) });
    }
    m
}

/// Links the tables from the root down to the one of `level` with full rights, and puts `raw` there.
pub fn map(m: &Machine, level: u64, va: VirtAddr, raw: u64) {
    let root = u64::from(m.mmu().root_level().get());
    for above in level + 1..=root {
        set(m, above, va, table(above - 1) | P | RW | US);
    }
    set(m, level, va, raw);
}
