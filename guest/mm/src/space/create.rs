//! Beginning and end: of the whole, and of a context (Linux `mm_init`, `exit_mmap`).

use super::layout::Layout;
use super::{Counters, Errno, Ground, MAX_MMS, Mm, MmTables, Vm};
use crate::addr::{Order, PAGE_SHIFT, PhysAddr};
use crate::hugetlb::HugePool;
use crate::pgtable::PageTable;
use crate::phys::{AllocError, FrameAllocator, GfpFlags};
use crate::port::{Machine, PteBits};
use crate::shmem::Shmem;
use crate::slab::{CacheRequest, CreateError, SlabFlags};
use crate::sync::{InitError, RwLock};
use crate::vma::{Areas, Objects};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What contexts share.
pub struct Config<'p, M: Machine> {
    /// The kernel's tables: the upper half of every root.
    pub kernel: PageTable<'p, M>,
    /// What entries of contexts must say so that contexts can use them.
    pub user: PteBits,
    /// The pools of huge pages that this CPU can map.
    pub pools: [Option<&'p HugePool<'p, M>>; 2],
}

/// Why there can be no contexts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootError {
    /// There can be already.
    AlreadyBooted,
    /// The page allocator is not booted.
    NotReady,
    /// No memory.
    NoMemory(AllocError),
    /// No cache.
    Cache(CreateError),
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Prepares for contexts.
    ///
    /// # Errors
    /// [`BootError`].
    ///
    /// # Safety
    /// Entries in the upper half of the root of `config.kernel` never change from now on, and contexts can use an entry
    /// that says `config.user`.
    pub unsafe fn boot(
        &self,
        config: &Config<'p, M>,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<(), BootError> {
        let table = self.phys.frame_table().ok_or(BootError::NotReady)?;
        let filled = self.ground.init(|slot| {
            let objects = Objects::new(self.slabs, frames).map_err(BootError::Cache)?;
            let cache = |name, size: usize, align: usize| {
                let (size, align) = (size as u32, align as u32);
                let request = CacheRequest { name, size, align, flags: SlabFlags::HWCACHE_ALIGN, ctor: None };
                self.slabs.create(&request, frames).map_err(BootError::Cache)
            };
            let mm = cache("mm_struct", size_of::<Mm<'p, M>>(), align_of::<Mm<'p, M>>())?;
            let shmem = cache("shmem_inode_cache", size_of::<Shmem>(), align_of::<Shmem>())?;
            let gfp = GfpFlags::GFP_KERNEL | GfpFlags::__GFP_ZERO;
            let zero = frames.alloc(gfp, Order::ZERO).map_err(BootError::NoMemory)?.into_raw().0;
            let Config { kernel, user, pools } = *config;
            *slot = Some(Ground { objects, mm, shmem, table, kernel, user, zero, pools });
            Ok(())
        });
        filled.map_err(|error| match error {
            InitError::Taken => BootError::AlreadyBooted,
            InitError::Failed(error) => error,
        })
    }

    /// Makes a context with nothing mapped.
    ///
    /// # Errors
    /// `Enomem`; `Eagain` when there are as many as there can be.
    pub fn create<A: FrameAllocator<'p>>(&self, frames: &A) -> Result<&Mm<'p, M>, Errno> {
        let ground = self.ground().ok_or(Errno::Enomem)?;
        let memory = self.slabs.alloc(ground.mm, frames, GfpFlags::GFP_KERNEL)?.cast::<Mm<'p, M>>();
        let result = self.claim(memory, frames);
        if result.is_err() {
            // SAFETY: the object is ours alone: nobody was told of it.
            let _ = unsafe { self.slabs.free(ground.mm, memory.cast()) };
        }
        result
    }

    /// Makes the object at `memory` a context with the first number that is free.
    fn claim<A: FrameAllocator<'p>>(
        &self,
        memory: NonNull<Mm<'p, M>>,
        frames: &A,
    ) -> Result<&Mm<'p, M>, Errno> {
        let reserved = core::ptr::without_provenance_mut(RESERVED);
        let free = self.mms.iter().enumerate().find(|(_, slot)| {
            let none = core::ptr::null_mut();
            slot.compare_exchange(none, reserved, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        let (id, slot) = free.ok_or(Errno::Eagain)?;
        let layout = Layout::new(id as u32, self.chance(id as u64));
        let mm = Mm {
            id: id as u32,
            machine: self.machine(),
            root: PhysAddr::default(),
            areas: RwLock::new(Areas::new()),
            cpus: AtomicU64::new(0),
            unflushed: AtomicBool::new(false),
            unstable: AtomicBool::new(false),
            counters: Counters::new(),
            layout,
            brk: AtomicU64::new(layout.heap << PAGE_SHIFT),
        };
        // SAFETY: the object has the size and alignment of a context and is the caller's alone.
        let rooted = unsafe {
            memory.write(mm);
            self.add_root(memory, frames)
        };
        if let Err(error) = rooted {
            slot.store(core::ptr::null_mut(), Ordering::Release);
            return Err(error);
        }
        slot.store(memory.as_ptr(), Ordering::Release);
        // SAFETY: the object is a complete context, which only `destroy` takes away.
        Ok(unsafe { memory.as_ref() })
    }

    /// Gives a context that nobody knows yet its root.
    ///
    /// # Safety
    /// `memory` is a context and the caller's alone.
    unsafe fn add_root<A: FrameAllocator<'p>>(
        &self,
        mut memory: NonNull<Mm<'p, M>>,
        frames: &A,
    ) -> Result<(), Errno> {
        let ground = self.ground().ok_or(Errno::Enomem)?;
        let root = {
            // SAFETY: promised by the caller; the borrow ends with the block.
            let source = MmTables::new(self, unsafe { memory.as_ref() }, frames);
            ground.kernel.new_sharing_upper(&source).ok_or(Errno::Enomem)?.root()
        };
        // SAFETY: as above.
        unsafe { memory.as_mut() }.root = root;
        Ok(())
    }

    /// What moves the parts of context `id` by chance (the finalizer of SplitMix64).
    fn chance(&self, id: u64) -> u64 {
        let seed = self.settings.seed();
        if seed == 0 {
            return 0;
        }
        let mut z = seed.wrapping_add((id + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Takes everything away that `mm` has mapped.
    ///
    /// # Errors
    /// `Ecorrupt`.
    pub fn exit<A: FrameAllocator<'p>>(&self, mm: &Mm<'p, M>, frames: &A) -> Result<(), Errno> {
        let objects = self.objects().ok_or(Errno::Enomem)?;
        let mut areas = mm.areas.write(self.machine().cpu());
        mm.flush_evicted();
        // No area is cut by these borders, so nothing is needed.
        let top = super::layout::TASK_SIZE >> PAGE_SHIFT;
        self.unmap_pages(mm, &mut areas, 0, top, frames)?;
        areas.trim(objects, true);
        Ok(())
    }

    /// Ends a context.
    ///
    /// # Errors
    /// `Ecorrupt`: it stays then, and its memory with it.
    ///
    /// # Safety
    /// Nobody uses the context any more, no CPU runs on its root, and no reference to it is kept.
    pub unsafe fn destroy<A: FrameAllocator<'p>>(&self, id: u32, frames: &A) -> Result<(), Errno> {
        let ground = self.ground().ok_or(Errno::Enomem)?;
        let mm = self.mm(id).ok_or(Errno::Einval)?;
        self.exit(mm, frames)?;
        let (tree, source) = (mm.tree(), MmTables::new(self, mm, frames));
        // SAFETY: no CPU uses the root any more, by the caller; the kernel keeps the upper half.
        unsafe { tree.free_root(&source) }.map_err(|_| Errno::Ecorrupt)?;
        let memory = NonNull::from(mm).cast::<u8>();
        if let Some(slot) = self.mms.get(id as usize) {
            slot.store(core::ptr::null_mut(), Ordering::Release);
        }
        // SAFETY: the object came from this cache; nobody uses it any more. What it owned outside is freed.
        let _ = unsafe { self.slabs.free(ground.mm, memory) };
        if ground.objects.waiting() != 0 {
            ground.objects.settle();
        }
        Ok(())
    }
}

/// The number is taken, but its context is not complete.
pub(super) const RESERVED: usize = 1;
const _: () = assert!(MAX_MMS < 1 << 16, "numbers of contexts fit the links of areas");
