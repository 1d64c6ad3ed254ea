//! One property at a time.

use super::*;
use mm::maple::LIMIT;

#[test]
fn a_range_is_found_by_its_pages_only() {
    with_world(|world| {
        let mut tree = Tree::new();
        assert!(tree.find(0).is_none() && tree.next_from(0).is_none() && tree.prev(LIMIT).is_none());
        world.insert(&mut tree, 10..20, 7).unwrap();
        let found = |page| tree.find(page).map(plain);
        assert_eq!([found(9), found(20), found(u64::MAX)], [None, None, None]);
        assert_eq!([found(10), found(19)], [Some((10..20, 7)), Some((10..20, 7))]);
        world.end(tree);
    });
}

#[test]
fn neighbours_are_found_across_leaves() {
    with_world(|world| {
        let tree = world.tree(0..200);
        let at = |n: u64| Some((n * 4..n * 4 + 2, n as usize));
        for n in 0..200 {
            let (next, first) = (if n == 199 { None } else { at(n + 1) }, n * 4);
            assert_eq!(tree.next_from(first + 1).map(plain), at(n));
            assert_eq!(tree.next_from(first + 2).map(plain), next);
            let before = n.checked_sub(1).and_then(at);
            assert_eq!(tree.prev(first + 1).map(plain), before);
            assert_eq!(tree.prev(first + 2).map(plain), at(n));
            let window: Vec<_> = tree.iter(first + 1..first + 9).map(plain).collect();
            let expected: Vec<_> = (n..200.min(n + 3)).filter_map(at).collect();
            assert_eq!(window, expected);
        }
        assert_eq!(tree.prev(u64::MAX).map(plain), at(199));
        assert_eq!((tree.iter(5..5).count(), tree.iter(2..4).count(), tree.iter(0..1).count()), (0, 0, 1));
        world.end(tree);
    });
}

#[test]
fn what_cannot_be_is_refused() {
    with_world(|world| {
        let mut tree = world.tree(0..50);
        let before = all(&tree);
        let empty = Range { start: 1001, end: 1000 };
        for range in [1000..1000, empty.clone(), LIMIT..LIMIT + 1, LIMIT - 1..LIMIT + 1] {
            assert_eq!(world.insert(&mut tree, range, 0), Err(ChangeError::Invalid));
        }
        for range in [0..1, 1..3, 3..5, 2..8, 0..1000, 100..102, 101..200] {
            assert_eq!(world.insert(&mut tree, range, 0), Err(ChangeError::Overlap));
        }
        assert_eq!(world.remove(&mut tree, 1), None);
        assert_eq!(tree.set_bounds(1, 1..2), Err(ChangeError::Unknown));
        assert_eq!(tree.set_bounds(4, 5..5), Err(ChangeError::Invalid));
        assert_eq!(tree.set_bounds(4, 1..6), Err(ChangeError::Overlap));
        assert_eq!(tree.set_bounds(4, 4..9), Err(ChangeError::Overlap));
        assert_eq!(tree.set_bounds(4, 12..14), Err(ChangeError::Overlap));
        assert_eq!(all(&tree), before);
        world.end(tree);
    });
}

#[test]
fn bounds_move_up_to_the_neighbours() {
    with_world(|world| {
        let mut tree = world.tree(0..120);
        for n in 1..119_u64 {
            let first = n * 4;
            tree.set_bounds(first, first - 2..first + 4).unwrap();
            world.check(&tree);
            assert_eq!(tree.lowest_gap(first - 2..first + 4, 1, 1), None);
            tree.set_bounds(first - 2, first + 3..first + 4).unwrap();
            world.check(&tree);
            assert_eq!(tree.find(first + 3).map(plain), Some((first + 3..first + 4, n as usize)));
            tree.set_bounds(first + 3, first..first + 2).unwrap();
        }
        world.end(tree);
    });
}

#[test]
fn trees_stay_flat() {
    with_world(|world| {
        // Put in from either end, ten nodes of eight ranges each are below the root before it is split.
        for is_up in [true, false] {
            let tree = world.tree((0..82).map(|n| if is_up { n } else { 81 - n }));
            assert_eq!(tree.height(), 2, "{is_up}");
            world.end(tree);
        }
        let scattered = world.tree((0..1000).map(|n| n * 367 % 1000));
        assert!(scattered.height() <= 4, "{}", scattered.height());
        assert!(scattered.verify().unwrap().nodes < 220);
        world.end(scattered);
    });
}

#[test]
fn nodes_go_when_ranges_go() {
    with_world(|world| {
        for step in [1, 7, 333, 999] {
            let mut tree = world.tree(0..1000);
            for n in 0..1000 {
                let first = n * step % 1000;
                assert_eq!(
                    world.remove(&mut tree, first * 4),
                    Some((first * 4..first * 4 + 2, first as usize))
                );
                world.check(&tree);
            }
            assert_eq!((tree.len(), tree.height(), world.active()), (0, 0, 0));
        }
    });
}

#[test]
fn gaps_are_found_from_both_ends() {
    with_world(|world| {
        let mut tree = Tree::new();
        assert_eq!(tree.highest_gap(16..1000, 10, 1), Some(990));
        assert_eq!(tree.lowest_gap(16..1000, 10, 1), Some(16));
        for (n, range) in [16..100, 104..200, 220..300, 301..1000].into_iter().enumerate() {
            world.insert(&mut tree, range, n).unwrap();
        }
        let window = 16..1000;
        let high = |pages, align| tree.highest_gap(window.clone(), pages, align);
        let low = |pages, align| tree.lowest_gap(window.clone(), pages, align);
        assert_eq!(
            [high(1, 1), high(2, 1), high(20, 1), high(21, 1)],
            [Some(300), Some(218), Some(200), None]
        );
        assert_eq!([low(1, 1), low(4, 1), low(5, 1), low(21, 1)], [Some(100), Some(100), Some(200), None]);
        // With room for any start; by luck; not at all.
        assert_eq!(
            [high(4, 16), low(4, 16), high(16, 8), low(16, 16)],
            [Some(208), Some(208), Some(200), None]
        );
        assert_eq!(tree.highest_gap(0..16, 16, 16), Some(0));
        assert_eq!(tree.highest_gap(1000..1500, 500, 1), Some(1000));
        for (window, pages, align) in [(0..9, 10, 1), (9..9, 1, 1), (0..9, 0, 1), (0..9, 1, 0), (0..99, 1, 3)]
        {
            assert_eq!(tree.highest_gap(window.clone(), pages, align), None);
            assert_eq!(tree.lowest_gap(window, pages, align), None);
        }
        assert_eq!(tree.highest_gap(0..u64::MAX, 1, 1), Some(LIMIT - 1));
        assert_eq!(tree.highest_gap(0..u64::MAX, u64::MAX, 2), None);
        world.end(tree);
    });
}

#[test]
fn lookups_run_side_by_side() {
    with_world(|world| {
        let tree = world.tree(0..500);
        std::thread::scope(|scope| {
            for part in 0..3 {
                let tree = &tree;
                scope.spawn(move || {
                    for page in (part..2000).step_by(3) {
                        let expected = (page % 4 < 2).then_some(page as usize / 4);
                        assert_eq!(tree.find(page).map(|found| number(found.value)), expected);
                    }
                });
            }
        });
        world.end(tree);
    });
}

#[test]
fn there_is_one_cache() {
    with_world(|world| {
        assert!(Nodes::new(world.slabs, &world.frames()).is_err());
        assert_eq!(world.slabs.find("maple_node").unwrap().geometry().size, 256);
    });
}
