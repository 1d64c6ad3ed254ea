//! `layout draw`: the address space of a context as a picture, lowest address at the bottom.
//!
//! Every box is an area as the context has it now, or one of the kernel's; nothing is drawn from memory.

use crate::commands::{Args, Outcome, fail, usage};
use crate::console;
use crate::context::{self, Context};
use crate::proc::context::{areas, maps};
use core::fmt::{self, Write};
use mm::addr::PAGE_SHIFT;
use mm::vma::{Backing, VmFlags, VmaInit};
use shared::exit::ExitStatus;
use shared::layout::{TASK_END, VIRTUAL_AREAS};
use shared::params::SizeText;

/// Areas that one drawing has room for.
const MOST: usize = 256;
const RULE: &str = "+--------------------------------------+";

/// Counts the lines of a text.
struct Lines(u64);

impl Write for Lines {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.bytes().filter(|byte| *byte == b'\n').count() as u64;
        Ok(())
    }
}

fn name(area: &VmaInit) -> &'static str {
    match (area.backing, area.kind.name()) {
        (Backing::Shmem(_), _) => "[shared]",
        (Backing::File(_), _) => "[file]",
        (Backing::Hugetlb(_), _) => "[hugetlb]",
        (Backing::Anon, "") => "[anon]",
        (Backing::Anon, name) => name,
    }
}

fn draw_box(top: u64, bottom: u64, name: &str, rights: &str) {
    console::print(format_args!("{RULE} {top:#x}\n"));
    console::print(format_args!("| {name:<16} {rights:<4} {:>14} |\n", SizeText(top - bottom)));
    console::print(format_args!("{RULE} {bottom:#x}\n"));
}

/// Draws the areas of `context`, highest first; how many there are.
fn draw_context(context: &Context) -> Result<u64, ExitStatus> {
    let mut list: [Option<VmaInit>; MOST] = [const { None }; MOST];
    let mut all = areas(context);
    let count = list.iter_mut().zip(all.by_ref()).map(|(slot, area)| *slot = Some(area)).count();
    if all.next().is_some() {
        return Err(fail(ExitStatus::CheckFailed, format_args!("layout draw: more than {MOST} areas")));
    }
    for area in list.iter().take(count).rev().flatten() {
        let letter = |flag, letter| if area.flags.contains(flag) { letter } else { "-" };
        let mut rights = crate::text::Text::<4>::new();
        for part in [letter(VmFlags::READ, "r"), letter(VmFlags::WRITE, "w"), letter(VmFlags::EXEC, "x")] {
            // Three letters fit.
            let _ = rights.write_str(part);
        }
        draw_box(area.end << PAGE_SHIFT, area.start << PAGE_SHIFT, name(area), rights.as_str());
    }
    Ok(count as u64)
}

/// `layout draw [--check]`; with `--check` the boxes are counted against `/proc/PID/maps`.
pub fn draw(args: &mut Args<'_>) -> Outcome {
    let check = match args.next_word() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            return Err(usage(format_args!("layout draw: expected --check, not '{other}'")));
        }
    };
    for area in VIRTUAL_AREAS.iter().rev().filter(|area| area.start >= TASK_END) {
        draw_box(area.end, area.start, area.name, "");
    }
    let Some(context) = context::chosen().and_then(context::find) else {
        console::print(format_args!("boxes=0 (no context; see ctx new)\n"));
        return Ok(());
    };
    let boxes = draw_context(&context)?;
    let mut lines = Lines(0);
    // Counting cannot fail.
    let _ = maps(&context, &mut lines);
    let agree = boxes == lines.0;
    let verdict = if agree { "ok" } else { "differ" };
    console::print(format_args!("boxes={boxes} maps={} {verdict}\n", lines.0));
    if agree || !check {
        Ok(())
    } else {
        Err(fail(ExitStatus::CheckFailed, format_args!("layout draw: the drawing and /proc/PID/maps differ")))
    }
}
