//! `features`: what this CPU and this host are, as they say themselves.
//!
//! A feature that can be switched is 1 when it is in use: CPUID has it and the kernel has switched it on.
//!
//! Source: Intel SDM vol. 2 CPUID, vol. 3 section 2.5; AMD APM vol. 3 appendix E.

use super::{Args, Command, Outcome};
use crate::arch::{boot, cpu, time};
use crate::console;
use crate::text::Text;
use core::fmt::Write;

/// The family.
pub const FEATURES: &[Command] = &[Command {
    name: "features",
    usage: "",
    summary: "what the CPU has and uses, and the ring of the kernel",
    run: features,
}];

const EFER: u32 = 0xc000_0080;
const FIRST_HYPERVISOR_LEAF: u32 = 0x4000_0000;
const FIRST_EXTENDED_LEAF: u32 = 0x8000_0000;
/// Size of addresses.
const ADDRESS_LEAF: u32 = 0x8000_0008;

/// A register of a CPUID leaf.
#[derive(Clone, Copy)]
enum Register {
    Ebx = 1,
    Ecx = 2,
    Edx = 3,
}
use Register::{Ebx, Ecx, Edx};

/// The bit that switches a feature on.
#[derive(Clone, Copy)]
enum Switch {
    /// It is always on.
    None,
    Cr4(u32),
    Efer(u32),
}

struct Feature {
    name: &'static str,
    leaf: u32,
    register: Register,
    bit: u32,
    switch: Switch,
}

const fn feature(name: &'static str, leaf: u32, register: Register, bit: u32, switch: Switch) -> Feature {
    Feature { name, leaf, register, bit, switch }
}

const FEATURE_LIST: &[Feature] = &[
    feature("pae", 1, Edx, 6, Switch::Cr4(5)),
    feature("pge", 1, Edx, 13, Switch::Cr4(7)),
    feature("nx", 0x8000_0001, Edx, 20, Switch::Efer(11)),
    feature("pdpe1gb", 0x8000_0001, Edx, 26, Switch::None),
    feature("pcid", 1, Ecx, 17, Switch::Cr4(17)),
    feature("invpcid", 7, Ebx, 10, Switch::None),
    feature("smep", 7, Ebx, 7, Switch::Cr4(20)),
    feature("smap", 7, Ebx, 20, Switch::Cr4(21)),
    feature("umip", 7, Ecx, 2, Switch::Cr4(11)),
    feature("pku", 7, Ecx, 3, Switch::Cr4(22)),
    feature("la57", 7, Ecx, 16, Switch::Cr4(12)),
    feature("fsgsbase", 7, Ebx, 0, Switch::Cr4(16)),
    feature("x2apic", 1, Ecx, 21, Switch::None),
    feature("tsc_deadline", 1, Ecx, 24, Switch::None),
    feature("hypervisor", 1, Ecx, 31, Switch::None),
];

/// A leaf of the virtual CPU; zeroes if it has none of that number.
fn leaf(number: u32) -> [u32; 4] {
    let first = number & 0xffff_0000;
    let [max, ..] = cpu::cpuid(first, 0);
    if number <= max { cpu::cpuid(number, 0) } else { [0; 4] }
}

/// Text in registers, without the zeroes and blanks around it.
fn text<const N: usize>(registers: &[u32]) -> Text<N> {
    let mut text = Text::new();
    for byte in registers.iter().flat_map(|register| register.to_le_bytes()) {
        if byte.is_ascii_graphic() || byte == b' ' {
            // A text cuts off what does not fit, and does not fail.
            let _ = text.write_char(byte.into());
        }
    }
    text
}

fn features(_: &mut Args<'_>) -> Outcome {
    let ring = cpu::ring();
    let (cr4, efer) = (cpu::read_cr4(), cpu::read_msr(EFER));
    console::print(format_args!("ring={ring}\nmode=exec-cpl{ring}\nprobe_tsc={}\n", boot::probe_tsc()));
    print_names();
    let [addresses, ..] = leaf(ADDRESS_LEAF);
    console::print(format_args!(
        "phys_bits={}\nvirt_bits={}\ntsc_khz={}\ncr4={cr4:#x}\nefer={efer:#x}\n",
        addresses & 0xff,
        addresses >> 8 & 0xff,
        time::tsc_khz()
    ));
    for each in FEATURE_LIST {
        let has = leaf(each.leaf)[each.register as usize] >> each.bit & 1;
        let on = match each.switch {
            Switch::None => None,
            Switch::Cr4(bit) => Some(cr4 >> bit & 1),
            Switch::Efer(bit) => Some(efer >> bit & 1),
        };
        match on {
            Some(on) => console::print(format_args!("{}={} cpuid={has}\n", each.name, on & u64::from(has))),
            None => console::print(format_args!("{}={has}\n", each.name)),
        }
    }
    Ok(())
}

fn print_names() {
    let [_, ebx, ecx, edx] = leaf(0);
    console::print(format_args!("vendor={}\n", text::<16>(&[ebx, edx, ecx]).as_str()));
    let mut brand = [0; 12];
    for (number, registers) in (FIRST_EXTENDED_LEAF + 2..).zip(brand.chunks_mut(4)) {
        registers.copy_from_slice(&leaf(number));
    }
    console::print(format_args!("model={}\n", or_none(text::<48>(&brand).as_str().trim())));
    let [_, ebx, ecx, edx] = cpu::cpuid(FIRST_HYPERVISOR_LEAF, 0);
    let under_hypervisor = leaf(1)[Ecx as usize] >> 31 & 1 != 0;
    let signature = if under_hypervisor { text(&[ebx, ecx, edx]) } else { Text::<16>::new() };
    console::print(format_args!(
        "hypervisor_signature={}\naccelerator={}\n",
        or_none(signature.as_str()),
        accelerator(signature.as_str())
    ));
}

/// What runs this machine, as the guest can tell.
fn accelerator(signature: &str) -> &'static str {
    match signature {
        "KVMKVMKVM" if boot::is_ring0_slow() => "kvm-software",
        "KVMKVMKVM" => "kvm",
        "TCGTCGTCGTCG" => "tcg",
        _ => "unknown",
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}
