//! Per-CPU page lists: exact counts, Linux's limits, and what happens at their borders.

use crate::board::{Board, MIB, Plan, node, order, pfn, reserves, zone_id};
use mm::addr::Order;
use mm::frame::{MigrateType, ZoneKind};
use mm::phys::{Event, FolioState, Frames, FreeError, GfpFlags, PagesetInfo, Watermarks};
use mm::port::{CpuId, Machine};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

const KERNEL: GfpFlags = GfpFlags::GFP_KERNEL;
const MOVABLE: GfpFlags = GfpFlags::GFP_HIGHUSER_MOVABLE;
const DMA32: ZoneKind = ZoneKind::Dma32;

/// One node with one zone of 64 MiB and no reserve.
fn plan(cpus: u32) -> Plan {
    let mut plan = Plan::ram(&[16 * MIB..80 * MIB]).lists(reserves(0));
    plan.cpus = cpus;
    if let Some(reserves) = &mut plan.reserves {
        reserves.watermark_scale_factor = 0;
    }
    plan
}

fn set(board: &Board, cpu: u32) -> PagesetInfo {
    board.pagesets(board.zone(zone_id(0, DMA32)).unwrap()).nth(cpu as usize).unwrap()
}

fn locks(board: &Board) -> u64 {
    board.zone(zone_id(0, DMA32)).unwrap().lock_count()
}

/// What is neither free nor on a list.
fn held(board: &Board) -> u64 {
    board.total_managed_pages() - board.total_free_pages() - board.cached_pages()
}

/// Marks, reserves and limits of the machine that shared/tests/fixtures/linux-6.18 was recorded on.
#[test]
fn numbers_are_those_of_linux() {
    let page = |n: u64| n << 12;
    let mut plan = Plan::ram(&[
        page(256)..page(4096),
        page(4096)..page(4096 + 772_915),
        page(1 << 20)..page((1 << 20) + 557_056),
    ])
    .lists(reserves(67_584));
    plan.cpus = 2;
    let board = plan.boot();
    let rows = [
        (ZoneKind::Dma, [48, 60, 72, 84], [0, 3019, 5195, 5195, 5195], [1, 30, 240], 4),
        (DMA32, [9790, 12237, 14684, 17131], [0, 0, 2176, 2176, 2176], [63, 6118, 48_307], 24),
        (ZoneKind::Normal, [7056, 8820, 10584, 12348], [0; 5], [63, 4410, 34_816], 24),
    ];
    for (kind, [min, low, high, promo], protection, [batch, high_min, high_max], threshold) in rows {
        let zone = board.zone(zone_id(0, kind)).unwrap();
        assert_eq!(zone.watermarks(), Watermarks { min, low, high, promo }, "{kind:?}");
        assert_eq!(ZoneKind::ALL.map(|highest| zone.lowmem_reserve(highest)), protection, "{kind:?}");
        for cpu in board.pagesets(zone) {
            assert_eq!((cpu.batch, cpu.high_min, cpu.high_max), (batch, high_min, high_max), "{kind:?}");
        }
        assert_eq!(board.stat_threshold(zone), threshold, "{kind:?}");
    }
    let movable = board.node(node(0)).unwrap().zone(ZoneKind::Movable).watermarks();
    assert_eq!(movable, Watermarks { min: 32, low: 32, high: 32, promo: 32 });
}

/// A share of the zone instead of the low mark.
#[test]
fn a_fraction_fixes_the_length() {
    let mut plan = plan(1);
    plan.reserves.as_mut().unwrap().high_fraction = 8;
    let info = set(&plan.boot(), 0);
    assert_eq!((info.batch, info.high_min, info.high_max), (3, 2048, 2048));
}

/// Pages come back newest first; the zone's lock is taken once a batch, not once a page.
#[test]
fn pages_come_from_the_list() {
    let board = plan(1).boot();
    let first = board.take(KERNEL, 0).unwrap();
    let second = board.take(KERNEL, 0).unwrap();
    board.give(first, 0).unwrap();
    board.give(second, 0).unwrap();
    assert_eq!((board.take(KERNEL, 0), board.take(KERNEL, 0)), (Some(second), Some(first)));
    board.give(first, 0).unwrap();
    let before = locks(&board);
    for _ in 0..10_000 {
        let page = board.take(KERNEL, 0).unwrap();
        board.give(page, 0).unwrap();
    }
    assert_eq!(locks(&board), before);
    board.give(second, 0).unwrap();
    board.drain_all_pages();
    assert_eq!((set(&board, 0).count, board.cached_pages()), (0, 0));
    board.verify().unwrap();
}

