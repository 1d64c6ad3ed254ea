//! What is written when nobody asks (Linux `wb_workfn`: `wb_check_background_flush`, `wb_check_old_data_flush`).
//!
//! Owns: which files, how much, and when to look again. Stays outside: the tasks that call this. Goes over all inodes in
//! memory; those of a device are few.

use super::SyncMode;
use super::sync::ALL;
use crate::cache::Inode;
use crate::errno::Errno;
use crate::phys::FrameAllocator;
use crate::port::{BlockDevice, Cpu, Machine};
use crate::space::Vm;
use crate::vmstat::NodeStat;

/// Pages of one file that are sent before the next has its turn (Linux `MAX_WRITEBACK_PAGES`).
const CHUNK: u64 = 1024;
/// The same where a thread is common to all disks, and waits for them.
const SLICE: u64 = 64;

/// Why something is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlushKind {
    /// It has been dirty for too long.
    Old,
    /// Too much is dirty.
    Background,
}

/// What a flusher did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlushStats {
    /// Pages sent.
    pub pages: u64,
    /// Errors of file systems.
    pub errors: u64,
}

fn is_on(inode: &Inode<'_>, device: &dyn BlockDevice) -> bool {
    let of = |device: &dyn BlockDevice| core::ptr::from_ref(device).cast::<()>().addr();
    of(inode.fs().device()) == of(device)
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Lets flushers look at once (Linux `wakeup_flusher_threads`).
    pub fn wake_flushers(&self) {
        self.cache().dirty().want();
        self.machine().cpu().wake(self.cache().dirty().key());
    }

    /// Lets flushers write everything that is dirty now: reclaim finds nothing else (Linux `wakeup_flusher_threads`).
    pub(crate) fn wake_all_flushers(&self) {
        self.cache().dirty().want_all();
        self.machine().cpu().wake(self.cache().dirty().key());
    }

    /// Starts to write all pages that are dirty now of the files on `device` (Linux `wb_check_start_all`). Only where this code
    /// can wait.
    pub fn flush_all<A: FrameAllocator<'p>>(&self, device: &dyn BlockDevice, frames: &A) -> FlushStats {
        let mut stats = FlushStats::default();
        self.cache().for_each_inode(|inode| {
            if is_on(inode, device) {
                self.flush_inode(inode, u64::MAX, frames, &mut stats);
            }
        });
        stats
    }

    /// Whether so much is dirty that flushers work without being asked (Linux `wb_over_bg_thresh`).
    pub fn is_over_background(&self) -> bool {
        self.stat().total(NodeStat::Dirty) > self.dirty_limits().background
    }

    /// Writes what is due of the files on `device`: all that is older than it may be, and as much as is over the background
    /// limit. Only where this code can wait.
    pub fn flush_due<A: FrameAllocator<'p>>(&self, device: &dyn BlockDevice, frames: &A) -> FlushStats {
        let mut stats = FlushStats::default();
        self.flush_old(device, u64::MAX, frames, &mut stats);
        while self.is_over_background() {
            let before = stats.pages;
            self.flush_much(device, CHUNK, frames, &mut stats);
            if stats.pages == before {
                break;
            }
        }
        stats
    }

    /// Whether something of this kind is due on `device`.
    pub fn has_due(&self, device: &dyn BlockDevice, kind: FlushKind) -> bool {
        let (now, mut due) = (self.machine().cpu().now(), false);
        self.cache().for_each_inode(|inode| {
            due |= is_on(inode, device)
                && match kind {
                    FlushKind::Old => {
                        self.is_old(inode, now) || inode.is_changed() && !inode.mapping().is_writing()
                    }
                    FlushKind::Background => inode.mapping().is_dirty(),
                };
        });
        due && (kind == FlushKind::Old || self.is_over_background())
    }

    /// A part of what is due of one kind. Waits until it is written, so whoever does this is as busy as the disk.
    pub fn flush_some<A: FrameAllocator<'p>>(
        &self,
        device: &dyn BlockDevice,
        kind: FlushKind,
        frames: &A,
    ) -> FlushStats {
        let mut stats = FlushStats::default();
        match kind {
            FlushKind::Old => self.flush_old(device, SLICE, frames, &mut stats),
            FlushKind::Background => self.flush_much(device, SLICE, frames, &mut stats),
        }
        self.cache().for_each_inode(|inode| {
            if is_on(inode, device) {
                self.wait_pages(inode, ALL);
            }
        });
        stats
    }

    fn is_old(&self, inode: &Inode<'p>, now: u64) -> bool {
        let expire = self.cache().dirty().settings.expire_ns();
        inode.dirtied_when().is_some_and(|when| now.saturating_sub(when) >= expire)
    }

    /// Up to `limit` pages of each file that is dirty for too long; what names pages that are there follows (Linux
    /// `wb_check_old_data_flush`).
    fn flush_old<A: FrameAllocator<'p>>(
        &self,
        device: &dyn BlockDevice,
        limit: u64,
        frames: &A,
        stats: &mut FlushStats,
    ) {
        let cpu = self.machine().cpu();
        self.cache().for_each_inode(|inode| {
            if !is_on(inode, device) {
                return;
            }
            if inode.is_changed() {
                self.cache().settle(inode, inode.size());
            }
            let when = inode.dirtied_when().filter(|_| self.is_old(inode, cpu.now()));
            if let Some(when) = when {
                inode.mark_clean();
                let before = stats.pages;
                self.flush_inode(inode, limit, frames, stats);
                // A page that was still being written from the last time is for the next; what was left out is as old as it was.
                inode.requeue(if stats.pages - before < limit { cpu.now() } else { when });
            } else if inode.is_changed() && !inode.mapping().is_writing() {
                // All pages are there: what names them can follow.
                stats.errors += u64::from(self.sync_inode(inode, false, frames).is_err());
            }
        });
    }

    /// Up to `limit` pages of each file, while too much is dirty (Linux `wb_check_background_flush`).
    fn flush_much<A: FrameAllocator<'p>>(
        &self,
        device: &dyn BlockDevice,
        limit: u64,
        frames: &A,
        stats: &mut FlushStats,
    ) {
        self.cache().for_each_inode(|inode| {
            if is_on(inode, device) && self.is_over_background() {
                self.flush_inode(inode, limit, frames, stats);
            }
        });
    }

    /// Sends up to `limit` dirty pages of a file.
    fn flush_inode<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        limit: u64,
        frames: &A,
        stats: &mut FlushStats,
    ) {
        match self.write_pages(inode, ALL, SyncMode::None, limit, frames) {
            Ok(pages) => stats.pages += pages,
            Err(Errno::Ecorrupt) => self.corrupt(&Errno::Ecorrupt),
            Err(_) => stats.errors += 1,
        }
    }
}
