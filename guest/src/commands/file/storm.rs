//! `file storm`: all CPUs write, read, map, cut, sync and drop one file at once.
//!
//! Owns: the workers and their verdict. Each worker has a word of its own in every page, so it knows what it must find there,
//! whoever else is at the page. The first pages stay; those behind come and go with the size of the file, and what was
//! written there before they went must never be seen again. An access through a mapping beyond the end would end the worker,
//! so such pages are touched, and the file is cut, with a lock held; all else races.

use super::open::with;
use super::{failed, path};
use crate::arch::cpu::rdtsc;
use crate::arch::percpu::MAX_CPUS;
use crate::arch::{smp, time};
use crate::commands::support::{Random, parse};
use crate::commands::vm::{Scratch, ended, load, store};
use crate::commands::{Args, Outcome, fail};
use crate::context::{self, Place};
use crate::files::File;
use crate::memory::slab::FRAMES;
use crate::memory::vm::{CACHE, VM};
use crate::task::Mutex;
use crate::{console, report};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use crc32fast::Hasher;
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::errno::Errno;
use mm::space::{FileCensus, MapRequest};
use mm::vma::VmFlags;
use mm::writeback::MsFlags;
use shared::exit::ExitStatus;

const DEFAULT_MS: u64 = 1000;
/// Pages that stay, and all that there are: so few come and go that a file can have a place for each by itself.
const KEPT: u64 = 32;
const PAGES: u64 = 44;
const BYTES: u64 = PAGES * PAGE_SIZE;
/// Workers: each has a word of a page.
const MOST: usize = 8;

/// What the workers share.
struct Storm<'a> {
    file: &'a File,
    end: u64,
    seed: u64,
    /// Where the file is mapped for good.
    kept: u64,
    /// The word that each worker wrote last to each page; 0 where its page has gone since.
    words: [[AtomicU64; PAGES as usize]; MOST],
    /// Held where the size must not shrink.
    size: Mutex<()>,
    /// How often each kind of step was done.
    steps: [AtomicU64; STEPS.len()],
    wrong: AtomicU64,
    errors: AtomicU64,
}

const STEPS: [&str; 8] = ["store", "load", "write", "read", "map", "cut", "sync", "drop"];

/// `file storm PATH [ms=N] [seed=N]`: the file is of 176 KiB afterwards.
pub fn storm(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    let (mut ms, mut seed) = (DEFAULT_MS, 1);
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("ms", Some(text)) => ms = parse::count("ms", text)?,
            ("seed", Some(text)) => seed = parse::number("seed", text)?,
            _ => return Err(parse::unexpected("file storm", word)),
        }
    }
    with(path, |file| {
        let resize = |size| VM.truncate(file, size, &FRAMES).map_err(|error| failed(path, error));
        resize(0)?;
        let zeroes = |to: NonNull<u8>, length| {
            // SAFETY: the cache gives so many bytes of a page that it keeps meanwhile.
            unsafe { to.as_ptr().write_bytes(0, length) };
        };
        // In a row on the disk.
        VM.write(file, 0, BYTES, &FRAMES, zeroes).map_err(|error| failed(path, error))?;
        let scratch = Scratch::new("storm")?;
        let kept = scratch.map(&request(file), None)?;
        let storm = Storm {
            file,
            end: rdtsc() + time::ns_to_tsc(ms * 1_000_000),
            seed,
            kept,
            words: [const { [const { AtomicU64::new(0) }; PAGES as usize] }; MOST],
            size: Mutex::new(()),
            steps: [const { AtomicU64::new(0) }; STEPS.len()],
            wrong: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        };
        storm.run(&scratch)?;
        resize(BYTES)?;
        storm.verdict(&scratch).map_err(|error| failed(path, error))?
    })?
}

/// All of the file, shared.
fn request(file: &File) -> MapRequest {
    MapRequest::file(file, 0, BYTES, VmFlags::READ | VmFlags::WRITE | VmFlags::SHARED)
}

