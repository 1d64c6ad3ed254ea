//! The context that `vm` commands work on, and what they have mapped in it.
//!
//! Invariants: commands run one after the other, so a session is open at most once; a context that was killed has no
//! session.

use crate::commands::fail;
use crate::context::{self, Context, Failure};
use crate::machine::CPU;
use crate::memory::slab::FRAMES;
use crate::memory::vm::VM;
use mm::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr};
use mm::space::{Errno, MapFlags, MapRequest, Usage, layout};
use mm::sync::SpinLock;
use mm::vma::{VmFlags, VmaKind};
use shared::exit::ExitStatus;

/// Contexts that can have a session at once.
const SESSIONS: usize = 80;
/// Mappings that a session knows.
const MAPPINGS: usize = 16;
/// Pages of code, of data that is not written, and of data that is, in a new context.
const IMAGE_PAGES: u64 = 16;
const HEAP_PAGES: u64 = 32;
const STACK_PAGES: u64 = 33;

/// Something that a command has mapped.
#[derive(Clone, Copy, Default)]
pub struct Mapping {
    /// Its first byte.
    pub start: u64,
    /// Its size.
    pub bytes: u64,
    /// Pages from its start that hold the mark `tag`.
    pub marked: u64,
    /// What their words are made of.
    pub tag: u64,
}

/// See the module documentation.
#[derive(Clone)]
pub struct Session {
    /// The context.
    pub context: Context,
    mappings: [Mapping; MAPPINGS],
    count: usize,
    /// Pages that were mapped and resident when the session began.
    pub base: (u64, u64),
}

static ALL: SpinLock<[Option<Session>; SESSIONS]> = SpinLock::new([const { None }; SESSIONS]);
impl Session {
    /// A context with code, data, a heap and a stack, and its session.
    pub fn create(name: &str) -> Result<Self, Errno> {
        let context = context::create(name)?;
        if let Err(error) = furnish(&context) {
            context.kill();
            return Err(error);
        }
        Ok(Self::new(context))
    }

    fn new(context: Context) -> Self {
        let counters = context.mm().counters();
        let base = (counters.usage(Usage::Total), counters.resident());
        Self { context, mappings: [Mapping::default(); MAPPINGS], count: 0, base }
    }

    /// A clone of the context; what was mapped in the overlay window is mapped in both.
    pub fn clone_as(&self, name: &str) -> Result<Self, Errno> {
        let mut clone = Self::new(context::clone(&self.context, name)?);
        self.mappings()
            .iter()
            .filter(|mapping| mapping.start >= layout::OVERLAY_START)
            .for_each(|mapping| clone.add(*mapping));
        Ok(clone)
    }

    /// What commands have mapped, in the order they did.
    pub fn mappings(&self) -> &[Mapping] {
        self.mappings.get(..self.count).unwrap_or(&[])
    }

    /// The mapping made last.
    pub fn last(&mut self) -> Option<&mut Mapping> {
        self.mappings.get_mut(..self.count)?.last_mut()
    }

    /// Remembers a mapping; the first one is forgotten where there are too many.
    pub fn add(&mut self, mapping: Mapping) {
        if self.count == MAPPINGS {
            self.mappings.rotate_left(1);
            self.count -= 1;
        }
        if let Some(slot) = self.mappings.get_mut(self.count) {
            *slot = mapping;
            self.count += 1;
        }
    }

    /// What was written in a range of bytes need not be there any more.
    pub fn unmark(&mut self, start: u64, bytes: u64) {
        let end = start.saturating_add(bytes);
        let mappings = self.mappings.get_mut(..self.count).unwrap_or(&mut []);
        for mapping in mappings.iter_mut().filter(|m| m.start < end && m.start + m.bytes > start) {
            mapping.marked = mapping.marked.min(start.saturating_sub(mapping.start) / PAGE_SIZE);
        }
    }

    /// Forgets what lies in a range of bytes.
    pub fn forget(&mut self, start: u64, bytes: u64) {
        let end = start.saturating_add(bytes);
        let mut kept = 0;
        for n in 0..self.count {
            let mapping = self.mappings[n];
            if mapping.start >= end || mapping.start + mapping.bytes <= start {
                self.mappings[kept] = mapping;
                kept += 1;
            }
        }
        self.count = kept;
    }
}

/// Maps what every context has: code, data, a heap and a stack.
fn furnish(context: &Context) -> Result<(), Errno> {
    let (mm, places) = (context.mm(), context.mm().layout());
    let read = VmFlags::READ;
    let parts = [
        (VmaKind::Text, read | VmFlags::EXEC),
        (VmaKind::Data, read),
        (VmaKind::Data, read | VmFlags::WRITE),
    ];
    let map = |first: u64, pages: u64, kind, vm| {
        let addr = Some(VirtAddr::truncate(first << PAGE_SHIFT));
        let bytes = pages * PAGE_SIZE;
        let flags = MapFlags::FIXED_NOREPLACE;
        VM.mmap(mm, &MapRequest { addr, vm, flags, kind, ..MapRequest::anon(bytes) }, &FRAMES)
    };
    for (n, (kind, vm)) in (0..).zip(parts) {
        map(places.text + n * IMAGE_PAGES, IMAGE_PAGES, kind, vm)?;
    }
    VM.set_brk(mm, VirtAddr::truncate((places.heap + HEAP_PAGES) << PAGE_SHIFT), &FRAMES)?;
    let stack = read | VmFlags::WRITE | VmFlags::GROWSDOWN;
    map(places.stack_top - STACK_PAGES, STACK_PAGES, VmaKind::Stack, stack)?;
    Ok(())
}

/// Puts a session where commands find it.
pub fn keep(session: Session) -> Result<(), ExitStatus> {
    if let Some(slot) = ALL.lock(&CPU).iter_mut().find(|slot| slot.is_none()) {
        *slot = Some(session);
        return Ok(());
    }
    session.context.kill();
    Err(fail(ExitStatus::CheckFailed, format_args!("more than {SESSIONS} contexts; see ctx kill")))
}

/// Takes the session of the context with this pid.
pub fn take(pid: u32) -> Option<Session> {
    let session = {
        let mut all = ALL.lock(&CPU);
        all.iter_mut().find(|slot| slot.as_ref().is_some_and(|session| session.context.pid() == pid))?.take()
    };
    // One that was killed while nothing ran in it ends here.
    session.filter(|session| session.context.killed().is_none())
}

/// Runs `work` on the session that commands work on; without one, a context is made.
pub fn with<T>(work: impl FnOnce(&mut Session) -> Result<T, ExitStatus>) -> Result<T, ExitStatus> {
    let session = context::chosen().and_then(take);
    let mut session = match session {
        Some(session) => session,
        None => Session::create("task").map_err(|errno| super::refused(errno, "no context"))?,
    };
    context::choose(&session.context);
    let result = work(&mut session);
    if session.context.killed().is_none() {
        keep(session)?;
    }
    result
}

/// What a command makes of work that did not come to its end: a killed context has been told of, and the run goes on.
pub fn ended(failure: Failure) -> Result<(), ExitStatus> {
    match failure {
        Failure::Killed(killed) => {
            crate::commands::unexpected_kill(&killed);
            Ok(())
        }
        Failure::Spawn(_) => Err(fail(ExitStatus::CheckFailed, format_args!("{failure}"))),
    }
}
