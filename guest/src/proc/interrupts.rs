//! `/proc/interrupts`: how often each line interrupted each CPU.
//!
//! Format: Linux `kernel/irq/proc.c` and `arch/x86/kernel/irq.c`. A device's number is its line here.

use crate::arch::irq::{self, LINES, line};
use crate::arch::{percpu, smp};
use core::fmt::{self, Write};

/// Lines that are messages between CPUs or the timer, as Linux names them.
const OWN: &[(&str, usize, &str)] = &[
    ("LOC", line::TIMER, "Local timer interrupts"),
    ("RES", line::IPI, "Rescheduling interrupts"),
    ("CAL", line::CALL, "Function call interrupts"),
    ("TLB", line::FLUSH, "TLB shootdowns"),
];

/// Writes `/proc/interrupts`.
pub fn interrupts(w: &mut dyn Write) -> fmt::Result {
    write!(w, "{:11}", "")?;
    for cpu in 0..smp::online() {
        write!(w, "CPU{cpu:<8}")?;
    }
    w.write_char('\n')?;
    for number in (line::FIRST_DEVICE..LINES).filter(|number| irq::has_handler(*number)) {
        write!(w, "{number:>3}:")?;
        counts(w, |cpu| smp::area(cpu).map_or(0, |area| percpu::interrupts_of(area, number)))?;
        writeln!(w, "  IO-APIC   edge      virtio-mmio")?;
    }
    write!(w, "NMI:")?;
    counts(w, |cpu| smp::area(cpu).map_or(0, |area| percpu::nmis_of(area).into()))?;
    writeln!(w, "   Non-maskable interrupts")?;
    for (name, number, what) in OWN {
        write!(w, "{name}:")?;
        counts(w, |cpu| smp::area(cpu).map_or(0, |area| percpu::interrupts_of(area, *number)))?;
        writeln!(w, "   {what}")?;
    }
    Ok(())
}

fn counts(w: &mut dyn Write, count: impl Fn(u32) -> u64) -> fmt::Result {
    (0..smp::online()).try_for_each(|cpu| write!(w, " {:>10}", count(cpu)))
}
