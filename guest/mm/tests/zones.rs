//! Nodes and zones: borders, the order in which they are asked, deferred blocks, boot errors.

use crate::board::{Board, GIB, MIB, Plan, addr, node, order, pfn, zone_id};
use ZoneKind::{Dma, Dma32, Normal};
use mm::addr::{NodeId, Order};
use mm::frame::{MigrateType, ZoneKind};
use mm::memblock::MemblockError;
use mm::phys::{AllocError, BootError, FrameAllocator, GfpFlags, MovableShare, Topology, ZoneAllocator};
use mm::port::CpuId;

const KERNEL: GfpFlags = GfpFlags::GFP_KERNEL;

fn six_gib() -> Plan {
    Plan::ram(&[0x1000..0x9f000, MIB..3 * GIB, 4 * GIB..7 * GIB])
}

/// Zone borders, sizes and start frames of a 6 GiB machine are those that Linux shows for its memory map.
#[test]
fn six_gib_has_linux_zone_borders() {
    let board = six_gib().boot();
    let facts = |kind| {
        let zone = board.zone(zone_id(0, kind)).unwrap();
        (zone.start_pfn().get(), zone.spanned_pages(), zone.present_pages(), zone.managed_pages())
    };
    assert_eq!(facts(Dma), (1, 4095, 3998, 3998));
    assert_eq!(facts(Dma32), (4096, 1_044_480, 782_336, 782_336));
    assert_eq!(facts(Normal), (1 << 20, 786_432, 786_432, 786_432));
    assert!(!board.zone(zone_id(0, ZoneKind::HighMem)).unwrap().is_populated());
    assert_eq!(board.populated_zones().count(), 3);
}

/// Small machines have no Normal zone, and `zones.dma32=` gives them one.
#[test]
fn small_machines_have_low_zones_only() {
    let plan = Plan::ram(&[MIB..128 * MIB]);
    let kinds = |board: &Board| board.populated_zones().map(|zone| zone.id().kind.name()).collect::<Vec<_>>();
    assert_eq!(kinds(&plan.boot()), ["DMA", "DMA32"]);
    assert_eq!(kinds(&plan.zones(16 * MIB, 64 * MIB).boot()), ["DMA", "DMA32", "Normal"]);
}

/// Flags choose the highest zone; when it is empty the next lower one follows, never a higher one.
#[test]
fn zones_fall_back_downwards() {
    let board = Plan::ram(&[MIB..24 * MIB]).zones(8 * MIB, 16 * MIB).boot();
    let kinds_until_empty = |gfp| {
        let mut kinds = Vec::new();
        let mut held = Vec::new();
        while let Some(at) = board.take(gfp, 9) {
            kinds.push(board.zone_of(at).kind);
            held.push(at);
        }
        held.into_iter().for_each(|at| board.give(at, 9).unwrap());
        kinds.dedup();
        kinds
    };
    assert_eq!(kinds_until_empty(KERNEL), [Normal, Dma32, Dma]);
    assert_eq!(kinds_until_empty(GfpFlags::GFP_DMA32), [Dma32, Dma]);
    assert_eq!(kinds_until_empty(GfpFlags::GFP_DMA), [Dma]);
    assert_eq!(kinds_until_empty(GfpFlags::GFP_HIGHUSER_MOVABLE), [Normal, Dma32, Dma]);
    board.verify().unwrap();
}

/// GFP_DMA gives frames below 16 MiB until there are none, then fails although other zones have plenty.
#[test]
fn dma_memory_is_low_and_runs_out() {
    let board = six_gib().boot();
    let mut got = 0;
    while let Some(at) = board.take(GfpFlags::GFP_DMA, 0) {
        assert!(at < 0x1000);
        got += 1;
    }
    assert_eq!(got, board.zone(zone_id(0, Dma)).unwrap().managed_pages());
    assert_eq!(board.alloc_pages(GfpFlags::GFP_DMA, order(0)).err(), Some(AllocError::OutOfMemory));
    assert!(board.take(KERNEL, 10).is_some());
}

/// Four nodes on a ring: neighbours at 15, the opposite node at 25.
fn ring() -> Plan {
    let mut plan = Plan::ram(&[]);
    for n in 0..4 {
        plan = plan.node_ram(n, u64::from(n) * 32 * MIB + MIB..u64::from(n + 1) * 32 * MIB);
        assert!(plan.topology.set_cpu_node(CpuId(n), node(n)));
        for m in 0..4 {
            let distance = match (n as i32 - m as i32).rem_euclid(4) {
                0 => 10,
                2 => 25,
                _ => 15,
            };
            plan.topology.set_distance(node(n), node(m), distance);
        }
    }
    plan.cpus = 4;
    plan
}

