//! Nodes that hold nothing but values, against an oracle: which there are, in which order they are given back, and that
//! nothing else is lost with them.

use crate::slab_fixture::{GFP, frames};
use crate::xarray_fixture::{CPUS, Fixture, handle, value, with_nodes};
use mm::addr::NodeId;
use mm::phys::{GfpFlags, Node};
use mm::port::CpuId;
use mm::shrinker::{Shrink, ShrinkControl};
use mm::vmstat::NodeStat;
use mm::xarray::{Entry, XArray};
use proptest::prelude::*;
use std::collections::BTreeMap;

const ARRAYS: usize = 3;
/// The last one's values are nobody's to take.
const WATCHED: usize = 2;
/// Indices of a node.
const SLOTS: u64 = 64;

#[derive(Clone, Debug)]
enum Op {
    Store(usize, u64, bool),
    Erase(usize, u64),
    Destroy(usize),
    /// Somebody needs memory, and so many nodes are looked at.
    Shrink(u64),
    /// The same while one has the lock of an array.
    ShrinkBusy(usize, u64),
}

fn op() -> impl Strategy<Value = Op> {
    // Few nodes of few entries each, so that they become values alone and change back.
    let index = prop_oneof![
        1 => Just(0_u64),
        8 => (0..6_u64, 0..3_u64).prop_map(|(node, slot)| node * SLOTS + slot),
        2 => (64..68_u64, 0..2_u64).prop_map(|(node, slot)| node * SLOTS + slot * 63),
    ];
    prop_oneof![
        10 => (0..ARRAYS, index.clone(), prop::bool::weighted(0.7)).prop_map(|(a, i, v)| Op::Store(a, i, v)),
        4 => (0..ARRAYS, index).prop_map(|(a, i)| Op::Erase(a, i)),
        1 => (0..ARRAYS).prop_map(Op::Destroy),
        3 => (0..5_u64).prop_map(Op::Shrink),
        1 => (0..WATCHED, 0..5_u64).prop_map(|(a, n)| Op::ShrinkBusy(a, n)),
    ]
}

/// What should be there: entries, and nodes of the lowest level with nothing but values, oldest first.
#[derive(Default)]
struct Model {
    arrays: [BTreeMap<u64, Entry>; ARRAYS],
    listed: Vec<(usize, u64)>,
    reclaimed: u64,
}

impl Model {
    /// A tree whose only entry is at index 0 has no nodes.
    fn is_listed(&self, array: usize, node: u64) -> bool {
        let all = &self.arrays[array];
        let mut here = all.range(node * SLOTS..(node + 1) * SLOTS).peekable();
        let has_nodes = all.keys().any(|index| *index != 0);
        array < WATCHED && has_nodes && here.peek().is_some() && here.all(|(_, entry)| entry.is_value())
    }

    /// An array has changed.
    fn update(&mut self, array: usize) {
        let mut listed = std::mem::take(&mut self.listed);
        listed.retain(|&(other, node)| other != array || self.is_listed(array, node));
        let nodes: std::collections::BTreeSet<u64> = self.arrays[array].keys().map(|at| at / SLOTS).collect();
        for node in nodes {
            if self.is_listed(array, node) && !listed.contains(&(array, node)) {
                listed.push((array, node));
            }
        }
        self.listed = listed;
    }

    fn shrink(&mut self, most: u64, busy: Option<usize>) {
        for _ in 0..most {
            let Some(&(array, node)) = self.listed.first().filter(|(array, _)| Some(*array) != busy) else {
                return;
            };
            self.arrays[array].retain(|index, _| index / SLOTS != node);
            self.reclaimed += 1;
            self.update(array);
        }
    }
}

fn control(nr_to_scan: u64) -> ShrinkControl {
    ShrinkControl { gfp: GfpFlags::GFP_KERNEL, node: NodeId::ZERO, nr_to_scan, nr_scanned: nr_to_scan }
}

/// Watched arrays, and one that is not.
fn arrays() -> [XArray; ARRAYS] {
    [const { XArray::new() }; ARRAYS]
}

fn watch(arrays: &[XArray; ARRAYS]) {
    // SAFETY: the tests empty the arrays before they go, leave them where they are, and have one supply of nodes each.
    arrays.iter().take(WATCHED).for_each(|array| unsafe { array.watch() });
}

fn check(fixture: &Fixture<'_, '_>, arrays: &[XArray; ARRAYS], model: &Model) {
    let section = fixture.section();
    for (array, entries) in arrays.iter().zip(&model.arrays) {
        let mut real = BTreeMap::new();
        let mut cursor = mm::xarray::Cursor::new(0, u64::MAX);
        while let Some(found) = cursor.next(array, &section) {
            real.insert(found.index, found.entry);
        }
        assert_eq!(&real, entries);
        array.verify(fixture.cpu()).unwrap();
    }
    let listed = model.listed.len() as u64;
    assert_eq!(fixture.nodes.shadow_nodes(NodeId::ZERO), listed);
    assert_eq!(fixture.stat.total(NodeStat::WorkingsetNodes), listed);
    assert_eq!(fixture.stat.total(NodeStat::WorkingsetNodereclaim), model.reclaimed);
}

