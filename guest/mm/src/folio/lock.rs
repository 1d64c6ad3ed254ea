//! The locks of a folio: flags that somebody waits for (Linux `folio_lock`, `folio_end_writeback`).
//!
//! Owns: taking and releasing them, and who is woken. Stays outside: what a holder may do. Invariants: whoever waits has set
//! [`FolioFlags::WAITERS`] after he saw the flag, under the lock of the queue he sleeps in; whoever releases the flag clears
//! both at once and wakes. So nobody is forgotten; at worst somebody is woken in vain.

use super::{Folio, FolioFlags};
use crate::port::Cpu;
use core::sync::atomic::{Ordering, fence};

impl Folio<'_> {
    /// Whether it holds what it should; then that can be read.
    #[inline(always)]
    pub(crate) fn is_uptodate(self) -> bool {
        self.flags_acquired().contains(FolioFlags::UPTODATE)
    }

    /// Its flags; if it is up to date what it holds is seen.
    #[inline(always)]
    pub(crate) fn flags_acquired(self) -> FolioFlags {
        let flags = self.flags();
        // Pairs with the change of the flag: what was read in before is seen.
        fence(Ordering::Acquire);
        flags
    }

    /// Locks it, unless somebody has (Linux `folio_trylock`).
    #[inline]
    #[must_use = "a locked folio has to be unlocked"]
    pub(crate) fn try_lock(self) -> bool {
        !self.set_flags(FolioFlags::LOCKED).contains(FolioFlags::LOCKED)
    }

    /// Unlocks it.
    #[inline]
    pub(crate) fn unlock(self, cpu: &impl Cpu) {
        self.release(cpu, FolioFlags::LOCKED);
    }

    /// Clears a flag that others may wait for, and lets them look. The caller knows that the folio stays meanwhile, or does
    /// not use it any more.
    #[inline]
    pub(crate) fn release(self, cpu: &impl Cpu, flag: FolioFlags) {
        let key = self.key();
        if self.clear_flags(flag | FolioFlags::WAITERS).contains(FolioFlags::WAITERS) {
            cpu.wake(key);
        }
    }

    /// What those who wait for the folio sleep on.
    #[inline]
    fn key(self) -> u64 {
        self.pfn().get()
    }

    /// Sleeps until the flag is clear; the caller has a reference. Before it sleeps it calls `poll`, which takes in what
    /// devices have done.
    pub(crate) fn wait_while(self, cpu: &impl Cpu, flag: FolioFlags, mut poll: impl FnMut()) {
        // A page that was in use and had to go is read again for want of memory.
        let is_missed = flag == FolioFlags::LOCKED
            && self.flags().contains(FolioFlags::WORKINGSET)
            && !self.is_uptodate();
        let _stalled = is_missed.then(|| cpu.memstall());
        while self.flags().contains(flag) {
            poll();
            cpu.wait_on(self.key(), &mut || {
                !self.flags().contains(flag) || !self.set_flags(FolioFlags::WAITERS).contains(flag)
            });
        }
    }

    /// Locks it, however long that takes; as [`Folio::wait_while`].
    pub(crate) fn lock(self, cpu: &impl Cpu, mut poll: impl FnMut()) {
        while !self.try_lock() {
            self.wait_while(cpu, FolioFlags::LOCKED, &mut poll);
        }
    }
}
