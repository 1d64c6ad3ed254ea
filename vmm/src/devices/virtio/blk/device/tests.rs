//! The disk with an engine that finishes what and when the test says: order, short transfers, resets, several queues.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use virtio_bindings::virtio_blk::VIRTIO_BLK_T_FLUSH;

use super::super::super::device::VirtioDevice;
use super::super::super::tests::driver::*;
use super::super::counters::RequestKind;
use super::super::engine::{Done, Engine, Job, Op};
use super::super::flight::MAX_IN_FLIGHT;
use super::super::stream::BATCH;
use super::*;

const HEADERS: u64 = BUFFERS;
const STATUSES: u64 = BUFFERS + 0x1_0000;
const DATA: u64 = REGIONS[1];

/// What the engine has and what it has finished.
#[derive(Default)]
struct State {
    pending: Vec<Job>,
    done: Vec<Done>,
    most: usize,
}

#[derive(Clone, Default)]
struct Manual(Arc<Mutex<State>>);

fn length(op: Op) -> i32 {
    match op {
        Op::Read(vectors, _) | Op::Write(vectors, _) | Op::WriteThrough(vectors, _) => {
            // SAFETY: the device keeps the vectors of a job that is under way.
            let list = unsafe { std::slice::from_raw_parts(vectors.first, vectors.count as usize) };
            list.iter().map(|vector| vector.iov_len as i32).sum()
        }
        Op::Look(_) => 1,
        Op::Sync | Op::Allocate { .. } => 0,
    }
}

impl Manual {
    fn pending(&self) -> Vec<Job> {
        self.0.lock().unwrap().pending.clone()
    }

    /// Ends pending operation `index` with `result`, or as the kernel would if all went well.
    fn finish(&self, index: usize, result: Option<i32>) {
        let mut state = self.0.lock().unwrap();
        let job = state.pending.remove(index);
        let result = result.unwrap_or_else(|| length(job.op));
        state.done.push(Done { slot: job.slot, result });
    }
}

impl Engine for Manual {
    unsafe fn push(&mut self, job: Job) {
        let mut state = self.0.lock().unwrap();
        state.pending.push(job);
        state.most = state.most.max(state.pending.len());
    }

    fn submit(&mut self) -> bool {
        true
    }

    fn reap(&mut self, done: &mut Vec<Done>) {
        done.append(&mut self.0.lock().unwrap().done);
    }

    fn wait(&mut self) {
        if self.0.lock().unwrap().done.is_empty() {
            self.finish(0, None);
        }
    }

    fn event(&self) -> RawFd {
        -1
    }
}

/// A disk of 1 MiB with two queues on an engine that does nothing by itself.
fn disk(size: u16, faults: FaultPlan) -> (Rig, Manual, Arc<BlkCounters>) {
    disk_on(DiskImage::temporary(1 << 20).unwrap(), size, faults)
}

/// The same on `image`.
fn disk_on(image: DiskImage, size: u16, faults: FaultPlan) -> (Rig, Manual, Arc<BlkCounters>) {
    let options = BlockOptions { id: "manual".into(), queues: 2, faults, ..BlockOptions::default() };
    let mut block = Block::with_options(image, options).unwrap();
    let engine = Manual::default();
    block.core.engine = Some(Box::new(engine.clone()));
    let counters = block.counters();
    let mut rig = Rig::new(Arc::new(Mutex::new(block)));
    rig.bring_up(EVENT_IDX | 1 << VIRTIO_BLK_F_FLUSH, 2, size);
    (rig, engine, counters)
}

/// Makes request `n` available on `queue`: a read or write of sector `n`. Returns its head.
fn submit(rig: &mut Rig, queue: usize, n: u64, write: bool) -> u16 {
    rig.put(HEADERS + 16 * n, &[&u32::from(write).to_le_bytes()[..], &[0; 4], &n.to_le_bytes()].concat());
    rig.put(STATUSES + n, &[0xee]);
    let data = if write { out(DATA + 512 * n, 512) } else { into(DATA + 512 * n, 512) };
    rig.submit(queue, &[out(HEADERS + 16 * n, 16), data, into(STATUSES + n, 1)])
}

/// Serves what was rung, once, and takes in what is finished; nothing is waited for.
fn look(rig: &mut Rig) {
    for queue in 0..2 {
        while rig.events.serve(queue) {}
    }
    while rig.events.complete().progress {}
}

