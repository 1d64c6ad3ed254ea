//! The page walk as x86-64 hardware does it, written from the manual and sharing nothing with `mm`'s walker.
//!
//! Owns: bit positions, reserved bits, rights, and the setting of A and D. Stays outside: caches (`tlb`).
//! Invariants: the walker touches a table only by atomic loads and compare-and-exchange, as hardware does.
//! CR0.WP, EFER.NXE and CR4.PGE are on, SMEP and SMAP off. Three levels are x86-64 with the top cut off.
//! Source: Intel SDM vol. 3 ch. 4.5 to 4.8.

use crate::{Fault, FaultCode, Ram};
use mm::addr::{PhysAddr, VirtAddr};
use mm::port::Access;
use std::sync::atomic::{AtomicU64, Ordering};

const P: u64 = 1 << 0;
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;
const NX: u64 = 1 << 63;
const ADDR: u64 = 0x000f_ffff_ffff_f000;

/// The mode an access comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// CPL 0 to 2.
    Supervisor,
    /// CPL 3.
    User,
}

/// What a CPU's MMU can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paging {
    /// Table levels: 3 to 5.
    pub levels: u32,
    /// The highest level that may hold leaves: 1 to 3.
    pub max_leaf: u32,
    /// MAXPHYADDR.
    pub phys_bits: u32,
}

/// An access to translate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub va: VirtAddr,
    pub access: Access,
    pub mode: Mode,
}

impl Request {
    /// The fault this access raises with `code` added.
    pub fn fault(self, code: FaultCode) -> Fault {
        let mut code = code;
        code.set(FaultCode::USER, self.mode == Mode::User);
        match self.access {
            Access::Read => {}
            Access::Write => code |= FaultCode::WRITE,
            Access::Execute => code |= FaultCode::FETCH,
        }
        Fault::Page { va: self.va, code }
    }
}

/// The rights of all entries on the way so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rights {
    write: bool,
    user: bool,
    no_exec: bool,
}

impl Rights {
    const ALL: Self = Self { write: true, user: true, no_exec: false };

    fn and(self, entry: u64) -> Self {
        Self {
            write: self.write && entry & RW != 0,
            user: self.user && entry & US != 0,
            no_exec: self.no_exec || entry & NX != 0,
        }
    }

    pub fn allow(self, request: Request) -> bool {
        let mode = request.mode == Mode::Supervisor || self.user;
        let kind = match request.access {
            Access::Read => true,
            Access::Write => self.write,
            Access::Execute => !self.no_exec,
        };
        mode && kind
    }
}

/// A table on the way: where the walk stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Table {
    pub level: u32,
    pub addr: u64,
    pub rights: Rights,
}

/// A translation, as a TLB keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Leaf {
    pub level: u32,
    pub addr: u64,
    pub rights: Rights,
    pub dirty: bool,
    pub global: bool,
}

/// log2 of the bytes that an entry of `level` covers.
pub(crate) fn span_shift(level: u32) -> u32 {
    12 + 9 * (level - 1)
}

impl Leaf {
    /// Where `va`, which this leaf covers, is.
    pub fn translate(self, va: VirtAddr) -> PhysAddr {
        let offset = va.get() & ((1 << span_shift(self.level)) - 1);
        PhysAddr::truncate(self.addr | offset)
    }
}

impl Paging {
    /// Where every walk starts that has nothing cached.
    pub fn root(&self, addr: PhysAddr) -> Table {
        Table { level: self.levels, addr: addr.get() & ADDR, rights: Rights::ALL }
    }

    /// Walks from `table` to the leaf, setting A and D on the way, and tells `passed` every table it enters.
    ///
    /// # Errors
    /// The fault that the access raises.
    pub fn walk(
        &self,
        ram: &Ram,
        mut table: Table,
        request: Request,
        mut passed: impl FnMut(Table),
    ) -> Result<Leaf, Fault> {
        loop {
            let slot = slot(ram, &table, request.va)?;
            let entry = slot.load(Ordering::Acquire);
            if entry & P == 0 {
                return Err(request.fault(FaultCode::empty()));
            }
            if entry & self.reserved(table.level, entry) != 0 {
                return Err(request.fault(FaultCode::PRESENT | FaultCode::RESERVED));
            }
            let rights = table.rights.and(entry);
            let is_leaf = table.level == 1 || entry & PS != 0;
            let mut used = entry | A;
            if is_leaf {
                if !rights.allow(request) {
                    return Err(request.fault(FaultCode::PRESENT));
                }
                if request.access == Access::Write {
                    used |= D;
                }
            }
            // Hardware updates A and D by a locked operation; if software was faster, it looks again.
            if used != entry
                && slot.compare_exchange(entry, used, Ordering::AcqRel, Ordering::Relaxed).is_err()
            {
                continue;
            }
            if is_leaf {
                let base = entry & ADDR & !((1 << span_shift(table.level)) - 1);
                let (dirty, global) = (used & D != 0, used & G != 0);
                return Ok(Leaf { level: table.level, addr: base, rights, dirty, global });
            }
            table = Table { level: table.level - 1, addr: entry & ADDR, rights };
            passed(table);
        }
    }

    /// The bits that must be 0 in a present `entry` of `level`.
    fn reserved(&self, level: u32, entry: u64) -> u64 {
        let beyond = ADDR & !((1_u64 << self.phys_bits) - 1);
        if level == 1 || entry & PS == 0 {
            return beyond;
        }
        if level > self.max_leaf {
            return beyond | PS;
        }
        // Bit 12 of a large leaf is PAT.
        beyond | (((1 << span_shift(level)) - 1) & ADDR & !(1 << 12))
    }
}

/// The entry of `table` that translates `va`.
fn slot<'m>(ram: &'m Ram, table: &Table, va: VirtAddr) -> Result<&'m AtomicU64, Fault> {
    let index = (va.get() >> span_shift(table.level)) & 511;
    word(ram, PhysAddr::truncate(table.addr + index * 8))
}

/// The aligned word of RAM at `pa`, as all CPUs see it.
pub(crate) fn word(ram: &Ram, pa: PhysAddr) -> Result<&AtomicU64, Fault> {
    let ptr = ram.at(pa).ok_or(Fault::NotRam { pa })?;
    // SAFETY: the word is aligned (pa is a multiple of 8, banks keep page alignment), lies in RAM, which
    // lives as long as `ram`, and whoever shares it does so by atomics, as code for real RAM must.
    Ok(unsafe { AtomicU64::from_ptr(ptr.as_ptr().cast()) })
}
