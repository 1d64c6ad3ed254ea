//! Random sequences of changes against a model that knows each page by itself.

use crate::map_fixture::{FAR, activate, load, machine, new_tree, pa, pool, range, store};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::pgtable::{Leaves, PageRange, PageTable, Rights, Why, X86_64};
use mm::port::{CpuId, Level, Machine as _, Pte, PteBits, PteCodec, PteView, Tlb};
use proptest::prelude::*;
use sim::{Machine, TablePool};
use std::ops::Range;

/// Pages of the window; it begins 4 MiB below a border of 1 GiB.
const PAGES: u64 = 2048;
const GROUP: u64 = 512;
const AD: PteBits = PteBits::ACCESSED.union(PteBits::DIRTY);

/// Rights that the tests go through.
const RIGHTS: [Rights; 4] = [
    Rights::None,
    Rights::Of(PteBits::USER.union(PteBits::NO_EXEC)),
    Rights::Of(PteBits::WRITE),
    Rights::Of(PteBits::WRITE.union(PteBits::USER)),
];

#[derive(Clone, Debug)]
enum Op {
    Map { pages: Range<u64>, skew: u64, leaf: Level },
    Unmap { pages: Range<u64> },
    Protect { pages: Range<u64>, rights: Rights },
    Clean { pages: Range<u64> },
    Split { page: u64 },
    Touch { page: u64, write: bool, cpu: u32 },
}

/// What the model knows of one page.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Page {
    /// Its frame, in pages from FAR.
    frame: u64,
    bits: PteBits,
    accessible: bool,
    /// Whether it is part of a 2 MiB leaf.
    large: bool,
}

struct Model {
    base: u64,
    root: Level,
    upper: bool,
    /// Which halves of the window, one PMD table each, have ever been used.
    ever: [bool; 2],
    pages: Vec<Option<Page>>,
}

fn group_of(page: u64) -> Range<u64> {
    let first = page / GROUP * GROUP;
    first..first + GROUP
}

impl Model {
    fn slice(&mut self, pages: Range<u64>) -> &mut [Option<Page>] {
        &mut self.pages[pages.start as usize..pages.end as usize]
    }

    fn at(&self, page: u64) -> Option<Page> {
        self.pages[page as usize]
    }

    fn va(&self, page: u64) -> VirtAddr {
        VirtAddr::truncate(self.base + page * PAGE_SIZE)
    }

    fn range(&self, pages: &Range<u64>) -> PageRange {
        range(self.va(pages.start).get(), pages.end - pages.start)
    }

    fn split(&mut self, page: u64) {
        self.slice(group_of(page)).iter_mut().flatten().for_each(|p| p.large = false);
    }

    /// An operation on `pages` splits the large leaves that reach beyond.
    fn split_borders(&mut self, pages: &Range<u64>) {
        for border in [pages.start, pages.end] {
            if border % GROUP != 0 && border < PAGES {
                self.split(border);
            }
        }
    }

    /// Gives the page that stopped it.
    fn map(&mut self, pages: Range<u64>, skew: u64, leaf: Level) -> Option<u64> {
        let stop = pages.clone().find(|&page| self.at(page).is_some());
        for page in pages.start..stop.unwrap_or(pages.end) {
            let group = group_of(page);
            let whole = pages.start <= group.start && group.end <= pages.end;
            let free = stop.is_none_or(|stop| !group.contains(&stop));
            let large = whole && free && skew.is_multiple_of(GROUP) && leaf >= Level::PMD;
            let bits = PteBits::WRITE | PteBits::USER;
            self.slice(page..page + 1)[0] = Some(Page { frame: page + skew, bits, accessible: true, large });
        }
        stop
    }

    /// The entry that maps `page`, and where it begins.
    fn entry(&self, page: u64) -> Option<(VirtAddr, Level, PteView)> {
        let it = self.at(page)?;
        let first = if it.large { group_of(page).start } else { page };
        let level = if it.large { Level::PMD } else { Level::PTE };
        let addr = pa(FAR + (it.frame - (page - first)) * PAGE_SIZE);
        let mut bits = it.bits;
        bits.set(PteBits::HUGE, it.large);
        let view = if it.accessible {
            PteView::Present { addr, bits: bits | PteBits::PRESENT }
        } else {
            PteView::ProtNone { addr, bits }
        };
        Some((self.va(first), level, view))
    }

