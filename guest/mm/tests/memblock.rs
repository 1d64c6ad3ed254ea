//! The boot memory map against a naive model: one cell per kilobyte.

use crate::board::{addr, node};
use mm::addr::PAGE_SIZE;
use mm::memblock::{CAPACITY, Direction, Memblock, MemblockError, NodeChoice, PageRange, Region, Request};
use proptest::prelude::*;

/// Bytes of a cell of the model: a quarter of a page, so that rounding to pages is tested.
const CELL: u64 = 1024;
const CELLS: usize = 96;

/// What the model knows of one cell.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Cell {
    /// RAM, of this node if known.
    ram: Option<Option<u32>>,
    reserved: bool,
}

#[derive(Clone, Debug)]
enum Op {
    Add(u64, u64, Option<u32>),
    Remove(u64, u64),
    Limit(u64),
    Reserve(u64, u64),
    Release(u64, u64),
    SetNode(u64, u64, u32),
    Alloc { size: u64, align: u32, min: u64, max: u64, node: u32, choice: u8, top_down: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let at = 0..CELLS as u64 - 20;
    let len = 1..20_u64;
    prop_oneof![
        3 => (at.clone(), len.clone(), proptest::option::of(0..3_u32)).prop_map(|(a, l, n)| Op::Add(a, l, n)),
        1 => (at.clone(), len.clone()).prop_map(|(a, l)| Op::Remove(a, l)),
        1 => (40..CELLS as u64).prop_map(Op::Limit),
        2 => (at.clone(), len.clone()).prop_map(|(a, l)| Op::Reserve(a, l)),
        1 => (at.clone(), len.clone()).prop_map(|(a, l)| Op::Release(a, l)),
        1 => (at, len, 0..3_u32).prop_map(|(a, l, n)| Op::SetNode(a, l, n)),
        2 => (1..12_u64, 0..4_u32, 0..40_u64, 40..96_u64, 0..3_u32, 0..3_u8, any::<bool>()).prop_map(
            |(size, align, min, max, node, choice, top_down)| {
                Op::Alloc { size, align, min, max, node, choice, top_down }
            }
        ),
    ]
}

/// The cells `at..at + len` of a model.
fn cells(model: &mut [Cell], at: u64, len: u64) -> &mut [Cell] {
    &mut model[at as usize..(at + len) as usize]
}

/// Where the model would place a request: every start is tried.
fn place(model: &[Cell], request: &Request, on: Option<u32>) -> Option<u64> {
    let fits = |&start: &u64| {
        let range = (start / CELL) as usize..((start + request.size) / CELL) as usize;
        start % request.align == 0
            && start >= request.min.get()
            && start + request.size <= request.max.get()
            && model.get(range).is_some_and(|range| {
                let same_node = range.iter().all(|cell| cell.ram == range[0].ram);
                let right_node = on.is_none() || range[0].ram == Some(on);
                same_node && right_node && range.iter().all(|cell| cell.ram.is_some() && !cell.reserved)
            })
    };
    let mut starts = (0..CELLS as u64).map(|cell| cell * CELL);
    match request.direction {
        Direction::BottomUp => starts.find(fits),
        Direction::TopDown => starts.rev().find(fits),
    }
}

fn apply(map: &mut Memblock, model: &mut [Cell], op: &Op) {
    let bytes = |cells: u64| cells * CELL;
    match *op {
        Op::Add(at, len, on) => {
            map.add(addr(bytes(at)), bytes(len), on.map(node)).unwrap();
            cells(model, at, len).iter_mut().for_each(|cell| cell.ram = cell.ram.or(Some(on)));
        }
        Op::Remove(at, len) => {
            map.remove(addr(bytes(at)), bytes(len)).unwrap();
            cells(model, at, len).iter_mut().for_each(|cell| cell.ram = None);
        }
        Op::Limit(end) => {
            map.limit(addr(bytes(end))).unwrap();
            model[end as usize..].iter_mut().for_each(|cell| cell.ram = None);
        }
        Op::Reserve(at, len) => {
            map.reserve(addr(bytes(at)), bytes(len)).unwrap();
            cells(model, at, len).iter_mut().for_each(|cell| cell.reserved = true);
        }
        Op::Release(at, len) => {
            map.release(addr(bytes(at)), bytes(len)).unwrap();
            cells(model, at, len).iter_mut().for_each(|cell| cell.reserved = false);
        }
        Op::SetNode(at, len, on) => {
            map.set_node(addr(bytes(at)), bytes(len), node(on)).unwrap();
            let ram = cells(model, at, len).iter_mut().filter(|cell| cell.ram.is_some());
            ram.for_each(|cell| cell.ram = Some(Some(on)));
        }
        Op::Alloc { size, align, min, max, node: on, choice, top_down } => {
            let request = Request {
                min: addr(bytes(min)),
                max: addr(bytes(max)),
                node: [NodeChoice::Any, NodeChoice::Prefer(node(on)), NodeChoice::Only(node(on))]
                    [choice as usize],
                direction: if top_down { Direction::TopDown } else { Direction::BottomUp },
                ..Request::new(bytes(size), CELL << align)
            };
            let expected = match choice {
                0 => place(model, &request, None),
                1 => place(model, &request, Some(on)).or_else(|| place(model, &request, None)),
                _ => place(model, &request, Some(on)),
            };
            assert_eq!(map.alloc(&request).ok().map(|at| at.get()), expected, "{request:?}");
            if let Some(at) = expected {
                cells(model, at / CELL, size).iter_mut().for_each(|cell| cell.reserved = true);
            }
        }
    }
}

/// Sorted, non-empty, disjoint, and merged where merging is possible.
fn assert_canonical(regions: &[Region]) {
    assert!(regions.iter().all(|region| region.start < region.end));
    for pair in regions.windows(2) {
        let apart = pair[0].end < pair[1].start;
        assert!(apart || pair[0].end == pair[1].start && pair[0].node != pair[1].node, "{pair:?}");
    }
}

/// Runs of equal values of `of`, as ranges of cells.
fn runs<T: PartialEq + Copy>(model: &[Cell], of: impl Fn(&Cell) -> Option<T>) -> Vec<(u64, u64, T)> {
    let mut runs: Vec<(u64, u64, T)> = Vec::new();
    for (at, cell) in (0..).zip(model) {
        let Some(value) = of(cell) else { continue };
        match runs.last_mut() {
            Some((_, end, last)) if *end == at && *last == value => *end = at + 1,
            _ => runs.push((at, at + 1, value)),
        }
    }
    runs
}

fn assert_same(map: &Memblock, model: &[Cell]) {
    let plain = |regions: &[Region]| -> Vec<_> {
        let node = |region: &Region| region.node.map(|node| node.index() as u32);
        regions.iter().map(|region| (region.start / CELL, region.end / CELL, node(region))).collect()
    };
    assert_eq!(plain(map.memory()), runs(model, |cell| cell.ram));
    assert_eq!(plain(map.reserved()), runs(model, |cell| cell.reserved.then_some(None)));
    let free = runs(model, |cell| cell.ram.filter(|_| !cell.reserved));
    assert_eq!(plain(&map.free_ranges().collect::<Vec<_>>()), free);
    let whole = |&(start, end, on): &(u64, u64, Option<u32>)| {
        let (start, end) = (start.div_ceil(4), end / 4);
        (start < end).then_some((start, end, on))
    };
    let page =
        |range: PageRange| (range.start.get(), range.end.get(), range.node.map(|node| node.index() as u32));
    assert_eq!(
        map.free_pages().map(page).collect::<Vec<_>>(),
        free.iter().filter_map(whole).collect::<Vec<_>>()
    );
    assert_eq!(map.memory_size(), model.iter().filter(|cell| cell.ram.is_some()).count() as u64 * CELL);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every operation does to the map what it does to the cells, and the lists stay canonical.
    #[test]
    fn map_equals_model(ops in proptest::collection::vec(op(), 1..24)) {
        let (mut map, mut model) = (Memblock::new(), vec![Cell::default(); CELLS]);
        for op in &ops {
            apply(&mut map, &mut model, op);
            assert_canonical(map.memory());
            assert_canonical(map.reserved());
            assert_same(&map, &model);
        }
    }

    /// After `align_nodes` every block with RAM has one node: that of its first RAM before.
    #[test]
    fn aligned_nodes_have_one_owner_per_block(ops in proptest::collection::vec(op(), 1..24)) {
        let (mut map, mut model) = (Memblock::new(), vec![Cell::default(); CELLS]);
        for op in &ops {
            apply(&mut map, &mut model, op);
        }
        map.align_nodes(8 * CELL).unwrap();
        assert_canonical(map.memory());
        for block in model.chunks_mut(8) {
            let owner = block.iter().find_map(|cell| cell.ram);
            block.iter_mut().filter(|cell| cell.ram.is_some()).for_each(|cell| cell.ram = owner);
        }
        assert_same(&map, &model);
    }
}

/// A list that would need one range too many refuses the call and stays as it is.
#[test]
fn a_full_list_refuses_and_stays() {
    let mut map = Memblock::new();
    for n in 0..CAPACITY as u64 {
        map.add(addr(n * 2 * PAGE_SIZE), PAGE_SIZE, None).unwrap();
    }
    let before = map.memory().to_vec();
    assert_eq!(map.add(addr(1 << 40), PAGE_SIZE, None), Err(MemblockError::Full));
    assert_eq!(map.remove(addr(1024), 1024), Err(MemblockError::Full));
    assert_eq!(map.memory(), before);
    // Filling a gap needs no range, but frees one.
    map.add(addr(PAGE_SIZE), PAGE_SIZE, None).unwrap();
    assert_eq!(map.memory().len(), CAPACITY - 1);
}

/// Ranges that are empty, leave the address space or wrap around are refused.
#[test]
fn bad_ranges_are_refused() {
    let mut map = Memblock::new();
    assert_eq!(map.add(addr(4096), 0, None), Err(MemblockError::BadRange));
    assert_eq!(map.reserve(addr((1 << 52) - 4096), 8192), Err(MemblockError::BadRange));
    assert_eq!(map.remove(addr(4096), u64::MAX), Err(MemblockError::BadRange));
    map.add(addr((1 << 52) - 4096), 4096, None).unwrap();
    assert_eq!(map.alloc(&Request::new(0, 8)), Err(MemblockError::BadRange));
    assert_eq!(map.alloc(&Request::new(8, 3)), Err(MemblockError::BadAlign));
    assert_eq!(map.alloc(&Request::new(8192, 8)), Err(MemblockError::NoSpace));
    assert_eq!(map.align_nodes(0), Err(MemblockError::BadAlign));
}

/// The boot parameters: `mem=` cuts at an address, `memmap=nn$ss` and `nn#ss` make a hole, `nn@ss` adds RAM.
#[test]
fn boot_parameters_trim_the_map() {
    let mut map = Memblock::new();
    map.add(addr(0), 64 << 20, None).unwrap();
    map.limit(addr(48 << 20)).unwrap();
    map.remove(addr(16 << 20), 1 << 20).unwrap();
    map.add(addr(60 << 20), 1 << 20, None).unwrap();
    let ranges: Vec<_> = map.memory().iter().map(|region| (region.start >> 20, region.end >> 20)).collect();
    assert_eq!(ranges, [(0, 16), (17, 48), (60, 61)]);
    assert_eq!(map.memory_size(), 48 << 20);
    assert_eq!(map.end(), addr(61 << 20));
}
