//! The buddy allocator against a naive model: a map of frames.
//!
//! The model knows nothing of lists or splitting. It rests on one fact: in an allocator that merges whenever it
//! can, the free blocks are exactly the largest aligned blocks of free frames. So the model predicts every column
//! of buddyinfo, and that an allocation fails if and only if no aligned run of free frames is large enough.
//!
//! The exhaustive tests argue completeness like this. What the algorithm does to a block depends only on the
//! states of the heads of the block, its buddy, and (for the place on the list) the buddy one level up. Eight
//! frames have every such situation with chains of up to three splits or merges, and all 676 sets of allocated
//! blocks of them are visited, with every call that is possible in each. Thirty-two frames add longer chains and
//! lists of several blocks; there every sequence of up to five calls is tried.

use crate::board::{Board, Plan, order, pfn};
use mm::addr::Order;
use mm::frame::ZoneKind;
use mm::phys::{Arena, FreeError, GfpFlags};
use proptest::prelude::*;
use sim::Machine;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What the model knows of one frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not managed.
    Hole,
    Free,
    Held,
}

/// Which frames exist, and who has them.
#[derive(Clone)]
struct Model {
    /// The number of the first frame below, a multiple of the largest block.
    base: u64,
    frames: Vec<State>,
    /// Allocated blocks.
    held: BTreeMap<u64, u32>,
    /// No block is larger.
    top: u32,
}

impl Model {
    fn new(runs: &[(u64, u64)], top: u32) -> Self {
        let base = runs[0].0 >> top << top;
        let end = runs.iter().map(|(start, pages)| start + pages).max().unwrap();
        let mut model =
            Self { base, frames: vec![State::Hole; (end - base) as usize], held: BTreeMap::new(), top };
        for &(start, pages) in runs {
            model.block(start, pages).fill(State::Free);
        }
        model
    }

    fn block(&mut self, start: u64, pages: u64) -> &mut [State] {
        &mut self.frames[(start - self.base) as usize..(start - self.base + pages) as usize]
    }

    fn state(&self, at: u64) -> State {
        let index = at.checked_sub(self.base).map(|index| index as usize);
        index.and_then(|index| self.frames.get(index)).copied().unwrap_or(State::Hole)
    }

    fn free_pages(&self) -> u64 {
        self.frames.iter().filter(|state| **state == State::Free).count() as u64
    }

    /// How many aligned runs of each order are all free, the parts of larger ones included.
    fn runs(&self) -> [u32; Order::COUNT + 1] {
        let mut runs = [0; Order::COUNT + 1];
        let mut level: Vec<bool> = self.frames.iter().map(|state| *state == State::Free).collect();
        for count in &mut runs[..=self.top as usize] {
            *count = level.iter().filter(|free| **free).count() as u32;
            level = level.chunks(2).map(|pair| pair == [true, true]).collect();
        }
        runs
    }

    /// Whether there is an aligned run of free frames.
    fn has(&self, n: u32) -> bool {
        self.runs()[n as usize] > 0
    }

    /// The free blocks of each order: runs that are not part of a larger one.
    fn buddyinfo(&self) -> [u32; Order::COUNT] {
        let runs = self.runs();
        std::array::from_fn(|n| runs[n] - 2 * runs[n + 1])
    }

    fn alloc(&mut self, at: u64, n: u32) {
        assert!(at.is_multiple_of(1 << n), "block at {at:#x} is not aligned to order {n}");
        let block = self.block(at, 1 << n);
        assert!(block.iter().all(|state| *state == State::Free), "block at {at:#x} order {n} was not free");
        block.fill(State::Held);
        self.held.insert(at, n);
    }

    fn free(&mut self, at: u64) -> u32 {
        let n = self.held.remove(&at).unwrap();
        self.block(at, 1 << n).fill(State::Free);
        n
    }

    /// What freeing a block must return if it is not held.
    fn refusal(&self, at: u64, n: u32) -> Option<FreeError> {
        match self.held.get(&at) {
            Some(&held) if held == n => None,
            Some(&held) => Some(FreeError::WrongOrder { pfn: pfn(at), allocated: order(held) }),
            None if self.state(at) == State::Free => Some(FreeError::DoubleFree(pfn(at))),
            // The 4 MiB block below the first frame was never taken in.
            None if at < 1024 => Some(FreeError::BadPfn(pfn(at))),
            None => Some(FreeError::NotOwned(pfn(at))),
        }
    }
}