/// The nodes in which allocations near `near` end up, in order.
fn node_order(board: &Board, near: u32) -> Vec<usize> {
    let mut nodes = Vec::new();
    let mut held = Vec::new();
    while let Ok(frames) = board.alloc_pages_node(node(near), KERNEL, Order::MAX) {
        let (at, _) = frames.into_raw();
        nodes.push(board.zone_of(at.get()).node.index());
        held.push(at.get());
    }
    held.into_iter().for_each(|at| board.give(at, 10).unwrap());
    nodes.dedup();
    nodes
}

/// Nodes are asked by distance. Among equally near ones Linux prefers those above the asking node, and then
/// those that fewer others prefer.
#[test]
fn nodes_are_asked_by_distance() {
    let board = ring().boot();
    assert_eq!(node_order(&board, 0), [0, 1, 3, 2]);
    assert_eq!(node_order(&board, 1), [1, 2, 0, 3]);
    assert_eq!(node_order(&board, 2), [2, 3, 1, 0]);
    // Both neighbours are below node 3; node 0 has led one group of equally near nodes so far, node 2 two.
    assert_eq!(node_order(&board, 3), [3, 0, 2, 1]);
}

/// Among equally near nodes one without CPUs is asked first: nobody else is likely to need it.
#[test]
fn nodes_without_cpus_are_asked_first() {
    let mut plan = Plan::ram(&[]);
    for n in 0..3 {
        plan = plan.node_ram(n, u64::from(n) * 32 * MIB + MIB..u64::from(n + 1) * 32 * MIB);
    }
    assert!(plan.topology.set_cpu_node(CpuId(0), node(0)) && plan.topology.set_cpu_node(CpuId(1), node(1)));
    assert_eq!(node_order(&plan.boot(), 0), [0, 2, 1]);
}

/// `__GFP_THISNODE` does not leave the node, and the running CPU decides which node that is.
#[test]
fn thisnode_stays_and_the_cpu_chooses() {
    let board = ring().boot();
    let cpus = mm::port::Machine::cpu(board.machine());
    cpus.run_on(CpuId(2), || {
        let zones = ZoneAllocator::new(&*board);
        let here = zones.alloc(KERNEL, order(0)).unwrap();
        assert_eq!(board.zone_of(here.pfn().get()).node, node(2));
        zones.free(here).unwrap();
        let mut pages = 0;
        while let Ok(frames) = zones.alloc(KERNEL | GfpFlags::__GFP_THISNODE, order(8)) {
            assert_eq!(board.zone_of(frames.into_raw().0.get()).node, node(2));
            pages += 256;
        }
        assert_eq!(pages, board.node(node(2)).unwrap().managed_pages());
    });
    assert_eq!(cpus.irq_depth(CpuId(2)), 0);
}

/// A node without memory exists, and its CPU allocates from the nearest node that has some.
#[test]
fn a_node_without_memory_borrows() {
    let mut plan = ring();
    plan.memblock.remove(addr(32 * MIB), 32 * MIB).unwrap();
    let board = plan.boot();
    assert_eq!(board.nodes().count(), 4);
    assert_eq!(board.node(node(1)).unwrap().present_pages(), 0);
    assert_eq!(node_order(&board, 1)[0], 2);
    let this_node = board.alloc_pages_node(node(1), KERNEL | GfpFlags::__GFP_THISNODE, order(0));
    assert_eq!(this_node.err(), Some(AllocError::OutOfMemory));
    assert_eq!(board.alloc_pages_node(node(7), KERNEL, order(0)).err(), Some(AllocError::BadNode));
}

/// A 4 MiB block that two nodes share belongs to the node of its first page, and every page is counted once.
#[test]
fn a_shared_block_has_one_node() {
    let plan = Plan::ram(&[]).node_ram(0, MIB..9 * MIB).node_ram(1, 9 * MIB..24 * MIB);
    let board = plan.boot();
    let present = |n| board.node(node(n)).unwrap().present_pages();
    assert_eq!((present(0), present(1)), (11 * 256, 12 * 256));
    while board.take_in_deferred(8) > 0 {}
    assert_eq!(board.zone_of(10 * 256).node, node(0));
    assert_eq!(board.zone_of(12 * 256).node, node(1));
    board.verify().unwrap();
    board.verify_zones().unwrap();
}

