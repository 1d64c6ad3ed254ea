//! Random sequences against a model that knows every page, through the simulated MMU with its stale translations.

use super::*;
use mm::port::CpuId;
use mm::vmalloc::{FreeAreaError, VmallocError};
use proptest::prelude::*;
use sim::Fault;
use std::collections::BTreeMap;

const PAGES: u64 = 1 << 13;

#[derive(Clone, Debug)]
enum Op {
    Alloc { pages: u64, huge: bool },
    Map { pages: u64 },
    Free { pick: usize },
    FreeInside { pick: usize, page: u64 },
    FreeAgain { pick: usize },
    Touch { pick: usize, page: u64, write: bool, cpu: u32 },
    Stale { pick: usize, page: u64, cpu: u32 },
    Purge,
}

#[derive(Clone)]
struct Known {
    pages: u64,
    /// Whether the frames are its own, with a content of its own.
    owns: bool,
    /// What page `n` holds, where it was written.
    data: BTreeMap<u64, u64>,
}

struct Trial<'b> {
    board: &'b Board,
    areas: &'b World<'b>,
    lent: Vec<Pfn>,
    live: BTreeMap<VirtAddr, Known>,
    /// Freed since the last purge.
    freed: BTreeMap<VirtAddr, Known>,
    stamp: u64,
    purges: u64,
}

fn pick(from: &BTreeMap<VirtAddr, Known>, n: usize) -> Option<(VirtAddr, Known)> {
    let nth = n.checked_rem(from.len())?;
    from.iter().nth(nth).map(|(at, known)| (*at, known.clone()))
}

