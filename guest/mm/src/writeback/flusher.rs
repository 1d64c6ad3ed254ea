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
        let (cpu, mut stats) = (self.machine().cpu(), FlushStats::default());
        let expire = self.cache().dirty().settings.expire_ns();
        self.cache().for_each_inode(|inode| {
            let is_old = |when: u64| cpu.now().saturating_sub(when) >= expire;
            if is_on(inode, device) && inode.is_changed() {
                self.cache().settle(inode, inode.size());
            }
            if is_on(inode, device) && inode.dirtied_when().is_some_and(is_old) {
                inode.mark_clean();
                self.flush_inode(inode, u64::MAX, frames, &mut stats);
                // A page that was still being written from the last time is for the next.
                inode.requeue(cpu.now());
            } else if is_on(inode, device) && inode.is_changed() && !inode.mapping().is_writing() {
                // All pages are there: what names them can follow.
                stats.errors += u64::from(self.sync_inode(inode, false, frames).is_err());
            }
        });
        while self.is_over_background() {
            let before = stats.pages;
            self.cache().for_each_inode(|inode| {
                if is_on(inode, device) && self.is_over_background() {
                    self.flush_inode(inode, CHUNK, frames, &mut stats);
                }
            });
            if stats.pages == before {
                break;
            }
        }
        stats
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
