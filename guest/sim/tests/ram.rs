//! RAM: holes, alignment, poison, and machines by the hundred.

use mm::addr::{Pfn, PhysAddr};
use mm::port::{Machine as _, PhysMem};
use sim::Machine;

fn pa(addr: u64) -> PhysAddr {
    PhysAddr::new(addr).unwrap()
}

#[test]
fn a_hole_is_not_ram() {
    let m = Machine::builder().ram(0..0xa_0000).ram(0x10_0000..0x40_0000).build();
    let ram = m.physmem();
    for (addr, there) in [
        (0, true),
        (0x9_ffff, true),
        (0xa_0000, false),
        (0xf_ffff, false),
        (0x10_0000, true),
        (0x40_0000, false),
    ] {
        assert_eq!(ram.ptr(pa(addr)).is_some(), there, "{addr:#x}");
    }
    assert_eq!(ram.bytes(), 0xa_0000 + 0x30_0000);
}

#[test]
fn a_bank_keeps_its_alignment() {
    let m = Machine::builder().ram(0x1000..0x3000).ram(0x20_0000..0x80_0000).build();
    for addr in [0x1000, 0x2000, 0x20_0000, 0x60_0000] {
        let host = m.physmem().ptr(pa(addr)).unwrap().as_ptr().addr() as u64;
        assert_eq!(host % (2 << 20), addr % (2 << 20), "{addr:#x}");
    }
}

#[test]
fn poison_is_everywhere_until_zeroed() {
    let m = Machine::builder().ram(0..0x4000).poison(0xa5).build();
    let (one, two) = (Pfn::new(1).unwrap(), Pfn::new(2).unwrap());
    let ram = m.physmem();
    // SAFETY: this test owns all frames of the machine.
    unsafe {
        assert!(ram.is_filled(one, 0xa5) && ram.is_filled(two, 0xa5));
        ram.zero(one);
        assert!(ram.is_filled(one, 0) && ram.is_filled(two, 0xa5));
        ram.copy(one, two);
        assert!(ram.is_filled(two, 0));
        ram.poison(one, 0x11);
        assert!(ram.is_filled(one, 0x11) && ram.is_filled(two, 0));
    }
}

#[test]
fn five_hundred_machines_do_not_meet() {
    let machines: Vec<_> = (0..500).map(|_| Machine::with_ram(256 << 20)).collect();
    for (i, m) in machines.iter().enumerate() {
        // SAFETY: this test owns all frames of the machine.
        unsafe { m.physmem().poison(Pfn::new(7).unwrap(), i as u8) }
    }
    for (i, m) in machines.iter().enumerate() {
        // SAFETY: as above.
        assert!(unsafe { m.physmem().is_filled(Pfn::new(7).unwrap(), i as u8) });
    }
}

#[test]
#[should_panic(expected = "ascending order")]
fn overlapping_ram_is_refused() {
    let _ = Machine::builder().ram(0..0x4000).ram(0x3000..0x5000).build();
}
