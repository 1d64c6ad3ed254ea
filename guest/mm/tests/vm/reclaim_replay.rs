//! Reclaim of anonymous pages and of pages of a file against a model of the lists, of refaults and of swap: which pages go, in
//! which order, which slots they get, what comes back as active, and every counter.

use super::files::Volume;
use super::reclaim::reclaim;
use super::reclaim_model::{Counts, Id, Model, Use};
use super::swap::Swapping;
use super::{keep, page};
use mm::addr::{Order, PAGE_SHIFT, PAGE_SIZE, VirtAddr};
use mm::cache::{FileMode, OpenFile};
use mm::phys::GfpFlags;
use mm::port::{IoOp, Machine as _, Tlb as _};
use mm::reclaim::{EvictLog, Evicted, Reclaim};
use mm::space::{Mm, ThpMode};
use mm::vmstat::{NodeStat, VmEvent, VmStat};
use proptest::prelude::*;
use sim::Machine;

const PAGES: u64 = 400;
/// The sector of the disk where the first half of the area is.
const FIRST: u64 = 8 * 2048;

/// What the machine has counted of reclaim, nobody but those who make room for themselves being at work.
pub fn counted(stat: &VmStat, free_slots: u64) -> Counts {
    let (event, total) = (|event| stat.event(event), |what| stat.total(what));
    assert_eq!(event(VmEvent::PgScanDirect), event(VmEvent::PgScanAnon) + event(VmEvent::PgScanFile));
    assert_eq!(event(VmEvent::PgStealDirect), event(VmEvent::PgStealAnon) + event(VmEvent::PgStealFile));
    Counts {
        scanned: [event(VmEvent::PgScanAnon), event(VmEvent::PgScanFile)],
        stolen: [event(VmEvent::PgStealAnon), event(VmEvent::PgStealFile)],
        refilled: event(VmEvent::PgRefill),
        activated: event(VmEvent::PgActivate),
        deactivated: event(VmEvent::PgDeactivate),
        rotated: event(VmEvent::PgRotated),
        refaults: [total(NodeStat::RefaultAnon), total(NodeStat::RefaultFile)],
        refault_activations: [total(NodeStat::ActivateAnon), total(NodeStat::ActivateFile)],
        restored: [total(NodeStat::RestoreAnon), total(NodeStat::RestoreFile)],
        inactive: [total(NodeStat::InactiveAnon), total(NodeStat::InactiveFile)],
        active: [total(NodeStat::ActiveAnon), total(NodeStat::ActiveFile)],
        swapped_out: event(VmEvent::PswpOut),
        swapped_in: event(VmEvent::PswpIn),
        zeroes_out: event(VmEvent::SwpoutZero),
        zeroes_in: event(VmEvent::SwpinZero),
        free_slots,
    }
}

/// A context with memory, a file, and reclaim of both.
struct Real {
    swapping: Swapping,
    mm: u32,
    at: VirtAddr,
    volume: Volume,
    file: &'static OpenFile<'static>,
    reclaim: Reclaim<'static, Machine>,
    log: &'static EvictLog,
    /// The word that each page has.
    words: Vec<u64>,
    written: Vec<u64>,
    slots: u64,
}

impl Real {
    fn new(slots: u64) -> Self {
        let swapping = Swapping::new(32, 1, 1);
        let world = &swapping.world;
        world.vm.settings().set_thp(ThpMode::Never);
        swapping.disk.set_max_pages(1);
        if slots != 0 {
            swapping.on(slots, &[], None).unwrap();
        }
        world.vm.swap().set_page_cluster(0);
        let (mm, volume) = (world.context(), Volume::new(world));
        world.vm.cache().set_ra_pages(0);
        let file = volume.file(world, 1, PAGES, FileMode::READ);
        let (reclaim, log) = (reclaim(world), keep(EvictLog::new()));
        reclaim.log_to(log);
        log.set(true);
        let (mm, at, words) = (mm.id(), world.map(mm, PAGES), vec![0; PAGES as usize]);
        let _ = swapping.disk.take_log();
        Self { swapping, mm, at, volume, file, reclaim, log, words, written: Vec::new(), slots }
    }

    fn mm(&self) -> &'static Mm<'static, Machine> {
        self.swapping.world.vm.mm(self.mm).unwrap()
    }

    fn touch(&mut self, n: u64, how: Use) {
        let (world, at) = (&self.swapping.world, page(self.at, n));
        // Entries say that they are used: what the CPU has cached it forgets, as time makes it do elsewhere.
        world.machine().tlb().flush_all();
        let word = match (how, self.words[n as usize]) {
            (Use::Read, word) => return assert_eq!(world.load(self.mm(), at), Ok(word)),
            (Use::Write, word) => word + 1,
            (Use::Clear, _) => 0,
        };
        world.store(self.mm(), at, word).unwrap();
        self.words[n as usize] = word;
    }

