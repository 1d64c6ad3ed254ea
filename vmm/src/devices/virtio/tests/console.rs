//! The console: bytes exact and in order, bad sinks, input, hostile chains.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::driver::*;
use crate::devices::bus::BusDevice;
use crate::devices::virtio::console::{Console, drain};

const RX: usize = 0;
const TX: usize = 1;
const PATIENCE: Duration = Duration::from_secs(20);

/// A console whose writer runs.
pub fn started(sink: File) -> Arc<Mutex<Console>> {
    let console = Console::new(sink);
    console.start_writer(|| true).unwrap();
    Arc::new(Mutex::new(console))
}

fn console(sink: File) -> (Rig, Arc<Mutex<Console>>) {
    let console = started(sink);
    (Rig::ready(console.clone(), EVENT_IDX, 2), console)
}

fn file_console() -> (Rig, Arc<Mutex<Console>>, File) {
    let sink = tempfile::tempfile().unwrap();
    let (rig, console) = console(sink.try_clone().unwrap());
    (rig, console, sink)
}

/// What the sink holds when the writer has come to rest.
fn contents(console: &Mutex<Console>, sink: &File) -> Vec<u8> {
    assert_eq!(drain(console, PATIENCE), None);
    let mut bytes = vec![0; sink.metadata().unwrap().len() as usize];
    sink.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The two ends of a pipe: reader, writer.
fn pipe(flags: libc::c_int) -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | flags) }, 0);
    // SAFETY: both are fresh descriptors that nobody else owns.
    let [reader, writer] = ends.map(|end| File::from(unsafe { OwnedFd::from_raw_fd(end) }));
    (reader, writer)
}

/// All byte values, in an order that shows any loss, doubling or reordering.
fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 256 * 7 + i / 65536) as u8).collect()
}

#[test]
fn identifies_itself() {
    let (mut rig, ..) = file_console();
    assert_eq!(rig.read(virtio_bindings::virtio_mmio::VIRTIO_MMIO_DEVICE_ID), 3);
    assert_eq!(rig.offered(), VERSION_1 | EVENT_IDX | INDIRECT_DESC | 1 << 2);
    assert_eq!(rig.config::<12>(0), [0; 12]);
}

#[test]
fn output_is_exact_and_in_order() {
    let (mut rig, console, sink) = file_console();
    let bytes = noise(200_000);
    rig.put(REGIONS[1], &bytes);
    let mut sent = 0;
    // Chains of one to three buffers of growing, odd sizes; empty buffers too; many per kick.
    for round in 1.. {
        let mut chain = Vec::new();
        for part in 0..1 + round % 3 {
            let len = (round * 37 * part % 5000).min(bytes.len() - sent);
            chain.push(out(REGIONS[1] + sent as u64, len as u32));
            sent += len;
        }
        rig.submit(TX, &chain);
        if round % 4 == 0 || sent == bytes.len() {
            rig.kick(TX as u32);
            assert!(rig.used(TX).iter().all(|used| used.len == 0));
            assert_eq!(contents(&console, &sink), bytes[..sent], "round {round}");
        }
        if sent == bytes.len() {
            break;
        }
    }
    assert_eq!(console.lock().unwrap().output_loss(), None);
}

#[test]
fn one_buffer_larger_than_a_batch() {
    let (mut rig, console, sink) = file_console();
    let bytes = noise(REGION as usize);
    rig.put(REGIONS[2], &bytes);
    assert_eq!(rig.request(TX, &[out(REGIONS[2], REGION as u32)]), 0);
    assert_eq!(contents(&console, &sink), bytes);
    // Over the seam of two regions.
    assert_eq!(rig.request(TX, &[out(REGIONS[2] - 100, 200)]), 0);
    assert_eq!(contents(&console, &sink)[REGION as usize..], [vec![0; 100], bytes[..100].to_vec()].concat());
}

#[test]
fn only_device_readable_buffers_are_output() {
    let (mut rig, console, sink) = file_console();
    rig.put(BUFFERS, b"secret said");
    assert_eq!(rig.request(TX, &[out(BUFFERS + 7, 4), into(BUFFERS, 6)]), 0);
    assert_eq!(contents(&console, &sink), b"said");
    assert_eq!(rig.get(BUFFERS, 6), *b"secret");
}

#[test]
fn emergency_write_needs_no_queue() {
    let sink = tempfile::tempfile().unwrap();
    let console = started(sink.try_clone().unwrap());
    let mut rig = Rig::new(console.clone());
    for byte in *b"oops\n" {
        rig.transport.write(0x108, &u32::from(byte).to_le_bytes());
    }
    rig.transport.write(0x109, &[1; 4]);
    rig.transport.write(0x100, &[1; 8]);
    rig.transport.write(0x108, &[]);
    assert_eq!(contents(&console, &sink), b"oops\n");
}