impl Trial<'_> {
    fn step(&mut self, op: &Op) {
        match *op {
            Op::Alloc { pages, huge: false } => self.made(self.areas.vmalloc(&small(pages)), pages, true),
            Op::Alloc { pages, huge: true } => self.made(self.areas.vmalloc(&huge(pages)), pages, true),
            Op::Map { pages } => {
                let frames = self.lent.iter().copied().cycle().take(pages as usize).collect::<Vec<_>>();
                self.made(self.areas.vmap(frames.into_iter(), PteBits::empty(), CALLER), pages, false);
            }
            Op::Free { pick: n } => {
                if let Some((at, known)) = pick(&self.live, n) {
                    let free = if known.owns { self.areas.vfree(at) } else { self.areas.vunmap(at) };
                    free.unwrap();
                    self.live.remove(&at);
                    self.freed.insert(at, known);
                    self.saw_purge();
                }
            }
            Op::FreeInside { pick: n, page: inside } => {
                if let Some((at, known)) = pick(&self.live, n).filter(|(_, known)| known.pages > 1) {
                    let inside = page(at, 1 + inside % known.pages);
                    assert_eq!(self.areas.vfree(inside), Err(FreeAreaError::Nonexistent(inside)));
                }
            }
            Op::FreeAgain { pick: n } => {
                if let Some((at, known)) = pick(&self.freed, n) {
                    let free = if known.owns { self.areas.vfree(at) } else { self.areas.vunmap(at) };
                    assert_eq!(free, Err(FreeAreaError::DoubleFree(at)));
                }
            }
            Op::Touch { pick: n, page: on, write, cpu } => self.touch(n, on, write, CpuId(cpu)),
            Op::Stale { pick: n, page: on, cpu } => self.look_at_freed(n, on, CpuId(cpu)),
            Op::Purge => {
                self.areas.purge();
                self.saw_purge();
            }
        }
    }

    /// What was freed before a purge may be given out again after it.
    fn saw_purge(&mut self) {
        if self.areas.purges() != self.purges {
            self.purges = self.areas.purges();
            self.freed.clear();
        }
    }

    fn made(&mut self, made: Result<VirtAddr, VmallocError>, pages: u64, owns: bool) {
        self.saw_purge();
        let at = match made {
            Ok(at) => at,
            Err(error) => {
                assert!(matches!(error, VmallocError::NoAddresses | VmallocError::NoMemory), "{error:?}");
                return;
            }
        };
        let end = page(at, pages);
        for (other, known) in self.live.iter().chain(&self.freed) {
            let other_end = page(*other, known.pages);
            assert!(
                end < *other || other_end < at,
                "{at:?} of {pages} pages meets {other:?} or has no guard"
            );
        }
        self.live.insert(at, Known { pages, owns, data: BTreeMap::new() });
    }

    fn on<R>(&self, cpu: CpuId, work: impl FnOnce() -> R) -> R {
        self.board.machine().cpu().run_on(cpu, work)
    }

    fn touch(&mut self, n: usize, on: u64, write: bool, cpu: CpuId) {
        let Some((at, known)) = pick(&self.live, n) else { return };
        let on = on % (known.pages + 1);
        let core = self.board.machine().supervisor();
        let va = page(at, on);
        if on == known.pages {
            let fault = self.on(cpu, || core.load_u64(va));
            assert!(matches!(fault, Err(Fault::Page { .. })), "the guard of {at:?} is mapped: {fault:?}");
            return;
        }
        if write && known.owns {
            self.stamp += 1;
            self.on(cpu, || core.store_u64(va, self.stamp)).unwrap();
            let area = self.live.get_mut(&at).unwrap();
            area.data.insert(on, self.stamp);
            return;
        }
        let value = self.on(cpu, || core.load_u64(va)).unwrap();
        if let Some(expected) = known.data.get(&on) {
            assert_eq!(value, *expected, "{va:?}");
        }
    }

    /// A freed page faults, or a stale translation shows what was there: never anything of somebody else.
    fn look_at_freed(&self, n: usize, on: u64, cpu: CpuId) {
        let Some((at, known)) = pick(&self.freed, n) else { return };
        let on = on % known.pages;
        match (self.on(cpu, || self.board.machine().supervisor().load_u64(page(at, on))), known.data.get(&on))
        {
            (Ok(seen), Some(was)) => assert_eq!(seen, *was, "{at:?} page {on}"),
            (Ok(_), None) => {}
            (Err(fault), _) => assert!(matches!(fault, Fault::Page { .. }), "{fault:?}"),
        }
    }

    fn check(&self) {
        self.areas.verify().unwrap();
        let used: u64 = self.live.values().filter(|known| known.owns).map(|known| known.pages).sum();
        assert_eq!(self.areas.used_pages(), used);
        let lazy: u64 = self.freed.values().map(|known| known.pages + 1).sum();
        assert_eq!(self.areas.lazy_pages(), lazy);
        for (at, known) in &self.live {
            let found = self.areas.find(page(*at, known.pages)).unwrap();
            assert_eq!((found.start, found.pages, found.is_lazy), (*at, known.pages, false));
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let pages = || prop_oneof![6 => 1..10_u64, 2 => 1..100_u64, 1 => 500..1100_u64];
    let cpu = || 0..4_u32;
    let n = any::<usize>;
    prop_oneof![
        8 => (pages(), prop::bool::weighted(0.3)).prop_map(|(pages, huge)| Op::Alloc { pages, huge }),
        1 => (1..9_u64).prop_map(|pages| Op::Map { pages }),
        7 => n().prop_map(|pick| Op::Free { pick }),
        1 => (n(), any::<u64>()).prop_map(|(pick, page)| Op::FreeInside { pick, page }),
        1 => n().prop_map(|pick| Op::FreeAgain { pick }),
        20 => (n(), any::<u64>(), any::<bool>(), cpu())
            .prop_map(|(pick, page, write, cpu)| Op::Touch { pick, page, write, cpu }),
        6 => (n(), any::<u64>(), cpu()).prop_map(|(pick, page, cpu)| Op::Stale { pick, page, cpu }),
        1 => Just(Op::Purge),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn areas_are_what_the_model_says(ops in prop::collection::vec(op(), 1..200)) {
        let board = board(24);
        let source = Source::new(&board);
        let areas = open(&board, &source, PAGES);
        let lent: Vec<_> = (0..4).map(|_| Pfn::new(board.take(GfpFlags::GFP_KERNEL, 0).unwrap()).unwrap()).collect();
        let all = board.total_free_pages() + source.out() + source.tables_out();
        let empty = BTreeMap::new;
        let mut trial =
            Trial { board: &board, areas: &areas, lent, live: empty(), freed: empty(), stamp: 0, purges: 0 };
        for op in &ops {
            trial.step(op);
            trial.check();
        }
        while !trial.live.is_empty() {
            trial.step(&Op::Free { pick: 0 });
        }
        trial.step(&Op::Purge);
        trial.check();
        assert_eq!(board.total_free_pages() + source.out() + source.tables_out(), all);
        assert_eq!(source.out(), areas.descriptor_frames());
        assert_eq!(areas.tree.census(range(START, PAGES)).unwrap().leaves.pages(), 0);
    }
}
