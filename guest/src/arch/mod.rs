//! Real x86-64: everything that names a register, an instruction or an interrupt vector.
//!
//! The difference between the two rings lives here and only here: `trap.s` and `gate.s` in assembly, and
//! [`cpu`] for the privileged operations.
//!
//! | file | job |
//! |---|---|
//! | `boot.s`, [`boot`] | PVH entry, ring decision, the first Rust function |
//! | `trap.s`, [`trap`] | exception and interrupt entry and exit |
//! | `gate.s`, [`cpu`] | privileged operations |
//! | [`percpu`] | the area `%gs` points at |
//! | [`idt`] | gates and descriptor of each vector |
//! | [`irq`] | soft masking, replay, handlers |
//! | [`ioapic`] | pins of devices |
//! | [`lapic`], [`time`] | messages between CPUs, timer, clock |
//! | [`smp`], [`call`] | starting the other CPUs, and having them do something |
//! | [`paging`], [`tlb`] | the kernel's page tables, flushing |
//! | [`probe`], [`touch`] | accesses to addresses that may fault |

pub mod boot;
pub mod call;
pub mod cpu;
pub mod idt;
pub mod ioapic;
pub mod irq;
pub mod lapic;
pub mod mem;
pub mod paging;
pub mod percpu;
pub mod port;
pub mod probe;
pub mod smp;
pub mod time;
pub mod tlb;
pub mod touch;
pub mod trap;
