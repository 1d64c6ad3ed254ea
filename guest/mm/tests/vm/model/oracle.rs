//! What is known of each page of each context, and what a step must make of it.

use super::{CONTEXTS, GUARD_GAP, HUGE, Span};
use crate::vm::World;
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::fault::Flavour;
use mm::port::Access;
use mm::space::layout::{OVERLAY_START, SLICE_BYTES, STACK_LIMIT};
use mm::space::{Advice, Errno, Mm, Rss, Usage};
use mm::vma::{VmFlags, VmaInit};
use mm::vmstat::NodeStat;
use sim::Machine;
use std::collections::{BTreeMap, BTreeSet};

/// What a page has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    Nothing,
    Zeroes,
    /// Memory, by a number; contexts that share it have the same.
    Memory(u64),
    /// A page of shared memory.
    Shown,
}

#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub rights: VmFlags,
    /// `None` without advice, or whether it wants huge pages.
    pub huge: Option<bool>,
    pub forks: bool,
    pub locked: bool,
    /// A part of a stack.
    pub stack: bool,
    /// Which shared memory it shows, and which page of it.
    pub shared: Option<(u64, u64)>,
    /// Where it was made: its word is somewhere else in each page, and moves with it.
    pub made_at: u64,
    /// What it holds; of shared memory the oracle of that knows.
    pub value: u64,
    pub body: Body,
}

impl Page {
    pub fn new(rights: VmFlags) -> Self {
        Self {
            rights,
            huge: None,
            forks: true,
            locked: false,
            stack: false,
            shared: None,
            made_at: 0,
            value: 0,
            body: Body::Nothing,
        }
    }

    /// A page of the same area that nobody has touched.
    pub fn untouched(self) -> Self {
        Self { value: 0, body: Body::Nothing, ..self }
    }

    /// The address of its word while it is at page `vpn`.
    pub fn word(&self, vpn: u64) -> VirtAddr {
        at(vpn).checked_add(self.made_at * 7 % 512 * 8).unwrap()
    }

    /// Whether it has memory that is counted: the page of zeroes is not.
    pub fn has_folio(&self) -> bool {
        matches!(self.body, Body::Memory(_) | Body::Shown)
    }

    /// Whether it counts as data.
    pub fn is_data(&self) -> bool {
        self.allows(Access::Write) && self.shared.is_none() && !self.stack
    }

    pub fn allows(&self, access: Access) -> bool {
        match access {
            Access::Read => !self.rights.is_empty(),
            Access::Write => self.rights.contains(VmFlags::WRITE),
            Access::Execute => self.rights.contains(VmFlags::EXEC),
        }
    }
}

/// A context and what is known of it, by page.
pub struct Context {
    pub mm: &'static Mm<'static, Machine>,
    pub pages: BTreeMap<u64, Page>,
    pub heap: u64,
}

pub struct Oracle {
    pub world: &'static World,
    /// Pages of a place.
    pub grain: u64,
    pub contexts: [Option<Context>; CONTEXTS],
    /// How many contexts have a piece of memory.
    pub holders: BTreeMap<u64, u32>,
    pub next: u64,
    /// What is stored in shared memory, by its number and page; a page that was touched is there.
    pub objects: BTreeMap<(u64, u64), u64>,
}

pub fn at(vpn: u64) -> VirtAddr {
    VirtAddr::new(vpn * PAGE_SIZE).unwrap()
}

pub fn window(mm: &Mm<'static, Machine>, overlay: bool) -> u64 {
    let base = if overlay { OVERLAY_START } else { SLICE_BYTES * (u64::from(mm.id()) + 1) };
    (base + (1 << 30)) / PAGE_SIZE
}

impl Oracle {
    pub fn new(world: &'static World, grain: u64) -> Self {
        Self {
            world,
            grain,
            contexts: [const { None }; CONTEXTS],
            holders: BTreeMap::new(),
            next: 0,
            objects: BTreeMap::new(),
        }
    }

    pub fn is_thp(&self) -> bool {
        self.grain != 1
    }

    pub fn context(&self, n: usize) -> &Context {
        self.contexts[n].as_ref().unwrap()
    }

    pub fn pages(&mut self, n: usize) -> &mut BTreeMap<u64, Page> {
        &mut self.contexts[n].as_mut().unwrap().pages
    }