/// What the tests need of a zone and of an arena.
trait Subject {
    fn alloc(&self, n: u32) -> Option<u64>;
    fn free(&self, at: u64, n: u32) -> Result<(), FreeError>;
    fn line(&self) -> [u32; Order::COUNT];
    fn free_pages(&self) -> u64;
    fn verify(&self);
}

/// A board with one zone.
struct Zone(Board);

impl Subject for Zone {
    fn alloc(&self, n: u32) -> Option<u64> {
        self.0.take(GfpFlags::GFP_KERNEL | GfpFlags::__GFP_MOVABLE, n)
    }

    fn free(&self, at: u64, n: u32) -> Result<(), FreeError> {
        self.0.give(at, n)
    }

    fn line(&self) -> [u32; Order::COUNT] {
        self.0.buddyinfo(crate::board::zone_id(0, ZoneKind::Dma))
    }

    fn free_pages(&self) -> u64 {
        self.0.total_free_pages()
    }

    fn verify(&self) {
        self.0.verify().unwrap();
    }
}

impl Subject for Arena<'_, Machine> {
    fn alloc(&self, n: u32) -> Option<u64> {
        self.alloc(order(n), &mut |_| {}).ok().map(|frames| frames.into_raw().0.get())
    }

    fn free(&self, at: u64, n: u32) -> Result<(), FreeError> {
        // SAFETY: the tests own what they allocated; wrong numbers are what they test.
        self.free(unsafe { self.frames_from_raw(pfn(at), order(n)) }, &mut |_| {})
    }

    fn line(&self) -> [u32; Order::COUNT] {
        let mut line = [0; Order::COUNT];
        line.iter_mut().zip(Order::all()).for_each(|(cell, order)| *cell = self.free_blocks(order));
        line
    }

    fn free_pages(&self) -> u64 {
        self.free_pages()
    }

    fn verify(&self) {
        self.verify().unwrap();
    }
}

/// One call.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// Allocate an order.
    Alloc(u32),
    /// Free the n-th held block.
    Free(usize),
    /// Free any block, held or not.
    Wild(u64, u32),
}

/// Makes the call and compares every outcome with the model.
fn step(subject: &impl Subject, model: &mut Model, op: Op) {
    match op {
        Op::Alloc(n) => match subject.alloc(n) {
            Some(at) => model.alloc(at, n),
            None => assert!(!model.has(n), "order {n} failed, but there is a free block"),
        },
        Op::Free(which) if model.held.is_empty() => assert!(which < usize::MAX),
        Op::Free(which) => {
            let at = *model.held.keys().nth(which % model.held.len()).unwrap();
            let n = model.free(at);
            subject.free(at, n).unwrap();
        }
        Op::Wild(at, n) => {
            let refusal = model.refusal(at, n);
            assert_eq!(subject.free(at, n).err(), refusal);
            if refusal.is_none() {
                model.free(at);
            }
        }
    }
    assert_eq!(subject.free_pages(), model.free_pages());
    assert_eq!(subject.line(), model.buddyinfo());
    subject.verify();
}

/// The managed runs of the property test: two partial 4 MiB blocks with a hole between them.
const RUNS: [(u64, u64); 2] = [(1024, 23), (1024 + 29, 35)];

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => prop_oneof![3 => 0..3_u32, 1 => 3..7_u32].prop_map(Op::Alloc),
        4 => any::<usize>().prop_map(Op::Free),
        1 => (1020..1100_u64, 0..4_u32).prop_map(|(at, n)| Op::Wild(at, n)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// After every call of 10,000 random sequences the zone is what the model says, and verifies.
    #[test]
    fn zone_equals_model(ops in proptest::collection::vec(any_op(), 1..24)) {
        let mut plan = Plan::pages(RUNS[0].0, RUNS[0].1);
        plan = plan.node_ram(0, RUNS[1].0 << 12..(RUNS[1].0 + RUNS[1].1) << 12);
        let (zone, mut model) = (Zone(plan.boot()), Model::new(&RUNS, 10));
        assert_eq!(zone.line(), model.buddyinfo());
        for op in ops {
            step(&zone, &mut model, op);
        }
        while let Some((&at, _)) = model.held.first_key_value() {
            let n = model.free(at);
            zone.free(at, n).unwrap();
        }
        assert_eq!(zone.line(), model.buddyinfo());
        zone.verify();
    }
}

