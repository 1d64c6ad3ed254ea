//! From a folio to its entries: a walk finds those that a look at all tables finds, and as many as the folio counts.

use super::{World, page};
use crate::map_fixture::Rng;
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::pgtable::{PageRange, X86_64};
use mm::port::{Level, PteBits, PteCodec as _};
use mm::space::layout::OVERLAY_START;
use mm::space::{Advice, Moving, ThpMode};
use mm::vma::VmFlags;
use std::collections::{BTreeMap, BTreeSet};

const PAGES: u64 = 1024;

/// Where a folio is mapped: the context, the address, and the entry's level.
type Places = BTreeSet<(u32, VirtAddr, Level)>;

/// What all contexts map: for each entry the first frame that it names.
fn entries(world: &World) -> Vec<(u32, VirtAddr, Level, u64)> {
    let mut found = Vec::new();
    let half = PageRange::new(VirtAddr::new(0).unwrap(), (1 << 35) - 1).unwrap();
    for mm in world.vm.mms() {
        let scanned = mm.tree().scan(half, |slot, level, part| {
            let pte = slot.load();
            if !X86_64::bits(pte).contains(PteBits::SPECIAL) {
                found.push((mm.id(), part.start(), level, X86_64::addr(pte).pfn().get()));
            }
        });
        scanned.unwrap();
    }
    found
}

/// Walks from every entry and compares; how many folios there are, and how many of them have more than one entry.
fn check(world: &World) -> (usize, usize) {
    let all = entries(world);
    let mut folios = BTreeMap::<u64, Places>::new();
    let mut walked = BTreeMap::<u64, Places>::new();
    for &(id, va, level, frame) in &all {
        let mm = world.vm.mm(id).unwrap();
        let mut seen = Places::new();
        let info = world.vm.rmap_walk(mm, va, |id, va, level| assert!(seen.insert((id, va, level)))).unwrap();
        assert!(seen.contains(&(id, va, level)), "the walk does not come back to where it started");
        let folio = info.pfn.get();
        assert!((folio..folio + info.order.pages()).contains(&frame));
        assert_eq!((seen.len() as u64, info.busy), (info.mapcount, 0), "{info:?}");
        assert_eq!(u64::from(info.refs), info.mapcount, "{info:?}");
        folios.entry(folio).or_default().insert((id, va, level));
        walked.insert(folio, seen);
    }
    assert_eq!(folios, walked);
    (folios.len(), folios.values().filter(|places| places.len() > 1).count())
}

#[test]
fn a_walk_finds_clones_parts_and_nothing_else() {
    let world = World::new(64, 1);
    world.vm.settings().set_thp(ThpMode::Never);
    let parent = world.context();
    let at = world.map_overlay(parent, 8);
    (0..8).for_each(|n| world.store(parent, page(at, n), n).unwrap());
    assert!(world.vm.rmap_walk(parent, page(at, 8), |_, _, _| ()).is_none());
    let child = world.vm.clone_mm(parent, &world.frames).unwrap();
    assert_eq!(check(&world), (8, 8));
    world.vm.mprotect(child, page(at, 2), 2 * PAGE_SIZE, VmFlags::READ, &world.frames).unwrap();
    world.vm.munmap(parent, page(at, 3), 2 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(check(&world), (8, 6));
    world.run(child);
    world.store(child, at, 9).unwrap();
    assert_eq!(check(&world), (9, 5));
    world.verify();
}

/// One change of some context, as chance has it.
fn step(world: &World, rng: &mut Rng) {
    let (vm, frames) = (&world.vm, &world.frames);
    let ids: Vec<_> = vm.mms().map(mm::space::Mm::id).collect();
    let mm = vm.mm(rng.pick(&ids)).unwrap();
    let first = rng.next() % PAGES;
    let pages = (1 + rng.pick(&[0, 3, 60, 511])).min(PAGES - first);
    let at = page(VirtAddr::new(OVERLAY_START).unwrap(), first);
    world.run(mm);
    // Where nothing is mapped, or not with these rights, nothing happens.
    match rng.next() % 12 {
        0 if ids.len() < 4 => drop(vm.clone_mm(mm, frames).unwrap()),
        1 if ids.len() > 1 => world.end(mm),
        2 => vm.munmap(mm, at, pages * PAGE_SIZE, frames).unwrap(),
        3 => drop(vm.mprotect(mm, at, pages * PAGE_SIZE, VmFlags::READ, frames)),
        4 => {
            let all = VmFlags::READ | VmFlags::WRITE;
            let _ = vm.mprotect(mm, at, pages * PAGE_SIZE, all, frames);
        }
        5 => drop(vm.madvise(mm, at, pages * PAGE_SIZE, Advice::DontNeed, frames)),
        6 => {
            let more = 2 * pages * PAGE_SIZE;
            let _ = vm.mremap(mm, at, pages * PAGE_SIZE, more, Moving::May, frames);
        }
        7 => {
            let wish = mm::space::MapRequest {
                addr: Some(at),
                flags: mm::space::MapFlags::OVERLAY | mm::space::MapFlags::FIXED,
                ..mm::space::MapRequest::anon(pages * PAGE_SIZE)
            };
            vm.mmap(mm, &wish, frames).unwrap();
        }
        _ => (0..pages.min(40)).for_each(|n| {
            let _ = world.store(mm, page(at, n), n);
        }),
    }
}

fn churn(thp: ThpMode, seed: u64) {
    let world = World::with(160, 1, false);
    world.vm.settings().set_thp(thp);
    let parent = world.context();
    let at = world.map_overlay(parent, PAGES);
    assert_eq!(at.get() % (512 * PAGE_SIZE), 0);
    let mut rng = Rng(seed);
    let mut shared = 0;
    for turn in 0..160 {
        step(&world, &mut rng);
        if turn % 8 == 7 {
            world.verify();
            shared += check(&world).1;
        }
    }
    assert!(shared > 0, "no folio was ever shared");
}

#[test]
fn walks_agree_with_the_tables_whatever_happened() {
    (1..6).for_each(|seed| churn(ThpMode::Never, seed));
}

#[test]
fn walks_from_huge_pages_agree_with_the_tables() {
    (1..6).for_each(|seed| churn(ThpMode::Always, seed));
}
