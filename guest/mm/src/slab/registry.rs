//! The caches there are: making, finding, merging and destroying them.
//!
//! Owns: the table of caches by number and their names. Invariants: a number in the frame of a slab always names its
//! cache; names are unique among caches and aliases; memory of caches comes from the cache `kmem_cache`, whose own
//! comes from the page allocator. Source: Linux `mm/slab_common.c` (`kmem_cache_create`, `find_mergeable`).

use super::cache::{Cache, CpuSlab, NodeSlabs};
use super::config::SlabConfig;
use super::frame::{SlabFrame, mark_of};
use super::geometry::{Geometry, WORD, alignment};
use super::{CreateError, Ground, Name, SlabFlags, Slabs};
use crate::addr::{Order, PAGE_SIZE};
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::{Machine, PhysMem};
use crate::sync::InitError;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

/// How many caches there can be.
pub(super) const MAX_CACHES: usize = 256;
const MAX_ALIASES: usize = 64;
/// The largest object of a named cache in bytes.
const MAX_OBJECT: u32 = 4 << 20;
/// What a CPU may keep of one cache, as the part of its share of all memory: in slabs that it owns its frees are plain.
/// Other CPUs miss nothing until memory is short, and then all is handed back (`alloc_slow`).
const CPU_KEEPS: u64 = 8;
/// What of it may be empty: reused without a trip to the page allocator, and without constructing objects again.
const CPU_KEEPS_EMPTY: usize = 128 << 10;

/// What a new cache is to be.
#[derive(Clone, Copy)]
pub struct CacheRequest<'n> {
    /// Its name, at most 31 bytes.
    pub name: &'n str,
    /// Size of an object in bytes.
    pub size: u32,
    /// Alignment in bytes, a power of two; 0 for that of a word.
    pub align: u32,
    /// What it is for.
    pub flags: SlabFlags,
    /// Runs once for each object when its slab is made.
    pub ctor: Option<fn(NonNull<u8>)>,
}

/// Under the lock: who uses which cache.
pub(super) struct Registry {
    /// How often each cache was asked for; 0 for a free number.
    users: [u32; MAX_CACHES],
    /// Names of caches that were merged with an older one, and the number of that one.
    aliases: [Option<(Name, u32)>; MAX_ALIASES],
}

impl Registry {
    pub(super) const EMPTY: Self = Self { users: [0; MAX_CACHES], aliases: [None; MAX_ALIASES] };
}

/// The caches by number, for those who have a number only.
pub(super) struct Numbers([AtomicPtr<Cache>; MAX_CACHES]);

impl Numbers {
    pub(super) const fn empty() -> Self {
        Self([const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CACHES])
    }

    #[inline(always)]
    fn get(&self, id: u32) -> Option<&Cache> {
        let cache = NonNull::new(self.0.get(id as usize)?.load(Ordering::Acquire))?;
        // SAFETY: the pointer is of a complete cache; it is taken out before the cache is destroyed, and who
        // destroys a cache promises that nobody uses it any more.
        Some(unsafe { cache.as_ref() })
    }

