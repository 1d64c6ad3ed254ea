//! Caches and size classes: what a user of them sees.

use crate::board::{Board, MIB};
use crate::slab_fixture::{Flaky, GFP, at, board, config, frames, give, kfree, request, slabs};
use mm::phys::{AllocError, GfpFlags};
use mm::port::CpuId;
use mm::slab::{CacheRequest, CreateError, KMALLOC_MAX, ObjectError, SlabConfig, SlabFlags, ZERO_SIZE_PTR};
use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

fn small() -> Board {
    board(64 * MIB, 1)
}

#[test]
fn objects_of_a_cache_are_apart_and_aligned() {
    let board = small();
    let slabs = slabs(&board, &config(1, 1));
    let frames = frames(&board);
    for (name, size, align) in [("a", 1, 0), ("b", 40, 0), ("c", 100, 64), ("d", 700, 256), ("e", 5000, 4096)]
    {
        let wanted = CacheRequest { align, flags: SlabFlags::NO_MERGE, ..request(name, size) };
        let cache = slabs.create(&wanted, &frames).unwrap();
        let mut objects: Vec<_> = (0..1000).map(|_| slabs.alloc(cache, &frames, GFP).unwrap()).collect();
        let mut places: Vec<_> = objects.iter().map(|object| at(*object)).collect();
        places.sort_unstable();
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= size as usize), "{name}");
        assert!(places.iter().all(|place| place.is_multiple_of(align.max(8) as usize)), "{name}");
        assert_eq!(cache.stats().active_objects, 1000);
        slabs.verify().unwrap();
        objects.drain(..).for_each(|object| give(&slabs, cache, object).unwrap());
        assert_eq!(cache.stats().active_objects, 0);
        slabs.verify().unwrap();
    }
}

#[test]
fn t40b_the_object_freed_last_is_allocated_next() {
    let board = small();
    let slabs = slabs(&board, &config(1, 1));
    let frames = frames(&board);
    let cache = slabs.create(&request("x", 48), &frames).unwrap();
    let objects: Vec<_> = (0..20).map(|_| slabs.alloc(cache, &frames, GFP).unwrap()).collect();
    for object in &objects[5..10] {
        give(&slabs, cache, *object).unwrap();
    }
    for object in objects[5..10].iter().rev() {
        assert_eq!(slabs.alloc(cache, &frames, GFP).unwrap(), *object);
    }
}

static MADE: AtomicU64 = AtomicU64::new(0);

fn construct(object: NonNull<u8>) {
    MADE.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the object has 64 bytes and is nobody's yet.
    unsafe { object.write_bytes(0x77, 64) }
}

#[test]
fn t40a_a_constructor_runs_once_for_each_object_of_a_slab() {
    let board = small();
    let slabs = slabs(&board, &config(1, 1));
    let frames = frames(&board);
    let cache =
        slabs.create(&CacheRequest { ctor: Some(construct), ..request("made", 64) }, &frames).unwrap();
    for _ in 0..10 {
        let objects: Vec<_> = (0..1000).map(|_| slabs.alloc(cache, &frames, GFP).unwrap()).collect();
        for object in &objects {
            // SAFETY: the object is ours; it holds what the constructor wrote, because the link lies behind it.
            let bytes = unsafe { std::slice::from_raw_parts(object.as_ptr(), 64) };
            assert!(bytes.iter().all(|byte| *byte == 0x77));
        }
        objects.into_iter().for_each(|object| give(&slabs, cache, object).unwrap());
    }
    let stats = cache.stats();
    let made = MADE.load(Ordering::Relaxed);
    assert!((1000..1100).contains(&made), "constructed {made} for 10000 allocations");
    assert!(stats.slow_allocs * 20 < stats.allocs, "{stats:?}");
}

