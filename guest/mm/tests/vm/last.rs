//! When no room can be made somebody goes, for allocations that may ask for that, and for no others.

use super::files::{READ, Volume, map, word};
use super::reclaim::reclaim;
use super::{World, keep, page};
use crate::board::reserves;
use mm::addr::{Order, PAGE_SIZE};
use mm::cache::FileMode;
use mm::errno::Errno;
use mm::fault::Fault;
use mm::phys::{FrameAllocator, GfpFlags, ReserveConfig, ZoneAllocator};
use mm::port::{Access, Cpu as _, Machine as _, TaskFlags};
use mm::reclaim::{OomKiller, Reclaim, Reclaiming};
use mm::space::{Mm, OvercommitMode, Rss, ThpMode, Vm};
use sim::Machine;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

const KERNEL: GfpFlags = GfpFlags::GFP_KERNEL;
const PAGES: u64 = 16;

/// Takes the memory of one context, when it is asked to.
struct Killer {
    vm: &'static Vm<'static, Machine>,
    hog: Mutex<Option<u32>>,
    asked: Mutex<Vec<(GfpFlags, Order)>>,
    frees: AtomicBool,
    takes_asker: AtomicBool,
    is_victim: AtomicBool,
}

impl OomKiller for Killer {
    fn out_of_memory(&self, gfp: GfpFlags, order: Order) -> bool {
        let cpu = self.vm.machine().cpu();
        assert!(cpu.can_wait() && cpu.task_flags().contains(TaskFlags::PF_MEMALLOC));
        let times = {
            let mut asked = self.asked.lock().unwrap();
            asked.push((gfp, order));
            asked.len()
        };
        if self.takes_asker.load(Ordering::Relaxed) {
            self.is_victim.store(true, Ordering::Relaxed);
            return times < 3;
        }
        if !self.frees.load(Ordering::Relaxed) {
            return false;
        }
        let Some(id) = self.hog.lock().unwrap().take() else { return false };
        self.vm.reap(self.vm.mm(id).unwrap(), &ZoneAllocator::new(self.vm.phys())).unwrap() != 0
    }

    fn is_victim(&self) -> bool {
        self.is_victim.load(Ordering::Relaxed)
    }
}

/// A machine without swap on which a context has taken all that there is for it, and others the rest.
struct Full {
    world: World,
    hog: u32,
    killer: &'static Killer,
    reclaim: &'static Reclaim<'static, Machine>,
    frames: &'static Reclaiming<'static, Machine>,
    volume: &'static Volume,
}

impl Full {
    fn new() -> Self {
        let world = World::with(16, 1, false);
        world.board.set_reserves(&reserves(1024));
        world.vm.settings().set_thp(ThpMode::Never);
        world.vm.settings().set_overcommit(OvercommitMode::Always);
        let volume = keep(Volume::new(&world));
        // SAFETY: tests keep the world while they use this.
        let vm: &'static Vm<'static, Machine> = unsafe { &*std::ptr::from_ref(world.vm) };
        let reclaim = keep(reclaim(&world));
        let frames = keep(Reclaiming::new(keep(ZoneAllocator::new(world.board)), reclaim));
        let killer = keep(Killer {
            vm,
            hog: Mutex::new(None),
            asked: Mutex::new(Vec::new()),
            frees: AtomicBool::new(true),
            takes_asker: AtomicBool::new(false),
            is_victim: AtomicBool::new(false),
        });
        reclaim.kill_with(killer);
        let hog = world.context().id();
        *killer.hog.lock().unwrap() = Some(hog);
        Self { world, hog, killer, reclaim, frames, volume }
    }

    fn hog(&self) -> &'static Mm<'static, Machine> {
        self.killer.vm.mm(self.hog).unwrap()
    }

    /// Nothing is left.
    fn fill(&self) {
        let at = self.world.map(self.hog(), 4096);
        let mut n = 0;
        while self.world.resolve(self.hog(), page(at, n), Access::Write) != Fault::Oom {
            n += 1;
        }
        assert!(self.hog().counters().rss(Rss::Anon) > 1000);
        while self.world.board.take(GfpFlags::GFP_ATOMIC, 0).is_some() {}
    }