impl Storm<'_> {
    fn run(&self, scratch: &Scratch) -> Outcome {
        let places: [_; MAX_CPUS] =
            core::array::from_fn(|cpu| Place { context: &scratch.context, cpu: cpu as u32 });
        let count = (smp::online() as usize).min(MOST);
        let work = |n: usize| Worker { storm: self, scratch, n, mine: 0 }.work();
        context::run_each(places.get(..count).unwrap_or(&places), &work).or_else(ended)
    }

    /// Sums what the file has, through the mapping, through the cache and from the disk.
    fn verdict(&self, scratch: &Scratch) -> Result<Outcome, Errno> {
        for (name, count) in STEPS.iter().zip(&self.steps) {
            console::print(format_args!("{name}={} ", count.load(Ordering::Relaxed)));
        }
        let expected = |pages: u64| -> u64 {
            let of_worker = |words: &[AtomicU64; PAGES as usize]| {
                words
                    .iter()
                    .take(pages as usize)
                    .fold(0_u64, |sum, word| sum.wrapping_add(word.load(Ordering::Relaxed)))
            };
            self.words.iter().map(of_worker).fold(0, u64::wrapping_add)
        };
        let shown = scratch.run(|| {
            let words = (0..KEPT * PAGE_SIZE).step_by(8).map(|at| load(self.kept + at));
            words.fold(0, u64::wrapping_add)
        });
        let Ok(shown) = shown else { return Ok(shown.map(drop)) };
        let cached = self.sum()?;
        VM.fsync(self.file, false, &FRAMES)?;
        VM.munmap(scratch.context.mm(), VirtAddr::truncate(self.kept), BYTES, &FRAMES)?;
        let dropped = VM.drop_pagecache();
        let from_disk = self.sum()?;
        console::print(format_args!(
            "cpus={} wrong={} errors={} dropped={dropped}\nsum={:#x} mapped={shown:#x} cached={:#x} disk={:#x} crc32=0x{:08x}\n",
            smp::online(),
            self.wrong.load(Ordering::Relaxed),
            self.errors.load(Ordering::Relaxed),
            expected(KEPT),
            cached.0,
            from_disk.0,
            from_disk.1
        ));
        let census = VM.verify_file(self.file.inode());
        let FileCensus { pages, dirty, mapped, held, areas, .. } =
            census.unwrap_or_else(|what| report::corruption(format_args!("file: {what}")));
        let sums = [shown, cached.0, from_disk.0];
        let is_well = sums == [expected(KEPT); 3]
            && cached.1 == from_disk.1
            && self.wrong.load(Ordering::Relaxed) + self.errors.load(Ordering::Relaxed) == 0
            && [dirty, mapped, held, areas] == [0; 4];
        let verdict = if is_well { "ok" } else { "wrong" };
        console::print(format_args!(
            "storm={verdict} pages={pages} dirty={dirty} mapped={mapped} held={held} mmaps={areas}\n"
        ));
        Ok(if is_well {
            Ok(())
        } else {
            Err(fail(ExitStatus::CheckFailed, format_args!("file storm: {verdict}")))
        })
    }

    /// The sum of the words of the pages that stay, and the CRC of all, as `read` gives them.
    fn sum(&self) -> Result<(u64, u32), Errno> {
        let (mut hasher, mut sum, mut at) = (Hasher::new(), 0_u64, 0);
        CACHE.read(self.file, 0, BYTES, &FRAMES, |from: NonNull<u8>, length| {
            // SAFETY: the cache shows so many bytes of a page that it keeps meanwhile; the workers have ended.
            let bytes = unsafe { core::slice::from_raw_parts(from.as_ptr(), length) };
            hasher.update(bytes);
            if at < KEPT * PAGE_SIZE {
                let words = bytes.as_chunks::<8>().0.iter();
                sum = words.fold(sum, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
            }
            at += length as u64;
        })?;
        Ok((sum, hasher.finalize()))
    }
}

/// One of the workers, in the context that has the file mapped.
struct Worker<'a> {
    storm: &'a Storm<'a>,
    scratch: &'a Scratch,
    n: usize,
    /// Where it has mapped the file itself; 0 for nowhere.
    mine: u64,
}

