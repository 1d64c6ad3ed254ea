//! Routing, overlap rules and unclaimed addresses.

use super::*;

#[derive(Default)]
struct Recorder {
    writes: Vec<(u64, Vec<u8>)>,
}

impl BusDevice for Recorder {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(offset as u8);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        self.writes.push((offset, data.to_vec()));
    }
}

fn recorder() -> Arc<Mutex<Recorder>> {
    Arc::new(Mutex::new(Recorder::default()))
}

#[test]
fn an_access_reaches_the_device_with_its_offset() {
    let (low, high) = (recorder(), recorder());
    let mut bus = Bus::new();
    bus.insert(0x2000, 0x1000, high.clone()).unwrap();
    bus.insert(0x1000, 0x1000, low.clone()).unwrap();
    assert!(bus.write(0x1fff, &[1]));
    assert!(bus.write(0x2000, &[2, 3]));
    let mut byte = [0];
    assert!(bus.read(0x2ffe, &mut byte));
    assert_eq!(byte, [0xfe]);
    assert_eq!(low.lock().unwrap().writes, [(0xfff, vec![1])]);
    assert_eq!(high.lock().unwrap().writes, [(0, vec![2, 3])]);
}

#[test]
fn unclaimed_reads_are_all_ones_and_writes_are_dropped() {
    let mut bus = Bus::new();
    bus.insert(0x1000, 0x10, recorder()).unwrap();
    for address in [0, 0xfff, 0x1010, u64::MAX] {
        let mut data = [0; 8];
        assert!(!bus.read(address, &mut data));
        assert_eq!(data, [0xff; 8]);
        assert!(!bus.write(address, &data));
    }
}

#[test]
fn overlapping_empty_and_wrapping_ranges_are_refused() {
    let mut bus = Bus::new();
    bus.insert(0x1000, 0x1000, recorder()).unwrap();
    for (base, size) in [(0x1000, 1), (0x0, 0x1001), (0x1fff, 1), (0x0, 0x4000), (0x1800, 0x8000)] {
        assert_eq!(bus.insert(base, size, recorder()), Err(BusError::Overlap { base, size }));
    }
    assert_eq!(bus.insert(5, 0, recorder()), Err(BusError::BadRange { base: 5, size: 0 }));
    assert!(matches!(bus.insert(u64::MAX, 2, recorder()), Err(BusError::BadRange { .. })));
    bus.insert(0x2000, 1, recorder()).unwrap();
    bus.insert(u64::MAX, 1, recorder()).unwrap();
    assert!(bus.read(u64::MAX, &mut [0]));
}