    fn asked(&self) -> Vec<(GfpFlags, Order)> {
        std::mem::take(&mut self.killer.asked.lock().unwrap())
    }

    fn is_hog_whole(&self) -> bool {
        self.hog().counters().rss(Rss::Anon) > 1000
    }
}

/// A read through the page cache needs a page, and there is none: who has all others goes, once, and the reader gets on.
#[test]
fn a_reader_gets_its_pages_and_the_hog_goes() {
    let full = Full::new();
    let world = &full.world;
    let file = full.volume.file(world, 1, PAGES, FileMode::READ);
    let reader = world.context();
    let at = map(world, reader, file, PAGES, READ);
    full.fill();
    let mut sums = Vec::new();
    for n in 0..PAGES {
        // SAFETY: the page cache shows as many bytes, and nobody writes them.
        let take = |at: NonNull<u8>, _| sums.push(unsafe { at.cast::<u64>().read() });
        let read = world.vm.cache().read(file, n * PAGE_SIZE, 8, full.frames, take);
        assert_eq!(read, Ok(8));
    }
    assert_eq!(sums, (0..PAGES).map(|n| word(1, n)).collect::<Vec<_>>());
    assert_eq!(full.asked(), [(GfpFlags::GFP_USER | GfpFlags::__GFP_MOVABLE, Order::ZERO)]);
    assert!(full.hog().is_unstable() && full.hog().counters().rss(Rss::Anon) == 0);
    world.run(reader);
    (0..PAGES).for_each(|n| assert_eq!(world.load(reader, page(at, n)), Ok(word(1, n))));
    let refused = world.vm.populate(full.hog(), at, PAGE_SIZE, Access::Read, full.frames);
    assert_eq!(refused, Err(Errno::Enomem), "who must end gets no more");
    world.verify();
}

/// Who says that he can do without, who may not wait, and who may not use files is told that there is none.
#[test]
fn who_can_do_without_kills_nobody() {
    let full = Full::new();
    full.fill();
    let cpu = full.world.machine().cpu();
    let spared = [
        KERNEL | GfpFlags::__GFP_NORETRY,
        KERNEL | GfpFlags::__GFP_RETRY_MAYFAIL,
        KERNEL | GfpFlags::__GFP_THISNODE,
        KERNEL | GfpFlags::GFP_DMA,
        KERNEL | GfpFlags::GFP_DMA32,
        GfpFlags::GFP_NOFS,
        GfpFlags::GFP_NOIO,
        GfpFlags::GFP_NOWAIT,
        GfpFlags::GFP_ATOMIC,
    ];
    let is_refused = |gfp, order| full.frames.alloc(gfp, Order::new(order).unwrap()).is_err();
    for gfp in spared {
        assert!(is_refused(gfp, 0), "{gfp}");
    }
    assert!(is_refused(KERNEL, 4), "large blocks");
    for flags in [TaskFlags::PF_MEMALLOC_NOFS, TaskFlags::PF_MEMALLOC_NOIO] {
        let _scope = cpu.memalloc_scope(flags);
        assert!(is_refused(KERNEL, 0) && !full.reclaim.try_again(KERNEL, Order::ZERO));
    }
    {
        let _masked = cpu.irq_guard();
        assert!(is_refused(KERNEL, 0));
    }
    {
        let _scope = cpu.memalloc_scope(TaskFlags::PF_MEMALLOC);
        while !is_refused(KERNEL, 0) {}
    }
    assert!(full.asked().is_empty() && full.is_hog_whole());
    let page = full.frames.alloc(KERNEL, Order::new(3).unwrap()).unwrap();
    assert_eq!(full.asked(), [(KERNEL, Order::new(3).unwrap())]);
    full.frames.free(page).unwrap();
}

