//! The area of one CPU: what `%gs` points at.
//!
//! Owns: its layout, which the entry code in `trap.s` addresses by the offsets exported here, and the
//! accessors for the running CPU. Stays outside: what the fields mean to tasks and traps.
//! Invariants: fields that entry code touches change by single instructions on their own CPU only, so a
//! read-modify-write cannot be torn by an interrupt; the area of a CPU that has started never moves.

mod peek;

use core::arch::asm;
use core::mem::{offset_of, size_of};
pub use peek::{apic_id_of, counter_of, interrupts_of, nmis_of};

/// How many CPUs the guest can run.
pub const MAX_CPUS: usize = 64;

/// What `iretq` takes from the stack.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct IretFrame {
    /// Where to go on.
    pub rip: u64,
    /// Code selector.
    pub cs: u64,
    /// Flags.
    pub rflags: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Stack selector.
    pub ss: u64,
}

/// A landing place for the hardware's push: filled from its end downwards.
#[repr(C, align(16))]
pub struct Slot {
    /// Prebuilt return to the CPL3 half of the entry (ring 3 only).
    pub upcall: IretFrame,
    /// The same for page faults.
    pub upcall_page_fault: IretFrame,
    _pad: u64,
    vector: u64,
    cr2: u64,
    rax: u64,
    error: u64,
    frame: IretFrame,
}

/// The task-state segment: stacks, and leave for CPL3 to use I/O ports.
#[repr(C, packed(4))]
pub struct Tss {
    _reserved0: u32,
    /// Stack for entries from CPL3 without an IST.
    pub rsp0: u64,
    _rsp12: [u64; 2],
    _reserved1: u64,
    /// Interrupt stacks 1 to 7.
    pub ist: [u64; 7],
    _reserved2: u64,
    _reserved3: u16,
    iomap_base: u16,
    /// One clear bit a port that CPL3 may use: all below 0x1000; the last byte ends the map.
    iomap: [u8; IOMAP_BYTES],
}

const IOMAP_BYTES: usize = 0x1000 / 8 + 1;

/// Which interrupt stack serves what (numbers as in a gate descriptor).
pub mod ist {
    /// Maskable interrupts.
    pub const INTERRUPT: u8 = 1;
    /// Exceptions at ring 0; at ring 3 they arrive on `rsp0`, which is the same slot.
    pub const EXCEPTION: u8 = 2;
    /// Non-maskable interrupts.
    pub const NMI: u8 = 3;
    /// Double faults.
    pub const DOUBLE_FAULT: u8 = 4;
    /// Machine checks.
    pub const MACHINE_CHECK: u8 = 5;
}

/// One CPU's area.
#[repr(C, align(4096))]
pub struct PerCpu {
    this: *const PerCpu,
    soft_mask: u32,
    pending: u32,
    stack_lo: u64,
    stack_hi: u64,
    emergency_top: u64,
    nmi_count: u32,
    fatal_depth: u32,
    cpu: u32,
    apic_id: u32,
    /// The running task, for the scheduler.
    current: u64,
    counters: [u64; Counter::COUNT],
    interrupts: [u64; LINES],
    tss: Tss,
    exception: Slot,
    /// Directly below `interrupt`: the IST moves here while an accepted interrupt's frame is copied.
    interrupt_spare: Slot,
    interrupt: Slot,
    double_fault: Slot,
    machine_check: Slot,
    nmi_stack: [u64; 32],
    emergency_stack: [u8; EMERGENCY_BYTES],
}

const EMERGENCY_BYTES: usize = 16 << 10;
/// An interrupted stack must have this much left below for the entry to use it; else it has overflowed.
const STACK_MARGIN: u64 = 2048;

/// How many lines of maskable interrupts there are: a bit each in [`take_pending`].
pub const LINES: usize = 32;

/// Per-CPU event counters, summed for reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Counter {
    /// Page faults.
    PageFaults,
    /// Other exceptions.
    Exceptions,
    /// Gate calls (ring 3).
    Gates,
}

impl Counter {
    /// How many counters there are.
    pub const COUNT: usize = 3;
}

