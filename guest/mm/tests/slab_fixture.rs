//! A board with a slab allocator, and what tests of objects need: reports kept for the test that caused them, and a
//! supply of frames that can fail.

use crate::board::{Board, MIB, Plan};
use mm::addr::Order;
use mm::phys::{AllocError, FrameAllocator, Frames, FreeError, GfpFlags, Phys, ZoneAllocator};
use mm::slab::{Cache, CacheRequest, Hooks, ObjectError, OrderRules, SlabConfig, SlabFlags, Slabs};
use sim::Machine;
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

pub const GFP: GfpFlags = GfpFlags::GFP_KERNEL;

thread_local! {
    static REPORTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// The reports of this thread since the last call.
pub fn reports() -> Vec<String> {
    REPORTS.take()
}

/// Linux's settings on `cpus` CPUs; reports are kept, every time is 1000 ms and every task is 7.
pub fn config(cpus: u32, seed: u64) -> SlabConfig {
    SlabConfig {
        rules: OrderRules { min_order: 0, max_order: 3, min_objects: 0, cpus },
        seed,
        hooks: Hooks {
            report: |report| REPORTS.with_borrow_mut(|reports| reports.push(report.to_string())),
            now_ms: || 1000,
            task: || 7,
        },
        ..SlabConfig::LINUX
    }
}

/// The same with these checks on every cache but the first.
pub fn checked(flags: fn(&str) -> SlabFlags) -> SlabConfig {
    SlabConfig { debug: flags, ..config(1, 1) }
}

/// A board with `ram` bytes behind all its frames.
pub fn board(ram: u64, cpus: u32) -> Board {
    let mut plan = Plan::ram(&[MIB..ram]);
    plan.ram = ram;
    plan.cpus = cpus;
    plan.boot()
}

/// A slab allocator on `board`.
pub fn slabs<'b>(board: &'b Board, config: &SlabConfig) -> Slabs<'b, Machine> {
    let slabs = Slabs::new(&**board);
    // SAFETY: the tests give the configuration the number of CPUs that the board has.
    unsafe { slabs.boot(config, &frames(board)) }.unwrap();
    slabs
}

/// The plain supply of frames.
pub fn frames(board: &Board) -> ZoneAllocator<'_, Machine> {
    ZoneAllocator::new(board)
}

/// A request without alignment, flags or constructor.
pub fn request(name: &str, size: u32) -> CacheRequest<'_> {
    CacheRequest { name, size, align: 0, flags: SlabFlags::empty(), ctor: None }
}

/// What an object looks like to a test: its address, for tables and comparisons.
pub fn at(object: NonNull<u8>) -> usize {
    object.as_ptr() as usize
}

/// Frees an object that the test owns.
pub fn give(slabs: &Slabs<'_, Machine>, cache: &Cache, object: NonNull<u8>) -> Result<(), ObjectError> {
    // SAFETY: the tests free what they own, or what they test the refusal of.
    unsafe { slabs.free(cache, object) }
}

/// Frees an object by its address alone.
pub fn kfree(slabs: &Slabs<'_, Machine>, object: NonNull<u8>) -> Result<(), ObjectError> {
    // SAFETY: as in `give`.
    unsafe { slabs.kfree(object.as_ptr()) }
}

/// A supply of frames that fails when the test says so.
pub struct Flaky<'a> {
    phys: &'a Phys<Machine>,
    /// How many blocks it still gives.
    pub left: Cell<u64>,
}

impl<'a> Flaky<'a> {
    pub fn new(phys: &'a Phys<Machine>, left: u64) -> Self {
        Self { phys, left: Cell::new(left) }
    }
}

impl<'a> FrameAllocator<'a> for Flaky<'a> {
    fn alloc(&self, gfp: GfpFlags, order: Order) -> Result<Frames<'a>, AllocError> {
        let left = self.left.get().checked_sub(1).ok_or(AllocError::OutOfMemory)?;
        self.left.set(left);
        self.phys.alloc_pages(gfp, order)
    }

    fn free(&self, frames: Frames<'a>) -> Result<(), FreeError> {
        self.phys.free_pages(frames)
    }
}
