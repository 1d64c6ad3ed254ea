//! Contexts against an oracle: maps of what each page of each context holds, allows and costs.
//!
//! Two CPUs with TLBs that forget nothing take turns, so a run repeats. The oracle predicts every result: values, the
//! kinds of refusals, error numbers, ways of faults, and what is counted. Which touch gets a huge page is told by the
//! fault; the oracle says whether it might. After every run all contexts end, and not a page is missing.

use super::{World, cpu, page, watch};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::fault::{Flavour, Segv};
use mm::port::{Access, Machine as _, Mmu as _};
use mm::space::layout::{OVERLAY_START, SLICE_BYTES};
use mm::space::{Advice, Errno, MapFlags, MapRequest, Mm, Rss, ThpMode, Usage};
use mm::vma::VmFlags;
use proptest::prelude::*;
use sim::Machine;
use std::cell::RefCell;
use std::collections::BTreeMap;

const CPUS: u32 = 2;
const CONTEXTS: usize = 3;
/// Places in a window; a place is one page, or a part of a huge page.
const PLACES: u64 = 24;
/// Base pages of a huge page.
const HUGE: u64 = 512;

/// A range in one of the two windows of a context: in its slice, or where clones have theirs.
#[derive(Clone, Copy, Debug)]
struct Span {
    overlay: bool,
    first: u64,
    places: u64,
}

/// One step of a run, on a CPU and a context.
#[derive(Clone, Copy, Debug)]
enum Op {
    Create,
    Clone,
    End,
    Map(Span, VmFlags, MapFlags),
    MapAnywhere(u64),
    Unmap(Span),
    Protect(Span, VmFlags),
    Advise(Span, Advice),
    Lock(Span),
    Unlock(Span),
    Brk(u64),
    /// A page in a window.
    Touch(bool, u64, Access),
    /// One of the pages that are mapped.
    TouchMapped(usize, Access),
    Bad(u32),
    Verify,
}

fn op() -> impl Strategy<Value = (usize, u32, Op)> {
    let span = || {
        let parts = (any::<bool>(), 0..PLACES, prop_oneof![3 => 1_u64..5, 1 => 5_u64..=PLACES]);
        parts.prop_map(|(overlay, first, places)| Span { overlay, first, places: places.min(PLACES - first) })
    };
    let rights = || {
        prop_oneof![
            1 => Just(VmFlags::empty()),
            2 => Just(VmFlags::READ),
            1 => Just(VmFlags::READ | VmFlags::EXEC),
            4 => Just(VmFlags::READ | VmFlags::WRITE),
        ]
    };
    let how = prop_oneof![4 => Just(MapFlags::FIXED), 1 => Just(MapFlags::FIXED_NOREPLACE)];
    let access =
        || prop_oneof![2 => Just(Access::Read), 4 => Just(Access::Write), 1 => Just(Access::Execute)];
    let advice = prop_oneof![
        4 => Just(Advice::DontNeed),
        1 => Just(Advice::HugePage),
        1 => Just(Advice::NoHugePage),
        1 => Just(Advice::DontFork),
        1 => Just(Advice::DoFork),
        1 => Just(Advice::Random),
    ];
    let op = prop_oneof![
        1 => Just(Op::Create),
        3 => Just(Op::Clone),
        1 => Just(Op::End),
        8 => (span(), rights(), how).prop_map(|(span, rights, how)| Op::Map(span, rights, how)),
        1 => (1..PLACES).prop_map(Op::MapAnywhere),
        3 => span().prop_map(Op::Unmap),
        4 => (span(), rights()).prop_map(|(span, rights)| Op::Protect(span, rights)),
        4 => (span(), advice).prop_map(|(span, advice)| Op::Advise(span, advice)),
        1 => span().prop_map(Op::Lock),
        1 => span().prop_map(Op::Unlock),
        1 => (0..PLACES).prop_map(Op::Brk),
        3 => (any::<bool>(), any::<u64>(), access()).prop_map(|(window, n, access)| Op::Touch(window, n, access)),
        18 => (any::<usize>(), access()).prop_map(|(n, access)| Op::TouchMapped(n, access)),
        1 => (0_u32..11).prop_map(Op::Bad),
        1 => Just(Op::Verify),
    ];
    // Most steps are of one context, so that runs get somewhere.
    (prop_oneof![3 => Just(0_usize), 1 => 1..CONTEXTS], 0..CPUS, op)
}

