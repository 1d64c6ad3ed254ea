//! Pages from a pool of huge pages against an oracle: promises, free pages, what each page holds and who has it.

use super::CONTEXTS;
use crate::vm::{World, keep, page, watch};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::fault::{Fault, Flavour, Segv};
use mm::port::{Access, Level};
use mm::space::{Errno, MapFlags, MapRequest, Mm, ThpMode};
use mm::vma::{Backing, VmFlags};
use proptest::prelude::*;
use sim::{Fault as Trap, Machine};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Pages of the pool.
const TOTAL: u64 = 6;
/// Base pages of one.
const HUGE: u64 = 512;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// So many pages: in the overlay window, and without a promise.
    Map(u64, bool, bool),
    /// One of the pages that are mapped, at one of its base pages.
    Touch(usize, u64, bool),
    /// From one of the pages on, so many; or from inside of it.
    Unmap(usize, u64, bool),
    Protect(usize, bool),
    Clone,
    End,
    Verify,
}

fn op() -> impl Strategy<Value = (usize, Op)> {
    let op = prop_oneof![
        4 => (1_u64..4, any::<bool>(), any::<bool>()).prop_map(|(n, overlay, bare)| Op::Map(n, overlay, bare)),
        12 => (any::<usize>(), 0..HUGE, any::<bool>()).prop_map(|(k, n, write)| Op::Touch(k, n, write)),
        3 => (any::<usize>(), 1_u64..4, prop::bool::weighted(0.2)).prop_map(|(k, n, odd)| Op::Unmap(k, n, odd)),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(k, writes)| Op::Protect(k, writes)),
        2 => Just(Op::Clone),
        1 => Just(Op::End),
        1 => Just(Op::Verify),
    ];
    (prop_oneof![2 => Just(0_usize), 1 => 1..CONTEXTS], op)
}

/// A place for a page, by its first base page.
#[derive(Clone, Copy, Debug)]
struct Place {
    promised: bool,
    writes: bool,
    /// The page that is there, by a number.
    has: Option<u64>,
}

struct Context {
    mm: &'static Mm<'static, Machine>,
    places: BTreeMap<u64, Place>,
}

struct Oracle {
    world: &'static World,
    contexts: [Option<Context>; CONTEXTS],
    /// What pages hold, at those of their base pages that were written, and how many places have each.
    pages: BTreeMap<u64, (BTreeMap<u64, u64>, u32)>,
    next: u64,
}

fn at(vpn: u64) -> VirtAddr {
    VirtAddr::new(vpn * PAGE_SIZE).unwrap()
}

impl Oracle {
    fn places(&mut self, n: usize) -> &mut BTreeMap<u64, Place> {
        &mut self.contexts[n].as_mut().unwrap().places
    }

    fn all(&self) -> impl Iterator<Item = &Place> {
        self.contexts.iter().flatten().flat_map(|context| context.places.values())
    }

    fn free(&self) -> u64 {
        TOTAL - self.pages.len() as u64
    }

    /// Promises that are not used up.
    fn reserved(&self) -> u64 {
        self.all().filter(|place| place.promised && place.has.is_none()).count() as u64
    }

    fn drop_page(&mut self, has: Option<u64>) {
        let Some(id) = has else { return };
        let (_, places) = self.pages.get_mut(&id).unwrap();
        *places -= 1;
        if *places == 0 {
            self.pages.remove(&id);
        }
    }

    fn map(&mut self, n: usize, count: u64, overlay: bool, bare: bool) {
        let mut request = MapRequest {
            vm: VmFlags::READ | VmFlags::WRITE | VmFlags::HUGETLB,
            backing: Backing::Hugetlb(Level::PMD),
            ..MapRequest::anon(count * HUGE * PAGE_SIZE)
        };
        request.flags.set(MapFlags::OVERLAY, overlay);
        request.flags.set(MapFlags::NORESERVE, bare);
        let is_fine = bare || self.reserved() + count <= self.free();
        let mm = self.contexts[n].as_ref().unwrap().mm;
        let got = self.world.vm.mmap(mm, &request, &self.world.frames);
        if !is_fine {
            return assert_eq!(got, Err(Errno::Enomem));
        }
        let first = got.unwrap().get() / PAGE_SIZE;
        assert_eq!(first % HUGE, 0);
        for vpn in (first..first + count * HUGE).step_by(HUGE as usize) {
            let place = Place { promised: !bare, writes: true, has: None };
            assert!(self.places(n).insert(vpn, place).is_none(), "something is there");
        }
    }