    pub fn mm(&self, n: usize) -> &'static Mm<'static, Machine> {
        self.context(n).mm
    }

    /// The first page and the number of pages of a span.
    pub fn range(&self, n: usize, span: Span) -> (u64, u64) {
        let first = window(self.mm(n), span.overlay) + span.first * self.grain;
        (first, span.places * self.grain)
    }

    pub fn covered(&self, n: usize, first: u64, pages: u64) -> bool {
        self.context(n).pages.range(first..first + pages).count() as u64 == pages
    }

    /// Whoever had memory has it no more.
    pub fn drop_body(&mut self, body: Body) {
        let Body::Memory(id) = body else { return };
        let holders = self.holders.get_mut(&id).unwrap();
        *holders -= 1;
        if *holders == 0 {
            self.holders.remove(&id);
        }
    }

    pub fn take_pages(&mut self, n: usize, first: u64, pages: u64) {
        let gone: Vec<_> = self.pages(n).range(first..first + pages).map(|(vpn, _)| *vpn).collect();
        for vpn in gone {
            let body = self.pages(n).remove(&vpn).unwrap().body;
            self.drop_body(body);
        }
    }

    pub fn put_pages(&mut self, n: usize, first: u64, pages: u64, page: Page) {
        self.take_pages(n, first, pages);
        self.pages(n).extend((first..first + pages).map(|vpn| (vpn, Page { made_at: vpn, ..page })));
    }

    pub fn set_body(&mut self, n: usize, vpn: u64, memory: bool) {
        self.next += 1;
        let body = if memory { Body::Memory(self.next) } else { Body::Zeroes };
        if memory {
            self.holders.insert(self.next, 1);
        }
        let page = self.pages(n).get_mut(&vpn).unwrap();
        let old = std::mem::replace(&mut page.body, body);
        self.drop_body(old);
    }

    pub fn holders_of(&self, body: Body) -> u32 {
        match body {
            Body::Memory(id) => self.holders[&id],
            _ => 0,
        }
    }

    /// The page of shared memory at `vpn` is there from now on.
    pub fn show(&mut self, n: usize, vpn: u64) {
        let page = self.pages(n).get_mut(&vpn).unwrap();
        page.body = Body::Shown;
        let at = page.shared.expect("memory that is not shared was shown");
        self.objects.entry(at).or_insert(0);
    }

    /// What the page at `vpn` holds.
    pub fn value(&self, page: &Page) -> u64 {
        page.shared.map_or(page.value, |at| self.objects.get(&at).copied().unwrap_or(0))
    }

    /// A write to the page at `vpn`, which is there.
    pub fn store(&mut self, n: usize, vpn: u64, value: u64) {
        let page = self.context(n).pages[&vpn];
        match page.shared {
            Some(at) => drop(self.objects.insert(at, value)),
            None => {
                assert_eq!(self.holders_of(page.body), 1, "a write to shared memory");
                self.pages(n).get_mut(&vpn).unwrap().value = value;
            }
        }
    }

    /// Shared memory goes with the last area that shows a part of it.
    fn forget_objects(&mut self) {
        let all = self.contexts.iter().flatten().flat_map(|context| context.pages.values());
        let shown: BTreeSet<_> = all.filter_map(|page| page.shared).map(|(object, _)| object).collect();
        self.objects.retain(|(object, _), _| shown.contains(object));
    }

    /// What a touch of page `vpn` finds: a stack grows to there if it may.
    pub fn found(&mut self, n: usize, vpn: u64) -> Option<Page> {
        let pages = &self.context(n).pages;
        if let Some(page) = pages.get(&vpn) {
            return Some(*page);
        }
        let (start, above) = pages.range(vpn..).next().map(|(start, page)| (*start, *page))?;
        let area = self.area(n, start);
        let floor = pages.range(..vpn).next_back().map(|(below, _)| below + 1);
        let is_near = floor.is_some_and(|floor| vpn < floor + GUARD_GAP);
        if !above.stack || is_near || area.end - vpn > STACK_LIMIT / PAGE_SIZE {
            return None;
        }
        self.put_pages(n, vpn, start - vpn, above.untouched());
        self.context(n).pages.get(&vpn).copied()
    }