    fn set(&self, id: u32, cache: *mut Cache) {
        if let Some(slot) = self.0.get(id as usize) {
            slot.store(cache, Ordering::Release);
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Cache> {
        (0..MAX_CACHES as u32).rev().filter_map(|id| self.get(id))
    }
}

impl<'p, M: Machine> Slabs<'p, M> {
    /// Makes the first caches: `kmem_cache` and the size classes.
    ///
    /// # Errors
    /// [`CreateError`]; [`CreateError::Exists`] the second time.
    ///
    /// # Safety
    /// The numbers of all CPUs that will ever use it are below `config.rules.cpus`.
    pub unsafe fn boot(
        &self,
        config: &SlabConfig,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<(), CreateError> {
        let table = *self.phys.frame_table().ok_or(CreateError::NotBooted)?;
        let last = self.phys.nodes().map(|node| node.id().index()).max().unwrap_or(0);
        let filled = self.ground.init(|ground| {
            *ground = Ground { table, config: *config, nodes: last as u32 + 1 };
            Ok::<(), CreateError>(())
        });
        match filled {
            Ok(()) => {}
            Err(InitError::Taken) => return Err(CreateError::Exists),
            Err(InitError::Failed(error)) => return Err(error),
        }
        let bytes = Cache::bytes(config.rules.cpus, last as u32 + 1);
        let order = Order::covering((bytes as u64).div_ceil(PAGE_SIZE)).ok_or(CreateError::Invalid)?;
        let (pfn, _) = frames.alloc(GfpFlags::GFP_NOWAIT, order)?.into_raw();
        let memory = self.machine().physmem().ptr(pfn.addr()).ok_or(CreateError::NoMemory)?;
        let request = CacheRequest {
            name: "kmem_cache",
            size: bytes as u32,
            align: 0,
            flags: SlabFlags::HWCACHE_ALIGN,
            ctor: None,
        };
        // SAFETY: the block has the bytes, aligned to a page, and is ours for good.
        unsafe { self.publish(memory, &request, 0)? };
        self.registry.lock(self.machine().cpu()).users[0] = 1;
        self.boot_kmalloc(frames)
    }

    /// Makes a cache, or finds one that it can share (Linux `kmem_cache_create`).
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn create(
        &self,
        request: &CacheRequest<'_>,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<&Cache, CreateError> {
        let ground = self.ground().ok_or(CreateError::NotBooted)?;
        let name = Name::new(request.name).ok_or(CreateError::Invalid)?;
        let sound = request.size != 0
            && request.size <= MAX_OBJECT
            && (request.align == 0 || request.align.is_power_of_two())
            && u64::from(request.align) <= PAGE_SIZE;
        if !sound {
            return Err(CreateError::Invalid);
        }
        let mut request = *request;
        request.flags |= (ground.config.debug)(request.name);
        if self.find(request.name).is_some() {
            return Err(CreateError::Exists);
        }
        match self.share(name, &request) {
            Some(found) => Ok(found),
            None => self.create_own(&request, frames),
        }
    }

    /// Makes a cache that shares with nobody older.
    pub(super) fn create_own(
        &self,
        request: &CacheRequest<'_>,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<&Cache, CreateError> {
        let ground = self.ground().ok_or(CreateError::NotBooted)?;
        let name = Name::new(request.name).ok_or(CreateError::Invalid)?;
        let mut request = *request;
        request.flags |= (ground.config.debug)(request.name);
        let own = self.numbers.get(0).ok_or(CreateError::NotBooted)?;
        let memory = self.alloc(own, frames, GfpFlags::GFP_KERNEL)?;
        let made = self.number_for(name).and_then(|id| {
            // SAFETY: the object is ours, and objects of `kmem_cache` have the bytes and the alignment.
            let made = unsafe { self.publish(memory, &request, id) };
            if made.is_err() {
                self.give_number_back(id);
            }
            made
        });
        if made.is_err() {
            // SAFETY: the object was allocated above and nobody else knows it.
            let _ = unsafe { self.free(own, memory) };
        }
        made
    }

    /// Builds a cache in `memory` and makes it known as number `id`.
    ///
    /// # Safety
    /// `memory` is aligned to 64 bytes, has [`Cache::bytes`], and belongs to the cache from now on.
    unsafe fn publish(
        &self,
        memory: NonNull<u8>,
        request: &CacheRequest<'_>,
        id: u32,
    ) -> Result<&Cache, CreateError> {
        let ground = self.ground().ok_or(CreateError::NotBooted)?;
        let config = &ground.config;
        let align = alignment(request.flags, request.align, request.size);
        let has_ctor = request.ctor.is_some();
        let geometry =
            Geometry::new(request.size, align, request.flags, has_ctor, &config.rules, config.hardened)
                .ok_or(CreateError::Invalid)?;
        let is_checked = request.flags.intersects(SlabFlags::DEBUG);
        let reuses = config.reuse || is_checked;
        let is_unusual = config.init_on_free || is_checked || !reuses;
        let needs_care = !geometry.size.is_power_of_two() || is_unusual;
        let is_full = geometry.used_bytes() == geometry.slab_bytes();
        let (cpu_count, node_count) = (config.rules.cpus.max(1), ground.nodes);
        let keeps = self.phys.total_managed_pages() / (u64::from(cpu_count) * CPU_KEEPS);
        let cpu_partial_max = (keeps >> geometry.order.get()).max(4) as u32;
        // SAFETY: the parts follow the constants, as `Cache::bytes` counts them; all are multiples of 64 bytes but the
        // last. Nobody else knows the memory.
        let cache = unsafe {
            let cpus = memory.add(size_of::<Cache>()).cast::<CpuSlab>();
            let nodes = cpus.add(cpu_count as usize).cast::<NodeSlabs>();
            for cpu in 0..cpu_count {
                cpus.add(cpu as usize).write(CpuSlab::new(cpu));
            }
            for node in 0..node_count as usize {
                nodes.add(node).write(NodeSlabs::empty());
            }
            let cache = memory.cast::<Cache>();
            cache.write(Cache {
                cpus,
                key: config.random(u64::from(id) ^ memory.as_ptr().addr() as u64) as usize,
                link: geometry.offset as usize,
                hardened: config.hardened,
                is_plain: !needs_care && is_full && !config.hardened && geometry.offset == 0,
                misaligned: if needs_care { usize::MAX } else { geometry.size as usize - 1 },
                inverse: u64::MAX / u64::from(geometry.size) + 1,
                zero_on_alloc: config.init_on_alloc,
                zero_on_free: config.init_on_free,
                is_unusual,
                reuses,
                mark: mark_of(id),
                slab_mask: geometry.slab_bytes() - 1,
                used_bytes: geometry.used_bytes(),
                table: ground.table,
                reciprocal: (1_u64 << 32).div_ceil(u64::from(geometry.size)),
                geometry,
                flags: request.flags,
                ctor: request.ctor,
                id,
                cpu_count,
                node_count,
                nodes,
                cpu_partial_max,
                cpu_empty_max: (CPU_KEEPS_EMPTY / geometry.slab_bytes()).max(4) as u32,
                // Linux: half the logarithm of the size, at least 5 and at most 10.
                min_partial: if reuses { (geometry.size.ilog2() / 2).clamp(5, 10) } else { 0 },
                name: Name::new(request.name).ok_or(CreateError::Invalid)?,
            });
            cache
        };
        self.numbers.set(id, cache.as_ptr());
        self.numbers.get(id).ok_or(CreateError::NoMemory)
    }

    /// Takes a free number for `name`, unless somebody has taken the name meanwhile.
    fn number_for(&self, name: Name) -> Result<u32, CreateError> {
        let mut registry = self.registry.lock(self.machine().cpu());
        let is_alias = registry.aliases.iter().flatten().any(|(alias, _)| *alias == name);
        if is_alias || self.caches().any(|cache| cache.name == name) {
            return Err(CreateError::Exists);
        }
        let free = registry.users.iter_mut().enumerate().find(|(_, users)| **users == 0);
        let (id, users) = free.ok_or(CreateError::NoMemory)?;
        *users = 1;
        Ok(id as u32)
    }

    fn give_number_back(&self, id: u32) {
        if let Some(users) = self.registry.lock(self.machine().cpu()).users.get_mut(id as usize) {
            *users = 0;
        }
    }

    /// Finds a cache that `request` can share, and notes the name as its alias.
    fn share(&self, name: Name, request: &CacheRequest<'_>) -> Option<&Cache> {
        let merge = self.ground()?.config.merge;
        if !merge || request.ctor.is_some() || request.flags.intersects(SlabFlags::NEVER_MERGE) {
            return None;
        }
        let align = alignment(request.flags, request.align, request.size);
        let size = request.size.next_multiple_of(WORD).next_multiple_of(align);
        let same = |cache: &&Cache| {
            let geometry = &cache.geometry;
            // The first cache holds the others, and nothing else.
            cache.id != 0
                && cache.ctor.is_none()
                && !cache.flags.intersects(SlabFlags::NEVER_MERGE)
                && cache.flags & SlabFlags::MERGE_SAME == request.flags & SlabFlags::MERGE_SAME
                && size <= geometry.size
                && geometry.size - size < WORD
                && geometry.size.is_multiple_of(align)
                // What is zeroed when it is allocated must cover what the new user asks for.
                && request.size <= geometry.object_size
        };
        let found = self.numbers.iter().find(same)?;
        let mut registry = self.registry.lock(self.machine().cpu());
        let Registry { users, aliases } = &mut *registry;
        let slot = aliases.iter_mut().find(|slot| slot.is_none())?;
        *users.get_mut(found.id as usize)? += 1;
        *slot = Some((name, found.id));
        Some(found)
    }

    /// The cache made under this name, or merged under it.
    pub fn find(&self, name: &str) -> Option<&Cache> {
        self.caches()
            .find(|cache| cache.name.as_str() == name)
            .or_else(|| self.aliases().find(|(alias, _)| alias.as_str() == name).map(|(_, cache)| cache))
    }

    /// Every cache, the newest first, as `/proc/slabinfo` has them.
    pub fn caches(&self) -> impl Iterator<Item = &Cache> {
        self.numbers.iter()
    }

    /// Every name that was merged, and the cache that serves it.
    pub fn aliases(&self) -> impl Iterator<Item = (Name, &Cache)> {
        (0..MAX_ALIASES).filter_map(|n| {
            let (name, id) = self.registry.lock(self.machine().cpu()).aliases.get(n).copied()??;
            Some((name, self.numbers.get(id)?))
        })
    }

    /// The cache of a slab.
    #[inline(always)]
    pub(super) fn cache_of(&self, slab: SlabFrame<'_>) -> Option<&Cache> {
        self.numbers.get(slab.cache_id())
    }

    /// Destroys a cache, or takes back a merged name (Linux `kmem_cache_destroy`).
    ///
    /// # Errors
    /// [`CreateError::Unknown`]; [`CreateError::Busy`] while objects are in use; [`CreateError::Invalid`] for
    /// `kmem_cache` and the size classes.
    ///
    /// # Safety
    /// Unless the name is an alias, nobody uses the cache during the call or afterwards.
    pub unsafe fn destroy(&self, name: &str) -> Result<(), CreateError> {
        let cache = self.find(name).ok_or(CreateError::Unknown)?;
        if cache.id == 0 || cache.flags.contains(SlabFlags::KMALLOC) {
            return Err(CreateError::Invalid);
        }
        let mut registry = self.registry.lock(self.machine().cpu());
        let Registry { users, aliases } = &mut *registry;
        let users = users.get_mut(cache.id as usize).ok_or(CreateError::Unknown)?;
        if let Some(slot) = aliases.iter_mut().find(|slot| slot.is_some_and(|(n, _)| n.as_str() == name)) {
            *slot = None;
            *users -= 1;
            return Ok(());
        }
        if *users > 1 {
            return Err(CreateError::Busy);
        }
        drop(registry);
        self.flush_all(cache);
        self.shrink(cache);
        if cache.all_nodes().any(|node| node.slabs.load(Ordering::Relaxed) != 0) {
            return Err(CreateError::Busy);
        }
        let (id, memory) = (cache.id, NonNull::from(cache).cast::<u8>());
        self.numbers.set(id, core::ptr::null_mut());
        self.give_number_back(id);
        let own = self.numbers.get(0).ok_or(CreateError::NotBooted)?;
        // SAFETY: the memory came from `create`, and nobody uses the cache any more.
        unsafe { self.free(own, memory) }.map_err(|_| CreateError::Invalid)
    }
}
