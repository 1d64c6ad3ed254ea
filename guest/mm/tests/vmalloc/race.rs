//! CPUs that make, use and free areas at the same time.

use super::*;
use crate::map_fixture::Rng;
use mm::port::CpuId;

#[test]
fn cpus_never_meet_in_an_area() {
    let board = board(48);
    let source = Source::new(&board);
    let areas = open(&board, &source, 1 << 16);
    let before = board.total_free_pages() + source.out() + source.tables_out();
    std::thread::scope(|scope| {
        for cpu in 0..4 {
            let (board, areas) = (&board, &areas);
            scope.spawn(move || {
                board.machine().cpu().run_on(CpuId(cpu), || churn(board, areas, u64::from(cpu)))
            });
        }
    });
    areas.purge();
    areas.verify().unwrap();
    assert_eq!((areas.used_pages(), areas.lazy_pages()), (0, 0));
    assert_eq!(board.total_free_pages() + source.out() + source.tables_out(), before);
    assert_eq!(source.out(), areas.descriptor_frames());
    assert!(areas.purges() > 4, "{} purges", areas.purges());
}

fn churn(board: &Board, areas: &World<'_>, cpu: u64) {
    let core = board.machine().supervisor();
    let mut rng = Rng(cpu + 1);
    let mut held: Vec<(VirtAddr, u64, u64)> = Vec::new();
    for turn in 0..1500_u64 {
        let pages = rng.pick(&[1, 2, 4, 4, 4, 9, 30, 520]);
        let request = if rng.next().is_multiple_of(4) { huge(pages) } else { small(pages) };
        if let Ok(at) = areas.vmalloc(&request) {
            let stamp = cpu << 32 | turn;
            for n in (0..pages).step_by(7) {
                core.store_u64(page(at, n), stamp + n).unwrap();
            }
            held.push((at, pages, stamp));
        }
        let out = if held.len() > 8 { held.len() } else { usize::from(turn % 2 == 0 && !held.is_empty()) };
        for _ in 0..out.min(4) {
            let (at, pages, stamp) = held.swap_remove(rng.next() as usize % held.len());
            for n in (0..pages).step_by(7) {
                assert_eq!(core.load_u64(page(at, n)), Ok(stamp + n), "{at:?} page {n}");
            }
            assert!(core.load_u64(page(at, pages)).is_err(), "the guard of {at:?}");
            assert_eq!(areas.find(at).map(|area| area.pages), Some(pages));
            areas.vfree(at).unwrap();
        }
    }
    for (at, ..) in held {
        areas.vfree(at).unwrap();
    }
}