fn step(fixture: &Fixture<'_, '_>, arrays: &[XArray; ARRAYS], model: &mut Model, op: &Op) {
    match *op {
        Op::Store(array, index, is_value) => {
            let entry = if is_value { value(index + 1) } else { handle(index + 1) };
            fixture.store(&arrays[array], index, entry);
            model.arrays[array].insert(index, entry);
            model.update(array);
        }
        Op::Erase(array, index) => {
            arrays[array].erase(&fixture.nodes, index);
            model.arrays[array].remove(&index);
            model.update(array);
        }
        Op::Destroy(array) => {
            arrays[array].destroy(&fixture.nodes);
            model.arrays[array].clear();
            model.update(array);
        }
        Op::Shrink(most) => {
            let before = model.reclaimed;
            model.shrink(most, None);
            let freed = fixture.nodes.scan_objects(&mut control(most));
            assert_eq!(freed, Some(model.reclaimed - before));
            assert_eq!(fixture.nodes.waiting(), 0, "nobody is in a section, so all memory is back");
        }
        Op::ShrinkBusy(array, most) => {
            let locked = arrays[array].lock(fixture.cpu());
            model.shrink(most, Some(array));
            fixture.nodes.scan_objects(&mut control(most));
            drop(locked);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nodes_of_values_alone_go_oldest_first_and_nothing_else_does(ops in prop::collection::vec(op(), 1..80)) {
        with_nodes(|fixture| {
            let (arrays, mut model) = (arrays(), Model::default());
            watch(&arrays);
            for op in &ops {
                step(fixture, &arrays, &mut model, op);
                check(fixture, &arrays, &model);
            }
            arrays.iter().for_each(|array| array.destroy(&fixture.nodes));
            assert_eq!(fixture.stat.total(NodeStat::WorkingsetNodes), 0);
        });
    }
}

/// As many may stay as tell of all pages of the node with an eighth of their slots in use.
#[test]
fn nodes_stay_until_there_are_more_than_one_for_eight_pages() {
    with_nodes(|fixture| {
        let arrays = arrays();
        watch(&arrays);
        let room = fixture.board.node(NodeId::ZERO).map_or(0, Node::present_pages) / 8;
        assert!(room > 100);
        for n in 0..room + 10 {
            let freeable = fixture.nodes.count_objects(&control(0));
            assert_eq!(freeable, (fixture.nodes.shadow_nodes(NodeId::ZERO)).saturating_sub(room));
            fixture.store(&arrays[0], (n + 1) * SLOTS, value(n));
        }
        let before = fixture.nodes_in_use();
        let freeable = fixture.nodes.count_objects(&control(0));
        assert_eq!(freeable, 10);
        assert_eq!(fixture.nodes.scan_objects(&mut control(freeable)), Some(10));
        assert_eq!(fixture.nodes.count_objects(&control(0)), 0);
        assert_eq!(fixture.nodes_in_use(), before - 10);
        arrays[0].destroy(&fixture.nodes);
    });
}

/// Values of several slots, and nodes of upper levels that have values of their own.
#[test]
fn nodes_with_large_values_go_too() {
    with_nodes(|fixture| {
        let arrays = arrays();
        watch(&arrays);
        let array = &arrays[0];
        array.store_order(&fixture.source(), 0, 9, value(1)).unwrap();
        fixture.store(array, 1 << 12, handle(1));
        fixture.store(array, 600, value(2));
        assert_eq!(fixture.nodes.shadow_nodes(NodeId::ZERO), 1);
        assert_eq!(fixture.nodes.scan_objects(&mut control(9)), Some(2));
        let section = fixture.section();
        assert!([0, 511, 600].iter().all(|index| array.load(&section, *index).is_null()));
        assert_eq!(array.load(&section, 1 << 12), handle(1));
        array.verify(fixture.cpu()).unwrap();
        drop(section);
        array.destroy(&fixture.nodes);
    });
}

/// One CPU shrinks while the others change the arrays.
#[test]
fn shrinking_beside_changes_loses_no_node() {
    with_nodes(|fixture| {
        let arrays = arrays();
        watch(&arrays);
        let (board, nodes, cpus) = (fixture.board, &fixture.nodes, fixture.cpu());
        let change = |n: u64| {
            let (array, place) = (&arrays[(n % 2) as usize], n.wrapping_mul(0x9e37_79b9) % 16);
            let index = place * SLOTS + n % 2;
            let _ = array.erase(nodes, index ^ 1);
            let entry = if n.is_multiple_of(3) { handle(1) } else { value(n) };
            // The supply of nodes is the test's own, for one CPU; the plain one is for all.
            array.store(&nodes.with(&frames(board), GFP), index, entry).unwrap();
        };
        std::thread::scope(|scope| {
            for cpu in 0..CPUS {
                let change = &change;
                scope.spawn(move || {
                    cpus.run_on(CpuId(cpu), || {
                        for n in 0..2000 {
                            if cpu == 0 {
                                let _ = nodes.scan_objects(&mut control(4));
                            } else {
                                change(n * 2 + u64::from(cpu));
                            }
                        }
                    });
                });
            }
        });
        arrays.iter().for_each(|array| array.verify(fixture.cpu()).map(drop).unwrap());
        arrays.iter().for_each(|array| array.destroy(&fixture.nodes));
        assert_eq!(fixture.nodes.shadow_nodes(NodeId::ZERO), 0);
        assert_eq!(fixture.stat.total(NodeStat::WorkingsetNodes), 0);
    });
}