/// Orders 0 to 3 and 9 are kept, others go to the zone.
#[test]
fn some_orders_are_kept() {
    let mut plan = plan(1);
    plan.reserves.as_mut().unwrap().high_fraction = 8;
    let board = plan.boot();
    for n in 0..=Order::MAX.get() {
        board.drain_all_pages();
        let at = board.take(MOVABLE, n).unwrap();
        let fetched = board.cached_pages();
        board.give(at, n).unwrap();
        let kept = n <= 3 || n == 9;
        assert_eq!(board.cached_pages(), if kept { fetched + (1 << n) } else { 0 }, "order {n}");
        assert_eq!(board.folio(pfn(at)).unwrap().state, FolioState::Free);
        board.verify().unwrap();
    }
}

/// A page on a list is free: freeing it again is found, whatever order is claimed.
#[test]
fn a_double_free_is_found_on_the_list() {
    let board = plan(1).boot();
    let (page, quad) = (board.take(KERNEL, 0).unwrap(), board.take(KERNEL, 2).unwrap());
    board.give(page, 0).unwrap();
    board.give(quad, 2).unwrap();
    assert_eq!(board.give(page, 0), Err(FreeError::DoubleFree(pfn(page))));
    assert_eq!(board.give(page, 3), Err(FreeError::DoubleFree(pfn(page))));
    assert_eq!(board.give(quad + 1, 0), Err(FreeError::DoubleFree(pfn(quad + 1))));
    assert_eq!(board.check_free(pfn(quad), order(2)), Err(FreeError::DoubleFree(pfn(quad))));
    assert_eq!(held(&board), board_area(&board));
    board.verify().unwrap();
}

/// Pages that the lists themselves lie in.
fn board_area(board: &Board) -> u64 {
    4 * board.pagesets(board.zone(zone_id(0, DMA32)).unwrap()).count() as u64
}

/// Lists grow while pages are taken and freed in long rows, shrink with time, and are never longer than allowed.
#[test]
fn length_follows_use() {
    let board = plan(1).boot();
    let limits = set(&board, 0);
    assert_eq!((limits.high, limits.high_min), (limits.high_min, limits.batch * 4));
    for _ in 0..20 {
        let pages: Vec<_> = (0..1500).map(|_| board.take(KERNEL, 0).unwrap()).collect();
        pages.into_iter().for_each(|page| board.give(page, 0).unwrap());
        let now = set(&board, 0);
        assert!(now.count <= now.high + now.batch && now.high <= limits.high_max, "{now:?}");
    }
    let grown = set(&board, 0);
    assert!(grown.high > limits.high_min * 4, "{grown:?}");
    for _ in 0..100 {
        board.decay_local_pages();
    }
    let faded = set(&board, 0);
    assert!(faded.high == limits.high_min && faded.count <= faded.high, "{faded:?}");
    board.verify().unwrap();
}

/// Many pages with one call: full slots stay, empty ones are filled, and the rest of memory is the limit.
#[test]
fn bulk_fills_empty_slots() {
    let board = plan(1).boot();
    let mut slots: Vec<Option<Frames<'_>>> = (0..100).map(|_| None).collect();
    slots[10] = Some(board.alloc_pages(KERNEL, order(0)).unwrap());
    let mine = slots[10].as_ref().unwrap().pfn();
    assert_eq!(board.alloc_pages_bulk(KERNEL | GfpFlags::__GFP_ZERO, &mut slots), 100);
    assert_eq!(slots[10].as_ref().unwrap().pfn(), mine);
    let mut pfns: Vec<_> = slots.iter().flatten().map(|page| page.pfn().get()).collect();
    pfns.sort_unstable();
    pfns.dedup();
    assert_eq!(pfns.len(), 100);
    slots.into_iter().flatten().for_each(|page| board.free_pages(page).unwrap());
    let mut slots: Vec<Option<Frames<'_>>> = (0..20_000).map(|_| None).collect();
    let full = board.alloc_pages_bulk(KERNEL, &mut slots);
    assert_eq!((full as u64, board.total_free_pages(), board.cached_pages()), (held(&board) - 4, 0, 0));
    slots.into_iter().flatten().for_each(|page| board.free_pages(page).unwrap());
    assert_eq!(board.alloc_pages_bulk(GfpFlags::GFP_DMA | GfpFlags::GFP_DMA32, &mut [None, None]), 0);
    board.verify().unwrap();
}

