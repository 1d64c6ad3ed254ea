//! A plugin for QEMU's translator that counts the instructions a guest executes, for `cargo xtask bench alloc-icount`.
//!
//! The guest's own clock counts them, too, as long as it does something; while it waits for a disk the clock goes on and
//! nothing is executed. So whoever waits is counted from outside: everything that the one vCPU executes, interrupts and other
//! tasks included, an iteration of a string instruction as one. Each time the guest executes [`MARK`] the count so far is a
//! line of the file that `out=` names.
//!
//! Owns: the count. Stays outside: what is between which marks (the guest's `bench`, `xtask`). Invariant: there is one vCPU, so
//! one thread executes the guest.
//! Source: QEMU's plugin interface, version 1 (`qemu-plugin.h`), as declared below.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::Write;
use std::ptr::null_mut;
use std::slice;
use std::sync::Mutex;

/// `nopl 0x4d41524b(%rax,%rax,1)`, which no compiler makes.
const MARK: [u8; 8] = [0x0f, 0x1f, 0x84, 0x00, 0x4b, 0x52, 0x41, 0x4d];
/// `QEMU_PLUGIN_INLINE_ADD_U64`.
const INLINE_ADD: c_int = 0;
/// `QEMU_PLUGIN_CB_NO_REGS`.
const NO_REGISTERS: c_int = 0;

/// A block of translated code, and an instruction of it: QEMU's.
enum Block {}
enum Instruction {}

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, translated: extern "C" fn(u64, *mut Block));
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const Block, n: usize) -> *mut Instruction;
    fn qemu_plugin_insn_data(instruction: *const Instruction) -> *const c_void;
    fn qemu_plugin_insn_size(instruction: *const Instruction) -> usize;
    fn qemu_plugin_register_vcpu_insn_exec_inline(
        instruction: *mut Instruction,
        operation: c_int,
        word: *mut c_void,
        operand: u64,
    );
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        executed: extern "C" fn(c_uint, *mut c_void),
        registers: c_int,
        data: *mut c_void,
    );
}

/// The version of the interface.
// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 1;

/// Instructions so far. Code that QEMU makes adds to it.
static mut COUNT: u64 = 0;
static OUT: Mutex<Option<File>> = Mutex::new(None);

extern "C" fn marked(_: c_uint, _: *mut c_void) {
    // SAFETY: the thread that executes the guest adds to it, and is here now.
    let count = unsafe { (&raw const COUNT).read_volatile() };
    if let Ok(mut out) = OUT.lock()
        && let Some(file) = out.as_mut()
    {
        // Whoever reads the file finds that lines are missing.
        let _ = writeln!(file, "{count}");
    }
}

extern "C" fn translated(_: u64, block: *mut Block) {
    // SAFETY: QEMU shows a block that it has translated; its instructions are there as long as this runs, each with so many
    // bytes. The count is there for good.
    unsafe {
        for n in 0..qemu_plugin_tb_n_insns(block) {
            let instruction = qemu_plugin_tb_get_insn(block, n);
            let word = (&raw mut COUNT).cast();
            qemu_plugin_register_vcpu_insn_exec_inline(instruction, INLINE_ADD, word, 1);
            let bytes = qemu_plugin_insn_data(instruction).cast();
            if slice::from_raw_parts::<u8>(bytes, qemu_plugin_insn_size(instruction)) == MARK {
                qemu_plugin_register_vcpu_insn_exec_cb(instruction, marked, NO_REGISTERS, null_mut());
            }
        }
    }
}

/// What QEMU calls first, with the arguments of the plugin. Anything but 0 ends it.
///
/// # Safety
/// `arguments` are so many strings.
// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _: *const c_void,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    let mut path = None;
    for n in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: by the caller.
        let argument = unsafe { CStr::from_ptr(*arguments.add(n)) };
        path = path.or(argument.to_str().ok().and_then(|text| text.strip_prefix("out=")));
    }
    let Some(Ok(file)) = path.map(File::create) else {
        eprintln!("counter: out= names no file that can be made");
        return 1;
    };
    if let Ok(mut out) = OUT.lock() {
        *out = Some(file);
    }
    // SAFETY: QEMU gave the id, and the function is there for good.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
    0
}
