//! Partitions are aligned, apart, and fill the disk.

use super::*;

const MIB: u64 = 1 << 20;

fn sizes(layout: &Layout) -> Vec<u64> {
    let all = std::iter::once(&layout.files).chain(&layout.others);
    all.map(|slice| (slice.last + 1 - slice.first) * SECTOR).collect()
}

#[test]
fn the_files_get_what_the_others_leave() {
    let layout = Layout::new(Some(64 * MIB), 32, &[8 * MIB, 1, MIB + 1]).unwrap();
    assert_eq!(layout.sectors * SECTOR, 64 * MIB);
    assert_eq!(sizes(&layout), [51 * MIB, 8 * MIB, 512, MIB + 512]);
    let mut end = 2048;
    for slice in std::iter::once(&layout.files).chain(&layout.others) {
        assert_eq!(slice.first, end);
        end = (slice.last + 1).next_multiple_of(2048);
    }
    assert_eq!(end, 63 * 2048);
}

#[test]
fn a_size_that_is_not_given_is_large_enough() {
    assert_eq!(Layout::new(None, 32, &[]).unwrap().sectors * SECTOR, 64 * MIB);
    for (blocks, others) in [(1 << 20, vec![]), (32, vec![100 * MIB, 3]), (257, vec![64 * MIB])] {
        let layout = Layout::new(None, blocks, &others).unwrap();
        assert!(u64::from(layout.files.blocks()) >= blocks, "{layout:?}");
        // And no larger than it takes: an image of a mebibyte less is refused.
        let less = layout.sectors * SECTOR - MIB;
        assert!(Layout::new(Some(less), blocks, &others).is_err(), "{layout:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for size in [0, 1, 4095, MIB, 2 * MIB, (16 << 40) + 4096, u64::MAX] {
        assert!(matches!(Layout::new(Some(size), 32, &[]), Err(ImageError::Size { .. })), "{size}");
    }
    assert!(Layout::new(Some(3 * MIB), 32, &[]).is_ok());
    for others in [vec![MIB], vec![u64::MAX], vec![u64::MAX; 3], vec![1, 1, 1]] {
        assert!(
            matches!(Layout::new(Some(3 * MIB), 32, &others), Err(ImageError::NoRoom { .. })),
            "{others:?}"
        );
        assert!(others == [MIB] || others == [1, 1, 1] || Layout::new(None, 32, &others).is_err());
    }
    assert!(matches!(Layout::new(Some(4 * MIB), 513, &[]), Err(ImageError::NoRoom { .. })));
    assert!(Layout::new(None, u64::MAX / 2, &[]).is_err());
}
