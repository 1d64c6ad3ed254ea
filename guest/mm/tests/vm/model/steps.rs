//! A step of a run, in the contexts and in the oracle.

use super::oracle::{Body, Context, Oracle, Page, at, window};
use super::{CONTEXTS, CPUS, HUGE, Op, PLACES, Span, What};
use crate::vm::cpu;
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::fault::Segv;
use mm::port::{Access, Machine as _, Mmu as _};
use mm::space::layout::SLICE_BYTES;
use mm::space::{Errno, MapFlags, MapRequest};
use mm::vma::{VmFlags, VmaKind};
use mm::vmstat::NodeStat;
use std::collections::BTreeMap;

impl Oracle {
    /// Touches a page, and handles every fault of it.
    fn touch(&mut self, n: usize, vpn: u64, access: Access) {
        let (mm, world) = (self.mm(n), self.world);
        let value = self.next + 1;
        let found = self.found(n, vpn);
        let wanted = match found {
            None => Err(Segv::MapErr),
            Some(page) if !page.allows(access) => Err(Segv::AccErr),
            Some(page) => Ok(if access == Access::Read { self.value(&page) } else { 0 }),
        };
        let (user, word) = (world.machine().user(), found.map_or(at(vpn), |page| page.word(vpn)));
        let got = loop {
            let tried = match access {
                Access::Read => user.load_u64(word),
                Access::Write => user.store_u64(word, value).map(|()| 0),
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
            assert!(self.context(n).pages[&vpn].body != Body::Nothing, "an access to nothing");
            if access == Access::Write {
                self.store(n, vpn, value);
            }
        }
    }

    pub fn end(&mut self, n: usize) {
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
            self.put_pages(n, start + now, pages - now, Page::new(VmFlags::READ | VmFlags::WRITE));
        } else {
            self.take_pages(n, start + pages, now - pages);
        }
        self.contexts[n].as_mut().unwrap().heap = pages;
    }

    fn map(&mut self, n: usize, span: Span, rights: VmFlags, flags: MapFlags, what: What) {
        let (first, pages) = self.range(n, span);
        let mut page = Page::new(rights);
        let mut request =
            MapRequest { addr: Some(at(first)), flags, vm: rights, ..MapRequest::anon(pages * PAGE_SIZE) };
        match what {
            What::Private => {}
            What::Shared => request.vm |= VmFlags::SHARED,
            What::Stack => {
                (request.vm, request.kind) = (rights | VmFlags::GROWSDOWN, VmaKind::Stack);
                page.stack = true;
            }
        }
        let is_free = self.context(n).pages.range(first..first + pages).next().is_none();
        let refused = flags == MapFlags::FIXED_NOREPLACE && !is_free;
        let wanted = if refused { Err(Errno::Eexist) } else { Ok(at(first)) };
        assert_eq!(self.world.vm.mmap(self.mm(n), &request, &self.world.frames), wanted);
        if refused {
            return;
        }
        self.put_pages(n, first, pages, page);
        if what == What::Shared {
            self.next += 1;
            let object = self.next;
            let shown = self.pages(n).range_mut(first..first + pages).zip(0..);
            shown.for_each(|((_, page), index)| page.shared = Some((object, index)));
        }
    }

    fn map_anywhere(&mut self, n: usize, pages: u64) {
        let mm = self.mm(n);
        let first = self.world.map(mm, pages).get() / PAGE_SIZE;
        let slice = SLICE_BYTES / PAGE_SIZE * (u64::from(mm.id()) + 1);
        assert!(first >= slice && first + pages <= mm.layout().mmap_base);
        assert!(!pages.is_multiple_of(HUGE) || first.is_multiple_of(HUGE));
        assert_eq!(self.context(n).pages.range(first..first + pages).count(), 0, "something is there");
        self.put_pages(n, first, pages, Page::new(VmFlags::READ | VmFlags::WRITE));
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

    pub fn step(&mut self, n: usize, op: Op) {
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
            Op::Map(span, rights, flags, what) => self.map(n, span, rights, flags, what),
            Op::MapAnywhere(places) => self.map_anywhere(n, places * self.grain),
            Op::Remap(span, places, moving) => self.remap(n, span, places * self.grain, moving),
            Op::Snapshot(span) => self.snapshot(n, span),
            Op::Share(k, to) => self.share(n, k, to),
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
            Op::Verify => {
                world.verify();
                self.check_areas(n);
            }
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
            Op::Lock(_) => {
                (vm.mlock_on_fault(mm, start, len, frames), self.set_locked(n, first, pages, true))
            }
            _ => (vm.munlock(mm, start, len, frames), self.set_locked(n, first, pages, false)),
        };
        assert_eq!(got, wanted, "{op:?}");
    }

    /// Everything still holds what was stored; then everything ends, and nothing is left.
    pub fn finish(mut self, free: u64) {
        self.world.verify();
        for n in 0..CONTEXTS {
            if self.contexts[n].is_none() {
                continue;
            }
            self.check_areas(n);
            self.world.run(self.mm(n));
            let stored: Vec<_> =
                self.context(n).pages.iter().filter(|(_, page)| self.value(page) != 0).collect();
            let stored: Vec<_> = stored.into_iter().map(|(vpn, _)| *vpn).collect();
            stored.into_iter().for_each(|vpn| self.touch(n, vpn, Access::Read));
        }
        (0..CONTEXTS).for_each(|n| self.end(n));
        assert!(self.holders.is_empty());
        let left = [NodeStat::Mlocked, NodeStat::Unevictable].map(|what| self.world.vm.stat().total(what));
        assert_eq!(left, [0, 0], "nothing is locked any more");
        self.world.shrink_slabs();
        assert_eq!(self.world.free_pages(), free, "pages are lost");
        assert_eq!(self.world.vm.commit().committed(), 0);
    }
}
