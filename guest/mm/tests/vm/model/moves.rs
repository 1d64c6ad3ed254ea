//! Steps that move, copy and share what is there.

use super::Span;
use super::oracle::{Body, Context, Oracle, Page, at};
use mm::addr::PAGE_SIZE;
use mm::space::layout::OVERLAY_START;
use mm::space::{Errno, Moving};
use std::collections::BTreeMap;

impl Oracle {
    /// One more page has this memory.
    fn share_body(&mut self, body: Body) {
        if let Body::Memory(id) = body {
            *self.holders.get_mut(&id).unwrap() += 1;
        }
    }

    /// A new place for `pages` pages of context `n`: free, and in the window that it must be in.
    fn check_place(&self, n: usize, from: u64, to: u64, pages: u64) {
        let context = self.context(n);
        assert_eq!(context.pages.range(to..to + pages).count(), 0, "something is there");
        let overlay = OVERLAY_START / PAGE_SIZE;
        assert_eq!(to >= overlay, from >= overlay, "another window");
        assert!(to >= overlay || to + pages <= context.mm.layout().mmap_base);
    }

    pub fn clone(&mut self, from: usize) {
        let Some(to) = self.contexts.iter().position(Option::is_none) else { return };
        let mm = self.world.vm.clone_mm(self.mm(from), &self.world.frames).unwrap();
        let overlay = self.context(from).pages.range(OVERLAY_START / PAGE_SIZE..);
        let pages: BTreeMap<_, _> = overlay
            .filter(|(_, page)| page.forks)
            .map(|(vpn, page)| (*vpn, Page { locked: false, ..*page }))
            // Shared memory is found where it is when it is touched.
            .map(|(vpn, page)| (vpn, if page.shared.is_some() { page.untouched() } else { page }))
            .collect();
        pages.values().for_each(|page| self.share_body(page.body));
        self.contexts[to] = Some(Context { mm, pages, heap: 0 });
    }

    /// Gives what is there another size, in pages.
    pub fn remap(&mut self, n: usize, span: Span, wanted: u64, moving: Moving) {
        let (mm, world) = (self.mm(n), self.world);
        let (first, pages) = self.range(n, span);
        let is_one = self.is_one_area(n, first, pages);
        let area_end = is_one.then(|| self.area(n, first).end);
        let got =
            world.vm.mremap(mm, at(first), pages * PAGE_SIZE, wanted * PAGE_SIZE, moving, &world.frames);
        if !is_one {
            assert_eq!(got, Err(Errno::Efault));
            return;
        }
        let last = self.context(n).pages[&(first + pages - 1)];
        if wanted <= pages {
            assert_eq!(got, Ok(at(first)));
            return self.take_pages(n, first + wanted, pages - wanted);
        }
        if last.shared.is_some() {
            return assert_eq!(got, Err(Errno::Einval));
        }
        let above = self.context(n).pages.range(first + pages..).next().map(|(vpn, _)| *vpn);
        let limit = mm.layout().limit_above(first);
        let has_room = above.unwrap_or(limit) >= first + wanted && first + wanted <= limit;
        if area_end == Some(first + pages) && has_room {
            assert_eq!(got, Ok(at(first)));
            return self.put_pages(n, first + pages, wanted - pages, last.untouched());
        }
        if moving == Moving::Stay {
            return assert_eq!(got, Err(Errno::Enomem));
        }
        let to = got.unwrap().get() / PAGE_SIZE;
        self.check_place(n, first, to, wanted);
        let moved: Vec<_> = (first..first + pages).map(|vpn| self.pages(n).remove(&vpn).unwrap()).collect();
        self.put_pages(n, to + pages, wanted - pages, last.untouched());
        self.pages(n).extend((to..).zip(moved));
    }

    /// Maps what is there a second time; each page is copied when one of the two is written.
    pub fn snapshot(&mut self, n: usize, span: Span) {
        let (mm, world) = (self.mm(n), self.world);
        let (first, pages) = self.range(n, span);
        let is_one = self.is_one_area(n, first, pages);
        let got = world.vm.snapshot(mm, at(first), pages * PAGE_SIZE, &world.frames);
        if !is_one {
            return assert_eq!(got, Err(Errno::Efault));
        }
        let copied: Vec<_> =
            (first..first + pages).map(|vpn| Page { locked: false, ..self.context(n).pages[&vpn] }).collect();
        if copied[0].shared.is_some() {
            return assert_eq!(got, Err(Errno::Einval));
        }
        let to = got.unwrap().get() / PAGE_SIZE;
        self.check_place(n, first, to, pages);
        copied.iter().for_each(|page| self.share_body(page.body));
        self.pages(n).extend((to..).zip(copied));
    }

    /// Shows the area of one of the pages in another context.
    pub fn share(&mut self, n: usize, k: usize, to: usize) {
        let pages = &self.context(n).pages;
        let shared: Vec<_> =
            pages.iter().filter(|(_, page)| page.shared.is_some()).map(|(vpn, _)| *vpn).collect();
        let private = pages.iter().find(|(_, page)| page.shared.is_none()).map(|(vpn, _)| *vpn);
        let Some(other) = self.contexts[to].as_ref().map(|context| context.mm) else { return };
        let (mm, world) = (self.mm(n), self.world);
        let share = |vpn| world.vm.share(mm, at(vpn), other, &world.frames);
        if let Some(vpn) = private {
            assert_eq!(share(vpn), Err(Errno::Efault));
        }
        let Some(vpn) = shared.get(k % shared.len().max(1)).copied() else { return };
        let area = self.area(n, vpn);
        if self.context(to).pages.range(area.start..area.end).next().is_some() {
            return assert_eq!(share(vpn), Err(Errno::Eexist));
        }
        assert_eq!(share(vpn), Ok(()));
        let shown: Vec<_> =
            self.context(n).pages.range(area.start..area.end).map(|(vpn, page)| (*vpn, *page)).collect();
        let shown = shown.into_iter().map(|(vpn, page)| (vpn, Page { locked: false, ..page.untouched() }));
        self.pages(to).extend(shown);
    }
}
