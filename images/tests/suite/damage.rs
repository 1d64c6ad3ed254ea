//! Damage is found, or does no harm: every byte of every structure, every kind of cut.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use images::{Inspection, inspect};
use shared::disk::files::SLOT_BYTES;

use crate::support::*;

/// What an image holds, without the state of the copies that a warning is about.
fn contents(found: &Inspection) -> String {
    let mut found = found.clone();
    found.warnings.clear();
    for table in &mut found.tables {
        (table.sequence, table.slot, table.copies) = (0, 0, 0);
    }
    serde_json::to_string(&found).unwrap()
}

/// Changes each byte of `places` in turn, every bit of it once over all bytes, and looks at the image.
fn flip(image: &Path, places: impl Iterator<Item = u64>, mut check: impl FnMut(u64, &Inspection)) {
    let file = OpenOptions::new().read(true).write(true).open(image).unwrap();
    for (n, at) in places.enumerate() {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1 << (n % 8)], at).unwrap();
        check(at, &inspect(image).unwrap());
        file.write_all_at(&byte, at).unwrap();
    }
}

#[test]
fn no_changed_byte_of_a_volume_misleads() {
    let folder = tempfile::tempdir().unwrap();
    let image = small_volume(&folder);
    let whole = inspect(&image).unwrap();
    let (bytes, table) = (whole.bytes, whole.partitions[0].first_lba * 512);
    let (slot, used) = (SLOT_BYTES as u64, 256 * 4);
    // MBR, both headers, used entries and some that are not, both tables.
    let places = (0..512 + 92).chain(1024..1024 + 128 * 4).chain(bytes - 512..bytes - 512 + 92);
    let places = places.chain(bytes - 33 * 512..bytes - 33 * 512 + 128 * 4);
    let places = places.chain(table..table + used).chain(table + slot..table + slot + used);
    let (mut errors, mut warnings, mut harmless) = (0, 0, 0);
    flip(&image, places, |at, found| {
        let outcome = match (found.errors.len(), found.warnings.len()) {
            (0, 0) => &mut harmless,
            (0, _) => &mut warnings,
            _ => &mut errors,
        };
        *outcome += 1;
        assert!(!found.errors.is_empty() || contents(found) == contents(&whole), "byte {at}: {found}");
    });
    // Boot code and padding are nobody's business; each copy of the table stands in for the other.
    assert!(harmless < 512 && warnings == 2 * used && errors > 1200, "{errors} {warnings} {harmless}");
}

#[test]
fn a_volume_survives_one_copy_of_each_structure() {
    let folder = tempfile::tempdir().unwrap();
    let image = small_volume(&folder);
    let whole = fs::read(&image).unwrap();
    let table = 1 << 20;
    let copies = [
        512..34 * 512,
        whole.len() - 33 * 512..whole.len(),
        table..table + 4096,
        table + SLOT_BYTES..table + SLOT_BYTES + 4096,
    ];
    for lost in copies {
        let mut broken = whole.clone();
        broken[lost.clone()].fill(0xff);
        fs::write(&image, &broken).unwrap();
        let found = inspect(&image).unwrap();
        assert!(!found.errors.is_empty() || !found.warnings.is_empty(), "{lost:?}: {found}");
        assert_eq!(found.files.len(), 3, "{lost:?}: {found}");
        assert_eq!(extracted(&image, "db").len(), 400_000);
    }
}

#[test]
fn both_copies_of_a_file_table_gone_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let image = small_volume(&folder);
    let file = OpenOptions::new().write(true).open(&image).unwrap();
    file.write_all_at(&[0; 2 * SLOT_BYTES], 1 << 20).unwrap();
    assert_eq!(inspect(&image).unwrap().errors, ["partition 1: no sound file table: no table"]);
    let error = images::extract(&image, "db", &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("has no file or partition \"db\""), "{error}");
    // The partitions are still there.
    assert_eq!(extracted(&image, "log").len(), 400_384);
}

#[test]
fn every_cut_of_an_image_is_found() {
    let folder = tempfile::tempdir().unwrap();
    for (image, step) in [(small_volume(&folder), 50_021), (small_swap(&folder), 4096)] {
        let bytes = fs::metadata(&image).unwrap().len();
        let file = OpenOptions::new().write(true).open(&image).unwrap();
        let near_the_end = [1, 2, 511, 512, 513, 4096].map(|less| bytes - less);
        for length in near_the_end.into_iter().chain((0..bytes).rev().step_by(step)) {
            file.set_len(length).unwrap();
            let found = inspect(&image).unwrap();
            assert!(!found.errors.is_empty(), "{length}: {found}");
            assert!(!found.to_string().contains('\u{0}'));
        }
    }
}

#[test]
fn a_larger_volume_still_works_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let image = small_volume(&folder);
    OpenOptions::new().write(true).open(&image).unwrap().set_len(7 << 20).unwrap();
    let found = inspect(&image).unwrap();
    assert_eq!((found.errors.len(), found.warnings.len()), (0, 1), "{found}");
    assert!(found.warnings[0].contains("not in the last"), "{found}");
}

/// The format of swap areas has no checksum: what a flipped bit can change unseen is the name, the identifier,
/// and which pages are left out, but never more than the device has.
#[test]
fn a_changed_byte_of_a_swap_area_is_found_or_stays_within_the_area() {
    let folder = tempfile::tempdir().unwrap();
    let image = small_swap(&folder);
    let whole = inspect(&image).unwrap();
    let unprotected = 1036..1068;
    let list = 1536..1544;
    flip(&image, 0..4096, |at, found| {
        if !found.errors.is_empty() || !found.warnings.is_empty() {
            return;
        }
        let (now, before) = (&found.swap[0], &whole.swap[0]);
        assert!(
            now.pages == before.pages && now.bad_pages.iter().all(|page| (1..256).contains(page)),
            "{found}"
        );
        let same = (now.bad_pages == before.bad_pages || list.contains(&at) || (1032..1036).contains(&at))
            && (now.uuid == before.uuid && now.label == before.label || unprotected.contains(&at));
        assert!(same, "byte {at}: {found}");
    });
}