/// What a page has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Body {
    Nothing,
    Zeroes,
    /// Memory, by a number; contexts that share it have the same.
    Memory(u64),
}

#[derive(Clone, Copy, Debug)]
struct Page {
    rights: VmFlags,
    /// `None` without advice, or whether it wants huge pages.
    huge: Option<bool>,
    forks: bool,
    locked: bool,
    value: u64,
    body: Body,
}

impl Page {
    fn new(rights: VmFlags) -> Self {
        Self { rights, huge: None, forks: true, locked: false, value: 0, body: Body::Nothing }
    }

    fn allows(&self, access: Access) -> bool {
        match access {
            Access::Read => !self.rights.is_empty(),
            Access::Write => self.rights.contains(VmFlags::WRITE),
            Access::Execute => self.rights.contains(VmFlags::EXEC),
        }
    }
}

/// A context and what is known of it, by page.
struct Context {
    mm: &'static Mm<'static, Machine>,
    pages: BTreeMap<u64, Page>,
    heap: u64,
}

struct Oracle {
    world: &'static World,
    /// Pages of a place.
    grain: u64,
    contexts: [Option<Context>; CONTEXTS],
    /// How many contexts have a piece of memory.
    holders: BTreeMap<u64, u32>,
    next: u64,
}

fn at(vpn: u64) -> VirtAddr {
    VirtAddr::new(vpn * PAGE_SIZE).unwrap()
}

/// Where a page's word is: somewhere else in each page.
fn word(vpn: u64) -> VirtAddr {
    at(vpn).checked_add(vpn * 7 % 512 * 8).unwrap()
}

fn window(mm: &Mm<'static, Machine>, overlay: bool) -> u64 {
    let base = if overlay { OVERLAY_START } else { SLICE_BYTES * (u64::from(mm.id()) + 1) };
    (base + (1 << 30)) / PAGE_SIZE
}

impl Oracle {
    fn new(world: &'static World, grain: u64) -> Self {
        Self { world, grain, contexts: [const { None }; CONTEXTS], holders: BTreeMap::new(), next: 0 }
    }

    fn is_thp(&self) -> bool {
        self.grain != 1
    }

    fn context(&self, n: usize) -> &Context {
        self.contexts[n].as_ref().unwrap()
    }

    fn pages(&mut self, n: usize) -> &mut BTreeMap<u64, Page> {
        &mut self.contexts[n].as_mut().unwrap().pages
    }

    fn mm(&self, n: usize) -> &'static Mm<'static, Machine> {
        self.context(n).mm
    }

    /// The first page and the number of pages of a span.
    fn range(&self, n: usize, span: Span) -> (u64, u64) {
        let first = window(self.mm(n), span.overlay) + span.first * self.grain;
        (first, span.places * self.grain)
    }

    fn covered(&self, n: usize, first: u64, pages: u64) -> bool {
        self.context(n).pages.range(first..first + pages).count() as u64 == pages
    }

    /// Whoever had memory has it no more.
    fn drop_body(&mut self, body: Body) {
        let Body::Memory(id) = body else { return };
        let holders = self.holders.get_mut(&id).unwrap();
        *holders -= 1;
        if *holders == 0 {
            self.holders.remove(&id);
        }
    }

    fn take_pages(&mut self, n: usize, first: u64, pages: u64) {
        let gone: Vec<_> = self.pages(n).range(first..first + pages).map(|(vpn, _)| *vpn).collect();
        for vpn in gone {
            let body = self.pages(n).remove(&vpn).unwrap().body;
            self.drop_body(body);
        }
    }

    fn put_pages(&mut self, n: usize, first: u64, pages: u64, rights: VmFlags) {
        self.take_pages(n, first, pages);
        self.pages(n).extend((first..first + pages).map(|vpn| (vpn, Page::new(rights))));
    }