fn statuses(rig: &Rig, count: u64) -> Vec<u8> {
    rig.get(STATUSES, count as usize)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the order in which the host finishes, each request comes back once, on its own queue, in that order.
    #[test]
    fn completions_come_in_the_hosts_order(
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0usize..2, any::<bool>()), 1..40),
    ) {
        let (mut rig, engine, counters) = disk(256, FaultPlan::default());
        let mut heads = BTreeMap::new();
        for (n, &(_, queue, write)) in (0..).zip(&picks) {
            heads.insert(n, (queue, submit(&mut rig, queue, n, write)));
        }
        look(&mut rig);
        prop_assert_eq!(engine.pending().len(), picks.len(), "all are under way at once");
        let mut expected = [Vec::new(), Vec::new()];
        for (pick, ..) in &picks {
            let pending = engine.pending();
            let index = pick.index(pending.len());
            let (Op::Read(_, offset) | Op::Write(_, offset)) = pending[index].op else { unreachable!() };
            let (queue, head) = heads[&(offset / 512)];
            expected[queue].push(u32::from(head));
            engine.finish(index, None);
            if head % 2 == 0 {
                look(&mut rig);
            }
        }
        look(&mut rig);
        for (queue, expected) in expected.iter().enumerate() {
            let heads: Vec<_> = rig.used(queue).iter().map(|used| used.head).collect();
            prop_assert_eq!(&heads, expected);
        }
        prop_assert_eq!(statuses(&rig, picks.len() as u64), vec![0; picks.len()]);
        let totals = counters.totals();
        prop_assert_eq!(totals.reads + totals.writes, picks.len() as u64);
    }
}

#[test]
fn short_transfers_and_interruptions_go_on_and_errors_end() {
    let (mut rig, engine, counters) = disk(16, FaultPlan::default());
    submit(&mut rig, 0, 0, false);
    look(&mut rig);
    for (result, left) in [(-libc::EINTR, 512), (100, 412), (-libc::EAGAIN, 412), (411, 1)] {
        engine.finish(0, Some(result));
        look(&mut rig);
        let job = engine.pending()[0];
        let Op::Read(_, offset) = job.op else { panic!("{job:?}") };
        assert_eq!((length(job.op), offset), (left, 512 - left as u64), "after {result}");
        assert_eq!(rig.used(0), []);
    }
    engine.finish(0, None);
    look(&mut rig);
    assert_eq!((rig.used(0)[0].len, statuses(&rig, 1)[0]), (513, 0));

    for result in [-libc::EIO, -libc::ENOSPC, 0] {
        submit(&mut rig, 1, 1, false);
        look(&mut rig);
        engine.finish(0, Some(200));
        look(&mut rig);
        engine.finish(0, Some(result));
        look(&mut rig);
        assert_eq!((rig.used(1)[0].len, statuses(&rig, 2)[1]), (200, 1), "{result}");
    }
    assert_eq!((counters.totals().reads, counters.totals().errors), (1, 3));
    let log = counters.log();
    assert_eq!(
        log.iter().map(|entry| (entry.sector, entry.ok)).collect::<Vec<_>>(),
        [(0, true), (1, false), (1, false), (1, false)]
    );
}

#[test]
fn a_disk_that_could_not_be_flushed_never_vouches_again() {
    let (mut rig, engine, counters) = disk(16, FaultPlan::default());
    let flush = |rig: &mut Rig, n: u64| {
        rig.put(HEADERS + 16 * n, &[&VIRTIO_BLK_T_FLUSH.to_le_bytes()[..], &[0; 12]].concat());
        rig.put(STATUSES + n, &[0xee]);
        rig.submit(0, &[out(HEADERS + 16 * n, 16), into(STATUSES + n, 1)]);
        look(rig);
    };
    flush(&mut rig, 0);
    engine.finish(0, None);
    flush(&mut rig, 1);
    engine.finish(0, Some(-libc::EIO));
    look(&mut rig);
    // The host would say that all is well now.
    flush(&mut rig, 2);
    assert!(engine.pending().is_empty(), "it is not asked");
    submit(&mut rig, 0, 3, true);
    look(&mut rig);
    engine.finish(0, None);
    look(&mut rig);
    assert_eq!(statuses(&rig, 4), [0, 1, 1, 0]);
    let totals = counters.totals();
    assert_eq!((totals.errors, totals.flushes), (2, 1));
}