    /// The area at or above page `vpn`, of which there is one.
    pub fn area(&self, n: usize, vpn: u64) -> VmaInit {
        self.world.vm.area_from(self.mm(n), at(vpn)).expect("no area where pages are")
    }

    /// Whether one area covers these pages: what moves and copies asks for. Which areas are joined is not predicted.
    pub fn is_one_area(&self, n: usize, first: u64, pages: u64) -> bool {
        let area = self.world.vm.area_from(self.mm(n), at(first));
        area.is_some_and(|area| area.start <= first && area.end >= first + pages)
    }

    /// Areas cover the pages that are known, with their rights and treatment, and no others.
    pub fn check_areas(&self, n: usize) {
        let (mut next, mut covered) = (0, 0);
        let context = self.context(n);
        while let Some(area) = self.world.vm.area_from(context.mm, at(next)) {
            for vpn in area.start..area.end {
                let page = context.pages.get(&vpn).unwrap_or_else(|| panic!("an area at page {vpn:#x}"));
                let has = |flag| area.flags.contains(flag);
                let found = (
                    area.flags & VmFlags::ACCESS,
                    has(VmFlags::LOCKED),
                    has(VmFlags::GROWSDOWN),
                    !has(VmFlags::DONTCOPY),
                    (has(VmFlags::HUGEPAGE), has(VmFlags::NOHUGEPAGE)),
                );
                let huge = (page.huge == Some(true), page.huge == Some(false));
                assert_eq!(found, (page.rights, page.locked, page.stack, page.forks, huge), "page {vpn:#x}");
                let index = page.shared.map(|(_, index)| index);
                assert!(index.is_none_or(|index| area.pgoff + (vpn - area.start) == index), "page {vpn:#x}");
            }
            covered += area.end - area.start;
            next = area.end;
        }
        assert_eq!(covered, context.pages.len() as u64, "pages without an area");
    }
}

impl Oracle {
    /// What the way of a fault says of the page, and whether it may have been that way.
    pub fn went(&mut self, n: usize, vpn: u64, access: Access, flavour: Flavour) {
        let body = self.context(n).pages[&vpn].body;
        let write = access == Access::Write;
        match flavour {
            Flavour::AnonZero => {
                assert!(!write && body == Body::Nothing, "{flavour:?} for {body:?}");
                self.set_body(n, vpn, false);
            }
            Flavour::Anon => {
                assert!(write && !matches!(body, Body::Memory(_)), "{flavour:?} for {body:?}");
                self.set_body(n, vpn, true);
            }
            Flavour::Cow => {
                let shared = self.holders_of(body);
                assert!(write && (shared > 1 || shared == 1 && self.is_thp()), "{flavour:?} of {shared}");
                self.set_body(n, vpn, true);
            }
            Flavour::Reuse => assert!(write && self.holders_of(body) == 1, "{flavour:?} for {body:?}"),
            Flavour::Huge | Flavour::HugeZero => self.went_huge(n, vpn, flavour == Flavour::Huge),
            Flavour::Spurious => {}
            Flavour::Shared => self.show(n, vpn),
            Flavour::Hugetlb
            | Flavour::Swapped
            | Flavour::FileAround
            | Flavour::FileRead
            | Flavour::FileCow
            | Flavour::FileShared => panic!("{flavour:?}"),
        }
    }

    pub fn went_huge(&mut self, n: usize, vpn: u64, memory: bool) {
        let first = vpn - vpn % HUGE;
        assert!(self.is_thp() && self.covered(n, first, HUGE), "a huge page across a hole");
        let pages = &self.context(n).pages;
        let touched = pages[&vpn];
        for page in pages.range(first..first + HUGE).map(|(_, page)| page) {
            assert_eq!((page.rights, page.body), (touched.rights, touched.body), "one huge page");
            assert!(page.huge != Some(false), "a huge page that is not wanted");
        }
        assert!(touched.body == Body::Nothing || memory && touched.body == Body::Zeroes);
        (first..first + HUGE).for_each(|vpn| self.set_body(n, vpn, memory));
    }

