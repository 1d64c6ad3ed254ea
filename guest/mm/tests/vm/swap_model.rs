//! Swap as a model: contexts see what they wrote, in whatever order pages go, come back and are forgotten, with small pages
//! and with parts of huge ones, and where memory is lacking for what is to come back.

use super::swap::Swapping;
use super::{World, page};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::fault::{Fault, Segv};
use mm::port::{Access, BlockDevice as _, IoOp};
use mm::space::Mm;
use mm::vma::VmFlags;
use proptest::prelude::*;
use sim::{DiskFault, Machine};

#[derive(Clone, Debug)]
enum Op {
    Store(u8, u8, u8),
    Load(u8, u8),
    Out(u8, u8, u8),
    Clone(u8),
    End(u8),
    Unmap(u8, u8, u8),
    DontNeed(u8, u8, u8),
    Off,
    Fail(bool),
    Finish(u8),
    Discard,
    /// The area ends there and goes on with other rights.
    Protect(u8, u8, u8, bool),
    /// A load for which there are so many pages of memory.
    Lack(u8, u8, u8),
    /// Pages that are read at once, as a power of two.
    Cluster(u8),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(m, p, v)| Op::Store(m, p, v)),
        8 => (any::<u8>(), any::<u8>()).prop_map(|(m, p)| Op::Load(m, p)),
        8 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(m, p, n)| Op::Out(m, p, n)),
        2 => any::<u8>().prop_map(Op::Clone),
        1 => any::<u8>().prop_map(Op::End),
        1 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(m, p, n)| Op::Unmap(m, p, n)),
        1 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(m, p, n)| Op::DontNeed(m, p, n)),
        1 => Just(Op::Off),
        2 => Just(Op::Discard),
        1 => any::<bool>().prop_map(Op::Fail),
        6 => any::<u8>().prop_map(Op::Finish),
        1 => (any::<u8>(), any::<u8>(), any::<u8>(), any::<bool>())
            .prop_map(|(m, p, n, may)| Op::Protect(m, p, n, may)),
        3 => (any::<u8>(), any::<u8>(), 0..12u8).prop_map(|(m, p, n)| Op::Lack(m, p, n)),
        1 => (0..5u8).prop_map(Op::Cluster),
    ];
    prop::collection::vec(op, 1..120)
}

/// How much memory contexts have, and the area.
#[derive(Clone, Copy)]
struct Sizes {
    ram: u64,
    pages: u64,
    slots: u64,
    /// The most pages that an operation is about.
    span: u64,
    /// How many contexts there can be, and how many more a clone makes.
    family: usize,
    children: usize,
    /// Sectors that can be given back at once.
    discard: u64,
}

const SMALL: Sizes = Sizes { ram: 16, pages: 24, slots: 40, span: 12, family: 5, children: 1, discard: 0 };
/// All of it is one huge page at first.
const HUGE: Sizes = Sizes { ram: 32, pages: 512, slots: 700, span: 400, family: 5, children: 1, discard: 0 };
/// Whole clusters become free and go back to the disk, in parts.
const GIVEN: Sizes = Sizes { slots: 2200, family: 3, discard: 3000, ..HUGE };
/// More of them name a slot than its byte can count, twice over.
const MANY: Sizes = Sizes { ram: 32, pages: 4, slots: 700, span: 4, family: 150, children: 40, discard: 0 };

/// What a context should see.
#[derive(Clone)]
struct Known {
    mm: u32,
    values: Vec<Option<u64>>,
    /// Which of them it may write to.
    writable: Vec<bool>,
}

impl Known {
    /// A store of `value` to page `p` ended with `result`.
    fn stored(&mut self, p: usize, value: u64, result: Result<(), Segv>) {
        match &mut self.values[p] {
            Some(held) if self.writable[p] => (result.unwrap(), *held = value).0,
            _ => drop(result.unwrap_err()),
        }
    }
}

/// Loads while there are `left` pages of memory: what it finds, or nothing if that was not enough.
fn load_with(world: &World, mm: &Mm<'static, Machine>, va: VirtAddr, left: u8) -> Option<Result<u64, Segv>> {
    world.frames.set_credit(left.into());
    let found = loop {
        match world.machine().user().load_u64(va) {
            Ok(value) => break Some(Ok(value)),
            Err(_) => match world.resolve(mm, va, Access::Read) {
                Fault::Minor(_) => {}
                Fault::Segv(segv) => break Some(Err(segv)),
                Fault::Oom => break None,
                other => panic!("{other:?} at {va:?}"),
            },
        }
    };
    world.frames.set_credit(i64::MAX);
    found
}

