//! Readings of honest and of hostile guests.

use std::mem::offset_of;
use std::time::Instant;

use proptest::prelude::*;
use shared::stats::{ABI_VERSION, AREA_SIZE, Header, StatsArea};
use zerocopy::IntoBytes;

use super::*;
use crate::view::pressure::PressureLog;
use crate::view::procfs;

/// Where the area lies in the RAM of these tests.
const ADDRESS: u64 = 0x1000;

/// RAM that nobody changes.
struct Still(Vec<u8>);

impl GuestBytes for Still {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Option<()> {
        let start = usize::try_from(address).ok()?;
        bytes.copy_from_slice(self.0.get(start..start.checked_add(bytes.len())?)?);
        Some(())
    }
}

fn reader(area: &[u8], address: u64) -> StatsReader {
    let mut ram = vec![0; ADDRESS as usize];
    ram.extend(area);
    let note = StatsNote { abi_version: ABI_VERSION, reserved: 0, address };
    StatsReader::new(Box::new(Still(ram)), note)
}

/// An area with a good header and `words` behind it.
fn area(words: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut area = Header::new().as_bytes().to_vec();
    area.extend(words.flat_map(u64::to_le_bytes).take(AREA_SIZE - area.len()));
    area.resize(AREA_SIZE, 0);
    area
}

fn put(area: &mut [u8], offset: usize, value: u64) {
    area[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn a_guest_that_is_not_up_yet_says_so() {
    assert_eq!(reader(&[0; AREA_SIZE], ADDRESS).snapshot(), Err(StatsError::NotYet));
}

#[test]
fn areas_outside_ram_are_refused() {
    let area = area(std::iter::empty());
    for address in [0x10_0000_0000, u64::MAX, u64::MAX - 7, ADDRESS + 8] {
        let read = reader(&area, address).snapshot();
        assert!(
            matches!(read, Err(StatsError::Outside(_) | StatsError::NotYet | StatsError::Magic(_))),
            "{read:?}"
        );
    }
    assert!(matches!(
        reader(&area[..AREA_SIZE / 2], ADDRESS).commands(),
        Ok(_) | Err(StatsError::Outside(_))
    ));
}

#[test]
fn counts_are_bounded() {
    let mut area = area(std::iter::empty());
    put(&mut area, offset_of!(StatsArea, machine.zones), u64::MAX);
    put(&mut area, offset_of!(StatsArea, machine.cpus), u64::MAX);
    let snapshot = reader(&area, ADDRESS).snapshot().unwrap();
    assert_eq!(snapshot.zones.len(), MAX_ZONES);
    let sizes: Vec<_> = procfs::texts(&snapshot).map(|(_, text)| text.len()).collect();
    assert!(sizes.iter().all(|size| *size < 8 << 20), "{sizes:?}");
}

#[test]
fn a_group_that_stays_odd_is_given_up_soon() {
    let mut area = area(std::iter::empty());
    put(&mut area, offset_of!(StatsArea, meminfo), 1);
    let start = Instant::now();
    assert_eq!(reader(&area, ADDRESS).snapshot(), Err(StatsError::Busy { group: number::MEMINFO }));
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn texts_come_from_ram_and_only_from_there() {
    let mut area = area(std::iter::empty());
    let at = AREA_SIZE as u64 + ADDRESS;
    put(&mut area, offset_of!(StatsArea, texts.address), at);
    put(&mut area, offset_of!(StatsArea, texts.length), 24);
    area.extend([0u64.to_le_bytes(), 3u64.to_le_bytes(), *b"abc\0\0\0\0\0"].concat());
    let texts = reader(&area, ADDRESS).texts().unwrap();
    assert_eq!(texts, [SentText { name: shared::stats::TEXTS[0], bytes: b"abc".to_vec() }]);
    put(&mut area, offset_of!(StatsArea, texts.length), u64::MAX);
    assert_eq!(reader(&area, ADDRESS).texts(), Err(StatsError::Outside(at)));
    put(&mut area, offset_of!(StatsArea, texts.address), u64::MAX);
    assert_eq!(reader(&area, ADDRESS).texts(), Err(StatsError::Outside(u64::MAX)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever stands in the area, reading ends, and what was read renders.
    #[test]
    fn garbage_is_read_in_bounded_time(seed in any::<u64>(), even in any::<bool>()) {
        let mut state = seed | 1;
        let garbage = std::iter::from_fn(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Some(if even { state & !1 } else { state.rotate_left(17) })
        });
        let reader = reader(&area(garbage), ADDRESS);
        if let Ok(snapshot) = reader.snapshot() {
            procfs::texts(&snapshot).for_each(drop);
        }
        let _ = (reader.commands(), reader.texts(), reader.pressure().map(|group| PressureLog::default().hear(&group)));
    }
}
