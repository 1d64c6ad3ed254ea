//! Which images are kernels.

use super::*;

fn error(bytes: &'static [u8]) -> String {
    Kernel::new(String::from("x"), Cow::Borrowed(bytes)).unwrap_err().to_string()
}

#[test]
fn the_built_in_guest_is_a_ballast_kernel() {
    let kernel = Kernel::open(None, None).unwrap();
    assert!(kernel.is_ballast());
    assert_eq!(kernel.bytes(), BUILT_IN);
    let image = shared::layout::IMAGE_LOAD..shared::layout::IMAGE_LOAD + shared::layout::IMAGE_SIZE;
    assert!(
        matches!(kernel.protocol(), Protocol::Pvh(entry) if image.contains(&entry)),
        "{:?}",
        kernel.protocol()
    );
}

#[test]
fn a_damaged_guest_is_told() {
    assert!(error(&BUILT_IN[..BUILT_IN.len() / 8]).starts_with("x is damaged: "));
    assert_eq!(error(&BUILT_IN[..20]), "x has no PVH note; for Linux, build it with CONFIG_PVH=y");
}

#[test]
fn what_is_no_elf_file_is_told_apart() {
    let mut bzimage = vec![0; 0x800];
    bzimage[0x202..0x206].copy_from_slice(b"HdrS");
    assert!(error(bzimage.clone().leak()).starts_with("x is a damaged or very old bzImage; "));
    bzimage[0x206..0x208].copy_from_slice(&BZIMAGE_VERSION.to_le_bytes());
    assert!(error(bzimage[..0x300].to_vec().leak()).starts_with("x is a damaged or very old bzImage; "));
    let kernel = Kernel::new(String::from("x"), Cow::Owned(bzimage)).unwrap();
    assert_eq!((kernel.protocol(), kernel.is_ballast()), (Protocol::Linux, false));
    for other in [b"".as_slice(), b"#!/bin/sh\n", &[0x7f; 600]] {
        assert!(error(other).starts_with("x is neither an ELF file nor a bzImage; "));
    }
    let missing = Kernel::open(Some(Path::new("/nonexistent")), None).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read kernel /nonexistent: "), "{missing}");
}