#[test]
fn a_closed_sink_never_stops_the_guest() {
    let (reader, writer) = pipe(0);
    let (mut rig, console) = console(writer);
    rig.put(BUFFERS, b"hello");
    assert_eq!(rig.request(TX, &[out(BUFFERS, 5)]), 0);
    assert_eq!(drain(&console, PATIENCE), None);
    drop(reader);
    for round in 1..=1000 {
        assert_eq!(rig.request(TX, &[out(BUFFERS, 5)]), 0);
        let loss = drain(&console, PATIENCE).unwrap();
        assert_eq!(loss.bytes, 5 * round);
        assert!(loss.reason.contains("Broken pipe"), "{}", loss.reason);
    }
    // Far more than there is room for, if anybody kept it.
    for _ in 0..8 {
        assert_eq!(rig.request(TX, &[out(0, REGION as u32)]), 0);
    }
    assert_eq!(console.lock().unwrap().output_loss().unwrap().bytes, 5000 + 8 * REGION);
}

#[test]
fn a_full_disk_is_remembered() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (mut rig, console) = console(full);
    rig.put(BUFFERS, b"hello");
    assert_eq!(rig.request(TX, &[out(BUFFERS, 5)]), 0);
    let loss = drain(&console, PATIENCE).unwrap();
    assert_eq!(loss.bytes, 5);
    assert!(loss.reason.contains("No space"), "{}", loss.reason);
}

/// Reads `len` bytes in odd pieces.
fn read_slowly(mut reader: File, len: usize) -> Vec<u8> {
    let (mut all, mut piece) = (Vec::new(), [0; 3001]);
    while all.len() < len {
        let count = reader.read(&mut piece).unwrap();
        assert_ne!(count, 0, "the pipe ended after {} bytes", all.len());
        all.extend_from_slice(&piece[..count]);
    }
    all
}

#[test]
fn a_stuck_sink_holds_up_only_the_guest() {
    for flags in [0, libc::O_NONBLOCK] {
        let (reader, writer) = pipe(flags);
        // SAFETY: changes only the flags of the reader's own descriptor.
        assert_eq!(unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_SETFL, 0) }, 0);
        let (mut rig, console) = console(writer);
        let bytes = noise(REGION as usize);
        rig.put(REGIONS[1], &bytes);
        // Eight times as much as the pipe takes and the console keeps; a kick must return at once.
        let piece = REGION / 2;
        for i in 0..16 {
            rig.submit(TX, &[out(REGIONS[1] + i % 2 * piece, piece as u32)]);
        }
        rig.kick(TX as u32);
        let early = rig.used(TX).len();
        assert!((2..8).contains(&early), "{early} chains were taken");
        let total = 16 * piece as usize;
        let reading = std::thread::spawn(move || read_slowly(reader, total));
        // The console rings the bell by itself when there is room.
        let mut taken = early;
        let start = Instant::now();
        while taken < 16 {
            rig.run();
            taken += rig.used(TX).len();
            std::thread::sleep(Duration::from_millis(1));
            assert!(start.elapsed() < PATIENCE, "{taken} chains were taken");
        }
        assert!(reading.join().unwrap() == bytes.repeat(8));
        assert_eq!(drain(&console, PATIENCE), None);
    }
}

#[test]
fn output_is_finished_after_the_console_is_gone() {
    let (mut reader, writer) = pipe(0);
    let (mut rig, console) = console(writer);
    let bytes = noise(REGION as usize);
    rig.put(REGIONS[1], &bytes);
    assert_eq!(rig.request(TX, &[out(REGIONS[1], REGION as u32)]), 0);
    drop((rig, console));
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    assert!(all == bytes);
}

#[test]
fn drain_writes_what_was_sent_without_a_kick() {
    let (mut rig, console, sink) = file_console();
    let bytes = noise(100 * 16);
    rig.put(BUFFERS, &bytes);
    rig.bring_up(EVENT_IDX, 2, 256);
    for i in 0..100 {
        rig.submit(TX, &[out(BUFFERS + 16 * i, 16)]);
    }
    assert_eq!(drain(&console, Duration::from_secs(5)), None);
    assert_eq!(contents(&console, &sink), bytes);
    assert_eq!(rig.used(TX).len(), 100);
}

#[test]
fn drain_waits_for_a_slow_reader() {
    let (reader, writer) = pipe(0);
    let (mut rig, console) = console(writer);
    let bytes = noise(REGION as usize);
    rig.put(REGIONS[1], &bytes);
    for _ in 0..8 {
        rig.submit(TX, &[out(REGIONS[1], REGION as u32)]);
    }
    let reading = std::thread::spawn(move || read_slowly(reader, 8 * REGION as usize));
    assert_eq!(drain(&console, PATIENCE), None);
    assert_eq!(rig.used(TX).len(), 8);
    assert!(reading.join().unwrap() == bytes.repeat(8));
}

#[test]
fn drain_gives_up_on_a_stuck_sink() {
    let (mut reader, writer) = pipe(0);
    let (mut rig, console) = console(writer);
    rig.put(REGIONS[1], &noise(REGION as usize));
    for _ in 0..3 {
        rig.submit(TX, &[out(REGIONS[1], REGION as u32)]);
    }
    let start = Instant::now();
    let loss = drain(&console, Duration::from_millis(50)).unwrap();
    assert!(start.elapsed() < PATIENCE);
    assert!(loss.reason.contains("stuck"), "{}", loss.reason);
    let taken = rig.used(TX).len() as u64 * REGION;
    let mut seen = vec![0; REGION as usize];
    let count = reader.read(&mut seen).unwrap();
    assert_eq!(seen[..count], noise(count));
    // The write that hangs counts as lost although the pipe has taken a part of it.
    assert!((taken - count as u64..=taken).contains(&loss.bytes), "{} of {taken}", loss.bytes);
}