#[test]
fn names_sizes_and_alignments_are_checked() {
    let board = small();
    let slabs = slabs(&board, &config(1, 1));
    let frames = frames(&board);
    let make = |request| slabs.create(&request, &frames).map(|_| ());
    assert_eq!(make(request("one", 24)), Ok(()));
    assert_eq!(make(request("one", 24)), Err(CreateError::Exists));
    assert_eq!(make(request("kmalloc-64", 24)), Err(CreateError::Exists));
    assert_eq!(make(request("zero", 0)), Err(CreateError::Invalid));
    assert_eq!(make(request("huge", (4 << 20) + 1)), Err(CreateError::Invalid));
    assert_eq!(make(request("", 8)), Err(CreateError::Invalid));
    assert_eq!(make(request("a name of more than thirty-one bytes", 8)), Err(CreateError::Invalid));
    assert_eq!(make(CacheRequest { align: 24, ..request("align", 24) }), Err(CreateError::Invalid));
    assert_eq!(make(request("large", 4 << 20)), Ok(()));
}

#[test]
fn t41d_caches_of_like_size_share_slabs_unless_told_not_to() {
    let board = small();
    let slabs = slabs(&board, &config(1, 1));
    let frames = frames(&board);
    let first = slabs.create(&request("first", 200), &frames).unwrap();
    let second = slabs.create(&request("second", 196), &frames).unwrap();
    assert!(std::ptr::eq(first, second));
    let own = slabs.create(&CacheRequest { ctor: Some(|_| {}), ..request("own", 200) }, &frames).unwrap();
    let apart = slabs.create(&CacheRequest { flags: SlabFlags::NO_MERGE, ..request("apart", 200) }, &frames);
    assert!(!std::ptr::eq(first, own) && !std::ptr::eq(first, apart.unwrap()));
    let reclaim = CacheRequest { flags: SlabFlags::RECLAIM_ACCOUNT, ..request("reclaim", 200) };
    assert!(!std::ptr::eq(first, slabs.create(&reclaim, &frames).unwrap()));
    let names: Vec<_> = slabs.aliases().map(|(name, cache)| format!("{name}>{}", cache.name())).collect();
    assert_eq!(names, ["second>first"]);
    assert_eq!(slabs.create(&request("second", 200), &frames).err(), Some(CreateError::Exists));
    // SAFETY: nobody uses the caches any more.
    unsafe {
        assert_eq!(slabs.destroy("first"), Err(CreateError::Busy));
        slabs.destroy("second").unwrap();
        slabs.destroy("first").unwrap();
        assert_eq!(slabs.destroy("first"), Err(CreateError::Unknown));
        assert_eq!(slabs.destroy("kmalloc-8"), Err(CreateError::Invalid));
    }
    let unmerged = SlabConfig { merge: false, ..config(1, 1) };
    let board = small();
    let slabs = crate::slab_fixture::slabs(&board, &unmerged);
    let frames = crate::slab_fixture::frames(&board);
    let first = slabs.create(&request("first", 200), &frames).unwrap();
    assert!(!std::ptr::eq(first, slabs.create(&request("second", 200), &frames).unwrap()));
}

