//! The memory functions that compiled code calls: the stock target leaves them to libc.
//!
//! Sizes up to 16 bytes are unrolled; the rest moves by `rep movsq`/`rep stosq`, the 8-byte form that is
//! fast on every CPU and comparable with Linux's `clear_page` under instruction counting.

use core::arch::asm;

/// C `memcpy`.
///
/// # Safety
/// As in C: both ranges are valid for `n` bytes and do not overlap.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(dest: *mut u8, src: *const u8, n: usize) -> *mut u8 {
    // SAFETY: by the caller; the two overlapping words of the small cases stay inside `n` bytes.
    unsafe {
        if n >= 16 {
            let last = src.add(n - 8).cast::<u64>().read_unaligned();
            asm!("rep movsq", inout("rcx") n / 8 => _, inout("rdi") dest => _, inout("rsi") src => _,
                options(nostack, preserves_flags));
            dest.add(n - 8).cast::<u64>().write_unaligned(last);
        } else if n >= 8 {
            let (first, last) =
                (src.cast::<u64>().read_unaligned(), src.add(n - 8).cast::<u64>().read_unaligned());
            dest.cast::<u64>().write_unaligned(first);
            dest.add(n - 8).cast::<u64>().write_unaligned(last);
        } else if n >= 4 {
            let (first, last) =
                (src.cast::<u32>().read_unaligned(), src.add(n - 4).cast::<u32>().read_unaligned());
            dest.cast::<u32>().write_unaligned(first);
            dest.add(n - 4).cast::<u32>().write_unaligned(last);
        } else {
            let mut i = 0;
            while i < n {
                dest.add(i).write_volatile(src.add(i).read_volatile());
                i += 1;
            }
        }
    }
    dest
}

/// C `memmove`.
///
/// # Safety
/// As in C: both ranges are valid for `n` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(dest: *mut u8, src: *const u8, n: usize) -> *mut u8 {
    // SAFETY: by the caller; a destination inside the source is copied from its end.
    unsafe {
        if (dest as usize).wrapping_sub(src as usize) >= n {
            if (src as usize).wrapping_sub(dest as usize) >= n {
                return memcpy(dest, src, n);
            }
            // The destination starts below the source: forward, a byte at a time is right for any overlap.
            asm!("rep movsb", inout("rcx") n => _, inout("rdi") dest => _, inout("rsi") src => _,
                options(nostack, preserves_flags));
        } else {
            asm!("std", "rep movsb", "cld", inout("rcx") n => _,
                inout("rdi") dest.wrapping_add(n).wrapping_sub(1) => _,
                inout("rsi") src.wrapping_add(n).wrapping_sub(1) => _, options(nostack));
        }
    }
    dest
}

/// C `memset`.
///
/// # Safety
/// As in C: the range is valid for `n` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(dest: *mut u8, byte: i32, n: usize) -> *mut u8 {
    let word = u64::from(byte as u8) * 0x0101_0101_0101_0101;
    // SAFETY: by the caller; the last word may overlap the one before, inside `n` bytes.
    unsafe {
        if n >= 8 {
            asm!("rep stosq", inout("rcx") n / 8 => _, inout("rdi") dest => _, in("rax") word,
                options(nostack, preserves_flags));
            dest.add(n - 8).cast::<u64>().write_unaligned(word);
        } else {
            let mut i = 0;
            while i < n {
                dest.add(i).write_volatile(byte as u8);
                i += 1;
            }
        }
    }
    dest
}

/// C `memcmp`.
///
/// # Safety
/// As in C: both ranges are valid for `n` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    let mut i = 0;
    // SAFETY: by the caller; volatile, so that the loop is not turned into a call of this function.
    unsafe {
        while i + 8 <= n {
            let (x, y) = (
                a.add(i).cast::<u64>().read_unaligned().swap_bytes(),
                b.add(i).cast::<u64>().read_unaligned().swap_bytes(),
            );
            if x != y {
                return if x < y { -1 } else { 1 };
            }
            i += 8;
        }
        while i < n {
            let (x, y) = (a.add(i).read_volatile(), b.add(i).read_volatile());
            if x != y {
                return i32::from(x) - i32::from(y);
            }
            i += 1;
        }
    }
    0
}

/// `memcmp` for equality only.
///
/// # Safety
/// As for [`memcmp`].
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    // SAFETY: by the caller.
    unsafe { memcmp(a, b, n) }
}

/// C `strlen`.
///
/// # Safety
/// As in C: the string ends with a zero byte.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(s: *const u8) -> usize {
    let mut n = 0;
    // SAFETY: by the caller.
    unsafe {
        while s.add(n).read_volatile() != 0 {
            n += 1;
        }
    }
    n
}
