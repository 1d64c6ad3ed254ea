//! The exit statuses and their encoding by QEMU.

use shared::exit::{ALL, ExitStatus};

#[test]
fn every_status_survives_its_number_and_qemu() {
    for (i, status) in ALL.into_iter().enumerate() {
        assert_eq!(status.code(), i as u32);
        assert_eq!(ExitStatus::from_code(status.code()), Some(status));
        assert_eq!(ExitStatus::from_qemu(status.to_qemu()), Some(status));
    }
    assert_eq!(ExitStatus::from_code(9), None);
}

#[test]
fn qemu_shifts_by_one_and_sets_bit_0() {
    assert_eq!(ExitStatus::Ok.to_qemu(), 1);
    assert_eq!(ExitStatus::Corruption.to_qemu(), 9);
    assert_eq!(ExitStatus::from_qemu(0), None, "QEMU that ends by itself wrote nothing");
    assert_eq!(ExitStatus::from_qemu(8), None);
    assert_eq!(ExitStatus::from_qemu(255), None);
}