    fn set_body(&mut self, n: usize, vpn: u64, memory: bool) {
        self.next += 1;
        let body = if memory { Body::Memory(self.next) } else { Body::Zeroes };
        if memory {
            self.holders.insert(self.next, 1);
        }
        let page = self.pages(n).get_mut(&vpn).unwrap();
        let old = std::mem::replace(&mut page.body, body);
        self.drop_body(old);
    }

    fn holders_of(&self, body: Body) -> u32 {
        match body {
            Body::Memory(id) => self.holders[&id],
            _ => 0,
        }
    }

    /// What the way of a fault says of the page, and whether it may have been that way.
    fn went(&mut self, n: usize, vpn: u64, access: Access, flavour: Flavour) {
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
            Flavour::Hugetlb
            | Flavour::Shared
            | Flavour::Swapped
            | Flavour::FileAround
            | Flavour::FileRead
            | Flavour::FileCow
            | Flavour::FileShared => panic!("{flavour:?}"),
        }
    }

    fn went_huge(&mut self, n: usize, vpn: u64, memory: bool) {
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

    fn touch(&mut self, n: usize, vpn: u64, access: Access) {
        let (mm, world) = (self.mm(n), self.world);
        let value = self.next + 1;
        let found = self.context(n).pages.get(&vpn).copied();
        let wanted = match found {
            None => Err(Segv::MapErr),
            Some(page) if !page.allows(access) => Err(Segv::AccErr),
            Some(page) => Ok(if access == Access::Read { page.value } else { 0 }),
        };
        let user = world.machine().user();
        let got = loop {
            let tried = match access {
                Access::Read => user.load_u64(word(vpn)),
                Access::Write => user.store_u64(word(vpn), value).map(|()| 0),
                Access::Execute => user.fetch(at(vpn)).map(|_| 0),
            };
            match tried.map_err(|trap| world.trapped(mm, trap)) {
                Ok(value) => break Ok(value),
                Err(Err(segv)) => break Err(segv),
                Err(Ok(flavour)) => self.went(n, vpn, access, flavour),
            }
        };
        assert_eq!(got, wanted, "{access:?} of page {vpn:#x} of context {n}, {found:?}");
        if got.is_ok() {
            let body = self.context(n).pages[&vpn].body;
            assert!(body != Body::Nothing, "an access to nothing");
            if access == Access::Write {
                assert_eq!(self.holders_of(body), 1, "a write to shared memory");
                self.pages(n).get_mut(&vpn).unwrap().value = value;
            }
        }
    }

    /// What [`Vm::mlock`](mm::space::Vm::mlock) says, and what it brings in.
    fn lock(&mut self, n: usize, first: u64, pages: u64) -> Result<(), Errno> {
        if !self.covered(n, first, pages) {
            return Err(Errno::Enomem);
        }
        for page in self.pages(n).range_mut(first..first + pages) {
            page.1.locked = true;
        }
        for vpn in first..first + pages {
            let page = self.context(n).pages[&vpn];
            let (writes, shared) = (page.allows(Access::Write), self.holders_of(page.body));
            match page.body {
                _ if page.rights.is_empty() => return Err(Errno::Efault),
                Body::Nothing => self.set_body(n, vpn, writes),
                Body::Zeroes if writes => self.set_body(n, vpn, true),
                Body::Memory(_) if writes && shared > 1 => self.set_body(n, vpn, true),
                _ => {}
            }
        }
        Ok(())
    }

    fn unlock(&mut self, n: usize, first: u64, pages: u64) -> Result<(), Errno> {
        if !self.covered(n, first, pages) {
            return Err(Errno::Enomem);
        }
        self.pages(n).range_mut(first..first + pages).for_each(|(_, page)| page.locked = false);
        Ok(())
    }

    fn protect(&mut self, n: usize, first: u64, pages: u64, rights: VmFlags) -> Result<(), Errno> {
        if !self.covered(n, first, pages) {
            return Err(Errno::Enomem);
        }
        self.pages(n).range_mut(first..first + pages).for_each(|(_, page)| page.rights = rights);
        Ok(())
    }

    fn advise(&mut self, n: usize, first: u64, pages: u64, advice: Advice) -> Result<(), Errno> {
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

    fn clone(&mut self, from: usize) {
        let Some(to) = self.contexts.iter().position(Option::is_none) else { return };
        let mm = self.world.vm.clone_mm(self.mm(from), &self.world.frames).unwrap();
        let overlay = self.context(from).pages.range(OVERLAY_START / PAGE_SIZE..);
        let pages: BTreeMap<_, _> = overlay
            .filter(|(_, page)| page.forks)
            .map(|(vpn, page)| (*vpn, Page { locked: false, ..*page }))
            .collect();
        for page in pages.values() {
            if let Body::Memory(id) = page.body {
                *self.holders.get_mut(&id).unwrap() += 1;
            }
        }
        self.contexts[to] = Some(Context { mm, pages, heap: 0 });
    }

    fn end(&mut self, n: usize) {
        let Some(context) = self.contexts[n].take() else { return };
        context.pages.values().for_each(|page| self.drop_body(page.body));
        let machine = self.world.machine();
        for id in 0..CPUS {
            machine.cpu().run_on(cpu(id), || {
                if machine.mmu().active_root() == context.mm.root() {
                    // SAFETY: this machine runs no code of its own.
                    unsafe { machine.mmu().activate(mm::addr::PhysAddr::default()) };
                }
                context.mm.leave(id);
            });
        }
        // SAFETY: no CPU runs on it, and the oracle has forgotten it.
        unsafe { self.world.vm.destroy(context.mm.id(), &self.world.frames) }.unwrap();
    }

    fn brk(&mut self, n: usize, places: u64) {
        let (mm, pages) = (self.mm(n), places * self.grain);
        let start = mm.layout().heap;
        self.world.vm.set_brk(mm, at(start + pages), &self.world.frames).unwrap();
        let now = self.context(n).heap;
        if pages > now {
            self.put_pages(n, start + now, pages - now, VmFlags::READ | VmFlags::WRITE);
        } else {
            self.take_pages(n, start + pages, now - pages);
        }
        self.contexts[n].as_mut().unwrap().heap = pages;
    }

    fn map_anywhere(&mut self, n: usize, pages: u64) {
        let mm = self.mm(n);
        let first = self.world.map(mm, pages).get() / PAGE_SIZE;
        let slice = SLICE_BYTES / PAGE_SIZE * (u64::from(mm.id()) + 1);
        assert!(first >= slice && first + pages <= mm.layout().mmap_base);
        assert!(!pages.is_multiple_of(HUGE) || first.is_multiple_of(HUGE));
        assert_eq!(self.context(n).pages.range(first..first + pages).count(), 0, "something is there");
        self.put_pages(n, first, pages, VmFlags::READ | VmFlags::WRITE);
    }

    fn bad(&self, n: usize, kind: u32) {
        let (mm, vm, frames) = (self.mm(n), &self.world.vm, &self.world.frames);
        let free = at(window(mm, true) - 8);
        let map =
            |addr, len, flags| vm.mmap(mm, &MapRequest { addr, flags, ..MapRequest::anon(len) }, frames);
        let odd = free.checked_add(8).unwrap();
        let others = VirtAddr::new(SLICE_BYTES * 200).unwrap();
        let low = VirtAddr::new(PAGE_SIZE).unwrap();
        let top = at(mm::space::layout::TASK_SIZE / PAGE_SIZE - 1);
        let (got, wanted) = match kind {
            0 => (map(None, 0, MapFlags::empty()).map(drop), Errno::Einval),
            1 => (map(Some(odd), PAGE_SIZE, MapFlags::FIXED).map(drop), Errno::Einval),
            2 => (map(Some(low), PAGE_SIZE, MapFlags::FIXED).map(drop), Errno::Eperm),
            3 => (map(Some(others), PAGE_SIZE, MapFlags::FIXED).map(drop), Errno::Eperm),
            4 => (map(Some(top), 2 * PAGE_SIZE, MapFlags::FIXED).map(drop), Errno::Enomem),
            5 => (map(None, 1 << 36, MapFlags::empty()).map(drop), Errno::Enomem),
            6 => (vm.munmap(mm, free, 0, frames), Errno::Einval),
            7 => (vm.munmap(mm, odd, PAGE_SIZE, frames), Errno::Einval),
            8 => (vm.mprotect(mm, free, PAGE_SIZE, VmFlags::READ, frames), Errno::Enomem),
            9 => (vm.mlock(mm, free, PAGE_SIZE, frames), Errno::Enomem),
            _ => (vm.set_brk(mm, at(mm.layout().heap - 1), frames), Errno::Einval),
        };
        assert_eq!(got, Err(wanted), "bad call {kind}");
    }

    fn step(&mut self, n: usize, op: Op) {
        let Some(context) = &self.contexts[n] else {
            if matches!(op, Op::Create | Op::Map(..)) {
                let mm = self.world.vm.create(&self.world.frames).unwrap();
                self.contexts[n] = Some(Context { mm, pages: BTreeMap::new(), heap: 0 });
            }
            return;
        };
        let (mm, world, root) = (context.mm, self.world, context.mm.root());
        let (vm, frames) = (&world.vm, &world.frames);
        if world.machine().mmu().active_root() != root {
            world.run(mm);
        }
        match op {
            Op::Create | Op::End => {}
            Op::Clone => self.clone(n),
            Op::Map(span, rights, flags) => {
                let (first, pages) = self.range(n, span);
                let addr = Some(at(first));
                let request = MapRequest { addr, flags, vm: rights, ..MapRequest::anon(pages * PAGE_SIZE) };
                let is_free = self.context(n).pages.range(first..first + pages).next().is_none();
                let refused = flags == MapFlags::FIXED_NOREPLACE && !is_free;
                let wanted = if refused { Err(Errno::Eexist) } else { Ok(at(first)) };
                assert_eq!(vm.mmap(mm, &request, frames), wanted);
                if !refused {
                    self.put_pages(n, first, pages, rights);
                }
            }
            Op::MapAnywhere(places) => self.map_anywhere(n, places * self.grain),
            Op::Unmap(span) => {
                let (first, pages) = self.range(n, span);
                vm.munmap(mm, at(first), pages * PAGE_SIZE, frames).unwrap();
                self.take_pages(n, first, pages);
            }
            Op::Brk(places) => self.brk(n, places),
            Op::Touch(overlay, k, access) => {
                self.touch(n, window(mm, overlay) + k % (PLACES * self.grain), access)
            }
            Op::TouchMapped(k, access) => {
                let count = self.context(n).pages.len();
                if let Some(vpn) = self.context(n).pages.keys().nth(k % count.max(1)).copied() {
                    self.touch(n, vpn, access);
                }
            }
            Op::Bad(kind) => self.bad(n, kind),
            Op::Verify => world.verify(),
            Op::Protect(span, _) | Op::Advise(span, _) | Op::Lock(span) | Op::Unlock(span) => {
                self.change(n, span, op)
            }
        }
    }

    /// Steps that change what is there, with what they say.
    fn change(&mut self, n: usize, span: Span, op: Op) {
        let (mm, vm, frames) = (self.mm(n), &self.world.vm, &self.world.frames);
        let (first, pages) = self.range(n, span);
        let (start, len) = (at(first), pages * PAGE_SIZE);
        let (got, wanted) = match op {
            Op::Protect(_, rights) => {
                (vm.mprotect(mm, start, len, rights, frames), self.protect(n, first, pages, rights))
            }
            Op::Advise(_, advice) => {
                (vm.madvise(mm, start, len, advice, frames), self.advise(n, first, pages, advice))
            }
            // Which huge pages it brings in is not told.
            Op::Lock(_) if !self.is_thp() => (vm.mlock(mm, start, len, frames), self.lock(n, first, pages)),
            _ => (vm.munlock(mm, start, len, frames), self.unlock(n, first, pages)),
        };
        assert_eq!(got, wanted, "{op:?}");
    }

    /// What is counted is what there is.
    fn check_counts(&self) {
        for context in self.contexts.iter().flatten() {
            let count = |is: fn(&Page) -> bool| context.pages.values().filter(|page| is(page)).count() as u64;
            let counters = context.mm.counters();
            let memory = count(|page| matches!(page.body, Body::Memory(_)));
            let kinds = [
                (counters.rss(Rss::Anon), memory, "resident"),
                (counters.usage(Usage::Total), context.pages.len() as u64, "mapped"),
                (counters.usage(Usage::Locked), count(|page| page.locked), "locked"),
                (counters.usage(Usage::Data), count(|page| page.allows(Access::Write)), "data"),
                (counters.usage(Usage::Exec), count(|page| page.allows(Access::Execute)), "code"),
            ];
            for (got, wanted, what) in kinds {
                assert_eq!(got, wanted, "{what} pages of context {}", context.mm.id());
            }
        }
    }

    /// Everything still holds what was stored; then everything ends, and nothing is left.
    fn finish(mut self, free: u64) {
        self.world.verify();
        for n in 0..CONTEXTS {
            if self.contexts[n].is_none() {
                continue;
            }
            self.world.run(self.mm(n));
            let stored: Vec<_> = self.context(n).pages.iter().filter(|(_, page)| page.value != 0).collect();
            let stored: Vec<_> = stored.into_iter().map(|(vpn, _)| *vpn).collect();
            stored.into_iter().for_each(|vpn| self.touch(n, vpn, Access::Read));
        }
        (0..CONTEXTS).for_each(|n| self.end(n));
        assert!(self.holders.is_empty());
        self.world.shrink_slabs();
        assert_eq!(self.world.free_pages(), free, "pages are lost");
        assert_eq!(self.world.vm.commit().committed(), 0);
    }
}

/// A world that has been used once, so that what is made once is there.
fn world(thp: ThpMode) -> (&'static World, u64) {
    let ram = if thp == ThpMode::Never { 16 } else { 96 };
    let world: &'static World = super::keep(World::with(ram, CPUS, thp == ThpMode::Never));
    world.vm.settings().set_thp(thp);
    let mm = world.context();
    let at = world.map(mm, HUGE);
    world.load(mm, at).unwrap();
    world.store(mm, page(at, 1), 1).unwrap();
    world.end(mm);
    world.shrink_slabs();
    (world, world.free_pages())
}

/// Runs `ops` in a world that earlier runs may have used; one that failed is left alone.
fn run(worlds: &RefCell<Option<(&'static World, u64)>>, thp: ThpMode, ops: &[(usize, u32, Op)]) {
    let (world, free) = worlds.borrow_mut().take().unwrap_or_else(|| self::world(thp));
    let _watched = watch(world.machine());
    let mut oracle = Oracle::new(world, if thp == ThpMode::Never { 1 } else { 64 });
    for (turn, &(n, id, op)) in ops.iter().enumerate() {
        match op {
            // All CPUs must leave it.
            Op::End => oracle.end(n),
            _ => world.machine().cpu().run_on(cpu(id), || oracle.step(n, op)),
        }
        oracle.check_counts();
        if turn % 4 == 3 {
            world.verify();
        }
    }
    oracle.finish(free);
    *worlds.borrow_mut() = Some((world, free));
}

thread_local! {
    static SMALL: RefCell<Option<(&'static World, u64)>> = const { RefCell::new(None) };
    static HUGES: RefCell<Option<(&'static World, u64)>> = const { RefCell::new(None) };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8000, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn contexts_agree_with_the_oracle(ops in prop::collection::vec(op(), 1..100)) {
        SMALL.with(|worlds| run(worlds, ThpMode::Never, &ops));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn contexts_with_huge_pages_agree_with_the_oracle(ops in prop::collection::vec(op(), 1..80)) {
        HUGES.with(|worlds| run(worlds, ThpMode::Always, &ops));
    }
}