#[test]
fn a_reset_waits_for_the_host_and_tells_nobody() {
    let (mut rig, engine, _) = disk(16, FaultPlan::default());
    for n in 0..4 {
        submit(&mut rig, (n % 2) as usize, n, n % 2 == 0);
    }
    look(&mut rig);
    assert_eq!(engine.pending().len(), 4);
    rig.write(virtio_bindings::virtio_mmio::VIRTIO_MMIO_STATUS, 0);
    assert_eq!(engine.pending().len(), 0, "the host still had a buffer when the reset returned");
    look(&mut rig);
    assert_eq!((rig.used(0), rig.used(1)), (vec![], vec![]));
    assert_eq!(statuses(&rig, 4), [0xee; 4]);
    rig.bring_up(1 << VIRTIO_BLK_F_FLUSH, 2, 16);
    let head = submit(&mut rig, 1, 0, false);
    look(&mut rig);
    engine.finish(0, None);
    look(&mut rig);
    assert_eq!(rig.used(1), [Used { head: head.into(), len: 513 }]);
}

#[test]
fn a_stopped_queue_loses_its_requests_and_the_other_does_not() {
    let (mut rig, engine, _) = disk(16, FaultPlan::default());
    submit(&mut rig, 0, 0, false);
    let other = submit(&mut rig, 1, 1, false);
    look(&mut rig);
    rig.write(virtio_bindings::virtio_mmio::VIRTIO_MMIO_QUEUE_SEL, 0);
    rig.write(virtio_bindings::virtio_mmio::VIRTIO_MMIO_QUEUE_READY, 0);
    assert_eq!(engine.pending().len(), 0);
    look(&mut rig);
    assert_eq!(rig.used(0), []);
    assert_eq!(rig.used(1), [Used { head: other.into(), len: 513 }]);
    assert_eq!(statuses(&rig, 2), [0xee, 0]);
}

#[test]
fn more_requests_than_fit_wait_for_their_turn() {
    let (mut rig, engine, counters) = disk(512, FaultPlan::default());
    // The same three descriptors again and again: a driver may be that odd.
    for queue in 0..2 {
        let head = submit(&mut rig, queue, queue as u64, false);
        for _ in 1..300 {
            rig.publish(queue, head);
        }
    }
    look(&mut rig);
    assert_eq!(engine.pending().len(), MAX_IN_FLIGHT as usize);
    let mut rounds = 0;
    while !engine.pending().is_empty() {
        engine.finish(rounds % engine.pending().len(), None);
        look(&mut rig);
        rounds += 1;
    }
    assert_eq!(rounds, 600);
    assert_eq!((rig.used(0).len(), rig.used(1).len()), (300, 300));
    assert_eq!(engine.0.lock().unwrap().most, MAX_IN_FLIGHT as usize);
    assert_eq!(counters.totals().reads, 600);
    assert_eq!(counters.log().len(), 256);
}

/// Bytes of a read of a stream.
const PART: u64 = 128 << 10;
/// Reads of a disk from its beginning to its end.
const PARTS: u64 = 112;
/// Reads of a batch.
const IN_BATCH: u64 = BATCH / PART;

/// A disk of [`PARTS`] parts with two queues, of which the host reads `ahead` bytes ahead.
fn disk_in_parts(ahead: u64) -> (Rig, Manual, Arc<BlkCounters>) {
    let mut image = DiskImage::temporary(PARTS * PART).unwrap();
    image.ahead = ahead;
    disk_on(image, 512, FaultPlan::default())
}

/// Makes a read of the part at `place` available on `queue`, as request `n`.
fn submit_part(rig: &mut Rig, queue: usize, n: u64, place: u64) {
    rig.put(HEADERS + 16 * n, &[[0; 8], (place * PART / 512).to_le_bytes()].concat());
    rig.put(STATUSES + n, &[0xee]);
    rig.submit(queue, &[out(HEADERS + 16 * n, 16), into(DATA, PART as u32), into(STATUSES + n, 1)]);
}

/// As [`look`], until no queue is rung any more: what was held goes on with what is finished.
fn settle(rig: &mut Rig) {
    let mut rung = true;
    while rung {
        look(rig);
        rung = rig.transport.queue_events().iter().fold(false, |rung, kick| kick.read().is_ok() | rung);
    }
}

