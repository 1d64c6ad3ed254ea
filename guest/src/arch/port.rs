//! I/O ports. CPL3 may use those below 0x1000, by the TSS bitmap or IOPL.

use core::arch::asm;

/// Writes a byte.
pub fn write_u8(port: u16, value: u8) {
    // SAFETY: port I/O touches no memory of ours; the devices behind it are the platform's.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) }
}

/// Writes 32 bits.
pub fn write_u32(port: u16, value: u32) {
    // SAFETY: as for `write_u8`.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack, preserves_flags)) }
}

/// Reads a byte.
pub fn read_u8(port: u16) -> u8 {
    let value;
    // SAFETY: as for `write_u8`.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Writes 16 bits.
pub fn write_u16(port: u16, value: u16) {
    // SAFETY: as for `write_u8`.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack, preserves_flags)) }
}

/// Reads 16 bits.
pub fn read_u16(port: u16) -> u16 {
    let value;
    // SAFETY: as for `write_u8`.
    unsafe { asm!("in ax, dx", in("dx") port, out("ax") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Reads 32 bits.
pub fn read_u32(port: u16) -> u32 {
    let value;
    // SAFETY: as for `write_u8`.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack, preserves_flags)) }
    value
}