/// Offsets and sizes for the assembly.
pub mod offset {
    use super::*;
    /// Soft interrupt mask depth.
    pub const SOFT: usize = offset_of!(PerCpu, soft_mask);
    /// Interrupts that came while masked, a bit each.
    pub const PENDING: usize = offset_of!(PerCpu, pending);
    /// Lowest stack pointer that entry accepts.
    pub const STACK_LO: usize = offset_of!(PerCpu, stack_lo);
    /// Highest stack pointer that entry accepts.
    pub const STACK_HI: usize = offset_of!(PerCpu, stack_hi);
    /// Top of the emergency stack.
    pub const EMERGENCY_TOP: usize = offset_of!(PerCpu, emergency_top);
    /// Non-maskable interrupts seen.
    pub const NMI_COUNT: usize = offset_of!(PerCpu, nmi_count);
    /// The TSS.
    pub const TSS: usize = offset_of!(PerCpu, tss);
    /// The IST entry of maskable interrupts.
    pub const TSS_IST_IRQ: usize = TSS + offset_of!(Tss, ist);
    /// Slot of exceptions.
    pub const EXC: usize = offset_of!(PerCpu, exception);
    /// Slot of maskable interrupts.
    pub const IRQ: usize = offset_of!(PerCpu, interrupt);
    /// Slot of double faults.
    pub const DOUBLE_FAULT: usize = offset_of!(PerCpu, double_fault);
    /// Slot of machine checks.
    pub const MACHINE_CHECK: usize = offset_of!(PerCpu, machine_check);
    /// Size of a slot.
    pub const SLOT_BYTES: usize = size_of::<Slot>();
    /// Prebuilt frame in a slot.
    pub const SLOT_UPCALL: usize = offset_of!(Slot, upcall);
    /// Prebuilt frame for page faults.
    pub const SLOT_UPCALL_PF: usize = offset_of!(Slot, upcall_page_fault);
    /// Vector, stored by a stub.
    pub const SLOT_VECTOR: usize = offset_of!(Slot, vector);
    /// Fault address, stored by a stub.
    pub const SLOT_CR2: usize = offset_of!(Slot, cr2);
    /// Interrupted `%rax`, stored by a stub.
    pub const SLOT_RAX: usize = offset_of!(Slot, rax);
    /// Error code, pushed.
    pub const SLOT_ERROR: usize = offset_of!(Slot, error);
    /// Hardware frame, pushed.
    pub const SLOT_FRAME: usize = offset_of!(Slot, frame);
    /// TSS limit.
    pub const TSS_LIMIT: usize = size_of::<Tss>() - 1;
}

const _: () = {
    assert!(offset_of!(PerCpu, this) == 0);
    assert!(offset::SLOT_FRAME + size_of::<IretFrame>() == size_of::<Slot>());
    assert!(offset_of!(PerCpu, interrupt) == offset_of!(PerCpu, interrupt_spare) + size_of::<Slot>());
    // The stubs store at fixed distances from the pushed frame.
    assert!(offset::SLOT_ERROR - offset::SLOT_RAX == 8);
    assert!(offset::SLOT_ERROR - offset::SLOT_CR2 == 16);
    assert!(offset::SLOT_ERROR - offset::SLOT_VECTOR == 24);
    assert!(offset_of!(Tss, ist) == 36 && offset_of!(Tss, rsp0) == 4);
};

/// The boot CPU's area: in the image, because the first trap may come before there is an allocator.
#[unsafe(no_mangle)]
static mut percpu0: PerCpu = PerCpu::new();

impl PerCpu {
    /// An area of zeroes but for the fixed parts; [`PerCpu::init`] does the rest.
    pub const fn new() -> Self {
        const FRAME: IretFrame = IretFrame { rip: 0, cs: 0, rflags: 0, rsp: 0, ss: 0 };
        const SLOT: Slot = Slot {
            upcall: FRAME,
            upcall_page_fault: FRAME,
            _pad: 0,
            vector: 0,
            cr2: 0,
            rax: 0,
            error: 0,
            frame: FRAME,
        };
        Self {
            this: core::ptr::null(),
            soft_mask: 1,
            pending: 0,
            stack_lo: 0,
            stack_hi: 0,
            emergency_top: 0,
            nmi_count: 0,
            fatal_depth: 0,
            cpu: 0,
            apic_id: 0,
            current: 0,
            counters: [0; Counter::COUNT],
            interrupts: [0; LINES],
            tss: Tss {
                _reserved0: 0,
                rsp0: 0,
                _rsp12: [0; 2],
                _reserved1: 0,
                ist: [0; 7],
                _reserved2: 0,
                _reserved3: 0,
                iomap_base: offset_of!(Tss, iomap) as u16,
                iomap: {
                    let mut map = [0; IOMAP_BYTES];
                    map[IOMAP_BYTES - 1] = 0xff;
                    map
                },
            },
            exception: SLOT,
            interrupt_spare: SLOT,
            interrupt: SLOT,
            double_fault: SLOT,
            machine_check: SLOT,
            nmi_stack: [0; 32],
            emergency_stack: [0; EMERGENCY_BYTES],
        }
    }