/// Has a disk of which the host reads `ahead` bytes ahead serve [`PARTS`] reads, read `n` at place `place(n)`; the host ends them
/// in their order. Returns what the host had at each moment.
fn parts(ahead: u64, place: impl Fn(u64) -> u64) -> Vec<Vec<Job>> {
    let (mut rig, engine, counters) = disk_in_parts(ahead);
    (0..PARTS).for_each(|n| submit_part(&mut rig, 0, n, place(n)));
    let mut moments = Vec::new();
    loop {
        settle(&mut rig);
        match engine.pending() {
            pending if pending.is_empty() => break,
            pending => moments.push(pending),
        }
        engine.finish(0, None);
    }
    assert_eq!((rig.used(0).len(), statuses(&rig, PARTS)), (PARTS as usize, vec![0; PARTS as usize]));
    assert_eq!(counters.totals().read_bytes, PARTS * PART, "a look is no read of the guest");
    moments
}

/// How many reads and looks the host had at most.
fn most(moments: &[Vec<Job>]) -> u64 {
    moments.iter().map(|pending| pending.len() as u64).max().unwrap()
}

fn looked_at(pending: &[Job]) -> Option<u64> {
    pending.iter().find_map(|job| if let Op::Look(offset) = job.op { Some(offset) } else { None })
}

#[test]
fn the_host_has_two_batches_of_a_stream_at_once_and_all_other_reads() {
    let stream = parts(0, |n| n);
    // A batch comes before the read that makes it a stream and begins the next one.
    assert_eq!(stream[0].len() as u64, 2 * IN_BATCH);
    assert_eq!(most(&stream), 2 * IN_BATCH);
    assert_eq!(most(&parts(0, |n| n * 9 % PARTS)), PARTS);
}

#[test]
fn where_the_host_reads_ahead_it_gets_a_batch_when_that_is_there() {
    let mut looks = Vec::new();
    for pending in parts(BATCH, |n| n) {
        let Some(end) = looked_at(&pending).map(|offset| offset + 1) else { continue };
        looks.push(end);
        // The first look comes with the read that makes it a stream, each other one with the end of a batch.
        let start = if end == 2 * BATCH { BATCH + PART } else { (end - 1) / BATCH * BATCH };
        let early = |job: &&Job| matches!(job.op, Op::Read(_, at) if at >= start);
        assert_eq!(pending.iter().filter(early).count(), 0, "{pending:?}");
    }
    looks.dedup();
    assert_eq!(looks, [2 * BATCH, 3 * BATCH, PARTS * PART]);
    assert_eq!(most(&parts(BATCH, |n| n * 9 % PARTS)), PARTS);
}

/// A disk whose queue 0 waits for a look, the only thing that the host has; one more read of that queue is available.
fn disk_that_looks() -> (Rig, Manual) {
    let (mut rig, engine, _) = disk_in_parts(BATCH);
    (0..IN_BATCH + 2).for_each(|n| submit_part(&mut rig, 0, n, n));
    settle(&mut rig);
    for _ in 0..=IN_BATCH {
        engine.finish(0, None);
    }
    settle(&mut rig);
    assert_eq!((engine.pending().len(), looked_at(&engine.pending())), (1, Some(2 * BATCH - 1)));
    assert_eq!(rig.used(0).len() as u64, IN_BATCH + 1);
    assert!(rig.events.complete().busy);
    (rig, engine)
}

#[test]
fn what_became_of_a_look_is_the_business_of_reads() {
    for result in [1, 0, -libc::EIO, -libc::EAGAIN] {
        let (mut rig, engine) = disk_that_looks();
        engine.finish(0, Some(result));
        settle(&mut rig);
        engine.finish(0, None);
        settle(&mut rig);
        assert_eq!((rig.used(0).len(), engine.pending().len()), (1, 0), "{result}");
        assert_eq!(rig.get(STATUSES + IN_BATCH + 1, 1), [0]);
        assert!(!rig.events.complete().busy);
    }
}

