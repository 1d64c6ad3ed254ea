//! Shrinkers: how much of its objects each is asked for.

use crate::board::node;
use mm::addr::NodeId;
use mm::phys::GfpFlags;
use mm::port::Machine as _;
use mm::shrinker::{Full, Shrink, ShrinkControl, Shrinker, Shrinkers};
use proptest::prelude::*;
use sim::Machine;
use std::sync::Mutex;

const KERNEL: GfpFlags = GfpFlags::GFP_KERNEL;

/// Objects on two nodes, and what was asked about them.
struct Objects {
    left: Mutex<[u64; 2]>,
    calls: Mutex<Vec<u64>>,
    /// Of those looked at, one in so many is freed; 0 for nothing to be done.
    one_in: u64,
}

impl Objects {
    fn new(left: [u64; 2], one_in: u64) -> Self {
        Self { left: Mutex::new(left), calls: Mutex::default(), one_in }
    }

    fn calls(&self) -> Vec<u64> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl Shrink for Objects {
    fn count_objects(&self, control: &ShrinkControl) -> u64 {
        self.left.lock().unwrap()[control.node.index()]
    }

    fn scan_objects(&self, control: &mut ShrinkControl) -> Option<u64> {
        assert_eq!(control.nr_scanned, control.nr_to_scan);
        if self.one_in == 0 {
            return None;
        }
        self.calls.lock().unwrap().push(control.nr_to_scan);
        let left = &mut self.left.lock().unwrap()[control.node.index()];
        let freed = (control.nr_to_scan / self.one_in).min(*left);
        *left -= freed;
        Some(freed)
    }
}

fn machine() -> Machine {
    Machine::builder().build()
}

/// The numbers of Linux for 10,000 objects that cost two seeks each, from the first look to the last.
#[test]
fn the_share_follows_priority_and_seeks() {
    let (machine, ground) = (machine(), NodeId::ZERO);
    for (seeks, priority, scans, put_off) in [
        // 10000 >> 12 is 2, times 4 by 2 seeks is 4: less than a batch.
        (2, 12, vec![], 4),
        (2, 6, vec![128, 128], 312 - 256),
        (2, 4, vec![128; 9], 1250 - 9 * 128),
        (8, 4, vec![128, 128], 312 - 256),
        // Nothing to make again: half of them, whatever the priority.
        (0, 12, vec![128; 39], 5000 - 39 * 128),
        // Twice what there is at most.
        (1, 0, vec![128; 156], 20_000 - 156 * 128),
    ] {
        let objects = Objects::new([10_000, 0], 1_000_000);
        let (shrinker, all) = (Shrinker::new("test", &objects).seeks(seeks), Shrinkers::new());
        all.register(machine.cpu(), &shrinker).unwrap();
        assert_eq!(all.shrink_slab(machine.cpu(), KERNEL, ground, priority), 0);
        let scanned = scans.iter().sum::<u64>();
        assert_eq!((objects.calls(), all.scanned()), (scans, scanned), "seeks {seeks} priority {priority}");
        // What was not done of the share; what exceeds the limit of a scan counts too.
        let share = if seeks == 1 { 40_000 } else { scanned + put_off };
        assert_eq!(shrinker.deferred(ground), (share - scanned).min(20_000), "seeks {seeks}");
    }
}

/// Small shares add up until they are a batch.
#[test]
fn what_is_put_off_is_done_later() {
    let (machine, objects) = (machine(), Objects::new([1000, 0], 1_000_000));
    let (shrinker, all) = (Shrinker::new("test", &objects), Shrinkers::new());
    all.register(machine.cpu(), &shrinker).unwrap();
    let ask = |priority| all.shrink_slab(machine.cpu(), KERNEL, NodeId::ZERO, priority);
    for n in 1..=10 {
        ask(6);
        assert_eq!((objects.calls(), shrinker.deferred(NodeId::ZERO)), (vec![], n * 30));
    }
    // 300 >> 1 and 1000 >> 1, by 2 seeks times 4.
    ask(1);
    assert_eq!(objects.calls(), vec![128; 8]);
    assert_eq!(shrinker.deferred(NodeId::ZERO), 300 + 1000 - 1024);
}

/// Fewer objects than a batch are asked for when all of them are due.
#[test]
fn less_than_a_batch_is_asked_for_if_it_is_all() {
    let (machine, objects) = (machine(), Objects::new([50, 0], 1));
    let (shrinker, all) = (Shrinker::new("test", &objects), Shrinkers::new());
    all.register(machine.cpu(), &shrinker).unwrap();
    assert_eq!(all.shrink_slab(machine.cpu(), KERNEL, NodeId::ZERO, 1), 50);
    assert_eq!((objects.calls(), shrinker.count(KERNEL, NodeId::ZERO)), (vec![50], 0));
    assert_eq!(all.shrink_slab(machine.cpu(), KERNEL, NodeId::ZERO, 0), 0);
}

/// One that cannot act now is not asked on, and all of it stays due.
#[test]
fn who_can_do_nothing_is_left_alone() {
    let (machine, objects) = (machine(), Objects::new([1000, 0], 0));
    let (shrinker, all) = (Shrinker::new("test", &objects), Shrinkers::new());
    all.register(machine.cpu(), &shrinker).unwrap();
    assert_eq!(all.shrink_slab(machine.cpu(), KERNEL, NodeId::ZERO, 0), 0);
    assert_eq!((all.scanned(), shrinker.deferred(NodeId::ZERO)), (0, 2000));
}

/// What is put off is put off for each node, if the shrinker knows of nodes.
#[test]
fn nodes_have_their_own_rest() {
    let machine = machine();
    for (is_aware, rest) in [(true, [20, 40]), (false, [60, 60])] {
        let objects = Objects::new([160, 320], 1_000_000);
        let plain = Shrinker::new("test", &objects).batch(1000);
        let (shrinker, all) = (if is_aware { plain.numa_aware() } else { plain }, Shrinkers::new());
        all.register(machine.cpu(), &shrinker).unwrap();
        [0, 1].iter().for_each(|n| assert_eq!(all.shrink_slab(machine.cpu(), KERNEL, node(*n), 4), 0));
        assert_eq!([0, 1].map(|n| shrinker.deferred(node(n))), rest);
    }
}

#[test]
fn dropping_asks_until_little_comes() {
    let (machine, objects) = (machine(), Objects::new([1 << 20, 1 << 20], 2));
    let (shrinker, all) = (Shrinker::new("test", &objects).numa_aware(), Shrinkers::new());
    all.register(machine.cpu(), &shrinker).unwrap();
    let freed = all.drop_slab(machine.cpu(), || [node(0), node(1)].into_iter());
    let left: u64 = objects.left.lock().unwrap().iter().sum();
    assert_eq!(freed + left, 2 << 20);
    assert!(left < 100, "{left}");
}

#[test]
fn there_is_room_for_so_many() {
    let (machine, objects) = (machine(), Objects::new([0, 0], 1));
    let shrinkers: Vec<_> = (0..17).map(|_| Shrinker::new("test", &objects)).collect();
    let all = Shrinkers::new();
    for (n, shrinker) in shrinkers.iter().enumerate() {
        assert_eq!(all.register(machine.cpu(), shrinker), if n < 16 { Ok(()) } else { Err(Full) });
    }
    assert_eq!(all.all(machine.cpu()).count(), 16);
}

proptest! {
    /// The arithmetic against Linux's formula in wider numbers, over several calls.
    #[test]
    fn the_arithmetic_is_that_of_linux(
        freeable in 1_u64..1 << 40,
        seeks in 0_u64..20,
        batch in 1_u64..1 << 38,
        priorities in prop::collection::vec(0_u32..=12, 1..4),
    ) {
        // At most as many calls as a test can afford.
        let batch = batch.max(freeable >> 10);
        let (machine, objects) = (machine(), Objects::new([freeable, 0], u64::MAX));
        let (shrinker, all) = (Shrinker::new("test", &objects).seeks(seeks).batch(batch), Shrinkers::new());
        all.register(machine.cpu(), &shrinker).unwrap();
        let (mut deferred, mut total) = (0_i128, 0_i128);
        for priority in priorities {
            all.shrink_slab(machine.cpu(), KERNEL, NodeId::ZERO, priority);
            let (all_of_it, batch) = (i128::from(freeable), i128::from(batch));
            let delta = match i128::from(seeks) {
                0 => all_of_it / 2,
                seeks => (all_of_it >> priority) * 4 / seeks,
            };
            let mut due = ((deferred >> priority) + delta).min(2 * all_of_it);
            let mut scanned = 0;
            while due >= batch || due >= all_of_it {
                scanned += due.min(batch);
                due -= due.min(batch);
            }
            deferred = (deferred + delta - scanned).clamp(0, 2 * all_of_it);
            total += scanned;
            prop_assert_eq!(i128::from(shrinker.deferred(NodeId::ZERO)), deferred);
            prop_assert_eq!(i128::from(all.scanned()), total);
        }
    }
}