    /// Every entry that maps a part of `pages`, in order.
    fn entries(&self, pages: Range<u64>) -> Vec<(VirtAddr, Level, Pte)> {
        let mut entries: Vec<_> = pages
            .filter_map(|page| self.entry(page))
            .map(|(at, level, view)| (at, level, X86_64::encode(view)))
            .collect();
        entries.dedup();
        entries
    }

    /// What the MMU does on an access by supervisor code, and where that arrives.
    fn touch(&mut self, page: u64, write: bool) -> Option<u64> {
        let it = self.at(page)?;
        if !it.accessible || write && !it.bits.contains(PteBits::WRITE) {
            return None;
        }
        let seen = if write { AD } else { PteBits::ACCESSED };
        let pages = if it.large { group_of(page) } else { page..page + 1 };
        self.slice(pages).iter_mut().flatten().for_each(|p| p.bits |= seen);
        Some(FAR + it.frame * PAGE_SIZE)
    }

    fn each(&mut self, pages: &Range<u64>, change: impl Fn(&mut Page)) {
        self.split_borders(pages);
        self.slice(pages.clone()).iter_mut().flatten().for_each(change);
    }

    fn leaves(&self) -> Leaves {
        let of =
            |large| self.pages.iter().flatten().filter(|p| p.accessible && p.large == large).count() as u64;
        Leaves { pte: of(false), pmd: of(true) / GROUP, pud: 0 }
    }

    /// Tables below the root.
    fn tables(&mut self) -> u64 {
        let used = |pages: Range<u64>, small: bool| {
            pages.filter_map(|p| self.pages[p as usize]).any(|p| !small || !p.large)
        };
        let pte = (0..PAGES).step_by(GROUP as usize).filter(|&g| used(group_of(g), true)).count() as u64;
        let now = [used(0..PAGES / 2, false), used(PAGES / 2..PAGES, false)];
        self.ever = [self.ever[0] || now[0], self.ever[1] || now[1]];
        // What hangs from the root stays in the upper half; everything else goes with its last page.
        let kept = if self.upper { self.ever } else { now };
        let count = |halves: [bool; 2]| halves.iter().filter(|&&used| used).count() as u64;
        let any = |halves: [bool; 2]| u64::from(count(halves) > 0);
        pte + match self.root {
            Level::PUD => count(kept),
            Level::P4D => count(now) + any(kept),
            _ => count(now) + any(now) + any(kept),
        }
    }
}

struct Trial<'m> {
    m: &'m Machine,
    pool: &'m TablePool<'m>,
    tree: PageTable<'m, Machine>,
    model: Model,
}