/// The same by number: all come, all go back, and what is wrong among them does not keep the others.
#[test]
fn raw_pages_come_and_go_in_bulk() {
    let board = plan(1).boot();
    let mut pages = [pfn(0); 100];
    assert_eq!(board.alloc_raw_pages_bulk(KERNEL, &mut pages), 100);
    assert_eq!(pages.iter().collect::<BTreeSet<_>>().len(), 100);
    assert_eq!(held(&board), 104);
    let twice = pages[50];
    pages[51] = twice;
    // SAFETY: the pages are the test's; one of them twice, which is refused.
    let refused = unsafe { board.free_raw_pages_bulk(&pages) };
    assert_eq!(refused, Err(FreeError::DoubleFree(twice)));
    assert_eq!(held(&board), 5);
    board.verify().unwrap();
    let mut all = vec![pfn(0); 20_000];
    let full = board.alloc_raw_pages_bulk(KERNEL, &mut all);
    assert_eq!((board.total_free_pages(), board.cached_pages()), (0, 0));
    // SAFETY: as above; the rest of the slots were not filled.
    unsafe { board.free_raw_pages_bulk(&all[..full]) }.unwrap();
    assert_eq!(held(&board), 5);
    board.verify().unwrap();
}

/// When memory is short, an allocation gets what another CPU keeps.
#[test]
fn other_cpus_give_up_what_they_keep() {
    let board = plan(2).boot();
    let cpus = board.machine().cpu();
    let kept = cpus.run_on(CpuId(1), || {
        let page = board.take(KERNEL, 0).unwrap();
        board.give(page, 0).unwrap();
        set(&board, 1).count
    });
    assert!(kept > 0 && set(&board, 0).count == 0);
    let all: Vec<_> = std::iter::from_fn(|| board.take(KERNEL, 0)).collect();
    assert_eq!(all.len() as u64, board.total_managed_pages() - board_area(&board));
    assert_eq!((set(&board, 1).count, board.total_free_pages()), (0, 0));
    let zone = board.zone(zone_id(0, DMA32)).unwrap();
    assert!(board.events(zone, Event::AllocStall) > 0);
    all.into_iter().for_each(|page| board.give(page, 0).unwrap());
    board.verify().unwrap();
}

/// Two CPUs pass pages to each other and drain each other; no page is lost and none is given out twice.
#[test]
fn two_cpus_and_remote_drains() {
    let board = plan(3).boot();
    let before = board.buddyinfo(zone_id(0, DMA32));
    let stop = AtomicBool::new(false);
    let (to_one, from_zero) = mpsc::sync_channel::<(u64, u32)>(64);
    let (to_zero, from_one) = mpsc::sync_channel::<(u64, u32)>(64);
    std::thread::scope(|scope| {
        let (board, stop) = (&board, &stop);
        let worker = |cpu: u32, send: mpsc::SyncSender<(u64, u32)>, receive: mpsc::Receiver<(u64, u32)>| {
            board.machine().cpu().run_on(CpuId(cpu), || {
                for round in 0..20_000_u32 {
                    let n = [0, 0, 0, 1, 2, 3, 5, 9][(round.wrapping_mul(2_654_435_761) >> 29) as usize];
                    if let Some(at) = board.take(if round % 3 == 0 { KERNEL } else { MOVABLE }, n)
                        && send.try_send((at, n)).is_err()
                    {
                        board.give(at, n).unwrap();
                    }
                    if let Ok((at, n)) = receive.try_recv() {
                        board.give(at, n).unwrap();
                    }
                }
                drop(send);
                receive.into_iter().for_each(|(at, n)| board.give(at, n).unwrap());
            });
        };
        let one = scope.spawn(move || worker(1, to_zero, from_zero));
        let zero = scope.spawn(move || worker(0, to_one, from_one));
        scope.spawn(move || {
            board.machine().cpu().run_on(CpuId(2), || {
                while !stop.load(Ordering::Relaxed) {
                    board.drain_all_pages();
                    board.verify().unwrap();
                }
            });
        });
        one.join().unwrap();
        zero.join().unwrap();
        stop.store(true, Ordering::Relaxed);
    });
    board.drain_all_pages();
    board.verify().unwrap();
    assert_eq!((board.cached_pages(), board.buddyinfo(zone_id(0, DMA32))), (0, before));
}