#[test]
fn kmalloc_serves_every_size_and_knows_it() {
    let board = small();
    let slabs = slabs(&board, &config(1, 1));
    let frames = frames(&board);
    let free = board.total_free_pages();
    let mut held = Vec::new();
    for size in (1..300).chain([511, 512, 513, 4000, 8192, 8193, 20_000, 1 << 20, KMALLOC_MAX]) {
        let object = slabs.kmalloc(&frames, size, GFP).unwrap();
        let room = slabs.ksize(object).unwrap();
        assert!(room >= size && (size < 64 || room < 2 * size), "{size} got {room}");
        if size.is_power_of_two() {
            assert!(at(object).is_multiple_of(size.min(4096)), "{size}");
        }
        // SAFETY: the object is ours.
        unsafe { object.write_bytes(0xee, room) };
        held.push(object);
    }
    assert_eq!(slabs.totals(None).large, 4 + 8 + 256 + 1024);
    slabs.verify().unwrap();
    held.into_iter().for_each(|object| kfree(&slabs, object).unwrap());
    assert_eq!(slabs.totals(None).large, 0);
    slabs.caches().for_each(|cache| {
        slabs.flush_cpu(cache);
        slabs.shrink(cache);
    });
    assert_eq!(slabs.kmalloc(&frames, 0, GFP), Ok(ZERO_SIZE_PTR));
    assert_eq!(
        (at(ZERO_SIZE_PTR), slabs.ksize(ZERO_SIZE_PTR), kfree(&slabs, ZERO_SIZE_PTR)),
        (16, Ok(0), Ok(()))
    );
    assert_eq!(slabs.kmalloc(&frames, KMALLOC_MAX + 1, GFP), Err(AllocError::BadSize));
    assert_eq!(slabs.kcalloc(&frames, 1 << 63, 2, GFP), Err(AllocError::BadSize));
    // SAFETY: a null pointer is nothing.
    assert_eq!(unsafe { slabs.kfree(std::ptr::null_mut()) }, Ok(()));
    assert_eq!(board.total_free_pages(), free);
}

#[test]
fn krealloc_keeps_the_content() {
    let board = small();
    let slabs = slabs(&board, &config(1, 1));
    let frames = frames(&board);
    let mut object = std::ptr::null_mut();
    let mut last = 0;
    for size in [10, 16, 17, 100, 5000, 9000, 50_000, 3] {
        // SAFETY: the object is ours, and replaced by the result.
        let new = unsafe { slabs.krealloc(&frames, object, size, GFP) }.unwrap();
        for n in 0..last.min(size) {
            // SAFETY: the object has that many bytes.
            assert_eq!(unsafe { new.add(n).read() }, n as u8, "byte {n} of {size}");
        }
        // SAFETY: as above.
        (0..size).for_each(|n| unsafe { new.add(n).write(n as u8) });
        (object, last) = (new.as_ptr(), size);
    }
    // SAFETY: ours.
    unsafe { slabs.kfree(object) }.unwrap();
    slabs.verify().unwrap();
}

#[test]
fn zeroing_happens_when_asked_for_and_at_boot_settings() {
    let look = |config: &SlabConfig, gfp| {
        let board = small();
        let slabs = slabs(&board, config);
        let frames = frames(&board);
        let first = slabs.kmalloc(&frames, 64, gfp).unwrap();
        // SAFETY: the object is ours.
        unsafe { first.write_bytes(0xff, 64) };
        kfree(&slabs, first).unwrap();
        let again = slabs.kmalloc(&frames, 64, gfp).unwrap();
        assert_eq!(again, first);
        // SAFETY: as above; every byte was written.
        let bytes = unsafe { std::slice::from_raw_parts(again.as_ptr(), 64) };
        // The link of the free list lay in the middle.
        let dirty = bytes.iter().filter(|byte| **byte != 0).count();
        slabs.verify().unwrap();
        dirty
    };
    assert!(look(&config(1, 1), GFP) >= 56);
    assert_eq!(look(&config(1, 1), GFP | GfpFlags::__GFP_ZERO), 0);
    assert_eq!(look(&SlabConfig { init_on_alloc: true, ..config(1, 1) }, GFP), 0);
    assert!(look(&SlabConfig { init_on_free: true, ..config(1, 1) }, GFP) <= 8);
}