    /// The page at `vpn`, a new one or a copy: if there is one that is not promised to others.
    fn take(&mut self, n: usize, vpn: u64) -> Result<(), Fault> {
        let place = self.places(n)[&vpn];
        let is_promised = place.promised && place.has.is_none();
        if !is_promised && self.free() <= self.reserved() {
            return Err(Fault::Sigbus);
        }
        let held = place.has.map(|id| self.pages[&id].0.clone()).unwrap_or_default();
        self.drop_page(place.has);
        self.next += 1;
        let id = self.next;
        self.pages.insert(id, (held, 1));
        self.places(n).get_mut(&vpn).unwrap().has = Some(id);
        Ok(())
    }

    fn touch(&mut self, n: usize, vpn: u64, inside: u64, write: bool) {
        let (mm, world) = (self.contexts[n].as_ref().unwrap().mm, self.world);
        let (user, word) = (world.machine().user(), page(at(vpn), inside));
        let (value, place) = (self.next + 1, self.places(n)[&vpn]);
        let holders = place.has.map_or(0, |id| self.pages[&id].1);
        let refused = write && !place.writes;
        let wanted = match place.has {
            _ if refused => Err(Fault::Segv(Segv::AccErr)),
            None => self.take(n, vpn),
            Some(_) if write && holders > 1 => self.take(n, vpn),
            Some(_) => Ok(()),
        };
        let got = loop {
            let tried = if write { user.store_u64(word, value).map(|()| 0) } else { user.load_u64(word) };
            let va = match tried {
                Ok(value) => break Ok(value),
                Err(Trap::Page { va, .. }) => va,
                Err(trap) => panic!("{trap:?}"),
            };
            let access = if write { Access::Write } else { Access::Read };
            match world.vm.fault(mm, va, access, &world.frames) {
                Fault::Minor(Flavour::Hugetlb) => assert!(place.has.is_none(), "a page twice"),
                Fault::Minor(Flavour::Cow) => assert!(write && holders > 1, "a copy for {holders}"),
                Fault::Minor(Flavour::Reuse) => assert!(write && holders <= 1, "shared by {holders}"),
                Fault::Minor(Flavour::Spurious) => {}
                Fault::Minor(flavour) => panic!("{flavour:?}"),
                refusal => break Err(refusal),
            }
        };
        assert_eq!(
            got.as_ref().map(|_| ()),
            wanted.as_ref().copied(),
            "context {n}, page {vpn:#x}, write {write}"
        );
        let (Ok(got), Some(id)) = (got, self.places(n)[&vpn].has) else { return };
        let (held, holders) = self.pages.get_mut(&id).unwrap();
        if write {
            assert_eq!(*holders, 1);
            held.insert(inside, value);
            self.next += 1;
        } else {
            assert_eq!(got, held.get(&inside).copied().unwrap_or(0), "base page {inside} of {vpn:#x}");
        }
    }

    fn unmap(&mut self, n: usize, vpn: u64, count: u64, odd: bool) {
        let mm = self.contexts[n].as_ref().unwrap().mm;
        let (vm, frames) = (&self.world.vm, &self.world.frames);
        if odd {
            assert_eq!(vm.munmap(mm, at(vpn + 1), PAGE_SIZE, frames), Err(Errno::Einval));
            return;
        }
        // Not beyond what contexts have.
        let end = (vpn + count * HUGE).min(mm::space::layout::TASK_SIZE / PAGE_SIZE);
        let count = (end - vpn) / HUGE;
        vm.munmap(mm, at(vpn), count * HUGE * PAGE_SIZE, frames).unwrap();
        for vpn in (vpn..vpn + count * HUGE).step_by(HUGE as usize) {
            if let Some(place) = self.places(n).remove(&vpn) {
                self.drop_page(place.has);
            }
        }
    }

