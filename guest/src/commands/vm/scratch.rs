//! Contexts of one command's own, gone when it ends.

use super::not_mapped;
use super::session::ended;
use crate::arch::percpu;
use crate::context::{self, Context, Failure};
use crate::memory::slab::FRAMES;
use crate::memory::vm::VM;
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::space::{Advice, MapFlags, MapRequest};
use shared::exit::ExitStatus;

/// See the module documentation.
pub struct Scratch {
    /// The context.
    pub context: Context,
}

impl Scratch {
    /// A context with nothing mapped.
    pub fn new(name: &str) -> Result<Self, ExitStatus> {
        let context = context::create(name).map_err(|errno| super::refused(errno, "no context"))?;
        Ok(Self { context })
    }

    /// A clone: what is in the overlay window is in both.
    pub fn clone_as(&self, name: &str) -> Result<Self, ExitStatus> {
        let clone = context::clone(&self.context, name).map_err(|errno| super::refused(errno, "no clone"))?;
        Ok(Self { context: clone })
    }

    /// Maps as `request` says; the first address. Without `advice` the pages are as everywhere.
    pub fn map(&self, request: &MapRequest, advice: Option<Advice>) -> Result<u64, ExitStatus> {
        let (mm, bytes) = (self.context.mm(), request.len.next_multiple_of(PAGE_SIZE));
        let at = VM.mmap(mm, request, &FRAMES).map_err(|errno| not_mapped(errno, bytes))?;
        if let Some(advice) = advice {
            VM.madvise(mm, at, bytes, advice, &FRAMES).map_err(|errno| not_mapped(errno, bytes))?;
        }
        Ok(at.get())
    }

    /// Maps small pages in the overlay window; the first address.
    pub fn map_overlay(&self, pages: u64) -> Result<u64, ExitStatus> {
        let anon = MapRequest::anon(pages * PAGE_SIZE);
        self.map(&MapRequest { flags: MapFlags::OVERLAY, ..anon }, Some(Advice::NoHugePage))
    }

    /// Maps small pages anywhere; the first address.
    pub fn map_small(&self, pages: u64) -> Result<u64, ExitStatus> {
        self.map(&MapRequest::anon(pages * PAGE_SIZE), Some(Advice::NoHugePage))
    }

    /// Runs `work` in the context, on this CPU. A fault that kills it ends the command.
    pub fn run<T: Send>(&self, work: impl Fn() -> T + Sync) -> Result<T, ExitStatus> {
        context::run(&self.context, percpu::cpu(), work).map_err(|failure| {
            let status = match failure {
                Failure::Killed(killed) => killed.status(),
                Failure::Spawn(_) => ExitStatus::CheckFailed,
            };
            ended(failure).err().unwrap_or(status)
        })
    }

    /// The frame that the page at `address` has, if any.
    pub fn frame(&self, address: u64) -> Option<u64> {
        let at = self.context.mm().tree().translate(VirtAddr::new(address)?)?;
        Some(at.pfn().get())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.context.kill();
    }
}

/// The first word at `address`, which the running task's context has mapped.
pub fn load(address: u64) -> u64 {
    // SAFETY: the address is one of the lower half, where only the task's context has anything; a page that is not
    // there is a fault, which ends the task.
    unsafe { (address as *const u64).read_volatile() }
}

/// Writes the word at `address`, which the running task's context has mapped.
pub fn store(address: u64, value: u64) {
    // SAFETY: as for `load`.
    unsafe { (address as *mut u64).write_volatile(value) };
}