fn run(seed: u64, ops: Vec<Op>, sizes: Sizes) {
    let Sizes { ram, pages: all, slots, span: most, .. } = sizes;
    let swapping = Swapping::new(ram, 1, seed);
    let world = &swapping.world;
    swapping.disk.set_max_discard(sizes.discard);
    swapping.disk.set_rotational(seed.is_multiple_of(2));
    let mut area = swapping.on(slots, &[5], None).unwrap();
    let first = world.context();
    let at = world.map_overlay(first, 2 * all);
    let at = VirtAddr::new(at.get().next_multiple_of(all.next_power_of_two() * PAGE_SIZE)).unwrap();
    let mut known = vec![Known {
        mm: first.id(),
        values: vec![Some(0); all as usize],
        writable: vec![true; all as usize],
    }];
    // All pages can be meant, whatever there are.
    let place = |p: u8| u64::from(p) * all / 256;
    for (step, op) in ops.into_iter().enumerate() {
        let pick = |n: u8| usize::from(n) % known.len();
        let mm_of = |known: &Vec<Known>, n: usize| {
            let mm = world.vm.mm(known[n].mm).unwrap();
            world.run(mm);
            mm
        };
        let span = |p: u8, n: u8| {
            let first = place(p);
            (first, (1 + u64::from(n) * most / 256).min(all - first))
        };
        match op {
            Op::Store(m, p, v) => {
                let (n, p) = (pick(m), place(p));
                let stored = world.store(mm_of(&known, n), page(at, p), v.into());
                known[n].stored(p as usize, v.into(), stored);
            }
            Op::Load(m, p) => {
                let (n, p) = (pick(m), place(p));
                assert_eq!(world.load(mm_of(&known, n), page(at, p)).ok(), known[n].values[p as usize]);
            }
            Op::Out(m, p, n) => {
                let (first, pages) = span(p, n);
                let mm = mm_of(&known, pick(m));
                let _ = world.reclaim.page_out_shared(mm, page(at, first), pages * PAGE_SIZE, &world.frames);
            }
            Op::Clone(m) if known.len() < sizes.family => {
                let n = pick(m);
                for _ in 0..sizes.children {
                    let child = world.vm.clone_mm(mm_of(&known, n), &world.frames).unwrap();
                    known.push(Known { mm: child.id(), ..known[n].clone() });
                }
            }
            Op::End(m) if known.len() > 1 => {
                let n = pick(m);
                let mm = mm_of(&known, n);
                world.end(mm);
                known.remove(n);
            }
            Op::Unmap(m, p, n) => {
                let ((first, pages), which) = (span(p, n.min(2)), pick(m));
                let mm = mm_of(&known, which);
                world.vm.munmap(mm, page(at, first), pages * PAGE_SIZE, &world.frames).unwrap();
                known[which].values[first as usize..(first + pages) as usize].fill(None);
            }
            Op::DontNeed(m, p, n) => {
                let ((first, pages), which) = (span(p, n), pick(m));
                let (mm, advice) = (mm_of(&known, which), mm::space::Advice::DontNeed);
                let _ = world.vm.madvise(mm, page(at, first), pages * PAGE_SIZE, advice, &world.frames);
                for value in &mut known[which].values[first as usize..(first + pages) as usize] {
                    *value = value.map(|_| 0);
                }
            }
            Op::Off => {
                swapping.disk.heal();
                swapping.off(area, slots).unwrap();
                area = swapping.on(slots, &[5], None).unwrap();
            }
            Op::Fail(true) => swapping.disk.fail(DiskFault::new(IoOp::Write, 0..u64::MAX, 3)),
            Op::Fail(false) => swapping.disk.heal(),
            Op::Finish(nth) => {
                if let Some((cookie, result)) =
                    swapping.disk.finish(usize::from(nth) % swapping.disk.pending().max(1))
                {
                    // SAFETY: the disk was given this cookie and shows it once.
                    unsafe { world.vm.cache().io().end_io(cookie, result) };
                }
            }
            Op::Discard => drop(world.vm.swap().discard_freed(&world.frames)),
            Op::Protect(m, p, n, may) => {
                let ((first, pages), which) = (span(p, n), pick(m));
                let (mm, range) = (mm_of(&known, which), first as usize..(first + pages) as usize);
                if known[which].values[range.clone()].iter().all(Option::is_some) {
                    let rights = if may { VmFlags::READ | VmFlags::WRITE } else { VmFlags::READ };
                    world.vm.mprotect(mm, page(at, first), pages * PAGE_SIZE, rights, &world.frames).unwrap();
                    known[which].writable[range].fill(may);
                }
            }
            Op::Lack(m, p, left) => {
                let (n, p) = (pick(m), place(p));
                let found = load_with(world, mm_of(&known, n), page(at, p), left);
                assert!(found.is_none_or(|found| found.ok() == known[n].values[p as usize]));
            }
            Op::Cluster(order) => world.vm.swap().set_page_cluster(order.into()),
            Op::Clone(_) | Op::End(_) => {}
        }
        // Who names a slot is looked for in all entries.
        if all < HUGE.pages && sizes.family == SMALL.family || step % 64 == 63 {
            swapping.check();
        }
    }
    swapping.check();
    for context in &known {
        let mm = world.vm.mm(context.mm).unwrap();
        world.run(mm);
        for p in 0..all {
            assert_eq!(world.load(mm, page(at, p)).ok(), context.values[p as usize]);
        }
        world.end(mm);
    }
    swapping.settle();
    swapping.off(area, slots).unwrap();
    assert!(swapping.disk.sectors() > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_in_any_order(seed in any::<u64>(), ops in ops()) {
        run(seed, ops, SMALL);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_a_huge_page_is_lost_in_any_order(seed in any::<u64>(), ops in ops()) {
        run(seed, ops, HUGE);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_that_very_many_share(seed in any::<u64>(), ops in ops()) {
        run(seed, ops, MANY);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_where_free_clusters_are_given_back(seed in any::<u64>(), ops in ops()) {
        run(seed, ops, GIVEN);
    }
}