/// Booting 16 GiB touches as many descriptors as booting 256 MiB: those at the edges.
#[test]
fn boot_touches_only_the_edges() {
    let touched = |end| {
        let board = Plan::ram(&[0x1000..0x9f000, MIB..end]).reserve(2 * MIB..6 * MIB).boot();
        let free = board.total_free_pages();
        assert_eq!(free, board.total_managed_pages());
        assert_eq!(free, (end - 5 * MIB) / 4096 + 0x9e);
        board.touched_descriptors()
    };
    // Twelve blocks make up 0x1000..0x9f000, one each 1..2 MiB and 6..8 MiB; the rest is whole.
    assert_eq!((touched(256 * MIB), touched(16 * GIB)), (14, 14));
}

/// What the memory of the descriptors held before boot does not matter.
#[test]
fn dirty_descriptor_memory_is_not_trusted() {
    let mut plan = Plan::ram(&[0x1000..0x9f000, MIB..64 * MIB]).reserve(2 * MIB..6 * MIB);
    plan.dirty = true;
    let board = plan.boot();
    board.verify().unwrap();
    let total = board.total_free_pages();
    let taken: Vec<u64> = std::iter::from_fn(|| board.take(KERNEL, 0)).collect();
    assert_eq!(taken.len() as u64, total);
    board.verify().unwrap();
    for at in taken {
        board.give(at, 0).unwrap();
    }
    assert_eq!(board.total_free_pages(), total);
    board.verify().unwrap();
    board.verify_zones().unwrap();
}

/// Deferred blocks are in every statistic; taking them in changes none, and touches one descriptor per 4 MiB.
#[test]
fn deferred_blocks_count_before_they_are_touched() {
    let board = Plan::ram(&[MIB..GIB]).boot();
    let dma32 = zone_id(0, Dma32);
    let line = board.buddyinfo(dma32);
    assert_eq!((line[10], line[..10].iter().sum::<u32>()), (252, 0));
    assert_eq!(board.pageblock_counts(dma32), [0, 504, 0, 0, 0]);
    let before = board.touched_descriptors();
    board.verify().unwrap();
    assert_eq!(board.take_in_deferred(100), 155);
    assert_eq!(board.touched_descriptors(), before + 100);
    board.verify().unwrap();
    assert_eq!(board.take_in_deferred(u32::MAX), 0);
    assert_eq!((board.buddyinfo(dma32), board.pageblock_counts(dma32)), (line, [0, 504, 0, 0, 0]));
    assert_eq!(board.verify_zones().unwrap(), 2 * 256);
    board.verify().unwrap();
}

/// Deferred blocks on both sides of a hole are each taken in once.
#[test]
fn a_hole_does_not_stop_taking_in() {
    let board = Plan::ram(&[16 * MIB..32 * MIB, 40 * MIB..64 * MIB]).boot();
    for left in (0..10).rev() {
        assert_eq!(board.take_in_deferred(1), left);
        board.verify().unwrap();
    }
    let mut out = [pfn(0); 16];
    let listed = board.free_list(zone_id(0, Dma32), Order::MAX, MigrateType::Movable, &mut out);
    let starts: Vec<_> = out[..listed].iter().map(|start| start.get() / 1024).collect();
    assert_eq!(starts, [4, 5, 6, 7, 10, 11, 12, 13, 14, 15]);
}

/// A single page takes in one deferred block and no more.
#[test]
fn allocation_takes_in_what_it_needs() {
    let board = Plan::ram(&[16 * MIB..GIB]).boot();
    assert_eq!(board.touched_descriptors(), 0);
    let at = board.take(GfpFlags::GFP_HIGHUSER_MOVABLE, 0).unwrap();
    assert_eq!(at, 16 * MIB / 4096);
    // The page and the ten upper halves.
    assert_eq!(board.touched_descriptors(), 11);
    assert_eq!(board.total_free_pages(), board.total_managed_pages() - 1);
    board.give(at, 0).unwrap();
    assert_eq!(board.buddyinfo(zone_id(0, Dma32))[10], 252);
    board.verify().unwrap();
}

