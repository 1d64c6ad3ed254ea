//! The layout of a cache: where an object's parts lie, and how many objects of which order make a slab.
//!
//! Owns: the rules, as pure functions. Invariants: [`Geometry::size`] is a multiple of the alignment; all parts of
//! an object lie in it without overlap; at least one object fits a slab. Source: Linux `mm/slub.c`
//! (`calculate_sizes`, `calculate_order`) and `mm/slab_common.c` (`calculate_alignment`), 6.18: the numbers are
//! those of `/proc/slabinfo` there.
//!
//! An object, lowest address first: left red zone, the object, right red zone, the link of a free object (where it
//! may not lie inside), two tracks, padding.

use super::SlabFlags;
use super::track::Track;
use crate::addr::{Order, PAGE_SIZE};

/// Size of a machine word in bytes: the least alignment.
pub(super) const WORD: u32 = size_of::<usize>() as u32;
const CACHE_LINE: u32 = 64;
/// The most objects of one slab (Linux `MAX_OBJS_PER_PAGE`): their number fits 15 bits.
pub(super) const MAX_OBJECTS: u32 = 32767;

/// How slabs are sized (`slab_min_order=`, `slab_max_order=`, `slab_min_objects=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OrderRules {
    /// The smallest order.
    pub min_order: u32,
    /// The largest order, where the size allows.
    pub max_order: u32,
    /// The least number of objects in a slab, where the largest order allows; 0 derives it from the CPUs.
    pub min_objects: u32,
    /// How many CPUs there are.
    pub cpus: u32,
}

/// See the module documentation. Sizes and offsets are in bytes; offsets count from the start of the object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// What the user asked for.
    pub object_size: u32,
    /// From one object to the next.
    pub size: u32,
    /// Alignment of every object.
    pub align: u32,
    /// End of the object and its right red zone.
    pub inuse: u32,
    /// Where the link of a free object lies.
    pub offset: u32,
    /// Bytes of the left red zone.
    pub red_left: u32,
    /// Where the tracks lie, if there are any.
    pub tracks: Option<u32>,
    /// The order of a slab.
    pub order: Order,
    /// Objects in a slab.
    pub objects: u32,
}

/// The alignment of a cache that was asked for `align` (0 for none).
pub(super) fn alignment(flags: SlabFlags, align: u32, size: u32) -> u32 {
    let mut wanted = align;
    if flags.contains(SlabFlags::HWCACHE_ALIGN) {
        let mut line = CACHE_LINE;
        while size <= line / 2 {
            line /= 2;
        }
        wanted = wanted.max(line);
    }
    wanted.max(WORD).next_multiple_of(WORD)
}

impl Geometry {
    /// The layout of objects of `object_size` bytes; `None` if no slab can hold one.
    pub(super) fn new(
        object_size: u32,
        align: u32,
        flags: SlabFlags,
        has_ctor: bool,
        rules: &OrderRules,
        hardened: bool,
    ) -> Option<Self> {
        let red_zone = flags.contains(SlabFlags::RED_ZONE);
        let mut size = object_size.next_multiple_of(WORD);
        // The padding to a word is the right red zone; without padding it takes a word.
        if red_zone && size == object_size {
            size += WORD;
        }
        let inuse = size;
        let keeps_content = flags.intersects(SlabFlags::TYPESAFE_BY_RCU | SlabFlags::POISON) || has_ctor;
        let offset = if keeps_content || (red_zone && object_size < WORD) {
            size += WORD;
            size - WORD
        } else if hardened {
            // In the middle, away from overruns of the neighbours.
            (object_size / 2) & !(WORD - 1)
        } else {
            // Where the user is most likely to have written last, and to write next.
            0
        };
        let mut tracks = None;
        if flags.contains(SlabFlags::STORE_USER) {
            tracks = Some(size);
            size += 2 * size_of::<Track>() as u32;
        }
        let mut red_left = 0;
        if red_zone {
            red_left = WORD.next_multiple_of(align);
            size += WORD + red_left;
        }
        size = size.checked_next_multiple_of(align)?;
        let order = slab_order(size, rules)?;
        let objects = objects_in(order.get(), size).min(MAX_OBJECTS);
        Some(Self { object_size, size, align, inuse, offset, red_left, tracks, order, objects })
    }

    /// Bytes of a slab.
    pub(super) fn slab_bytes(&self) -> usize {
        (PAGE_SIZE as usize) << self.order.get()
    }

    /// Bytes of a slab that objects take.
    pub(super) fn used_bytes(&self) -> usize {
        self.objects as usize * self.size as usize
    }
}

fn objects_in(order: u32, size: u32) -> u32 {
    ((PAGE_SIZE as u32) << order) / size.max(1)
}

/// The order of a slab of objects of `size` bytes: enough objects to be worth the trip to the page allocator,
/// little waste at the end, and as small as that allows.
fn slab_order(size: u32, rules: &OrderRules) -> Option<Order> {
    let wanted = match rules.min_objects {
        0 => 4 * (u32::BITS - rules.cpus.max(1).leading_zeros() + 1),
        n => n,
    };
    let wanted = wanted.min(objects_in(rules.max_order, size).max(1));
    let covering = |bytes: u64| Order::covering(bytes.div_ceil(PAGE_SIZE)).map(Order::get);
    let least = rules.min_order.max(covering(u64::from(wanted) * u64::from(size))?);
    if objects_in(least, size) > MAX_OBJECTS {
        return Order::new(covering(u64::from(size) * u64::from(MAX_OBJECTS))? - 1);
    }
    // First at most 1/16 may be left over, then 1/8, and so on.
    for fraction in [16, 8, 4, 2] {
        for order in least..=rules.max_order {
            let bytes = (PAGE_SIZE as u32) << order;
            if bytes % size <= bytes / fraction {
                return Order::new(order);
            }
        }
    }
    Order::new(covering(u64::from(size))?)
}

#[cfg(test)]
mod tests;