proptest! {
    // Fewer: the model looks at every frame.
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same with whole blocks that are taken in only when the lists run dry, and large orders.
    #[test]
    fn deferred_zone_equals_model(
        ops in proptest::collection::vec(
            prop_oneof![3 => (5..11_u32).prop_map(Op::Alloc), 2 => any::<usize>().prop_map(Op::Free)],
            1..12,
        ),
    ) {
        let runs = [(1000, 1024 * 2 + 40)];
        let (zone, mut model) = (Zone(Plan::pages(runs[0].0, runs[0].1).boot()), Model::new(&runs, 10));
        for op in ops {
            step(&zone, &mut model, op);
        }
    }
}

/// Replays `path` on a fresh arena of `top` and returns the model at its end.
fn replay(
    board: &Board,
    top: u32,
    path: &[Op],
    check: impl Fn(&Arena<'_, Machine>, &mut Model, usize, Op),
) -> Model {
    let arena = board.arena(GfpFlags::GFP_KERNEL, order(top)).unwrap();
    let mut model = Model::new(&[(arena.pfn().get(), 1 << top)], top);
    for (at, &op) in path.iter().enumerate() {
        check(&arena, &mut model, at, op);
    }
    let state = model.clone();
    while let Some((&at, _)) = model.held.first_key_value() {
        let n = model.free(at);
        Subject::free(&arena, at, n).unwrap();
    }
    arena.dissolve().unwrap();
    state
}

/// Every call that is possible in a state.
fn moves(model: &Model) -> impl Iterator<Item = Op> + use<> {
    let held = model.held.len();
    (0..=model.top).map(Op::Alloc).chain((0..held).map(Op::Free))
}

/// All sets of allocated blocks of 8 frames are reached, and every call in each of them does the right thing.
#[test]
fn eight_frames_exhaustively() {
    let board = Plan::pages(2048, 1024).boot();
    let mut queue = VecDeque::from([Vec::new()]);
    let mut seen = BTreeSet::from([Vec::new()]);
    while let Some(path) = queue.pop_front() {
        let here = replay(&board, 3, &path, |arena, model, _, op| step(arena, model, op));
        for op in moves(&here) {
            let mut longer = path.clone();
            longer.push(op);
            let last = longer.len() - 1;
            let there = replay(&board, 3, &longer, |arena, model, at, op| {
                if at == last {
                    step(arena, model, op);
                } else {
                    quiet_step(arena, model, op);
                }
            });
            let state: Vec<_> = there.held.iter().map(|(at, n)| (at - there.base, *n)).collect();
            if seen.insert(state) {
                queue.push_back(longer);
            }
        }
    }
    // A block of order k is free, held, or two blocks of order k-1 that are not both free: s(k) = s(k-1)^2 + 1.
    assert_eq!(seen.len(), 677);
}

/// Makes a call that was checked before.
fn quiet_step(subject: &impl Subject, model: &mut Model, op: Op) {
    match op {
        Op::Alloc(n) => {
            if let Some(at) = subject.alloc(n) {
                model.alloc(at, n);
            }
        }
        Op::Free(which) => {
            let at = *model.held.keys().nth(which).unwrap();
            let n = model.free(at);
            subject.free(at, n).unwrap();
        }
        Op::Wild(..) => unreachable!("never replayed"),
    }
}

/// Every sequence of up to five calls on 32 frames.
#[test]
fn thirty_two_frames_to_depth_five() {
    let board = Plan::pages(2048, 1024).boot();
    let mut paths = vec![Vec::new()];
    let mut sequences = 0;
    while let Some(path) = paths.pop() {
        let last = path.len().wrapping_sub(1);
        let here = replay(&board, 5, &path, |arena, model, at, op| {
            if at == last {
                step(arena, model, op);
            } else {
                quiet_step(arena, model, op);
            }
        });
        sequences += 1;
        if path.len() < 5 {
            paths.extend(moves(&here).map(|op| [path.as_slice(), &[op]].concat()));
        }
    }
    assert!(sequences > 10_000, "{sequences}");
}
