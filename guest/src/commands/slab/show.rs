//! What caches are and hold.

use super::named;
use crate::commands::support::{Words, parse};
use crate::commands::{Args, Outcome, fail, usage};
use crate::memory::slab::{self, FRAMES, SLABS};
use crate::{console, report};
use core::ptr::NonNull;
use mm::addr::{Order, PAGE_SIZE};
use mm::phys::GfpFlags;
use mm::slab::CacheRequest;
use shared::exit::ExitStatus;

const GFP: GfpFlags = GfpFlags::GFP_KERNEL;
/// The largest size of the table of costs.
const LARGEST: usize = 8192;
const DEFAULT_COUNT: u64 = 1000;

/// Prints the layout of a cache, and checks that its objects lie where arithmetic says.
pub fn show(args: &mut Args<'_>) -> Outcome {
    let cache = named(args.next_word())?;
    let (g, stats) = (cache.geometry(), cache.stats());
    console::print(format_args!(
        "name={} object_size={} objsize={} align={} objs/slab={} order={} inuse={} offset={} red_left_pad={}\n",
        cache.name(),
        g.object_size,
        g.size,
        g.align,
        g.objects,
        g.order.get(),
        g.inuse,
        g.offset,
        g.red_left
    ));
    console::print(format_args!(
        "active_objs={} num_objs={} slabs={} partial={} allocs={} frees={} slow_allocs={} list_lock={}\n",
        stats.active_objects,
        stats.objects,
        stats.slabs,
        stats.partial_slabs,
        stats.allocs,
        stats.frees,
        stats.slow_allocs,
        stats.list_lock
    ));
    Ok(())
}

/// Checks every invariant of every slab.
pub fn verify() -> Outcome {
    match SLABS.verify() {
        Ok(slabs) => {
            console::print(format_args!("slabs={slabs} caches={} verify=ok\n", SLABS.caches().count()));
            Ok(())
        }
        Err(violation) => report::corruption(format_args!("{violation}")),
    }
}

/// Prints the names that share another cache.
pub fn aliases() -> Outcome {
    let mut count = 0;
    for (name, cache) in SLABS.aliases() {
        console::print(format_args!("alias={name} cache={}\n", cache.name()));
        count += 1;
    }
    console::print(format_args!("aliases={count}\n"));
    Ok(())
}

/// `slab create NAME SIZE [align=N]`.
pub fn create(args: &mut Args<'_>) -> Outcome {
    let (Some(name), Some(size)) = (args.next_word(), args.next_word()) else {
        return Err(usage(format_args!("slab create: expected NAME SIZE [align=N]")));
    };
    let size = parse::size("size", size)?;
    let align = args.take_key("align").map_or(Ok(0), |text| parse::count("align", text))?;
    let (Ok(size), Ok(align)) = (u32::try_from(size), u32::try_from(align)) else {
        return Err(usage(format_args!("slab create: EINVAL: size and align are below 4 GiB")));
    };
    let request = CacheRequest { name, size, align, flags: mm::slab::SlabFlags::empty(), ctor: None };
    match SLABS.create(&request, &FRAMES) {
        Ok(cache) => {
            console::print(format_args!(
                "name={name} cache={} objsize={}\n",
                cache.name(),
                cache.geometry().size
            ));
            Ok(())
        }
        Err(error) => Err(usage(format_args!("slab create: {error}"))),
    }
}

/// `slab cost SIZE [xN]`: pages for objects of a size, from the buddy allocator and from slabs. Without a size, the
/// waste of every class.
pub fn cost(args: &mut Args<'_>) -> Outcome {
    let Some(word) = args.next_word() else { return table() };
    let size = parse::count("size", word)? as usize;
    let count = match args.next_word() {
        Some(text) => parse::count("count", text.trim_start_matches('x'))?,
        None => DEFAULT_COUNT,
    };
    if size > LARGEST {
        return Err(usage(format_args!("slab cost: sizes up to {LARGEST} have a cache")));
    }
    let Some(cache) = SLABS.kmalloc_cache(size, GFP) else { return Ok(()) };
    let Some(mut objects) = Words::alloc(count as usize) else { return Err(no_memory()) };
    let Some(objects) = objects.get_mut(..count as usize) else { return Err(no_memory()) };
    let (mut slabs, mut last) = (0, u64::MAX);
    for slot in objects.iter_mut() {
        *slot = slab::kmalloc(size, GFP).map_or(0, |object| object.as_ptr() as u64);
    }
    objects.sort_unstable();
    let bytes = PAGE_SIZE << cache.geometry().order.get();
    for slab in objects.iter().map(|object| object / bytes) {
        slabs += u64::from(slab != last);
        last = slab;
    }
    let complete = objects.first() != Some(&0);
    for object in objects.iter().filter_map(|object| NonNull::new(*object as *mut u8)) {
        // SAFETY: allocated above, and freed once.
        unsafe { slab::kfree(object) };
    }
    if !complete {
        return Err(no_memory());
    }
    let buddy = count * Order::covering((size as u64).div_ceil(PAGE_SIZE)).map_or(1, Order::pages);
    let pages = slabs * cache.geometry().order.pages();
    let tenths = buddy * 10 / pages.max(1);
    console::print(format_args!(
        "size={size} count={count} cache={} buddy={buddy} pages slab={pages} pages ratio={}.{}\n",
        cache.name(),
        tenths / 10,
        tenths % 10
    ));
    Ok(())
}

/// The smallest and the largest size that each class serves, and what of it is wasted.
fn table() -> Outcome {
    let mut size = 1;
    while size <= LARGEST {
        let Some(cache) = SLABS.kmalloc_cache(size, GFP) else { break };
        let g = cache.geometry();
        let class = g.object_size as usize;
        let slab = (PAGE_SIZE << g.order.get()) as usize;
        let tail = slab - g.objects as usize * g.size as usize;
        console::print(format_args!(
            "cache={} sizes={size}..{class} worst_waste={}% slab_tail_waste={}.{}%\n",
            cache.name(),
            (class - size) * 100 / class,
            tail * 100 / slab,
            tail * 1000 / slab % 10
        ));
        size = class + 1;
    }
    Ok(())
}

fn no_memory() -> ExitStatus {
    fail(ExitStatus::CheckFailed, format_args!("slab cost: not enough memory"))
}