/// Frame 0 is never handed out, even if the map calls it free.
#[test]
fn frame_zero_stays_reserved() {
    let board = Plan::ram(&[0..MIB]).boot();
    assert_eq!((board.total_managed_pages(), board.nodes().next().unwrap().present_pages()), (255, 256));
    while let Some(at) = board.take(KERNEL, 0) {
        assert_ne!(at, 0);
    }
    board.verify().unwrap();
}

/// Every boot error is found and says what is wrong.
#[test]
fn bad_configurations_are_refused() {
    let error = |plan: Plan| plan.try_boot().err().unwrap();
    let ram = || Plan::ram(&[MIB..8 * MIB]);
    assert_eq!(error(Plan::ram(&[])), BootError::NoMemory);
    assert_eq!(error(Plan::ram(&[100..4000])), BootError::NoMemory);
    assert_eq!(error(ram().zones(6 * MIB, 16 * MIB)), BootError::BadZoneBoundary);
    assert_eq!(error(ram().zones(16 * MIB, 8 * MIB)), BootError::BadZoneBoundary);
    for (from, to, distance) in [(0, 1, 9), (0, 1, 10), (2, 2, 20)] {
        let mut plan = ram();
        plan.topology.set_distance(node(from), node(to), distance);
        assert_eq!(error(plan), BootError::BadDistance);
    }
    assert_eq!(BootError::from(MemblockError::Full), BootError::Memblock(MemblockError::Full));
}

/// Tables that end below the last RAM are refused, a failed boot can be repeated, a successful one cannot.
#[test]
fn boot_happens_once() {
    use mm::phys::{BootConfig, Phys, ZoneLimits};
    let small = Plan::ram(&[MIB..8 * MIB]).boot();
    let big = Plan::ram(&[MIB..16 * MIB]).boot();
    let phys = Phys::new(sim::Machine::with_ram(4096));
    let config = |tables| BootConfig {
        memblock: big.memblock().unwrap(),
        topology: big.topology().unwrap(),
        zones: ZoneLimits::LINUX,
        tables,
        merge: true,
    };
    // SAFETY: the tables of `small` are not used by this allocator, because boot refuses them.
    assert_eq!(unsafe { phys.boot(&config(small.tables())) }, Err(BootError::TableTooSmall));
    assert_eq!(phys.alloc_pages(KERNEL, order(0)).err(), Some(AllocError::NotBooted));
    let spare = big.spare_tables();
    // SAFETY: zeroed, large enough, and dropped after the last use of `phys`.
    unsafe { phys.boot(&config(spare.tables())) }.unwrap();
    assert_eq!(phys.total_free_pages(), 15 * 256);
    // SAFETY: refused before anything is touched.
    assert_eq!(unsafe { phys.boot(&config(spare.tables())) }, Err(BootError::AlreadyBooted));
    phys.verify().unwrap();
}

/// The topology has room for 64 CPUs and eight nodes, and says so.
#[test]
fn topology_is_bounded() {
    let mut topology = Topology::new();
    assert!(topology.set_cpu_node(CpuId(63), node(7)));
    assert!(!topology.set_cpu_node(CpuId(64), node(7)));
    assert_eq!(topology.node_of(CpuId(63)), node(7));
    assert_eq!(topology.node_of(CpuId(64)), NodeId::ZERO);
    assert_eq!(topology.cpus_of(node(7)).collect::<Vec<_>>(), [CpuId(63)]);
    assert_eq!((topology.distance(node(1), node(1)), topology.distance(node(1), node(2))), (10, 20));
    assert!(topology.is_valid());
}

/// Four CPUs allocate and free all orders at once; afterwards everything is back and whole.
#[test]
fn four_cpus_at_once() {
    let board = ring().boot();
    let before: Vec<_> = board.populated_zones().map(|zone| board.buddyinfo(zone.id())).collect();
    let cpus = mm::port::Machine::cpu(board.machine());
    std::thread::scope(|scope| {
        for cpu in 0..4_u32 {
            let (board, cpus) = (&board, cpus);
            scope.spawn(move || {
                cpus.run_on(CpuId(cpu), || {
                    let mut held = Vec::new();
                    let mut seed = u64::from(cpu) + 1;
                    for _ in 0..4000 {
                        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let n = (seed >> 33) as u32 % 8;
                        if seed >> 62 == 0 && !held.is_empty() {
                            let (at, n): (u64, u32) = held.swap_remove((seed >> 40) as usize % held.len());
                            board.give(at, n).unwrap();
                        } else if let Some(at) = board.take(KERNEL, n) {
                            held.push((at, n));
                        }
                    }
                    held.into_iter().for_each(|(at, n)| board.give(at, n).unwrap());
                });
                assert_eq!(cpus.irq_depth(CpuId(cpu)), 0);
            });
        }
    });
    board.verify().unwrap();
    let after: Vec<_> = board.populated_zones().map(|zone| board.buddyinfo(zone.id())).collect();
    assert_eq!(before, after);
    assert_eq!(board.zone(zone_id(0, Dma)).unwrap().free_blocks(order(0), MigrateType::HighAtomic), 0);
    assert_eq!(board.pageblock(pfn((1 << 40) - 1)), None);
}

