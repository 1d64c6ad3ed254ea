//! Every allocation fails once: the tree stays as it was and no node is lost.

use super::*;
use crate::slab_fixture::Flaky;
use mm::phys::AllocError;

/// Leaves exactly `count` nodes that can be allocated, and gives those that it had to take for that.
fn leave<'a, 'b>(world: &World<'a, 'b>, count: usize) -> Spare<'a, 'b, Machine> {
    let left = world.spare(count);
    let mut held = world.nodes.spare();
    let none = Flaky::new(world.board, 0);
    assert_eq!(held.reserve(usize::MAX, &none, GFP), Err(AllocError::OutOfMemory));
    drop(left);
    held
}

/// Runs `change` with 0, 1, 2... nodes that can be allocated until it works; how many that were.
fn sweep<'b>(
    world: &World<'_, 'b>,
    tree: &mut Tree<'b>,
    inserts: usize,
    change: impl Fn(&mut Tree<'b>, &mut Spare<'_, 'b, Machine>),
) -> usize {
    for count in 0.. {
        let before = (all(tree), tree.verify().unwrap());
        let held = leave(world, count);
        let none = Flaky::new(world.board, 0);
        let mut spare = world.nodes.spare();
        match spare.reserve(tree.nodes_for(inserts), &none, GFP) {
            Err(error) => {
                assert_eq!((error, spare.len()), (AllocError::OutOfMemory, count));
                drop((spare, held));
                assert_eq!((all(tree), tree.verify().unwrap()), before);
                world.check(tree);
            }
            Ok(()) => {
                change(tree, &mut spare);
                drop((spare, held));
                world.check(tree);
                return count;
            }
        }
    }
    unreachable!("one of all attempts succeeds")
}

#[test]
fn every_node_of_an_insert_may_be_missing() {
    with_world(|world| {
        for count in 0..130 {
            let mut tree = world.tree(0..count);
            let height = tree.height();
            let failures = sweep(world, &mut tree, 1, |tree, spare| {
                tree.insert(2..3, value(1), spare).unwrap();
            });
            assert_eq!((failures, tree.len()), (height + 1, count + 1));
            world.end(tree);
        }
    });
}

/// Unmaps all but the ends of what is there: a middle goes, two ends stay.
#[test]
fn every_node_of_an_unmap_may_be_missing() {
    with_world(|world| {
        for count in 1..130 {
            let mut tree = world.tree(0..count);
            sweep(world, &mut tree, 2, |tree, spare| {
                tree.set_bounds(0, 0..1).unwrap();
                for n in 1..count as u64 - 1 {
                    tree.remove(n * 4, spare).unwrap();
                }
                tree.insert(1..2, value(0), spare).unwrap();
                tree.insert(2..3, value(0), spare).unwrap();
            });
            assert_eq!(tree.len(), count.min(2) + 2);
            world.end(tree);
        }
    });
}

#[test]
fn an_insert_without_nodes_changes_nothing() {
    with_world(|world| {
        let mut refused = 0;
        for count in 0..400 {
            let mut tree = world.tree((0..count).map(|n| n * 401 % count));
            let before = all(&tree);
            for have in 0.. {
                let mut spare = world.spare(have);
                let result =
                    tree.insert(count as u64 / 2 * 4 + 2..count as u64 / 2 * 4 + 3, value(0), &mut spare);
                if result.is_ok() {
                    assert!(spare.is_empty(), "it asked for more than it took");
                    break;
                }
                assert_eq!((result, spare.len()), (Err(ChangeError::NoNodes), have));
                assert_eq!(all(&tree), before);
                refused += 1;
            }
            world.end(tree);
        }
        assert!(refused > 20, "{refused}");
    });
}