impl Trial<'_> {
    fn step(&mut self, op: &Op) {
        let mut gather = self.tree.gather(self.pool);
        match op {
            Op::Map { pages, skew, leaf } => {
                let target = pa(FAR + (pages.start + skew) * PAGE_SIZE);
                let bits = PteBits::WRITE | PteBits::USER;
                let got = self.tree.map_range(self.model.range(pages), target, *leaf, bits, self.pool);
                let stop = self.model.map(pages.clone(), *skew, *leaf).map(|page| self.model.va(page));
                assert_eq!(got.err().map(|e| (e.at, e.why)), stop.map(|at| (at, Why::Exists)));
            }
            Op::Unmap { pages } => {
                let mut seen = Vec::new();
                let keep = |at, level, pte| seen.push((at, level, pte));
                self.tree.unmap(self.model.range(pages), &mut gather, keep).unwrap();
                self.model.split_borders(pages);
                assert_eq!(seen, self.model.entries(pages.clone()));
                self.model.slice(pages.clone()).fill(None);
            }
            Op::Protect { pages, rights } => {
                self.tree.protect(self.model.range(pages), *rights, &mut gather).unwrap();
                let rights = *rights;
                self.model.each(pages, |page| {
                    let view = PteView::ProtNone { addr: pa(0), bits: page.bits };
                    page.accessible = rights != Rights::None;
                    if let PteView::Present { bits, .. } = rights.apply(view) {
                        page.bits = bits - PteBits::PRESENT;
                    }
                });
            }
            Op::Clean { pages } => {
                let clean = |_, _, view| match view {
                    PteView::Present { addr, bits } => PteView::Present { addr, bits: bits - AD },
                    PteView::ProtNone { addr, bits } => PteView::ProtNone { addr, bits: bits - AD },
                    other => other,
                };
                self.tree.update(self.model.range(pages), &mut gather, clean).unwrap();
                self.model.each(pages, |page| page.bits -= AD);
                // A cleared A alone is not flushed; the model wants to see the next use.
                self.m.tlb().flush_all();
            }
            Op::Split { page } => {
                self.tree.split(self.model.va(*page), Level::PTE, &mut gather).unwrap();
                self.model.split(*page);
            }
            Op::Touch { page, write, cpu } => self.touch(*page, *write, CpuId(*cpu)),
        }
        gather.finish();
        self.check();
    }

    fn touch(&mut self, page: u64, write: bool, cpu: CpuId) {
        let at = self.model.va(page);
        let access = || {
            let core = self.m.supervisor();
            self.m.cpu().run_on(cpu, || if write { store(core, at) } else { load(core, at) })
        };
        // More rights than cached ones may cost one fault.
        let seen = access().or_else(|_| access()).ok();
        assert_eq!(seen, self.model.touch(page, write).map(pa));
    }

    fn check(&mut self) {
        let tables = self.model.tables();
        let model = &self.model;
        for page in 0..PAGES {
            let want = model.entry(page).map_or(PteView::None, |(_, _, view)| view);
            assert_eq!(self.tree.view(model.va(page)), Some(want), "page {page}");
        }
        let census = self.tree.census(model.range(&(0..PAGES))).unwrap();
        assert_eq!(census.leaves, model.leaves());
        assert_eq!(census.tables, tables);
        assert_eq!(self.pool.in_use() as u64, census.tables + 1);
    }
}

fn pages() -> impl Strategy<Value = Range<u64>> {
    let edge = prop_oneof![3 => 0..=PAGES, 1 => (0..=PAGES / GROUP).prop_map(|g| g * GROUP)];
    let length = prop_oneof![2 => 1..8_u64, 1 => 1..PAGES, 1 => Just(GROUP), 1 => Just(2 * GROUP)];
    (edge, length)
        .prop_map(|(start, length)| start.min(PAGES - 1)..(start + length).min(PAGES))
        .prop_map(|r| if r.is_empty() { r.start..r.start + 1 } else { r })
}

fn op() -> impl Strategy<Value = Op> {
    let skew = prop_oneof![Just(0), Just(1), Just(GROUP), Just(4 * GROUP + 7)];
    let leaf = prop_oneof![Just(Level::PTE), Just(Level::PUD)];
    let rights = (0..RIGHTS.len()).prop_map(|i| RIGHTS[i]);
    prop_oneof![
        4 => (pages(), skew, leaf).prop_map(|(pages, skew, leaf)| Op::Map { pages, skew, leaf }),
        3 => pages().prop_map(|pages| Op::Unmap { pages }),
        3 => (pages(), rights).prop_map(|(pages, rights)| Op::Protect { pages, rights }),
        1 => pages().prop_map(|pages| Op::Clean { pages }),
        1 => (0..PAGES).prop_map(|page| Op::Split { page }),
        8 => (0..PAGES, any::<bool>(), 0..4_u32).prop_map(|(page, write, cpu)| Op::Touch { page, write, cpu }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_is_what_the_model_says(
        ops in prop::collection::vec(op(), 1..40),
        upper in any::<bool>(),
        levels in 3..=5_u32,
    ) {
        let root = Level::new(levels).unwrap();
        let m = machine(root);
        let pool = pool(&m);
        let tree = new_tree(&m, &pool);
        activate(&m, tree);
        let base = if upper { !0 << 38 } else { 0 } + (1 << 30) - (4 << 20);
        let model = Model { base, root, upper, ever: [false; 2], pages: vec![None; PAGES as usize] };
        let mut trial = Trial { m: &m, pool: &pool, tree, model };
        for op in ops.iter().chain([&Op::Unmap { pages: 0..PAGES }]) {
            trial.step(op);
        }
    }
}