    /// The boot CPU's area.
    pub fn boot() -> *mut Self {
        &raw mut percpu0
    }

    /// Points the TSS and the slots of an area at each other. Interrupts start masked once.
    ///
    /// # Safety
    /// `area` is this CPU's from now on or a stopped CPU's; it stays where it is for good.
    pub unsafe fn init(area: *mut Self, cpu: u32, apic_id: u32, upcalls: &Upcalls) {
        let base = area as u64;
        let end = |at: usize| base + (at + size_of::<Slot>()) as u64;
        // SAFETY: the caller hands over the area; nothing else reads it until its CPU takes traps.
        unsafe {
            (*area).this = area;
            (*area).cpu = cpu;
            (*area).apic_id = apic_id;
            (*area).soft_mask = 1;
            (*area).emergency_top = base + (offset_of!(PerCpu, emergency_stack) + EMERGENCY_BYTES) as u64;
            let tss = &raw mut (*area).tss;
            (&raw mut (*tss).rsp0).write_unaligned(end(offset::EXC));
            let mut stacks = [0; 7];
            for (ist, top) in [
                (ist::INTERRUPT, end(offset::IRQ)),
                (ist::EXCEPTION, end(offset::EXC)),
                (ist::NMI, base + (offset_of!(PerCpu, nmi_stack) + 256) as u64),
                (ist::DOUBLE_FAULT, end(offset::DOUBLE_FAULT)),
                (ist::MACHINE_CHECK, end(offset::MACHINE_CHECK)),
            ] {
                if let Some(stack) = stacks.get_mut(ist as usize - 1) {
                    *stack = top;
                }
            }
            (&raw mut (*tss).ist).write_unaligned(stacks);
            let frame = |rip, slot: usize| IretFrame {
                rip,
                cs: 0x33,
                rflags: 0x3202, // IOPL 3 and IF: iretq from CPL0 may set both
                rsp: base + slot as u64,
                ss: 0x2b,
            };
            (*area).exception.upcall = frame(upcalls.exception, offset::EXC);
            (*area).exception.upcall_page_fault = frame(upcalls.page_fault, offset::EXC);
            (*area).interrupt.upcall = frame(upcalls.interrupt, offset::IRQ);
            (*area).double_fault.upcall = frame(upcalls.double_fault, offset::DOUBLE_FAULT);
            (*area).machine_check.upcall = frame(upcalls.machine_check, offset::MACHINE_CHECK);
        }
    }
}

impl PerCpu {
    /// The stack that a stopped CPU will start on.
    pub fn set_stack_bounds(&mut self, bottom: u64, top: u64) {
        self.stack_lo = bottom + STACK_MARGIN;
        self.stack_hi = top;
    }
}

/// Where ring 3's stubs return to.
#[repr(C)]
pub struct Upcalls {
    exception: u64,
    page_fault: u64,
    interrupt: u64,
    double_fault: u64,
    machine_check: u64,
}

macro_rules! read_u32 {
    ($field:ident) => {{
        let value: u32;
        // SAFETY: %gs points at this CPU's PerCpu from the first Rust instruction on.
        unsafe {
            asm!("mov {0:e}, gs:[{1}]", out(reg) value, const offset_of!(PerCpu, $field),
                options(nostack, readonly, preserves_flags));
        }
        value
    }};
}

macro_rules! read_u64 {
    ($field:ident) => {{
        let value: u64;
        // SAFETY: as for read_u32.
        unsafe {
            asm!("mov {0}, gs:[{1}]", out(reg) value, const offset_of!(PerCpu, $field),
                options(nostack, readonly, preserves_flags));
        }
        value
    }};
}

/// This CPU's number.
#[inline]
pub fn cpu() -> u32 {
    read_u32!(cpu)
}

/// This CPU's area.
#[inline]
pub fn this() -> *mut PerCpu {
    read_u64!(this) as *mut PerCpu
}

/// Whether any recorded interrupt waits.
#[inline]
pub fn any_pending() -> bool {
    read_u32!(pending) != 0
}

/// Raises the soft mask. From here on interrupts only record themselves.
#[inline]
pub fn mask() {
    // SAFETY: one instruction on this CPU's own area; entry code pairs every raise with a fall. The
    // memory clobber (no `nomem`) keeps the section it opens behind it.
    unsafe { asm!("inc dword ptr gs:[{0}]", const offset::SOFT, options(nostack)) }
}

