//! Where requests come from and go to: the slab cache `bio` and its reserve.

use super::bio::{Bio, Job};
use super::{BootError, Ground, Io, RESERVE};
use crate::mempool::Freed;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::{BlockDevice, Cpu, Machine};
use crate::slab::{CacheRequest, SlabFlags};
use crate::sync::InitError;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// Memory of a request, and its only holder.
pub(crate) struct Owned<'p> {
    bio: NonNull<Bio<'p>>,
    _owns: PhantomData<Bio<'p>>,
}

// SAFETY: the holder of a request can be on any CPU.
unsafe impl Send for Owned<'_> {}

impl<'p> Owned<'p> {
    /// What names it while a disk has it.
    pub(super) fn into_cookie(self) -> u64 {
        self.bio.as_ptr().expose_provenance() as u64
    }

    /// The request with this name.
    ///
    /// # Safety
    /// The name came from [`Owned::into_cookie`], and nobody else makes a request of it.
    pub(super) unsafe fn from_cookie(cookie: u64) -> Option<Self> {
        let bio = NonNull::new(core::ptr::with_exposed_provenance_mut(cookie as usize))?;
        Some(Self { bio, _owns: PhantomData })
    }
}

impl<'p> Deref for Owned<'p> {
    type Target = Bio<'p>;

    fn deref(&self) -> &Bio<'p> {
        // SAFETY: a request is complete before it is handed out, and this is its only holder.
        unsafe { self.bio.as_ref() }
    }
}

impl DerefMut for Owned<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        // SAFETY: as above.
        unsafe { self.bio.as_mut() }
    }
}

/// Makes a request of an object of the slab cache, once: to write all of it for each request costs more than to fill it in.
fn construct(object: NonNull<u8>) {
    // SAFETY: the cache has objects of the size and alignment of a request.
    unsafe { object.cast::<Bio<'static>>().write(Bio::new()) }
}

impl<'p, M: Machine> Io<'p, M> {
    /// Makes the slab cache and fills the reserve.
    ///
    /// # Errors
    /// [`BootError`].
    pub fn boot(&self, frames: &impl FrameAllocator<'p>) -> Result<(), BootError> {
        let table = self.phys.frame_table().ok_or(BootError::NotReady)?;
        let filled = self.ground.init(|slot| {
            let request = CacheRequest {
                name: "bio",
                size: size_of::<Bio<'p>>() as u32,
                align: align_of::<Bio<'p>>() as u32,
                flags: SlabFlags::HWCACHE_ALIGN | SlabFlags::NO_MERGE,
                ctor: Some(construct),
            };
            *slot =
                Some(Ground { cache: self.slabs.create(&request, frames).map_err(BootError::Cache)?, table });
            Ok(())
        });
        filled.map_err(|error| match error {
            InitError::Taken => BootError::AlreadyBooted,
            InitError::Failed(error) => error,
        })?;
        let (make, release) = (|| self.make(frames), |bio| self.release(bio));
        self.reserve.resize(self.machine().cpu(), RESERVE, make, release).map_err(|_| BootError::NoMemory)
    }

    /// One from the slab cache; what it was last is still in it.
    fn make(&self, frames: &impl FrameAllocator<'p>) -> Option<Owned<'p>> {
        let memory = self.slabs.alloc(self.ground()?.cache, frames, GfpFlags::GFP_NOWAIT).ok()?;
        // It is a request since its slab was made, and the caller's alone.
        Some(Owned { bio: memory.cast(), _owns: PhantomData })
    }

    fn release(&self, bio: Owned<'p>) {
        if let Some(ground) = self.ground() {
            // SAFETY: the object came from this cache, and its only holder gives it up.
            let _ = unsafe { self.slabs.free(ground.cache, bio.bio.cast()) };
        }
    }

    /// A request, from the reserve if there is no memory; waits for one that is on its way to `device` if the reserve is
    /// empty. `None` if this code cannot wait.
    pub(super) fn take(
        &self,
        device: &'p dyn BlockDevice,
        frames: &impl FrameAllocator<'p>,
        job: Job<'p>,
        sector: u64,
    ) -> Option<Owned<'p>> {
        let cpu = self.machine().cpu();
        let mut bio = loop {
            match self.reserve.alloc(cpu, || self.make(frames)) {
                Some(bio) => break bio,
                None if !cpu.can_wait() => return None,
                None => {
                    self.poll(device);
                    cpu.wait_on(self.key(), &mut || self.reserve.reserve(cpu) != 0);
                }
            }
        };
        bio.reset(job, device.ledger(), sector);
        Some(bio)
    }

    /// Takes a request back that has ended.
    pub(super) fn give_back(&self, bio: Owned<'p>) {
        let cpu = self.machine().cpu();
        match self.reserve.free(cpu, bio, |bio| self.release(bio)) {
            Freed::Kept => cpu.wake(self.key()),
            Freed::Released => {}
        }
    }

    /// What those who wait for a request sleep on.
    fn key(&self) -> u64 {
        core::ptr::from_ref(&self.reserve).addr() as u64
    }
}
