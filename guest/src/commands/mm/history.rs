//! `mm history`: what a frame was used for, one after the other (`page_owner=on`).

use super::mapped_at;
use crate::commands::support::parse;
use crate::commands::{Args, Outcome, usage};
use crate::console;
use crate::memory::PHYS;
use crate::memory::vm::VM;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::Pfn;
use mm::phys::{FolioState, PageChecks, PageUse};

/// The frame that was asked for last.
static LAST: AtomicU64 = AtomicU64::new(0);

/// `mm history PFN|va=ADDR|last`: what it was used for since boot, and what it is now.
pub fn history(args: &mut Args<'_>) -> Outcome {
    if !PHYS.page_checks().contains(PageChecks::OWNER) {
        return Err(usage(format_args!("mm history: nothing is recorded; boot with page_owner=on")));
    }
    let text = args.next_word().unwrap_or("");
    let pfn = match parse::setting(text) {
        ("va", Some(address)) => mapped_at(parse::address(address)?)?,
        ("last", None) => Pfn::new(LAST.load(Ordering::Relaxed)).unwrap_or(Pfn::from_u32(0)),
        _ => parse::pfn(text)?,
    };
    let Some(folio) = PHYS.folio(pfn) else { return Err(usage(format_args!("bad pfn {:#x}", pfn.get()))) };
    LAST.store(pfn.get(), Ordering::Relaxed);
    console::print(format_args!("pfn={:#x} history=", pfn.get()));
    for past in PHYS.page_history(pfn) {
        console::print(format_args!("{}->free->", past.name()));
    }
    let now = match folio.state {
        FolioState::Free => "",
        FolioState::Reserved => "reserved",
        FolioState::Allocated => VM.page_use(pfn).unwrap_or(PageUse::Kernel).name(),
    };
    console::print(format_args!("{now}\n"));
    Ok(())
}
