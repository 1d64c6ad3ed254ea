//! Faults of tasks that run in a context.
//!
//! Owns: the way from an exception to `mm::fault` and back, and what is wrong with an access in words. Invariants: a
//! fault is handled with interrupts on, as the code that it interrupted had them; a page is waited for by nobody yet.

use super::{slot, trace};
use crate::arch::trap::{self, TrapFrame};
use crate::arch::{irq, percpu, touch};
use crate::machine::CPU;
use crate::memory::slab::FRAMES;
use crate::memory::vm::{RECLAIM, VM};
use crate::{report, task};
use core::fmt;
use mm::addr::{Order, VirtAddr};
use mm::fault::{Fault, Flavour, Segv};
use mm::phys::GfpFlags;
use mm::port::Access;
use mm::vma::VmFlags;
use shared::exit::ExitStatus;

/// First address of the upper half.
const LOWER_END: u64 = 1 << 47;
/// What pages of contexts are.
const GFP_FAULT: GfpFlags = GfpFlags::GFP_HIGHUSER_MOVABLE.union(GfpFlags::__GFP_ZERO);
/// Bits of a page fault's error code.
const ERROR_WRITE: u64 = 1 << 1;
const ERROR_RESERVED: u64 = 1 << 3;
const ERROR_FETCH: u64 = 1 << 4;

/// Why a context was killed: the access that was not allowed.
#[derive(Clone, Copy)]
pub struct Killed {
    address: u64,
    access: Access,
    why: Why,
}

#[derive(Clone, Copy)]
enum Why {
    /// Nothing is mapped there.
    NoArea,
    /// The area has other rights.
    Rights(VmFlags),
    /// There was no memory for the page.
    NoMemory,
    /// Memory was out, and this context had the most of it.
    Chosen,
    /// The pool of huge pages has none for it.
    NoPage,
    /// It lies behind the end of its file, or the disk that has it failed.
    NotRead,
    /// No address at all.
    NotCanonical,
}

impl Killed {
    /// Killed by the OOM killer.
    pub(super) const fn chosen() -> Self {
        Self { address: 0, access: Access::Read, why: Why::Chosen }
    }

    /// What a run ends with in which a context was killed for this, and nobody expected it.
    pub fn status(&self) -> ExitStatus {
        match self.why {
            Why::NoMemory | Why::Chosen => ExitStatus::OutOfMemory,
            _ => ExitStatus::GuestFault,
        }
    }
}

/// Rights as `/proc/PID/maps` shows them.
pub struct Rights(pub VmFlags);

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |flag, letter| if self.0.contains(flag) { letter } else { '-' };
        let (read, write) = (letter(VmFlags::READ, 'r'), letter(VmFlags::WRITE, 'w'));
        write!(f, "{read}{write}{}", letter(VmFlags::EXEC, 'x'))
    }
}

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        let access = match self.access {
            Access::Read => "read of",
            Access::Write => "write to",
            Access::Execute => "execution of",
        };
        match self.why {
            Why::NoArea => write!(f, "fault: no vma addr={address:#x} (maps to SIGSEGV MAPERR)"),
            Why::Rights(rights) => {
                let rights = Rights(rights);
                write!(f, "fault: {access} {rights} addr={address:#x} (maps to SIGSEGV ACCERR)")
            }
            Why::NoMemory => write!(f, "fault: no memory for {access} addr={address:#x} (maps to SIGKILL)"),
            Why::Chosen => f.write_str("killed: out of memory (maps to SIGKILL)"),
            Why::NoPage => {
                write!(f, "fault: no huge page for {access} addr={address:#x} (maps to SIGBUS ADRERR)")
            }
            Why::NotRead => write!(
                f,
                "fault: no page of a file or of swap for {access} addr={address:#x} (maps to SIGBUS ADRERR)"
            ),
            Why::NotCanonical => {
                write!(f, "fault: #GP non-canonical addr={address:#x} (maps to SIGSEGV SI_KERNEL)")
            }
        }
    }
}

/// Handles an exception, if it is one of a task in a context for its memory.
pub fn on_trap(frame: &mut TrapFrame) -> bool {
    let Some(id) = task::running_space() else { return false };
    // Whoever masks interrupts must not touch what can fault. The report says so with the address.
    if percpu::mask_depth() != 1 {
        return false;
    }
    let (address, error) = (frame.cr2, frame.error);
    if frame.vector == trap::PAGE_FAULT && address < LOWER_END && error & ERROR_RESERVED == 0 {
        return page_fault(address, error, id);
    }
    other_trap(frame, id)
}

#[cold]
#[inline(never)]
fn other_trap(frame: &mut TrapFrame, id: u32) -> bool {
    match frame.vector {
        trap::GENERAL_PROTECTION => touch::address_of(frame).is_some_and(|address| {
            kill(id, Killed { address, access: Access::Read, why: Why::NotCanonical })
        }),
        _ => false,
    }
}

#[inline(always)]
fn page_fault(address: u64, error: u64, id: u32) -> bool {
    let Some(mm) = VM.mm(id) else { return false };
    let Some(va) = VirtAddr::new(address) else { return false };
    let access = if error & ERROR_FETCH != 0 {
        Access::Execute
    } else if error & ERROR_WRITE != 0 {
        Access::Write
    } else {
        Access::Read
    };
    let pause = task::pause();
    irq::enable();
    if mm.is_unstable() {
        irq::disable();
        task::abandon();
    }
    let done = move |flavour: Flavour| {
        trace::record(address, error, id, flavour as usize);
        None
    };
    let other = move |fault: Fault| {
        trace::record(address, error, id, trace::handler(&fault));
        why_not(fault, id, va)
    };
    let why = VM.touch_then(mm, va, access, &FRAMES, done, other);
    irq::disable();
    // Whoever faults may wait, for a page or for others.
    pause.end();
    why.is_none_or(|why| kill(id, Killed { address: va.get(), access, why }))
}

/// What is wrong with an access to `va` whose page is not there after `fault`; `None` if it may be tried again.
#[cold]
#[inline(never)]
fn why_not(fault: Fault, id: u32, va: VirtAddr) -> Option<Why> {
    match fault {
        // What there was to wait for has been waited for.
        Fault::Minor(_) | Fault::Wait(_) | Fault::InSwap(_) => None,
        // Room was made, or this context is to go: its task finds out when it touches the page again.
        Fault::Oom if RECLAIM.try_again(GFP_FAULT, Order::ZERO) => None,
        Fault::Oom => Some(Why::NoMemory),
        Fault::Sigbus => {
            let area = VM.mm(id).and_then(|mm| VM.area_from(mm, va));
            let is_pool = area.is_some_and(|area| area.flags.contains(VmFlags::HUGETLB));
            Some(if is_pool { Why::NoPage } else { Why::NotRead })
        }
        Fault::Segv(Segv::MapErr) => Some(Why::NoArea),
        Fault::Segv(Segv::AccErr) => {
            let area = VM.mm(id).and_then(|mm| VM.area_from(mm, va));
            let area = area.filter(|area| area.start <= va.vpn().get());
            Some(area.map_or(Why::NoArea, |area| Why::Rights(area.flags)))
        }
        Fault::Corrupt => report::corruption(format_args!("Bad page table: at {:#x}", va.get())),
    }
}

/// Ends the running task, and its context with it.
#[cold]
#[inline(never)]
fn kill(id: u32, killed: Killed) -> ! {
    if let Some(slot) = slot(id) {
        slot.info.lock(&CPU).killed.get_or_insert(killed);
    }
    task::abandon()
}
