//! Failures on purpose, and patterns in free memory.

use crate::board::{Board, MIB, Plan, order, pfn};
use mm::addr::{Order, PAGE_SIZE, Pfn};
use mm::fault_inject::FaultConfig;
use mm::phys::{AllocError, FailPageAlloc, FailSlab, GfpFlags, PageChecks, PageHooks, PageReport, Who};
use mm::port::{Machine, PhysMem};
use std::cell::RefCell;

const RAM: u64 = 16 * MIB;

thread_local! {
    static REPORTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn listen(report: &PageReport) {
    REPORTS.with_borrow_mut(|all| all.push(report.to_string()));
}

/// What was reported since the last call.
fn reports() -> Vec<String> {
    REPORTS.with_borrow_mut(std::mem::take)
}

fn board(checks: PageChecks) -> Board {
    let mut plan = Plan::ram(&[0..RAM]).reserve(0..4096);
    plan.ram = RAM;
    let board = plan.boot();
    board.set_page_hooks(PageHooks { report: listen, ..PageHooks::SILENT });
    board.enable_page_checks(checks);
    reports();
    board
}

fn byte(board: &Board, at: u64, offset: usize) -> *mut u8 {
    let start = board.machine().physmem().ptr(pfn(at).addr()).unwrap();
    // SAFETY: the offset is inside the frame.
    unsafe { start.as_ptr().add(offset) }
}

fn is_filled(board: &Board, at: Pfn, value: u8) -> bool {
    // SAFETY: the test runs alone.
    unsafe { board.machine().physmem().is_filled(at, value) }
}

/// An allocation that may wait is reported where interrupts are masked, and only there.
#[test]
fn who_may_not_wait_must_not_ask_to() {
    use mm::port::Cpu;
    let board = board(PageChecks::SLEEP);
    let take = |gfp| {
        let at = board.take(gfp, 0).unwrap();
        board.give(at, 0).unwrap();
        reports()
    };
    assert_eq!(take(GfpFlags::GFP_KERNEL), Vec::<String>::new());
    let masked = board.machine().cpu().irq_guard();
    assert_eq!(take(GfpFlags::GFP_ATOMIC), Vec::<String>::new());
    assert_eq!(take(GfpFlags::GFP_NOWAIT), Vec::<String>::new());
    let report = "sleeping function called from invalid context, mode:0xcc0(GFP_KERNEL)\n\
        irqs_disabled(): 1, pid: 0, name: ";
    assert_eq!(take(GfpFlags::GFP_KERNEL), [report]);
    // Objects are no different, whether there is one at hand or not.
    assert!(!board.should_failslab(GfpFlags::GFP_NOIO, 64, false));
    assert_eq!(reports().len(), 1);
    drop(masked);
}

const ALWAYS: FaultConfig = FaultConfig { interval: 1, probability: 100, space: 0, times: -1 };

#[test]
fn page_allocations_fail_as_configured() {
    let board = board(PageChecks::empty());
    board.set_fail_page_alloc(FailPageAlloc { config: ALWAYS, ..FailPageAlloc::LINUX });
    let fails = |gfp, n| match board.take(gfp, n) {
        Some(at) => {
            board.give(at, n).unwrap();
            false
        }
        None => true,
    };
    // Linux spares small blocks, those who can wait, and high memory.
    assert!(!fails(GfpFlags::GFP_ATOMIC, 0));
    assert!(fails(GfpFlags::GFP_ATOMIC, 1));
    assert!(!fails(GfpFlags::GFP_KERNEL, 1));
    assert!(!fails(GfpFlags::GFP_ATOMIC | GfpFlags::__GFP_HIGHMEM, 1));
    let all = FailPageAlloc {
        config: ALWAYS,
        min_order: Order::ZERO,
        ignore_highmem: false,
        ignore_reclaim: false,
    };
    board.set_fail_page_alloc(all);
    for gfp in [GfpFlags::GFP_ATOMIC, GfpFlags::GFP_KERNEL, GfpFlags::GFP_HIGHUSER] {
        assert!(fails(gfp, 0), "{gfp}");
    }
    assert!(!fails(GfpFlags::GFP_KERNEL | GfpFlags::__GFP_NOFAIL, 0), "must not fail, so it does not");
    board.set_fail_page_alloc(FailPageAlloc::LINUX);
    assert!(!fails(GfpFlags::GFP_ATOMIC, 3));
    assert_eq!(board.page_checks(), PageChecks::empty(), "and the word is 0 again");
}

#[test]
fn a_failure_is_reported_as_linux_does() {
    let board = board(PageChecks::empty());
    let config = FaultConfig { times: 1, ..ALWAYS };
    board.set_fail_page_alloc(FailPageAlloc { config, ..FailPageAlloc::LINUX });
    assert_eq!(board.take(GfpFlags::GFP_ATOMIC, 2), None);
    assert_eq!(
        reports(),
        [
            "FAULT_INJECTION: forcing a failure.\nname fail_page_alloc, interval 1, probability 100, space 0, times 0"
        ]
    );
    board.set_fail_page_alloc(FailPageAlloc { config, ..FailPageAlloc::LINUX });
    assert_eq!(board.take(GfpFlags::GFP_NOWAIT, 2), None);
    assert!(reports().is_empty(), "a caller that wants no warning gets none");
    assert_eq!(board.injected_failures(), 2);
}

#[test]
fn objects_fail_as_configured() {
    let board = board(PageChecks::empty());
    assert!(!board.should_failslab(GfpFlags::GFP_ATOMIC, 64, true));
    board.set_failslab(FailSlab { config: ALWAYS, ..FailSlab::LINUX });
    assert!(board.should_failslab(GfpFlags::GFP_ATOMIC, 64, false));
    assert!(!board.should_failslab(GfpFlags::GFP_KERNEL, 64, false));
    board.set_failslab(FailSlab { config: ALWAYS, ignore_reclaim: false, marked_only: true });
    assert!(board.should_failslab(GfpFlags::GFP_KERNEL, 64, true));
    assert!(!board.should_failslab(GfpFlags::GFP_KERNEL, 64, false));
    assert!(!board.should_failslab(GfpFlags::GFP_KERNEL | GfpFlags::__GFP_NOFAIL, 64, true));
    board.set_failslab(FailSlab {
        config: FaultConfig { space: 100, ..ALWAYS },
        ignore_reclaim: false,
        marked_only: false,
    });
    let fails: Vec<_> = (0..3).map(|_| board.should_failslab(GfpFlags::GFP_KERNEL, 64, false)).collect();
    assert_eq!(fails, [false, true, true], "space is in bytes");
    assert!(board.take(GfpFlags::GFP_ATOMIC, 3).is_some(), "pages have their own");
}

#[test]
fn the_nth_allocation_fails_and_only_that() {
    let board = board(PageChecks::empty());
    let gfp = GfpFlags::GFP_KERNEL;
    board.set_fail_nth(3);
    let first = board.take(gfp, 0).unwrap();
    assert!(!board.should_failslab(gfp, 8, false), "objects count too");
    assert_eq!(board.alloc_pages(gfp, order(4)).unwrap_err(), AllocError::OutOfMemory);
    let fourth = board.take(gfp, 0).unwrap();
    assert_eq!(board.set_fail_nth(0), 0, "the count has come to its end");
    board.set_fail_nth(5);
    assert!(board.take(gfp | GfpFlags::__GFP_NOFAIL, 0).is_some(), "not counted: it must not fail");
    assert_eq!(board.set_fail_nth(0), 5);
    board.give(first, 0).unwrap();
    board.give(fourth, 0).unwrap();
}

/// Runs `work` with its first allocation failing, then its second, until none fails any more. Nothing may be lost.
fn sweep(board: &Board, work: impl Fn(&Board) -> Result<(), AllocError>) -> u64 {
    let free = board.total_free_pages();
    for nth in 1.. {
        board.set_fail_nth(nth);
        let before = board.injected_failures();
        let result = work(board);
        board.set_fail_nth(0);
        board.verify().unwrap();
        assert_eq!((board.total_free_pages(), board.leaked_pages()), (free, 0), "after failure {nth}");
        if board.injected_failures() == before {
            result.unwrap();
            return nth - 1;
        }
        assert_eq!(result, Err(AllocError::OutOfMemory), "failure {nth} is passed on");
    }
    unreachable!()
}

#[test]
fn every_way_to_allocate_survives_every_failure() {
    for checks in [PageChecks::empty(), PageChecks::POISON, PageChecks::INIT_ON_FREE] {
        let board = board(checks);
        let gfp = GfpFlags::GFP_KERNEL;
        let plain =
            |board: &Board| board.free_pages(board.alloc_pages(gfp, order(2))?).map_err(|_| unreachable!());
        let exact = |board: &Board| {
            let run = board.alloc_pages_exact(gfp, 5, &mut |_| {})?;
            board.free_pages_exact(run).map_err(|_| unreachable!())
        };
        let arena = |board: &Board| {
            let arena = board.arena(gfp, order(3))?;
            let block = arena.alloc(order(1), &mut |_| {})?;
            arena.free(block, &mut |_| {}).unwrap();
            arena.dissolve().map_err(|_| unreachable!())
        };
        assert_eq!((sweep(&board, plain), sweep(&board, exact), sweep(&board, arena)), (1, 1, 1));
        let said = reports();
        assert!(said.iter().all(|text| text.starts_with("FAULT_INJECTION")), "{said:?}");
    }
}

#[test]
fn free_pages_hold_poison_and_new_ones_are_checked() {
    let board = board(PageChecks::POISON);
    let at = board.take(GfpFlags::GFP_KERNEL, 0).unwrap();
    assert!(is_filled(&board, pfn(at), 0xaa), "memory that was never used is poisoned, too");
    // SAFETY: the frame is the test's.
    unsafe { byte(&board, at, 100).write(1) };
    board.give(at, 0).unwrap();
    assert!(is_filled(&board, pfn(at), 0xaa));
    assert_eq!(board.take(GfpFlags::GFP_KERNEL, 0), Some(at));
    assert!(reports().is_empty());
    let zeroed = board.take(GfpFlags::GFP_KERNEL | GfpFlags::__GFP_ZERO, 1).unwrap();
    assert!(is_filled(&board, pfn(zeroed), 0) && is_filled(&board, pfn(zeroed + 1), 0));
    board.give(zeroed, 1).unwrap();
    board.give(at, 0).unwrap();
    board.verify().unwrap();
}

#[test]
fn a_write_to_a_free_page_is_found_when_it_is_allocated() {
    let board = board(PageChecks::POISON);
    let at = board.take(GfpFlags::GFP_KERNEL, 1).unwrap();
    board.give(at, 1).unwrap();
    // SAFETY: nobody uses free memory; that is the bug.
    unsafe {
        byte(&board, at + 1, 0x20).copy_from(b"bug".as_ptr(), 3);
        byte(&board, at + 1, 0x31).write(0);
    }
    assert_eq!(board.take(GfpFlags::GFP_KERNEL, 1), Some(at));
    let address = byte(&board, at + 1, 0x20) as u64;
    let expected = format!(
        "pagealloc: memory corruption\n\
         {address:016x}: 62 75 67 aa aa aa aa aa aa aa aa aa aa aa aa aa  bug.............\n\
         {:016x}: aa 00                                            ..\n\
         page: pfn:{:#x} pagealloc: corrupt page details",
        address + 16,
        at + 1
    );
    assert_eq!(reports(), [expected]);
    board.give(at, 1).unwrap();
    // One bit.
    // SAFETY: as above.
    unsafe { byte(&board, at, PAGE_SIZE as usize - 1).write(0xab) };
    board.take(GfpFlags::GFP_KERNEL, 1).unwrap();
    assert!(reports()[0].starts_with("pagealloc: single bit error\n"));
}

#[test]
fn what_is_cut_off_an_exact_run_is_poisoned() {
    let board = board(PageChecks::POISON);
    let run = board.alloc_pages_exact(GfpFlags::GFP_KERNEL | GfpFlags::__GFP_ZERO, 3, &mut |_| {}).unwrap();
    let start = run.pfn().get();
    assert!((start..start + 3).all(|at| is_filled(&board, pfn(at), 0)));
    assert!(is_filled(&board, pfn(start + 3), 0xaa));
    board.free_pages_exact(run).unwrap();
    let whole = board.take(GfpFlags::GFP_KERNEL, 2).unwrap();
    assert_eq!((whole, reports().len()), (start, 0));
}

#[test]
fn memory_is_zeroed_when_it_is_allocated_or_when_it_is_freed() {
    let dirty = |board: &Board, at: u64| {
        // SAFETY: the frame is the test's.
        unsafe { byte(board, at, 7).write(7) };
    };
    let on_alloc = board(PageChecks::INIT_ON_ALLOC);
    let at = on_alloc.take(GfpFlags::GFP_KERNEL, 0).unwrap();
    assert!(is_filled(&on_alloc, pfn(at), 0));
    dirty(&on_alloc, at);
    on_alloc.give(at, 0).unwrap();
    assert!(!is_filled(&on_alloc, pfn(at), 0), "not before it is allocated again");
    assert_eq!(on_alloc.take(GfpFlags::GFP_KERNEL, 0), Some(at));
    assert!(is_filled(&on_alloc, pfn(at), 0));

    let on_free = board(PageChecks::INIT_ON_FREE | PageChecks::INIT_ON_ALLOC);
    let at = on_free.take(GfpFlags::GFP_KERNEL, 0).unwrap();
    assert!(is_filled(&on_free, pfn(at), 0), "memory that was never used is zero, too");
    dirty(&on_free, at);
    on_free.give(at, 0).unwrap();
    assert!(is_filled(&on_free, pfn(at), 0));

    let neither = board(PageChecks::empty());
    let at = neither.take(GfpFlags::GFP_KERNEL, 0).unwrap();
    assert!(is_filled(&neither, pfn(at), 0x5a), "the negative control: as the machine left it");
}

#[test]
fn poison_switches_zeroing_off() {
    let board = board(PageChecks::POISON | PageChecks::INIT_ON_ALLOC | PageChecks::INIT_ON_FREE);
    assert_eq!(board.page_checks(), PageChecks::POISON);
}

#[test]
fn a_block_that_is_refused_is_left_alone() {
    let board = board(PageChecks::POISON);
    let at = board.take(GfpFlags::GFP_KERNEL | GfpFlags::__GFP_ZERO, 1).unwrap();
    assert!(board.give(at, 0).is_err(), "wrong order");
    assert!(board.give(at + 1, 0).is_err(), "not a head");
    assert!(is_filled(&board, pfn(at), 0) && is_filled(&board, pfn(at + 1), 0));
    board.give(at, 1).unwrap();
    assert!(board.give(at, 1).is_err(), "twice");
}

thread_local! {
    static MAPPED: RefCell<Vec<(u64, u32, bool)>> = const { RefCell::new(Vec::new()) };
}

/// Hooks whose task is 7, "tester", at 1 ms, called from 0x10 and 0x20.
fn owner_hooks() -> PageHooks {
    PageHooks {
        report: listen,
        map: |at, order, there| MAPPED.with_borrow_mut(|all| all.push((at.get(), order.get(), there))),
        task: || Who { pid: 7, name: "tester" },
        now_ns: || 1_000_000,
        callers: |callers| callers.iter_mut().zip([0x10, 0x20]).for_each(|(slot, caller)| *slot = caller),
    }
}

fn owned_board(checks: PageChecks) -> Board {
    let mut plan = Plan::ram(&[0..RAM]).reserve(0..4096);
    plan.ram = RAM;
    let board = plan.boot();
    board.set_page_hooks(owner_hooks());
    board.enable_page_checks(checks);
    board
}

fn owners(board: &Board) -> Vec<(u64, u32)> {
    let mut all = Vec::new();
    board.page_owners(&mut |owner| all.push((owner.pfn.get(), owner.order.get())));
    all
}

#[test]
fn every_block_has_an_owner_until_it_is_freed() {
    let board = owned_board(PageChecks::OWNER);
    let free = board.total_free_pages();
    assert_eq!(owners(&board), [], "nothing was taken since the start");
    let at = board.take(GfpFlags::GFP_KERNEL, 2).unwrap();
    let owner = board.page_owner(pfn(at)).unwrap();
    assert_eq!((owner.order, owner.gfp, owner.pid), (order(2), GfpFlags::GFP_KERNEL, 7));
    assert_eq!(
        (owner.name(), owner.ts_ns, owner.stack().collect::<Vec<_>>()),
        ("tester", 1_000_000, vec![0x10, 0x20])
    );
    assert!((1..4).all(|n| board.page_owner(pfn(at + n)).is_none()), "only the first frame");
    let other = board.take(GfpFlags::GFP_ATOMIC, 0).unwrap();
    let run = board.alloc_pages_exact(GfpFlags::GFP_KERNEL, 7, &mut |_| {}).unwrap();
    let start = run.pfn().get();
    let mut expected = vec![(at, 2), (other, 0), (start, 2), (start + 4, 1), (start + 6, 0)];
    expected.sort_unstable();
    assert_eq!(owners(&board), expected);
    let pages: u64 = owners(&board).iter().map(|(_, n)| 1 << n).sum();
    assert_eq!(pages, free - board.total_free_pages(), "the sum of all owners is what was allocated");
    let mut stacks = Vec::new();
    board.page_owner_stacks(&mut |callers, pages| stacks.push((callers[..3].to_vec(), pages)));
    assert_eq!(stacks, [(vec![0x10, 0x20, 0], pages)], "one stack has them all");
    assert!(board.give(at, 1).is_err(), "refused");
    assert!(board.page_owner(pfn(at)).is_some(), "so it is still owned");
    board.give(at, 2).unwrap();
    board.give(other, 0).unwrap();
    board.free_pages_exact(run).unwrap();
    assert_eq!((owners(&board).len(), board.total_free_pages()), (0, free));
    board.page_owner_stacks(&mut |_, pages| panic!("{pages} pages are still counted"));
}

#[test]
fn free_pages_are_not_mapped() {
    let board = owned_board(PageChecks::UNMAP);
    let mut unmapped: Vec<_> = MAPPED.take();
    assert!(unmapped.iter().all(|(_, _, there)| !there));
    unmapped.sort_unstable();
    let pages: u64 = unmapped.iter().map(|(_, n, _)| 1 << n).sum();
    assert_eq!(pages, board.total_free_pages(), "all that is free");
    let at = board.take(GfpFlags::GFP_KERNEL, 1).unwrap();
    assert_eq!(MAPPED.take(), [(at, 1, true)]);
    assert!(board.give(at, 0).is_err());
    assert_eq!(MAPPED.take(), [], "what is refused stays mapped");
    board.give(at, 1).unwrap();
    assert_eq!(MAPPED.take(), [(at, 1, false)]);
    let run = board.alloc_pages_exact(GfpFlags::GFP_KERNEL, 3, &mut |_| {}).unwrap();
    let start = run.pfn().get();
    assert_eq!(MAPPED.take(), [(start, 2, true), (start + 3, 0, false)]);
    board.free_pages_exact(run).unwrap();
}