/// The top of RAM is a zone of its own, and lower zones end below it.
#[test]
fn highmem_is_the_top_of_ram() {
    let mut plan = Plan::ram(&[MIB..128 * MIB]);
    plan.zones.highmem_start = Some(pfn(64 * 256));
    let board = plan.boot();
    let pages = |kind| board.node(node(0)).unwrap().zone(kind).managed_pages();
    assert_eq!((pages(Dma), pages(Dma32), pages(Normal)), (15 * 256, 48 * 256, 0));
    assert_eq!((pages(ZoneKind::HighMem), pages(ZoneKind::Movable)), (64 * 256, 0));
    let at = board.take(GfpFlags::GFP_HIGHUSER, 0).unwrap();
    assert_eq!(board.zone_of(at).kind, ZoneKind::HighMem);
    // Only who asks for it gets it.
    let low: Vec<_> = std::iter::from_fn(|| board.take(KERNEL, 0)).collect();
    assert_eq!(low.len() as u64, 63 * 256);
    assert!(low.iter().all(|at| *at < 64 * 256));
    low.into_iter().chain([at]).for_each(|at| board.give(at, 0).unwrap());
    while board.take_in_deferred(8) > 0 {}
    board.verify().unwrap();
    board.verify_zones().unwrap();
    plan.zones.highmem_start = Some(pfn(64 * 256 + 1));
    assert_eq!(plan.try_boot().err(), Some(BootError::BadZoneBoundary));
}

/// Every node gives an equal part; the zone is at the end of each node, and only movable pages come from it.
#[test]
fn movable_memory_is_spread_over_nodes() {
    let mut plan = Plan::ram(&[]).node_ram(0, MIB..128 * MIB).node_ram(1, 128 * MIB..256 * MIB);
    plan.zones.movable = MovableShare::Pages(64 * 256);
    let board = plan.boot();
    let movable = |n| board.node(node(n)).unwrap().zone(ZoneKind::Movable).managed_pages();
    // Half of what stays, rounded up to blocks, is on each node.
    assert_eq!((movable(0), movable(1)), (28 * 256, 32 * 256));
    let at = board.take(GfpFlags::GFP_HIGHUSER_MOVABLE, 0).unwrap();
    assert_eq!(board.zone_of(at).kind, ZoneKind::Movable);
    let kernel = board.take(KERNEL, 0).unwrap();
    assert_eq!(board.zone_of(kernel).kind, Dma32);
    board.give(at, 0).unwrap();
    board.give(kernel, 0).unwrap();
    while board.take_in_deferred(8) > 0 {}
    board.verify().unwrap();
    board.verify_zones().unwrap();
}

/// What must not be movable is taken from low memory first, and from large nodes when small ones have too little.
#[test]
fn kernelcore_counts_memory_that_cannot_be_movable() {
    let boot = |movable, ends: [u64; 2]| {
        let mut plan =
            Plan::ram(&[]).node_ram(0, MIB..ends[0] * MIB).node_ram(1, ends[0] * MIB..ends[1] * MIB);
        plan.zones.movable = movable;
        let board = plan.boot();
        [0, 1].map(|n| board.node(node(n)).unwrap().zone(ZoneKind::Movable).managed_pages() / 256)
    };
    assert_eq!(boot(MovableShare::AllBut(128 * 256), [128, 256]), [60, 64]);
    // Node 0 is all kernel; node 1 takes what is left.
    assert_eq!(boot(MovableShare::AllBut(128 * 256), [32, 256]), [0, 124]);
    assert_eq!(boot(MovableShare::AllBut(1 << 20), [128, 256]), [0, 0]);
    assert_eq!(boot(MovableShare::Pages(1 << 20), [128, 256]), [0, 0]);
}
