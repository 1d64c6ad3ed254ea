//! `file journal`: a writer that says what is safe. It does what `shared::journal` says, knows what the file must hold, and prints
//! the number of each sync that has returned; whoever stops the machine at any moment can check that all of that is there.

use super::direct::{Buffer, CALL};
use super::open::with;
use super::{failed, path};
use crate::commands::support::parse;
use crate::commands::vm::{Scratch, store};
use crate::commands::{Args, Outcome, fail};
use crate::console;
use crate::files::{self, File};
use crate::memory;
use crate::memory::slab::FRAMES;
use crate::memory::vm::{CACHE, VM};
use core::ptr::NonNull;
use mm::addr::{PAGE_SIZE, PhysAddr};
use mm::cache::FileMode;
use mm::errno::Errno;
use mm::space::MapRequest;
use mm::vma::VmFlags;
use shared::exit::ExitStatus;
use shared::journal::{Op, WORD, WORDS, op};

const PAGES: usize = (WORDS * WORD / PAGE_SIZE) as usize;

/// What the file must hold; given back when dropped.
struct Model {
    at: PhysAddr,
    words: &'static mut [u64],
    /// In words.
    size: u64,
}

impl Model {
    fn new() -> Result<Self, ExitStatus> {
        let (at, start) = memory::dma_alloc(PAGES)
            .ok_or_else(|| fail(ExitStatus::OutOfMemory, format_args!("file: no memory for a journal")))?;
        // SAFETY: the frames are ours, zeroed and in a row.
        let words = unsafe { core::slice::from_raw_parts_mut(start.cast().as_ptr(), WORDS as usize) };
        Ok(Self { at, words, size: 0 })
    }

    fn part(&mut self, from: u64, to: u64) -> &mut [u64] {
        self.words.get_mut(from as usize..to as usize).unwrap_or_default()
    }

    /// Operation `n` is going to be done.
    fn apply(&mut self, n: u64, op: Op) {
        let (from, to) = op.written();
        self.part(from, to).fill(n);
        let size = op.size_after(self.size);
        self.part(size, WORDS).fill(0);
        self.size = size;
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: from `dma_alloc`, and nobody else uses it.
        unsafe { memory::dma_free(self.at, PAGES) };
    }
}

/// A file that is written, with another view of it.
struct Journal<'a> {
    file: &'a File,
    other: File,
    model: Model,
    buffer: Buffer,
    scratch: Scratch,
    /// Where it is mapped.
    at: u64,
    /// Errors that each of the two views was told of.
    told: [u64; 2],
}

