//! Registers of a vCPU: the state a kernel starts with, and the text of a crash report.
//!
//! Source: Xen `docs/misc/pvh.pandoc` and the 32-bit protocol of Linux `Documentation/arch/x86/boot.rst`: protected
//! mode, paging off, flat segments, interrupts off.

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuFd;

use super::KvmError;
use crate::boot::EntryState;

/// Bit 1 of RFLAGS always reads 1.
const RFLAGS_RESERVED: u64 = 1 << 1;
/// CR0 with protection on and paging off.
const CR0_PE: u64 = 1;

/// CS and RIP after INIT.
const INIT_ENTRY: (u16, u64) = (0xf000, 0xfff0);

/// Selectors as Linux wants them; PVH leaves them open. Kernels load tables of their own before they reload any.
const CODE_SELECTOR: u16 = 0x10;
const DATA_SELECTOR: u16 = 0x18;
const TSS_SELECTOR: u16 = 0x20;
/// Segment types: execute/read, read/write, busy 32-bit TSS; all accessed.
const TYPE_CODE: u8 = 0xb;
const TYPE_DATA: u8 = 0x3;
const TYPE_TSS: u8 = 0xb;

/// Has the boot vCPU start with `entry`.
pub fn set_entry(vcpu: &VcpuFd, entry: EntryState) -> Result<(), KvmError> {
    let mut sregs = vcpu.get_sregs().map_err(KvmError::setup("read registers"))?;
    let data = flat_segment(DATA_SELECTOR, TYPE_DATA);
    sregs.cs = flat_segment(CODE_SELECTOR, TYPE_CODE);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = kvm_segment {
        limit: 0x67,
        selector: TSS_SELECTOR,
        type_: TYPE_TSS,
        present: 1,
        ..Default::default()
    };
    (sregs.cr0, sregs.cr4, sregs.efer) = (CR0_PE, 0, 0);
    vcpu.set_sregs(&sregs).map_err(KvmError::setup("set segment registers"))?;
    let EntryState { rip, rbx, rsi } = entry;
    let regs = kvm_regs { rip, rbx, rsi, rflags: RFLAGS_RESERVED, ..Default::default() };
    vcpu.set_regs(&regs).map_err(KvmError::setup("set registers"))
}

fn flat_segment(selector: u16, type_: u8) -> kvm_segment {
    kvm_segment { limit: u32::MAX, selector, type_, present: 1, s: 1, db: 1, g: 1, ..Default::default() }
}

/// Whether `vcpu` stands where INIT leaves it. AMD's CPUs do not keep the state of a shutdown, and KVM then
/// resets the vCPU.
pub fn is_after_init(vcpu: &VcpuFd) -> bool {
    let (Ok(regs), Ok(sregs)) = (vcpu.get_regs(), vcpu.get_sregs()) else { return false };
    (sregs.cs.selector, regs.rip) == INIT_ENTRY
}

/// The registers of `vcpu` as one line of `name=value` pairs.
pub fn describe(vcpu: &VcpuFd) -> String {
    match (vcpu.get_regs(), vcpu.get_sregs()) {
        (Ok(regs), Ok(sregs)) => format_registers(&regs, &sregs),
        _ => String::from("registers cannot be read"),
    }
}

fn format_registers(r: &kvm_regs, s: &kvm_sregs) -> String {
    format!(
        "rip={:#x} rsp={:#x} rflags={:#x} rax={:#x} rbx={:#x} rcx={:#x} rdx={:#x} rsi={:#x} rdi={:#x} \
         rbp={:#x} r8={:#x} r9={:#x} r10={:#x} r11={:#x} r12={:#x} r13={:#x} r14={:#x} r15={:#x} \
         cs={:#x} ss={:#x} tr={:#x} cr0={:#x} cr2={:#x} cr3={:#x} cr4={:#x} efer={:#x} idt={:#x} gdt={:#x}",
        r.rip,
        r.rsp,
        r.rflags,
        r.rax,
        r.rbx,
        r.rcx,
        r.rdx,
        r.rsi,
        r.rdi,
        r.rbp,
        r.r8,
        r.r9,
        r.r10,
        r.r11,
        r.r12,
        r.r13,
        r.r14,
        r.r15,
        s.cs.selector,
        s.ss.selector,
        s.tr.selector,
        s.cr0,
        s.cr2,
        s.cr3,
        s.cr4,
        s.efer,
        s.idt.base,
        s.gdt.base,
    )
}