/// Every counter of where allocations come from.
#[test]
fn numa_counters_tell_who_got_what_it_wanted() {
    let mut plan = Plan::ram(&[]).node_ram(0, 16 * MIB..32 * MIB).node_ram(1, 32 * MIB..64 * MIB);
    plan.cpus = 2;
    assert!(plan.topology.set_cpu_node(CpuId(0), node(0)) && plan.topology.set_cpu_node(CpuId(1), node(1)));
    let mut config = reserves(0);
    config.watermark_scale_factor = 0;
    let board = plan.lists(config).boot();
    let count = |n, event| board.events(board.zone(zone_id(n, DMA32)).unwrap(), event);
    let (local, other) = (count(0, Event::NumaLocal), count(1, Event::NumaOther));
    let here = board.take(KERNEL, 0).unwrap();
    let there = board.alloc_pages_node(node(1), KERNEL, order(0)).unwrap();
    assert_eq!((count(0, Event::NumaLocal), count(1, Event::NumaOther)), (local + 1, other + 1));
    assert_eq!(count(1, Event::NumaHit), count(1, Event::NumaLocal) + other + 1);
    // Node 0 is full: the next pages come from node 1.
    let gfp = KERNEL | GfpFlags::__GFP_THISNODE;
    let full: Vec<_> = std::iter::from_fn(|| board.take(gfp, 0)).collect();
    assert_eq!((count(0, Event::NumaForeign), count(1, Event::NumaMiss)), (0, 0));
    let miss = board.take(KERNEL, 0).unwrap();
    assert_eq!(board.zone_of(miss).node, node(1));
    assert_eq!((count(0, Event::NumaForeign), count(1, Event::NumaMiss)), (1, 1));
    assert_eq!(count(1, Event::NumaOther), other + 2);
    board.free_pages(there).unwrap();
    full.into_iter().chain([here, miss]).for_each(|page| board.give(page, 0).unwrap());
    board.verify().unwrap();
}

/// What a random run does.
#[derive(Clone, Copy, Debug)]
enum Op {
    Alloc(u32, bool),
    Free(usize),
    Wild(u64, u32),
    Drain,
    Decay,
    OnCpu(u32),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (prop_oneof![4 => Just(0), 3 => 1..4_u32, 1 => Just(9), 1 => 4..11_u32], any::<bool>())
            .prop_map(|(n, movable)| Op::Alloc(n, movable)),
        8 => any::<usize>().prop_map(Op::Free),
        1 => (4096..4608_u64, 0..4_u32).prop_map(|(at, n)| Op::Wild(at, n)),
        1 => Just(Op::Drain),
        1 => Just(Op::Decay),
        2 => (0..2_u32).prop_map(Op::OnCpu),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// No block overlaps another, every page is counted once, and draining leaves what was there at first.
    #[test]
    fn lists_equal_model(ops in proptest::collection::vec(any_op(), 1..200)) {
        let board = plan(2).boot();
        let before = board.buddyinfo(zone_id(0, DMA32));
        let mut blocks: BTreeMap<u64, u32> = BTreeMap::new();
        let mut cpu = 0;
        for op in ops {
            board.machine().cpu().run_on(CpuId(cpu), || step(&board, &mut blocks, op));
            if let Op::OnCpu(next) = op {
                cpu = next;
            }
            let pages: u64 = blocks.values().map(|n| 1 << n).sum();
            prop_assert_eq!(held(&board), pages + board_area(&board));
        }
        board.verify().unwrap();
        blocks.into_iter().for_each(|(at, n)| board.give(at, n).unwrap());
        board.drain_all_pages();
        board.verify().unwrap();
        prop_assert_eq!(board.buddyinfo(zone_id(0, DMA32)), before);
    }
}

fn step(board: &Board, blocks: &mut BTreeMap<u64, u32>, op: Op) {
    match op {
        Op::Alloc(n, movable) => {
            let Some(at) = board.take(if movable { MOVABLE } else { KERNEL }, n) else { return };
            assert!(at.is_multiple_of(1 << n));
            let overlaps =
                blocks.range(..at + (1 << n)).next_back().is_some_and(|(&b, &m)| b + (1 << m) > at);
            assert!(!overlaps, "block at {at:#x} order {n} was given out twice");
            blocks.insert(at, n);
        }
        Op::Free(which) => {
            let Some((&at, &n)) = blocks.iter().nth(which % blocks.len().max(1)) else { return };
            blocks.remove(&at);
            board.give(at, n).unwrap();
        }
        Op::Wild(at, n) if blocks.get(&at) != Some(&n) => {
            // The areas of the lists are somebody's, too.
            let area = board.folio(pfn(at)).is_some_and(|folio| folio.state == FolioState::Allocated);
            if !area || blocks.contains_key(&at) {
                board.give(at, n).unwrap_err();
            }
        }
        Op::Wild(..) | Op::OnCpu(_) => {}
        Op::Drain => board.drain_all_pages(),
        Op::Decay => board.decay_local_pages(),
    }
    assert!(board.free_list(zone_id(0, DMA32), Order::MAX, MigrateType::Movable, &mut [pfn(0)]) <= 1);
}