impl Journal<'_> {
    /// Writes words `from..to` of the model through the cache.
    fn write(&mut self, from: u64, to: u64) -> Result<(), Errno> {
        let mut bytes = self.model.part(from, to).as_ptr().cast::<u8>();
        let length = (to - from) * WORD;
        let written = VM.write(self.file, from * WORD, length, &FRAMES, |memory: NonNull<u8>, count| {
            // SAFETY: the cache gives so many bytes of a page that it keeps meanwhile; the pieces follow each other, and are as
            // many bytes as the part of the model has.
            unsafe {
                memory.as_ptr().copy_from_nonoverlapping(bytes, count);
                bytes = bytes.add(count);
            }
        })?;
        // Why it was not all of it is said by a call for the rest.
        if written == length { Ok(()) } else { self.write(from + written / WORD, to) }
    }

    /// As [`Journal::write`], twice if a place could not be made zeroes: that was told then, and nothing has happened.
    fn write_again(&mut self, from: u64, to: u64) -> Result<(), Errno> {
        match self.write(from, to) {
            Err(Errno::Eio) => self.write(from, to),
            result => result,
        }
    }

    /// As [`Journal::write`] around the cache, in calls.
    fn write_around(&mut self, from: u64, to: u64) -> Result<(), Errno> {
        let call = CALL / WORD;
        for start in (from..to).step_by(call as usize) {
            let end = to.min(start + call);
            let memory = self.buffer.bytes((end - start) * WORD);
            for (bytes, word) in memory.chunks_exact_mut(WORD as usize).zip(self.model.part(start, end)) {
                bytes.copy_from_slice(&word.to_ne_bytes());
            }
            let length = (end - start) * WORD;
            // SAFETY: the frames are ours.
            unsafe { VM.write_direct(self.file, start * WORD, self.buffer.pages(), length, &FRAMES) }?;
        }
        Ok(())
    }

    /// Whether the file holds what it must; a page that could not be read is read again.
    fn read(&self) -> Result<bool, Errno> {
        match self.read_once() {
            Err(Errno::Eio) => self.read_once(),
            result => result,
        }
    }

    fn read_once(&self) -> Result<bool, Errno> {
        let (mut at, mut same) = (0, true);
        let words = self.model.words.as_ptr().cast::<u8>();
        let bytes = self.model.size * WORD;
        let read = CACHE.read(self.file, 0, bytes, &FRAMES, |from: NonNull<u8>, count| {
            // SAFETY: both have so many bytes, and nobody writes them meanwhile.
            unsafe {
                let expected = core::slice::from_raw_parts(words.add(at), count);
                same &= core::slice::from_raw_parts(from.as_ptr(), count) == expected;
            }
            at += count;
        })?;
        Ok(same && read == bytes && self.file.inode().size() == bytes)
    }

    /// A failed write is told once, and what it was for is written again.
    fn sync(&mut self) -> Result<(), Errno> {
        for _ in 0..3 {
            let both = [self.file, &self.other].map(|view| VM.fsync(view, false, &FRAMES));
            if both.contains(&Err(Errno::Erofs)) {
                return Err(Errno::Erofs);
            }
            for (told, result) in self.told.iter_mut().zip(&both) {
                *told += u64::from(result.is_err());
            }
            if both[0].is_ok() {
                return Ok(());
            }
            console::print(format_args!("failed told={} other={}\n", self.told[0], self.told[1]));
            self.write(0, self.model.size)?;
        }
        Err(Errno::Eio)
    }

    /// Does operation `n`; false if the file does not hold what it must.
    fn perform(&mut self, n: u64, op: Op) -> Result<bool, Errno> {
        self.model.apply(n, op);
        let (from, to) = op.written();
        match op {
            Op::Write(..) => self.write_again(from, to)?,
            Op::Direct(..) => match self.write_around(from, to) {
                // A place as above, or a page could not be written before, or somebody has it.
                Err(Errno::Eio | Errno::Ebusy) => self.write(0, self.model.size)?,
                result => result?,
            },
            Op::Store(word) => {
                let at = self.at + word * WORD;
                if self.scratch.run(|| store(at, n)).is_err() {
                    // A signal does not say why the page could not be had; a write does.
                    self.write_again(from, to)?;
                }
            }
            Op::Truncate(size) => match VM.truncate(self.file, size * WORD, &FRAMES) {
                // The page that it cuts could not be read.
                Err(Errno::Eio) => VM.truncate(self.file, size * WORD, &FRAMES)?,
                result => result?,
            },
            Op::Drop if self.told == [0; 2] => drop(VM.drop_pagecache()),
            Op::Drop => {}
            Op::Read => return self.read(),
            Op::Sync => {
                self.sync()?;
                console::print(format_args!("synced={n} size={}\n", self.model.size));
            }
        }
        Ok(true)
    }
}

/// `file journal PATH [seed=N] [count=N]`: an empty file; so many operations, or until somebody stops the machine. When the volume
/// cannot be written any more nothing more is done.
pub fn journal(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    let (mut seed, mut count) = (1, u64::MAX);
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("seed", Some(text)) => seed = parse::number("seed", text)?,
            ("count", Some(text)) => count = parse::count("count", text)?,
            _ => return Err(parse::unexpected("file journal", word)),
        }
    }
    with(path, |file| {
        let other =
            files::open(path, FileMode::READ | FileMode::WRITE).map_err(|error| failed(path, error))?;
        let scratch = Scratch::new("journal")?;
        let shared = VmFlags::READ | VmFlags::WRITE | VmFlags::SHARED;
        let at = scratch.map(&MapRequest::file(file, 0, WORDS * WORD, shared), None)?;
        let (model, buffer) = (Model::new()?, Buffer::new()?);
        let mut journal = Journal { file, other, model, buffer, scratch, at, told: [0; 2] };
        for n in 1..=count {
            let op = op(seed, n, journal.model.size);
            match journal.perform(n, op) {
                Ok(true) => {}
                Ok(false) => {
                    return Err(fail(
                        ExitStatus::Corruption,
                        format_args!("{path}: not what was written: {n}"),
                    ));
                }
                Err(Errno::Erofs) => {
                    console::print(format_args!("broken={n}\n"));
                    return Ok(());
                }
                Err(error) => return Err(failed(path, error)),
            }
        }
        let [mine, other] = journal.told;
        console::print(format_args!("done={count} told={mine} other={other}\n"));
        Ok(())
    })?
}