#[test]
fn a_queue_that_waits_for_a_look_holds_no_other_up() {
    let (mut rig, engine) = disk_that_looks();
    // As many in a row are another stream, with a look of its own.
    (0..=IN_BATCH).for_each(|n| submit_part(&mut rig, 1, n, n));
    settle(&mut rig);
    for _ in 0..=IN_BATCH {
        engine.finish(1, None);
    }
    settle(&mut rig);
    assert_eq!((rig.used(0).len(), rig.used(1).len() as u64), (0, IN_BATCH + 1));
    // The second look is over first, and opens its own queue only.
    submit_part(&mut rig, 1, IN_BATCH, 0);
    engine.finish(1, None);
    settle(&mut rig);
    let reads =
        |engine: &Manual| engine.pending().iter().filter(|job| matches!(job.op, Op::Read(..))).count();
    assert_eq!((reads(&engine), engine.pending().len()), (1, 2));
    engine.finish(0, None);
    settle(&mut rig);
    assert_eq!(reads(&engine), 2);
    (0..2).for_each(|_| engine.finish(0, None));
    settle(&mut rig);
    assert_eq!((rig.used(0).len(), rig.used(1).len()), (1, 1));
}

#[test]
fn a_reset_waits_for_a_look_and_forgets_the_stream() {
    let (mut rig, engine) = disk_that_looks();
    rig.write(virtio_bindings::virtio_mmio::VIRTIO_MMIO_STATUS, 0);
    assert_eq!(engine.pending().len(), 0);
    rig.bring_up(EVENT_IDX | 1 << VIRTIO_BLK_F_FLUSH, 2, 512);
    // Up to the end of the batch, where the stream would be looked at.
    (IN_BATCH + 1..2 * IN_BATCH).for_each(|n| submit_part(&mut rig, 0, n, n));
    settle(&mut rig);
    assert_eq!((engine.pending().len() as u64, looked_at(&engine.pending())), (IN_BATCH - 1, None));
}

#[test]
fn a_slow_disk_answers_late_and_side_by_side() {
    let latency = Duration::from_millis(30);
    let (mut rig, engine, counters) = disk(16, FaultPlan { latency: Some(latency), ..FaultPlan::default() });
    let start = Instant::now();
    for n in 0..3 {
        submit(&mut rig, 0, n, false);
    }
    look(&mut rig);
    (0..3).for_each(|_| engine.finish(0, None));
    look(&mut rig);
    if start.elapsed() < latency {
        assert_eq!(rig.used(0), []);
        let completed = rig.events.complete();
        assert!(completed.busy && completed.due.is_some_and(|due| due >= start + latency), "{completed:?}");
    }
    rig.run();
    assert!(start.elapsed() >= latency);
    assert_eq!(rig.used(0).len(), 3);
    assert!(counters.latencies(RequestKind::Read).quantile(1) >= latency);
}

#[test]
fn faults_hit_the_requests_they_name() {
    let faults =
        FaultPlan { bad_writes: vec![2], torn_write: Some(3), fail_nth: Some(5), ..FaultPlan::default() };
    let (mut rig, engine, counters) = disk(16, faults);
    let mut one = |n: u64, write: bool| {
        submit(&mut rig, 0, n, write);
        look(&mut rig);
        let ops: Vec<_> = engine.pending().iter().map(|job| length(job.op)).collect();
        for _ in &ops {
            engine.finish(0, None);
        }
        look(&mut rig);
        rig.used(0);
        (ops, statuses(&rig, n + 1)[n as usize])
    };
    assert_eq!(one(1, true), (vec![512], 0));
    assert_eq!(one(2, true), (vec![], 1), "a bad sector is not written");
    // Half of one sector is none.
    assert_eq!(one(3, true), (vec![], 1), "the torn write");
    assert_eq!(one(2, false), (vec![512], 0), "reads of the sector are fine");
    assert_eq!(one(4, false), (vec![], 1), "the fifth request");
    assert_eq!(one(4, false), (vec![512], 0));
    assert_eq!(counters.totals().errors, 3);
}

#[test]
fn two_queues_are_told_in_the_configuration_space() {
    let (mut rig, ..) = disk(16, FaultPlan::default());
    assert_eq!(rig.config(34), 2u16.to_le_bytes());
    assert_ne!(rig.offered() & 1 << VIRTIO_BLK_F_MQ, 0);
    let sizes = |queues| {
        let options = BlockOptions { queues, ..BlockOptions::default() };
        Block::with_options(DiskImage::temporary(512).unwrap(), options).unwrap().queue_sizes().len()
    };
    let seen: BTreeSet<_> = [0, 1, 8, 9, u16::MAX].map(sizes).into();
    assert_eq!(seen, BTreeSet::from([1, 8]));
}
