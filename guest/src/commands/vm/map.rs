//! Mapping, unmapping, rights, pages ahead of their use.

use super::session::{self, Mapping, Session};
use super::{not_mapped, range, refused, rights};
use crate::commands::pt::leaf;
use crate::commands::support::parse;
use crate::commands::{Args, Outcome, fail, usage};
use crate::console;
use crate::context::Rights;
use crate::files::{self, File};
use crate::memory::slab::FRAMES;
use crate::memory::vm::{RECLAIM, VM};
use mm::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr};
use mm::cache::FileRef;
use mm::pgtable::{Leaves, PageRange};
use mm::port::{Access, Level};
use mm::space::{Advice, Errno, MapFlags, MapRequest};
use mm::vma::{Backing, VmFlags};
use shared::exit::ExitStatus;

/// What the words after a size ask for.
struct Wishes {
    request: MapRequest,
    populate: bool,
    advice: Option<Advice>,
    /// All of it by leaves of this size, at once.
    leaf: Option<Level>,
    /// The file behind it, open until the area has it.
    file: Option<File>,
}

impl Wishes {
    /// Pages from the pool of this size.
    fn take_from_pool(&mut self, leaf: Level) {
        self.request.vm |= VmFlags::HUGETLB;
        self.request.backing = Backing::Hugetlb(leaf);
    }

    /// Pages of a file.
    fn take_from_file(&mut self, path: &str) -> Outcome {
        let opened = files::open_for_all(path);
        let file = opened.map_err(|errno| fail(ExitStatus::CheckFailed, format_args!("{path}: {errno}")))?;
        self.request.backing = Backing::File(FileRef::of(&file));
        self.file = Some(file);
        Ok(())
    }

    /// Leaves of this size, there when the command ends.
    fn of_leaves(&mut self, leaf: Level) -> Outcome {
        (self.leaf, self.populate) = (Some(leaf), true);
        let len = self.request.len.checked_next_multiple_of(leaf.size());
        self.request.len = len.ok_or_else(|| refused(Errno::Enomem, "beyond what contexts have"))?;
        match leaf {
            Level::PTE => self.advice = Some(Advice::NoHugePage),
            Level::PMD => self.advice = Some(Advice::HugePage),
            _ => self.take_from_pool(leaf),
        }
        Ok(())
    }
}

fn wishes(command: &str, len: u64, args: &mut Args<'_>) -> Result<Wishes, ExitStatus> {
    let mut wishes =
        Wishes { request: MapRequest::anon(len), populate: false, advice: None, leaf: None, file: None };
    while let Some(word) = args.next_word() {
        match word {
            "overlay" => wishes.request.flags |= MapFlags::OVERLAY,
            "noreserve" => wishes.request.flags |= MapFlags::NORESERVE,
            "populate" => wishes.populate = true,
            "thp" => wishes.advice = Some(Advice::HugePage),
            "nothp" => wishes.advice = Some(Advice::NoHugePage),
            "shared" => wishes.request.vm |= VmFlags::SHARED,
            "hugetlb" => wishes.take_from_pool(Level::PMD),
            word => match parse::setting(word) {
                ("hugetlb", Some(size)) => wishes.take_from_pool(pool_leaf(size)?),
                ("file", Some(path)) => wishes.take_from_file(path)?,
                ("at", Some(at)) => wishes.request.pgoff = parse::size("at", at)? >> PAGE_SHIFT,
                ("size", Some(size)) => wishes.of_leaves(leaf(size)?)?,
                _ => {
                    let access = rights(word).ok_or_else(|| parse::unexpected(command, word))?;
                    wishes.request.vm = (wishes.request.vm - VmFlags::ACCESS) | access;
                }
            },
        }
    }
    Ok(wishes)
}

/// A size of leaf that pools have.
fn pool_leaf(text: &str) -> Result<Level, ExitStatus> {
    match leaf(text)? {
        Level::PTE => Err(refused(Errno::Einval, "no pool of such pages")),
        level => Ok(level),
    }
}

/// Maps, and remembers it.
fn make(session: &mut Session, wishes: &Wishes) -> Outcome {
    let (request, context) = (&wishes.request, session.context.clone());
    let mm = context.mm();
    let at = VM.mmap(mm, request, &FRAMES).map_err(|errno| why_not(errno, request))?;
    let bytes = request.len.next_multiple_of(request.backing.pages() * PAGE_SIZE);
    session.add(Mapping { start: at.get(), bytes, ..Mapping::default() });
    if let Some(advice) = wishes.advice {
        VM.madvise(mm, at, bytes, advice, &FRAMES).map_err(|errno| not_mapped(errno, bytes))?;
    }
    if wishes.populate {
        fill(session, at, bytes)?;
    }
    let (end, rights) = (at.get() + bytes, Rights(request.vm));
    console::print(format_args!(
        "mapped={:#x}-{end:#x} pages={} rights={rights}\n",
        at.get(),
        bytes / PAGE_SIZE
    ));
    wishes.leaf.map_or(Ok(()), |leaf| show_leaves(session, at, bytes, leaf))
}