    fn read(&self, n: u64) {
        let mut bytes = Vec::new();
        let take = |at: std::ptr::NonNull<u8>, len| {
            // SAFETY: the cache shows that many bytes, and nothing writes them here.
            bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(at.as_ptr(), len) });
        };
        let world = &self.swapping.world;
        world.vm.cache().read(self.file, n * PAGE_SIZE, 8, &world.frames, take).unwrap();
        assert_eq!(bytes, super::files::word(1, n).to_le_bytes());
        assert_eq!(self.volume.disk.pending(), 0);
    }

    /// Makes room while the disk of swap holds on to what it is given.
    fn make_room(&mut self) -> u64 {
        self.swapping.disk.hold(true);
        let gone = self.reclaim.make_room(GfpFlags::GFP_HIGHUSER_MOVABLE, Order::ZERO);
        self.swapping.disk.hold(false);
        let half = self.slots / 2;
        let slot = |sector: u64| if sector >= FIRST { (sector - FIRST) / 8 } else { half + sector / 8 };
        let log = self.swapping.disk.take_log();
        self.written
            .extend(log.iter().filter(|logged| logged.op == IoOp::Write).map(|logged| slot(logged.sector)));
        gone
    }

    /// The `nth` request is done.
    fn finish(&self, nth: usize) {
        let (cookie, result) = self.swapping.disk.finish(nth).unwrap();
        // SAFETY: the disk was given this cookie and shows it once.
        unsafe { self.swapping.world.vm.cache().io().end_io(cookie, result) };
    }

    fn counts(&self) -> Counts {
        let vm = &self.swapping.world.vm;
        counted(vm.stat(), vm.swap().free_slots())
    }

    fn evicted(&self) -> Vec<Id> {
        let first = self.at.get() >> PAGE_SHIFT;
        let id = |Evicted { inode, index }: Evicted| match inode {
            Some(_) => Id::File(index),
            None => Id::Anon(index - first),
        };
        self.log.pages().map(id).collect()
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Pages of memory from `.0`, `.1` of them.
    Touch(u64, u64, Use),
    /// Pages of the file, `.2` times.
    Read(u64, u64, u32),
    /// Room is made, so many times; the disk writes nothing meanwhile.
    MakeRoom(u32),
    /// So many requests are done, those in this place of all.
    Wrote(u32, u8),
    Swappiness(u32),
}

fn op(files: u32) -> impl Strategy<Value = Op> {
    let how = prop_oneof![3 => Just(Use::Read), 3 => Just(Use::Write), 1 => Just(Use::Clear)];
    let swappiness = prop::sample::select(vec![0, 60, 100, 133, 200]);
    prop_oneof![
        6 => (0..PAGES, 1..150_u64, how).prop_map(|(at, n, how)| Op::Touch(at, n.min(PAGES - at), how)),
        files => (0..PAGES, 1..150_u64, 1..3_u32)
            .prop_map(|(at, n, times)| Op::Read(at, n.min(PAGES - at), times)),
        5 => (1..6_u32).prop_map(Op::MakeRoom),
        3 => (1..200_u32, any::<u8>()).prop_map(|(n, place)| Op::Wrote(n, place)),
        files.min(1) => swappiness.prop_map(Op::Swappiness),
    ]
}

/// Does the same to both; after every step all counters, and what went where in which order, agree.
fn agree(slots: u64, ops: &[Op]) -> Counts {
    let (mut real, mut model) = (Real::new(slots), Model::new(slots));
    let wrote = |real: &Real, model: &mut Model, nth: usize| {
        assert_eq!(real.swapping.disk.pending(), model.writing.len());
        real.finish(nth);
        model.wrote(nth);
    };
    for op in ops {
        match *op {
            Op::Touch(at, n, how) => {
                for number in at..at + n {
                    // Whoever waits for a page that is read sees what is written end in any order.
                    while model.is_out(number) && !model.writing.is_empty() {
                        wrote(&real, &mut model, 0);
                    }
                    real.touch(number, how);
                    model.touch(number, how);
                }
            }
            Op::Read(at, n, times) => {
                for number in (0..times).flat_map(|_| at..at + n) {
                    real.read(number);
                    model.read(number);
                }
            }
            Op::MakeRoom(times) => {
                (0..times).for_each(|_| assert_eq!(real.make_room(), model.make_room(), "{op:?}"));
            }
            Op::Wrote(n, place) => {
                for _ in 0..n.min(model.writing.len() as u32) {
                    let nth = usize::from(place) % model.writing.len();
                    wrote(&real, &mut model, nth);
                }
            }
            Op::Swappiness(to) => {
                assert!(real.reclaim.set_swappiness(to));
                model.swappiness = to.into();
            }
        }
        assert_eq!(real.counts(), model.counts(), "after {op:?}");
        assert!(real.evicted().iter().eq(model.evicted.iter().take(4096)), "after {op:?}");
        assert_eq!(real.written, model.written, "after {op:?}");
    }
    real.swapping.settle();
    real.swapping.check();
    let counts = real.counts();
    for number in 0..PAGES {
        real.touch(number, Use::Read);
    }
    real.swapping.world.end(real.mm());
    counts
}

/// A page that came back by a read has its slot still; when it is used so much that it stays, and swap is more than half full
/// by then, it gives the slot up. Few traces of chance get there.
#[test]
fn who_stays_gives_his_slot_up_once_they_are_short() {
    use Op::{MakeRoom, Touch};
    let out = [Touch(85, 131, Use::Clear), MakeRoom(4)];
    let used = [Touch(0, 69, Use::Clear), Touch(111, 75, Use::Read), MakeRoom(2)];
    let again = [Touch(69, 100, Use::Read), MakeRoom(1)];
    agree(150, &[&out[..], &used, &again].concat());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn anonymous_pages_go_and_come_back_as_the_model_says(
        slots in prop::sample::select(vec![150, 700, 2048]),
        ops in prop::collection::vec(op(0), 1..30),
    ) {
        agree(slots, &ops);
    }

    #[test]
    fn both_kinds_of_pages_go_and_come_back_as_the_model_says(
        slots in prop::sample::select(vec![0, 150, 700, 2048]),
        ops in prop::collection::vec(op(5), 1..30),
    ) {
        agree(slots, &ops);
    }
}