#[test]
fn input_fills_the_receive_buffers() {
    let (mut rig, console, _) = file_console();
    // Buffers are waiting when input comes.
    rig.submit(RX, &[into(BUFFERS, 4), into(BUFFERS + 0x100, 4)]);
    rig.submit(RX, &[into(BUFFERS + 0x200, 100)]);
    rig.kick(RX as u32);
    assert_eq!((rig.used(RX), rig.interrupts()), (vec![], 0));
    assert_eq!(console.lock().unwrap().push_input(b"hello world"), 11);
    rig.run();
    assert_eq!(rig.used(RX).iter().map(|used| used.len).collect::<Vec<_>>(), [8, 3]);
    assert_eq!(rig.interrupts(), 1);
    assert_eq!(rig.get(BUFFERS, 4), *b"hell");
    assert_eq!(rig.get(BUFFERS + 0x100, 4), *b"o wo");
    assert_eq!(rig.get(BUFFERS + 0x200, 4), *b"rld\0");
}

#[test]
fn input_waits_for_receive_buffers() {
    let sink = tempfile::tempfile().unwrap();
    let console = started(sink);
    console.lock().unwrap().push_input(b"early ");
    let mut rig = Rig::ready(console.clone(), EVENT_IDX, 2);
    console.lock().unwrap().push_input(b"late");
    rig.run();
    let mut seen = Vec::new();
    // One byte at a time, with more chains than one pass takes.
    for _ in 0..10 {
        rig.submit(RX, &[into(BUFFERS, 1)]);
        rig.kick(RX as u32);
        assert_eq!(rig.used(RX).len(), 1);
        seen.extend(rig.get(BUFFERS, 1));
    }
    assert_eq!(seen, b"early late");
    // The driver is asked to notify when it has buffers again: its next kick is not suppressed.
    let ring = rig.rings[RX];
    assert_eq!(rig.get(ring.avail_event(), 2), 9u16.to_le_bytes());
}

#[test]
fn much_input_passes_through_few_buffers() {
    let (mut rig, console, _) = file_console();
    let bytes = noise(100_000);
    assert_eq!(console.lock().unwrap().push_input(&bytes), bytes.len());
    let mut seen = Vec::new();
    while seen.len() < bytes.len() {
        for slot in 0..16 {
            rig.submit(RX, &[into(BUFFERS + 64 * slot, 64)]);
        }
        rig.kick(RX as u32);
        for used in rig.used(RX) {
            seen.extend(rig.get(BUFFERS + 64 * u64::from(used.head), used.len as usize));
        }
    }
    assert!(seen == bytes);
    let limit = 1 << 20;
    let mut guard = console.lock().unwrap();
    assert_eq!(guard.push_input(&vec![0; limit + 5]), limit);
    assert_eq!(guard.push_input(b"more"), 0);
}

#[test]
fn useless_receive_chains_are_given_back_empty() {
    let (mut rig, console, _) = file_console();
    rig.submit(RX, &[out(BUFFERS, 16)]);
    rig.submit(RX, &[into(BUFFERS, 0)]);
    rig.submit(RX, &[into(BUFFERS, 2)]);
    console.lock().unwrap().push_input(b"ab");
    rig.run();
    assert_eq!(rig.used(RX).iter().map(|used| used.len).collect::<Vec<_>>(), [0, 0, 2]);
}

#[test]
fn hostile_chains_stop_the_console() {
    let cases: [(usize, &[Desc]); 5] = [
        (TX, &[out(HOLE, 1)]),
        (TX, &[out(u64::MAX, 2)]),
        (TX, &[out(HOLE - 4, 8)]),
        (TX, &[out(0, REGION as u32); 16]),
        (RX, &[into(HOLE - 1, 8)]),
    ];
    for (queue, chain) in cases {
        let (mut rig, console, sink) = file_console();
        // The 16 MiB are allowed, one byte more is not.
        let extra = [out(0, 1)];
        let long = chain.len() == 16;
        if long {
            rig.bring_up(EVENT_IDX, 2, 32);
        }
        let chain = if long { [chain, &extra].concat() } else { chain.to_vec() };
        rig.submit(queue, &chain);
        console.lock().unwrap().push_input(b"input");
        rig.kick(queue as u32);
        assert_eq!(rig.status() & NEEDS_RESET, NEEDS_RESET, "{chain:x?}");
        assert_eq!(rig.used(queue), []);
        assert_eq!(drain(&console, Duration::from_secs(5)), None);
        rig.bring_up(EVENT_IDX, 2, 16);
        rig.put(BUFFERS, b"fine");
        assert_eq!(rig.request(TX, &[out(BUFFERS, 4)]), 0);
        assert!(contents(&console, &sink).ends_with(b"fine"));
    }
}
