//! The numbers of `/proc/slabinfo` as a Linux 6.18 machine with two CPUs shows them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

extern crate std;

use super::*;

const RULES: OrderRules = OrderRules { min_order: 0, max_order: 3, min_objects: 0, cpus: 2 };

/// Object size, objects per slab, pages per slab, and the alignment that the cache was made with.
const LINUX: [(u32, u32, u64, u32); 36] = [
    (8, 512, 1, 8),
    (16, 256, 1, 16),
    (32, 128, 1, 32),
    (64, 64, 1, 64),
    (96, 42, 1, 0),
    (128, 32, 1, 128),
    (192, 21, 1, 0),
    (256, 16, 1, 256),
    (512, 16, 2, 512),
    (1024, 16, 4, 1024),
    (2048, 16, 8, 2048),
    (4096, 8, 8, 4096),
    (8192, 4, 8, 4096),
    (104, 39, 1, 0),
    (112, 36, 1, 0),
    (312, 13, 1, 0),
    (320, 12, 1, 64),
    (416, 19, 2, 0),
    (584, 14, 2, 0),
    (624, 13, 2, 0),
    (632, 25, 4, 0),
    (640, 12, 2, 64),
    (656, 12, 2, 0),
    (696, 23, 4, 0),
    (704, 23, 4, 64),
    (752, 21, 4, 0),
    (832, 19, 4, 64),
    (960, 17, 4, 64),
    (1128, 14, 4, 0),
    (1536, 21, 8, 64),
    (5888, 5, 8, 64),
    (192, 21, 1, 64),
    (64, 64, 1, 0),
    (24, 170, 1, 0),
    (40, 102, 1, 0),
    (4352, 7, 8, 0),
];

#[test]
fn t39a_slabs_have_the_order_and_objects_that_linux_gives_them() {
    for (size, objects, pages, align) in LINUX {
        let align = alignment(SlabFlags::empty(), align, size);
        let geometry = Geometry::new(size, align, SlabFlags::empty(), false, &RULES, true).unwrap();
        let got = (geometry.size, geometry.objects, geometry.order.pages());
        assert_eq!(got, (size, objects, pages));
    }
}

/// More CPUs mean more objects in a slab, and the limits of the order hold.
#[test]
fn the_rules_move_the_order() {
    let order = |size, rules| slab_order(size, &rules).unwrap().get();
    assert_eq!(order(256, OrderRules { cpus: 1, ..RULES }), 0);
    assert_eq!(order(256, OrderRules { cpus: 16, ..RULES }), 1);
    assert_eq!(order(64, OrderRules { min_order: 2, ..RULES }), 2);
    assert_eq!(order(1024, OrderRules { max_order: 1, ..RULES }), 1);
    assert_eq!(order(64, OrderRules { min_objects: 100, ..RULES }), 1);
    // Larger than the largest order: as much as one object needs.
    assert_eq!(order(100_000, RULES), 5);
    assert_eq!(slab_order(5 << 20, &RULES), None);
    // Never more objects than their count can hold.
    assert!(order(8, OrderRules { min_order: 10, ..RULES }) < 10);
}

/// Small objects share a cache line evenly.
#[test]
fn cache_line_alignment_follows_the_size() {
    let align = |size| alignment(SlabFlags::HWCACHE_ALIGN, 0, size);
    assert_eq!([8, 9, 16, 17, 33, 64, 100].map(align), [8, 16, 16, 32, 64, 64, 64]);
}

/// Every part of an object lies in its share, and no two overlap.
#[test]
fn parts_of_an_object_do_not_overlap() {
    let all = [SlabFlags::RED_ZONE, SlabFlags::POISON, SlabFlags::STORE_USER, SlabFlags::TYPESAFE_BY_RCU];
    for bits in 0..16_usize {
        let flags = (0..4).filter(|n| bits >> n & 1 == 1).fold(SlabFlags::empty(), |f, n| f | all[n]);
        for size in 1..300 {
            for align in [8, 16, 64, 128] {
                for ctor in [false, true] {
                    let g = Geometry::new(size, align, flags, ctor, &RULES, true).unwrap();
                    assert_eq!((g.size % align, g.red_left % align, g.offset % WORD), (0, 0, 0));
                    let keeps = ctor || flags.intersects(SlabFlags::POISON | SlabFlags::TYPESAFE_BY_RCU);
                    let outside = g.offset >= g.inuse;
                    assert!(outside || (!keeps && g.offset + WORD <= size.next_multiple_of(WORD)), "{g:?}");
                    let mut end = g.inuse.max(g.offset + WORD);
                    if let Some(tracks) = g.tracks {
                        assert!(tracks >= end && tracks % WORD == 0, "{g:?}");
                        end = tracks + 2 * size_of::<Track>() as u32;
                    }
                    if flags.contains(SlabFlags::RED_ZONE) {
                        assert!(g.inuse > size && g.red_left >= WORD, "{g:?}");
                    }
                    assert!(end + g.red_left <= g.size && g.objects >= 1, "{g:?}");
                    assert!(g.used_bytes() <= g.slab_bytes(), "{g:?}");
                }
            }
        }
    }
}