impl Worker<'_> {
    fn work(mut self) {
        let mut random = Random::new(self.storm.seed ^ (self.n as u64) << 32);
        while rdtsc() < self.storm.end {
            let step = match random.below(100) {
                0..30 => 0,
                30..55 => 1,
                55..70 => 2,
                70..85 => 3,
                85..91 => 4,
                91..94 => 5,
                94..98 => 6,
                _ => 7,
            };
            self.storm.steps[step].fetch_add(1, Ordering::Relaxed);
            let page = random.below(PAGES);
            let done = match step {
                0 | 1 => {
                    self.through_mapping(page, (step == 0).then(|| random.word() | 1), random.below(2) == 0)
                }
                2 => self.write(page, random.word() | 1),
                3 => self.read(page),
                4 => self.map(),
                5 => self.cut(random.below(PAGES - KEPT)),
                6 => self.sync(random.below(3)),
                _ => {
                    VM.drop_pagecache();
                    Ok(())
                }
            };
            if done.is_err() {
                self.storm.errors.fetch_add(1, Ordering::Relaxed);
            }
        }
        if self.mine != 0 {
            let _ = VM.munmap(self.scratch.context.mm(), VirtAddr::truncate(self.mine), BYTES, &FRAMES);
        }
    }

    fn word(&self, page: u64) -> &AtomicU64 {
        &self.storm.words[self.n][page as usize]
    }

    fn offset(&self, page: u64) -> u64 {
        page * PAGE_SIZE + 8 * self.n as u64
    }

    /// What is at page `page`: what this worker wrote last or, where pages come and go, nothing.
    fn look(&self, page: u64, seen: u64) {
        let last = self.word(page).load(Ordering::Relaxed);
        if seen != last && (page < KEPT || seen != 0) {
            self.storm.wrong.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn through_mapping(&self, page: u64, value: Option<u64>, own: bool) -> Result<(), Errno> {
        let base = if own && self.mine != 0 { self.mine } else { self.storm.kept };
        let at = base + self.offset(page);
        let _size = (page >= KEPT).then(|| self.storm.size.lock());
        if self.storm.file.inode().size() <= page * PAGE_SIZE {
            return Ok(());
        }
        match value {
            None => self.look(page, load(at)),
            Some(value) => {
                store(at, value);
                self.word(page).store(value, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// The file grows to the page, if it ends before.
    fn write(&self, page: u64, value: u64) -> Result<(), Errno> {
        // Cut off meanwhile or not, it is this or nothing.
        self.word(page).store(value, Ordering::Relaxed);
        let mut bytes = value.to_le_bytes().into_iter();
        let written = VM.write(self.storm.file, self.offset(page), 8, &FRAMES, |to, length| {
            for (n, byte) in (0..length).zip(&mut bytes) {
                // SAFETY: the cache gives so many bytes of a page that it keeps meanwhile.
                unsafe { to.as_ptr().add(n).write_volatile(byte) };
            }
        })?;
        if written == 8 { Ok(()) } else { Err(Errno::Eio) }
    }

    fn read(&self, page: u64) -> Result<(), Errno> {
        let (mut bytes, mut filled) = ([0; 8], 0);
        CACHE.read(self.storm.file, self.offset(page), 8, &FRAMES, |from: NonNull<u8>, length| {
            for byte in bytes.iter_mut().skip(filled).take(length) {
                // SAFETY: the cache shows so many bytes of a page that it keeps meanwhile.
                *byte = unsafe { from.as_ptr().add(filled).read_volatile() };
                filled += 1;
            }
        })?;
        if filled == 8 {
            self.look(page, u64::from_le_bytes(bytes));
        } else if page < KEPT {
            return Err(Errno::Eio);
        }
        Ok(())
    }

    fn map(&mut self) -> Result<(), Errno> {
        let mm = self.scratch.context.mm();
        if self.mine != 0 {
            VM.munmap(mm, VirtAddr::truncate(self.mine), BYTES, &FRAMES)?;
            self.mine = 0;
        }
        self.mine = VM.mmap(mm, &request(self.storm.file), &FRAMES)?.get();
        Ok(())
    }

    /// Cuts the file behind `more` of the pages that come and go, and makes it whole again.
    fn cut(&self, more: u64) -> Result<(), Errno> {
        let _size = self.storm.size.lock();
        VM.truncate(self.storm.file, (KEPT + more) * PAGE_SIZE, &FRAMES)?;
        // The other workers' words are theirs: they find what they wrote, or nothing.
        (KEPT + more..PAGES).for_each(|page| self.word(page).store(0, Ordering::Relaxed));
        VM.truncate(self.storm.file, BYTES, &FRAMES)
    }

    fn sync(&self, how: u64) -> Result<(), Errno> {
        match how {
            0 => VM.fsync(self.storm.file, false, &FRAMES),
            1 => VM.fsync(self.storm.file, true, &FRAMES),
            _ => {
                let at = VirtAddr::truncate(self.storm.kept);
                VM.msync(self.scratch.context.mm(), at, BYTES, MsFlags::SYNC, &FRAMES)
            }
        }
    }
}
