//! `api`, `kmalloc`, `gfp`: the calls that kernel developers make, one at a time, and what they answer.
//!
//! What a call gives is looked at and given back before the command ends. Areas of addresses are made by `areas`.
//!
//! | file | job |
//! |---|---|
//! | `objects` | kmalloc and its family |
//! | `pages` | blocks of pages by address, runs of pages |
//! | `flags` | what flags mean |

mod flags;
mod objects;
mod pages;

use super::{Args, Command, Outcome, areas, usage};
use crate::memory::boot::kernel_root;
use mm::addr::{PAGE_SIZE, VirtAddr};

/// The family.
pub const API: &[Command] = &[
    Command {
        name: "api",
        usage: "vmalloc SIZE ... | vmap PAGES | kmalloc SIZE [FLAGS] [irq] | kcalloc N SIZE | krealloc SIZE SIZE | \
                kfree null | gfp FLAGS ORDER | zeroed [FLAGS] | contig PAGES [node=N]",
        summary: "makes one call of the kernel's interface, checks what it gives, gives it back",
        run: api,
    },
    Command {
        name: "kmalloc",
        usage: "SIZE [FLAGS] [irq]",
        summary: "as api kmalloc; irq: from an interrupt",
        run: objects::kmalloc,
    },
    Command {
        name: "gfp",
        usage: "decode FLAGS | scope noreclaim|nofs|noio|pin FLAGS",
        summary: "what allocation flags mean: parts, zones in order, kind of page; what a scope leaves of them",
        run: flags::gfp,
    },
];

fn api(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("vmalloc") => areas::api_vmalloc(args),
        Some("vmap") => areas::api_vmap(args),
        Some("kmalloc") => objects::kmalloc(args),
        Some("kcalloc") => objects::kcalloc(args),
        Some("krealloc") => objects::krealloc(args),
        Some("kfree") => objects::kfree(args),
        Some("gfp") => pages::get_free_pages(args),
        Some("zeroed") => pages::get_zeroed_page(args),
        Some("contig") => pages::contig(args),
        other => Err(usage(format_args!(
            "api: expected vmalloc, vmap, kmalloc, kcalloc, krealloc, kfree, gfp, zeroed or contig, not '{}'",
            other.unwrap_or("nothing")
        ))),
    }
}

/// Whether the pages from `at` on lie in a row in physical memory, as the page tables tell.
fn is_contiguous(at: u64, bytes: u64) -> bool {
    let first = at & !(PAGE_SIZE - 1);
    let frame = |va| kernel_root().translate(VirtAddr::truncate(va)).map(|pa| pa.get());
    let Some(start) = frame(first) else { return false };
    (first..at + bytes).step_by(PAGE_SIZE as usize).all(|va| frame(va) == Some(start + (va - first)))
}

fn yes(answer: bool) -> &'static str {
    if answer { "yes" } else { "no" }
}

fn verdict(good: bool) -> &'static str {
    if good { "ok" } else { "bad" }
}