/// One that must end gets half of what others must leave, and then nothing; nobody else goes for it.
#[test]
fn who_must_end_uses_reserves_and_kills_nobody() {
    let full = Full::new();
    let board = full.world.board;
    // What is left when such allocations get no more.
    let left = |gfp| {
        while full.frames.alloc(gfp, Order::ZERO).is_ok() {}
        board.drain_all_pages();
        board.total_free_pages()
    };
    full.killer.frees.store(false, Ordering::Relaxed);
    let ordinary = left(KERNEL);
    assert_eq!(full.asked().len(), 1);
    full.killer.is_victim.store(true, Ordering::Relaxed);
    assert_eq!(left(KERNEL | GfpFlags::__GFP_NOMEMALLOC), ordinary);
    let dying = left(KERNEL);
    // What is fetched at once may go below by less than a batch.
    let min: u64 = board.populated_zones().map(|zone| zone.watermarks().min).sum();
    assert!(min >= 256 && dying.abs_diff(ordinary - min / 2) < 64, "{ordinary} {dying} of {min}");
    assert!(full.reclaim.try_again(KERNEL, Order::ZERO), "it finds out when it tries");
    assert!(full.asked().is_empty());
}

/// One that is chosen while it asks is not asked for another: it gets the same from the reserves, at once.
#[test]
fn who_is_chosen_while_it_asks_asks_no_more() {
    let full = Full::new();
    let board = full.world.board;
    full.killer.takes_asker.store(true, Ordering::Relaxed);
    let mut pages = 0;
    while full.killer.asked.lock().unwrap().is_empty() {
        pages = board.total_free_pages();
        assert!(full.frames.alloc(KERNEL, Order::ZERO).is_ok(), "{pages} were free");
    }
    assert_eq!(full.asked().len(), 1);
    while full.frames.alloc(KERNEL, Order::ZERO).is_ok() {}
    let min: u64 = board.populated_zones().map(|zone| zone.watermarks().min).sum();
    assert!(pages - board.total_free_pages() > min / 4, "{pages} {min}");
    assert!(full.asked().is_empty());
}

/// Nobody is asked while there is room, whatever fails; and who finds nobody to go is told, once each time.
#[test]
fn nobody_goes_in_vain() {
    let full = Full::new();
    assert_eq!(full.reclaim.with_room(|| Err::<(), _>(Errno::Enomem)), Err(Errno::Enomem));
    let tries = (0..100).filter(|_| full.reclaim.try_again(KERNEL, Order::ZERO)).count();
    assert_eq!((tries, full.asked().len()), (16, 0), "failures on purpose are believed");
    full.fill();
    full.killer.frees.store(false, Ordering::Relaxed);
    assert!(full.frames.alloc(KERNEL, Order::ZERO).is_err());
    assert!(!full.reclaim.try_again(KERNEL, Order::ZERO));
    assert_eq!(full.asked(), [(KERNEL, Order::ZERO); 2]);
    full.killer.frees.store(true, Ordering::Relaxed);
    assert!(full.reclaim.try_again(KERNEL, Order::ZERO) && !full.is_hog_whole());
}

/// A mark that is raised for a while is lowered before anybody goes for it.
#[test]
fn a_boost_is_no_reason_to_go() {
    let full = Full::new();
    let board = full.world.board;
    board.set_reserves(&ReserveConfig { watermark_boost_factor: 15_000, ..reserves(1024) });
    full.killer.frees.store(false, Ordering::Relaxed);
    // Pages of other kinds than those that are taken then, so that kinds mix.
    let movable = || board.take(GfpFlags::GFP_HIGHUSER_MOVABLE, 0);
    let (kept, freed): (Vec<u64>, Vec<u64>) = std::iter::from_fn(movable).partition(|page| page % 4 == 0);
    freed.into_iter().for_each(|page| board.give(page, 0).unwrap());
    board.drain_all_pages();
    let boost = || board.populated_zones().map(|zone| zone.watermark_boost()).sum::<u64>();
    let mut highest = 0;
    while full.frames.alloc(KERNEL, Order::ZERO).is_ok() {
        highest = boost().max(highest);
    }
    assert!(highest > 0 && boost() == 0 && full.asked().len() == 1);
    let min: u64 = board.populated_zones().map(|zone| zone.watermarks().min).sum();
    board.drain_all_pages();
    assert!(board.total_free_pages() < min + 64, "{} of {min}", board.total_free_pages());
    drop(kept);
}