    /// What [`Vm::mlock`](mm::space::Vm::mlock) says, and what it brings in.
    pub fn lock(&mut self, n: usize, first: u64, pages: u64) -> Result<(), Errno> {
        self.set_locked(n, first, pages, true)?;
        for vpn in first..first + pages {
            let page = self.context(n).pages[&vpn];
            let (writes, shared) = (page.allows(Access::Write), self.holders_of(page.body));
            match page.body {
                _ if page.rights.is_empty() => return Err(Errno::Efault),
                Body::Nothing if page.shared.is_some() => self.show(n, vpn),
                Body::Nothing => self.set_body(n, vpn, writes),
                Body::Zeroes if writes => self.set_body(n, vpn, true),
                Body::Memory(_) if writes && shared > 1 => self.set_body(n, vpn, true),
                _ => {}
            }
        }
        Ok(())
    }

    /// What is there, and what comes, is locked in memory from now on, or not.
    pub fn set_locked(&mut self, n: usize, first: u64, pages: u64, locked: bool) -> Result<(), Errno> {
        if !self.covered(n, first, pages) {
            return Err(Errno::Enomem);
        }
        self.pages(n).range_mut(first..first + pages).for_each(|(_, page)| page.locked = locked);
        Ok(())
    }

    pub fn protect(&mut self, n: usize, first: u64, pages: u64, rights: VmFlags) -> Result<(), Errno> {
        if !self.covered(n, first, pages) {
            return Err(Errno::Enomem);
        }
        self.pages(n).range_mut(first..first + pages).for_each(|(_, page)| page.rights = rights);
        Ok(())
    }

    pub fn advise(&mut self, n: usize, first: u64, pages: u64, advice: Advice) -> Result<(), Errno> {
        let covered = self.covered(n, first, pages);
        let mut gone = Vec::new();
        let mut locked = false;
        for (_, page) in self.pages(n).range_mut(first..first + pages) {
            match advice {
                Advice::DontNeed if page.locked => {
                    locked = true;
                    break;
                }
                Advice::DontNeed => {
                    gone.push(std::mem::replace(&mut page.body, Body::Nothing));
                    page.value = 0;
                }
                Advice::HugePage => page.huge = Some(true),
                Advice::NoHugePage => page.huge = Some(false),
                Advice::DontFork => page.forks = false,
                Advice::DoFork => page.forks = true,
                _ => {}
            }
        }
        gone.into_iter().for_each(|body| self.drop_body(body));
        match (locked, covered) {
            (true, _) => Err(Errno::Einval),
            (_, false) => Err(Errno::Enomem),
            _ => Ok(()),
        }
    }

    /// What is counted is what there is.
    pub fn check_counts(&mut self) {
        self.forget_objects();
        let all = self.contexts.iter().flatten().flat_map(|context| context.pages.values());
        let mlocked = all.filter(|page| page.locked && page.has_folio()).count() as u64;
        assert_eq!(self.world.vm.stat().total(NodeStat::Mlocked), mlocked, "locked pages in memory");
        for context in self.contexts.iter().flatten() {
            let count = |is: fn(&Page) -> bool| context.pages.values().filter(|page| is(page)).count() as u64;
            let counters = context.mm.counters();
            let memory = count(|page| matches!(page.body, Body::Memory(_)));
            let kinds = [
                (counters.rss(Rss::Anon), memory, "resident"),
                (counters.rss(Rss::Shmem), count(|page| page.body == Body::Shown), "shown"),
                (counters.usage(Usage::Total), context.pages.len() as u64, "mapped"),
                (counters.usage(Usage::Locked), count(|page| page.locked), "locked"),
                (counters.usage(Usage::Data), count(|page| page.is_data()), "data"),
                (counters.usage(Usage::Stack), count(|page| page.stack), "stack"),
                (
                    counters.usage(Usage::Exec),
                    count(|page| page.allows(Access::Execute) && !page.stack),
                    "code",
                ),
            ];
            for (got, wanted, what) in kinds {
                assert_eq!(got, wanted, "{what} pages of context {}", context.mm.id());
            }
        }
        let all = self.contexts.iter().flatten().flat_map(|context| context.pages.values());
        let locked = all.filter(|page| page.locked && matches!(page.body, Body::Memory(_) | Body::Shown));
        assert_eq!(
            self.world.vm.stat().total(NodeStat::Mlocked),
            locked.count() as u64,
            "pages that are locked"
        );
        let shared = self.world.vm.stat().total(NodeStat::Shmem);
        assert_eq!(shared, self.objects.len() as u64, "pages of shared memory");
    }
}