#[test]
fn wrong_frees_are_refused_and_change_nothing() {
    let board = small();
    let slabs = slabs(&board, &config(1, 1));
    let frames = frames(&board);
    let own = |name, size| {
        slabs.create(&CacheRequest { flags: SlabFlags::NO_MERGE, ..request(name, size) }, &frames).unwrap()
    };
    let (a, b) = (own("a", 64), own("b", 96));
    let object = slabs.alloc(a, &frames, GFP).unwrap();
    let other = slabs.alloc(a, &frames, GFP).unwrap();
    let wrong = |result: Result<(), ObjectError>| result.unwrap_err();
    assert!(matches!(wrong(give(&slabs, b, object)), ObjectError::WrongCache { .. }));
    let inside = object.map_addr(|addr| addr.checked_add(8).unwrap());
    assert_eq!(wrong(give(&slabs, a, inside)), ObjectError::NotAtStart(at(inside)));
    assert_eq!(wrong(kfree(&slabs, inside)), ObjectError::NotAtStart(at(inside)));
    let mut local = 0_u64;
    let stranger = NonNull::from(&mut local).cast::<u8>();
    assert_eq!(wrong(kfree(&slabs, stranger)), ObjectError::NotAnObject(at(stranger)));
    // A page that was never given to the slab allocator.
    let page = board.alloc_pages(GFP, mm::addr::Order::ZERO).unwrap();
    let page_ptr =
        mm::port::PhysMem::ptr(mm::port::Machine::physmem(board.machine()), page.pfn().addr()).unwrap();
    assert_eq!(wrong(kfree(&slabs, page_ptr)), ObjectError::NotAnObject(at(page_ptr)));
    board.free_pages(page).unwrap();
    give(&slabs, a, object).unwrap();
    assert!(matches!(wrong(give(&slabs, a, object)), ObjectError::DoubleFree { .. }));
    assert!(matches!(wrong(kfree(&slabs, object)), ObjectError::DoubleFree { .. }));
    let large = slabs.kmalloc(&frames, 20_000, GFP).unwrap();
    let inside = large.map_addr(|addr| addr.checked_add(8).unwrap());
    assert_eq!(wrong(kfree(&slabs, inside)), ObjectError::NotAtStart(at(inside)));
    kfree(&slabs, large).unwrap();
    assert_eq!(wrong(kfree(&slabs, large)), ObjectError::NotAnObject(at(large)));
    slabs.verify().unwrap();
    give(&slabs, a, other).unwrap();
    slabs.verify().unwrap();
}

/// The page allocator does not take the pages of a slab from under it.
#[test]
fn pages_of_a_slab_cannot_be_freed_as_pages() {
    let board = small();
    let slabs = slabs(&board, &config(1, 1));
    let frames = frames(&board);
    let object = slabs.kmalloc(&frames, 64, GFP).unwrap();
    let addr = mm::port::PhysMem::addr_of(mm::port::Machine::physmem(board.machine()), object).unwrap();
    assert!(board.give(addr.pfn().get(), 0).is_err());
    kfree(&slabs, object).unwrap();
    slabs.verify().unwrap();
}

#[test]
fn shrinking_gives_back_all_but_what_is_used() {
    let board = small();
    let slabs = slabs(&board, &config(1, 1));
    let frames = frames(&board);
    let cache = slabs.create(&request("s", 520), &frames).unwrap();
    let free = board.total_free_pages();
    let objects: Vec<_> = (0..500).map(|_| slabs.alloc(cache, &frames, GFP).unwrap()).collect();
    let kept = objects[77];
    objects
        .into_iter()
        .filter(|object| *object != kept)
        .for_each(|object| give(&slabs, cache, object).unwrap());
    slabs.flush_cpu(cache);
    slabs.shrink(cache);
    assert_eq!(cache.stats().slabs, 1);
    slabs.verify().unwrap();
    give(&slabs, cache, kept).unwrap();
    slabs.flush_cpu(cache);
    slabs.shrink(cache);
    assert_eq!((cache.stats().slabs, board.total_free_pages()), (0, free));
}