/// Raises the soft mask if it is down; whether it did. Unlike [`mask`] it does not wait for what was stored there last.
#[inline(always)]
pub fn try_mask() -> bool {
    // SAFETY: as in `mask`; an interrupt between the instructions leaves the mask as it was.
    unsafe {
        asm!("cmp dword ptr gs:[{soft}], 0", "jne {masked}", "mov dword ptr gs:[{soft}], 1",
            soft = const offset::SOFT, masked = label { return false }, options(nostack));
    }
    true
}

/// Whether interrupts only record themselves.
#[inline]
pub fn is_masked() -> bool {
    read_u32!(soft_mask) != 0
}

/// How often the soft mask is raised: 1 in a handler whose interrupted code had interrupts on.
#[inline]
pub fn mask_depth() -> u32 {
    read_u32!(soft_mask)
}

/// Lowers the soft mask; true if it is now down while interrupts wait.
#[inline]
#[must_use = "what is pending must be replayed"]
pub fn unmask() -> bool {
    let depth: u32;
    // SAFETY: as in `mask`; the caller raised it before.
    unsafe {
        asm!("dec dword ptr gs:[{1}]", "mov {0:e}, gs:[{1}]", out(reg) depth,
            const offset::SOFT, options(nostack));
    }
    depth == 0 && any_pending()
}

/// Lowers the soft mask and calls `replay` if it is now down while interrupts wait. What [`unmask`] does, for the
/// many places where that is rare: four instructions.
#[inline(always)]
pub fn unmask_then(replay: impl FnOnce()) {
    // SAFETY: as for `unmask`; an interrupt between the two instructions is handled as it comes.
    unsafe {
        asm!("dec dword ptr gs:[{soft}]", "jnz 2f", "cmp dword ptr gs:[{pending}], 0", "jne {replay}", "2:",
            soft = const offset::SOFT, pending = const offset::PENDING, replay = label { replay() },
            options(nostack));
    }
}

/// Takes all recorded interrupts, a bit each.
#[inline]
pub fn take_pending() -> u32 {
    let mut bits: u32 = 0;
    // SAFETY: xchg is one instruction, so an interrupt is either in the result or still recorded.
    unsafe { asm!("xchg {0:e}, gs:[{1}]", inout(reg) bits, const offset::PENDING, options(nostack)) }
    bits
}

/// Tells entry code which stack this CPU runs on: `bottom` to `top` in bytes.
pub fn set_stack(bottom: u64, top: u64) {
    // SAFETY: two plain stores to this CPU's own area; the running stack lies in the new bounds.
    unsafe {
        asm!("mov gs:[{lo}], {0}", "mov gs:[{hi}], {1}", in(reg) bottom + STACK_MARGIN, in(reg) top,
            lo = const offset::STACK_LO, hi = const offset::STACK_HI, options(nostack, preserves_flags));
    }
}

/// The bounds of the stack this CPU runs on, in bytes: lowest and end.
pub fn stack() -> (u64, u64) {
    (read_u64!(stack_lo).saturating_sub(STACK_MARGIN), read_u64!(stack_hi))
}

/// Counts an event on this CPU.
#[inline]
pub fn count(counter: Counter) {
    // SAFETY: a counter index is in range by its type; one instruction on this CPU's own area.
    unsafe {
        asm!("inc qword ptr gs:[{1} + {0} * 8]", in(reg) counter as usize,
            const offset_of!(PerCpu, counters), options(nostack));
    }
}

/// Counts an interrupt of `line`, which is below [`LINES`], on this CPU.
#[inline]
pub fn count_interrupt(line: usize) {
    // SAFETY: the masked index is in range; one instruction on this CPU's own area.
    unsafe {
        asm!("inc qword ptr gs:[{1} + {0} * 8]", in(reg) line % LINES,
            const offset_of!(PerCpu, interrupts), options(nostack));
    }
}

/// The running task's word.
#[inline]
pub fn current() -> u64 {
    read_u64!(current)
}

/// Sets the running task's word.
#[inline]
pub fn set_current(word: u64) {
    // SAFETY: a plain store to this CPU's own area.
    unsafe {
        asm!("mov gs:[{1}], {0}", in(reg) word, const offset_of!(PerCpu, current),
            options(nostack, preserves_flags));
    }
}

/// How deep this CPU is in reports of fatal events, this one included.
pub fn enter_fatal() -> u32 {
    let area = this();
    // SAFETY: this CPU's own area; a fatal report runs with interrupts masked.
    unsafe {
        (*area).fatal_depth += 1;
        (*area).fatal_depth
    }
}