/// What maps a range, all of which is to be mapped by leaves of one size.
fn show_leaves(session: &Session, at: VirtAddr, bytes: u64, leaf: Level) -> Outcome {
    let range = PageRange::new(at, bytes / PAGE_SIZE);
    let census = range.and_then(|range| session.context.mm().tree().census(range)).unwrap_or_default();
    let Leaves { pte, pmd, pud } = census.leaves;
    console::print(format_args!("leafs"));
    if pud != 0 {
        console::print(format_args!(" 1G={pud}"));
    }
    console::print(format_args!(" 2M={pmd} 4K={pte}\n"));
    let there = match leaf {
        Level::PTE => pte,
        Level::PMD => pmd,
        _ => pud,
    };
    if there == bytes / leaf.size() {
        Ok(())
    } else {
        Err(refused(Errno::Enomem, "not all leaves are of that size"))
    }
}

fn why_not(errno: Errno, request: &MapRequest) -> ExitStatus {
    let low = request.addr.is_some_and(|at| at.get() < VM.settings().mmap_min_addr());
    match errno {
        Errno::Eperm if low => refused(errno, "mmap_min_addr"),
        Errno::Eperm => refused(errno, "addresses of another context"),
        Errno::Enomem if request.vm.contains(VmFlags::HUGETLB) => {
            refused(errno, "not so many free huge pages")
        }
        errno => not_mapped(errno, request.len),
    }
}

/// `vm map SIZE ...`.
pub fn map(args: &mut Args<'_>) -> Outcome {
    let len = parse::size("size", args.next_word().unwrap_or(""))?;
    let wishes = wishes("vm map", len, args)?;
    session::with(|session| make(session, &wishes))
}

/// `vm map-fixed ADDR [SIZE] ...`: only where nothing is.
pub fn map_fixed(args: &mut Args<'_>) -> Outcome {
    let at = parse::number("address", args.next_word().unwrap_or(""))?;
    let sized = args.peek().and_then(shared::params::parse_size);
    if sized.is_some() {
        args.next_word();
    }
    let mut wishes = wishes("vm map-fixed", sized.unwrap_or(PAGE_SIZE), args)?;
    let at = VirtAddr::new(at).ok_or_else(|| refused(Errno::Enomem, "beyond what contexts have"))?;
    wishes.request.addr = Some(at);
    wishes.request.flags |= MapFlags::FIXED_NOREPLACE;
    session::with(|session| make(session, &wishes))
}

/// `vm unmap [ADDR SIZE]`.
pub fn unmap(args: &mut Args<'_>) -> Outcome {
    session::with(|session| {
        let (at, len) = range("vm unmap", args, session)?;
        VM.munmap(session.context.mm(), at, len, &FRAMES).map_err(|errno| refused(errno, ""))?;
        session.forget(at.get(), len);
        console::print(format_args!("unmapped={:#x} pages={}\n", at.get(), len.div_ceil(PAGE_SIZE)));
        Ok(())
    })
}

/// `vm protect RIGHTS [ADDR SIZE]`.
pub fn protect(args: &mut Args<'_>) -> Outcome {
    let word = args.next_word().unwrap_or("");
    let access = rights(word).filter(|_| !word.is_empty());
    let access: VmFlags =
        access.ok_or_else(|| usage(format_args!("bad rights '{word}' (r, rw, r-x, none, ...)")))?;
    session::with(|session| {
        let (at, len) = range("vm protect", args, session)?;
        let change = || VM.mprotect(session.context.mm(), at, len, access, &FRAMES);
        RECLAIM.with_room(change).map_err(|errno| refused(errno, ""))?;
        console::print(format_args!("protected={:#x} rights={}\n", at.get(), Rights(access)));
        Ok(())
    })
}

/// Brings in every page of a range, as its area allows it to be used.
fn fill(session: &Session, at: VirtAddr, bytes: u64) -> Outcome {
    let mm = session.context.mm();
    let writable = VM.area_from(mm, at).is_some_and(|area| area.flags.contains(VmFlags::WRITE));
    let access = if writable { Access::Write } else { Access::Read };
    let fill = || VM.populate(mm, at, bytes, access, &FRAMES);
    RECLAIM.with_room(fill).map_err(|errno| refused(errno, "populate"))
}

/// `vm populate [ADDR SIZE]`.
pub fn populate(args: &mut Args<'_>) -> Outcome {
    session::with(|session| {
        let (at, len) = range("vm populate", args, session)?;
        fill(session, at, len)?;
        console::print(format_args!("populated={:#x} pages={}\n", at.get(), len.div_ceil(PAGE_SIZE)));
        Ok(())
    })
}

/// `vm lock [ADDR SIZE]`, `vm unlock [ADDR SIZE]`: whether pages must stay in memory.
pub fn lock(args: &mut Args<'_>, lock: bool) -> Outcome {
    session::with(|session| {
        let (at, len) = range("vm lock", args, session)?;
        let mm = session.context.mm();
        let change = || if lock { VM.mlock(mm, at, len, &FRAMES) } else { VM.munlock(mm, at, len, &FRAMES) };
        let done = RECLAIM.with_room(change);
        done.map_err(|errno| refused(errno, ""))?;
        let what = if lock { "locked" } else { "unlocked" };
        console::print(format_args!("{what}={:#x} pages={}\n", at.get(), len.div_ceil(PAGE_SIZE)));
        Ok(())
    })
}