#[test]
fn without_memory_allocation_fails_cleanly_and_goes_on_later() {
    let board = small();
    let slabs = slabs(&board, &config(1, 1));
    let cache = slabs.create(&request("f", 1000), &frames(&board)).unwrap();
    let flaky = Flaky::new(&board, 3);
    let mut objects = BTreeSet::new();
    let error = loop {
        match slabs.alloc(cache, &flaky, GFP) {
            Ok(object) => assert!(objects.insert(at(object))),
            Err(error) => break error,
        }
    };
    assert_eq!(error, AllocError::OutOfMemory);
    assert_eq!(objects.len(), 3 * cache.geometry().objects as usize);
    slabs.verify().unwrap();
    flaky.left.set(1);
    objects.insert(at(slabs.alloc(cache, &flaky, GFP).unwrap()));
    assert_eq!(cache.stats().active_objects as usize, objects.len());
    assert_eq!(slabs.create(&request("g", 1 << 20), &Flaky::new(&board, 0)).err(), None);
    slabs.verify().unwrap();
}

/// One CPU allocates, another frees: nothing is lost, and pages come back.
#[test]
fn t41c_producer_and_consumer_lose_nothing() {
    let board = board(64 * MIB, 2);
    let slabs = slabs(&board, &config(2, 1));
    let frames = frames(&board);
    let cache = slabs.create(&request("pc", 256), &frames).unwrap();
    let free = board.total_free_pages();
    let cpus = board.machine();
    let cpus = mm::port::Machine::cpu(cpus);
    for _ in 0..200 {
        let objects: Vec<_> =
            cpus.run_on(CpuId(0), || (0..100).map(|_| slabs.alloc(cache, &frames, GFP).unwrap()).collect());
        cpus.run_on(CpuId(1), || objects.into_iter().for_each(|object| give(&slabs, cache, object).unwrap()));
    }
    assert_eq!(cache.stats().active_objects, 0);
    slabs.verify().unwrap();
    // What the consumer keeps is bounded: empty slabs are reused or given back.
    assert!(cache.stats().slabs <= 260, "{:?}", cache.stats());
    for cpu in [0, 1] {
        cpus.run_on(CpuId(cpu), || slabs.flush_cpu(cache));
    }
    slabs.shrink(cache);
    assert_eq!(board.total_free_pages(), free);
}

/// A frame that was the tail of a slab says nothing of it when the frame before it heads another.
#[test]
fn the_pages_of_a_former_slab_are_nobodys() {
    let board = small();
    let slabs = slabs(&board, &config(1, 1));
    let frames = frames(&board);
    let pfn_of = |object| {
        let memory = mm::port::Machine::physmem(board.machine());
        mm::port::PhysMem::addr_of(memory, object).unwrap().pfn().get()
    };
    let large = slabs
        .create(&CacheRequest { flags: SlabFlags::NO_MERGE, ..request("large", 3000) }, &frames)
        .unwrap();
    let small =
        slabs.create(&CacheRequest { flags: SlabFlags::NO_MERGE, ..request("small", 64) }, &frames).unwrap();
    let (order, objects) = (large.geometry().order.get(), large.geometry().objects);
    assert!(order > 0 && small.geometry().order.get() == 0);
    let held: Vec<_> = (0..objects).map(|_| slabs.alloc(large, &frames, GFP).unwrap()).collect();
    let tail = *held.iter().max_by_key(|object| at(**object)).unwrap();
    let head = pfn_of(*held.iter().min_by_key(|object| at(**object)).unwrap());
    assert!(pfn_of(tail) > head);
    held.into_iter().for_each(|object| give(&slabs, large, object).unwrap());
    slabs.flush_cpu(large);
    slabs.shrink(large);
    // Take pages until the first one of the former slab heads one of the other cache.
    let mut taken = Vec::new();
    while let Some(object) = slabs.alloc(small, &frames, GFP).ok().filter(|object| pfn_of(*object) != head) {
        taken.push(object);
    }
    assert_eq!(slabs.ksize(tail), Err(ObjectError::NotAnObject(at(tail))));
}