    fn step(&mut self, n: usize, op: Op) {
        if self.contexts[n].is_none() {
            if matches!(op, Op::Map(..)) {
                let mm = self.world.vm.create(&self.world.frames).unwrap();
                self.contexts[n] = Some(Context { mm, places: BTreeMap::new() });
            }
            return;
        }
        let mm = self.contexts[n].as_ref().unwrap().mm;
        self.world.run(mm);
        let count = self.places(n).len().max(1);
        let mut chosen = |k: usize| self.places(n).keys().nth(k % count).copied();
        match op {
            Op::Map(count, overlay, bare) => self.map(n, count, overlay, bare),
            Op::Touch(k, inside, write) => {
                if let Some(vpn) = chosen(k) {
                    self.touch(n, vpn, inside, write);
                }
            }
            Op::Unmap(k, count, odd) => {
                if let Some(vpn) = chosen(k) {
                    self.unmap(n, vpn, count, odd);
                }
            }
            Op::Protect(k, writes) => {
                if let Some(vpn) = chosen(k) {
                    let rights = if writes { VmFlags::READ | VmFlags::WRITE } else { VmFlags::READ };
                    let (bytes, frames) = (HUGE * PAGE_SIZE, &self.world.frames);
                    self.world.vm.mprotect(mm, at(vpn), bytes, rights, frames).unwrap();
                    self.places(n).get_mut(&vpn).unwrap().writes = writes;
                }
            }
            Op::Clone => self.clone(n),
            Op::End => self.end(n),
            Op::Verify => self.world.verify(),
        }
    }

    fn clone(&mut self, from: usize) {
        let Some(to) = self.contexts.iter().position(Option::is_none) else { return };
        let parent = self.contexts[from].as_ref().unwrap();
        let mm = self.world.vm.clone_mm(parent.mm, &self.world.frames).unwrap();
        let overlay = mm::space::layout::OVERLAY_START / PAGE_SIZE;
        let places: BTreeMap<_, _> = parent
            .places
            .range(overlay..)
            .map(|(vpn, place)| (*vpn, Place { promised: false, ..*place }))
            .collect();
        for id in places.values().filter_map(|place| place.has) {
            self.pages.get_mut(&id).unwrap().1 += 1;
        }
        self.contexts[to] = Some(Context { mm, places });
    }

    fn end(&mut self, n: usize) {
        let Some(context) = self.contexts[n].take() else { return };
        self.world.end(context.mm);
        context.places.values().for_each(|place| self.drop_page(place.has));
    }

    /// The pool has what the oracle says, and every context as much of it.
    fn check(&self) {
        let counts = self.world.pool.counts(None);
        let wanted = (TOTAL, self.free(), self.reserved(), 0);
        assert_eq!((counts.total, counts.free, counts.reserved, counts.surplus), wanted);
        for context in self.contexts.iter().flatten() {
            let has = context.places.values().filter(|place| place.has.is_some()).count() as u64;
            assert_eq!(context.mm.counters().hugetlb(), has * HUGE);
        }
    }
}

thread_local! {
    static WORLD: RefCell<Option<&'static World>> = const { RefCell::new(None) };
}

fn run(ops: &[(usize, Op)]) {
    let world = WORLD.take().unwrap_or_else(|| {
        let world: &'static World = keep(World::with(32, 1, true));
        world.vm.settings().set_thp(ThpMode::Never);
        world
    });
    let _watched = watch(world.machine());
    assert_eq!(world.pool.resize(TOTAL), TOTAL);
    let mut oracle = Oracle { world, contexts: [const { None }; CONTEXTS], pages: BTreeMap::new(), next: 0 };
    for &(n, op) in ops {
        oracle.step(n, op);
        oracle.check();
    }
    world.verify();
    (0..CONTEXTS).for_each(|n| oracle.end(n));
    oracle.check();
    assert_eq!(world.pool.resize(0), 0, "pages are lost");
    WORLD.set(Some(world));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn pools_agree_with_the_oracle(ops in prop::collection::vec(op(), 1..60)) {
        run(&ops);
    }
}