#[test]
fn every_allocation_of_an_object_survives_its_failure() {
    let board = small();
    let slabs = slabs(&board, &config(1, 1));
    let frames = frames(&board);
    let work = || -> Result<(), AllocError> {
        let object = slabs.kmalloc(&frames, 100, GFP)?;
        // SAFETY: the test owns the object, whatever becomes of it.
        let grown = unsafe { slabs.krealloc(&frames, object.as_ptr(), 9000, GFP) };
        kfree(&slabs, *grown.as_ref().unwrap_or(&object)).unwrap();
        grown.map(|_| ())
    };
    work().unwrap();
    let settle = || {
        slabs.caches().for_each(|cache| {
            slabs.flush_cpu(cache);
            slabs.shrink(cache);
        });
        (board.total_free_pages(), board.leaked_pages())
    };
    let before = settle();
    for nth in 1.. {
        let made = board.injected_failures();
        board.set_fail_nth(nth);
        let result = work();
        board.set_fail_nth(0);
        slabs.verify().unwrap();
        assert_eq!(settle(), before, "after failure {nth}");
        if board.injected_failures() == made {
            result.unwrap();
            // The object, its slab, the large one.
            assert_eq!(nth, 4);
            break;
        }
        assert_eq!(result, Err(AllocError::OutOfMemory), "failure {nth} is passed on");
    }
}

/// Objects of every size start at multiples of it, and nothing else is one: in the slab that allocations come from too.
#[test]
fn an_address_inside_of_an_object_is_refused_whatever_its_size() {
    let board = small();
    let (slabs, frames) = (slabs(&board, &config(1, 1)), frames(&board));
    for size in [8, 24, 40, 64, 96, 100, 192, 200, 1000, 1024, 3000, 4096] {
        let name = format!("inside_{size}");
        let cache = slabs
            .create(&CacheRequest { flags: SlabFlags::NO_MERGE, ..request(&name, size) }, &frames)
            .unwrap();
        let held: Vec<_> = (0..3).map(|_| slabs.alloc(cache, &frames, GFP).unwrap()).collect();
        for object in &held {
            for inside in 1..size as usize {
                // SAFETY: the address stays in the object.
                let wrong = unsafe { object.add(inside) };
                assert_eq!(
                    give(&slabs, cache, wrong),
                    Err(ObjectError::NotAtStart(at(wrong))),
                    "{size} {inside}"
                );
            }
        }
        slabs.verify().unwrap();
        held.into_iter().for_each(|object| give(&slabs, cache, object).unwrap());
    }
}

/// Without reuse no place is given out twice while its slab has others in use, and a slab goes back with its last one.
#[test]
fn places_are_left_unused_if_they_are_not_to_be_reused() {
    let board = small();
    let once = SlabConfig { reuse: false, ..config(1, 1) };
    let (slabs, frames) = (slabs(&board, &once), frames(&board));
    let cache =
        slabs.create(&CacheRequest { flags: SlabFlags::NO_MERGE, ..request("once", 64) }, &frames).unwrap();
    let kept = slabs.alloc(cache, &frames, GFP).unwrap();
    let objects = cache.geometry().objects as usize;
    let mut seen = std::collections::BTreeSet::from([at(kept)]);
    for _ in 1..objects {
        let object = slabs.alloc(cache, &frames, GFP).unwrap();
        assert!(seen.insert(at(object)), "a place twice");
        give(&slabs, cache, object).unwrap();
        slabs.verify().unwrap();
    }
    let next = slabs.alloc(cache, &frames, GFP).unwrap();
    assert!(!seen.contains(&at(next)) && cache.stats().slabs == 2);
    assert_eq!(cache.stats().active_objects, 2);
    give(&slabs, cache, kept).unwrap();
    assert_eq!(cache.stats().slabs, 1, "the first slab is gone");
    give(&slabs, cache, next).unwrap();
    slabs.flush_all(cache);
    assert_eq!(cache.stats().slabs, 0);
    slabs.verify().unwrap();
}
