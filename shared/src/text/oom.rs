//! What the kernel says when memory is out. Source: Linux `mm/oom_kill.c` (`dump_task`, `__oom_kill_process`), 6.18.

use core::fmt;

/// The title of the table of tasks.
pub const TITLE: &str = "Tasks state (memory values in pages):\n\
    [  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name\n";

/// One context. Pages unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomTask<'a> {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: &'a str,
    /// Mapped.
    pub total_vm: u64,
    /// Resident anonymous pages.
    pub rss_anon: u64,
    /// Resident pages of files.
    pub rss_file: u64,
    /// Resident pages of shared memory.
    pub rss_shmem: u64,
    /// Bytes of its page tables.
    pub pgtables_bytes: u64,
    /// Pages in swap.
    pub swapents: u64,
    /// Its adjustment.
    pub oom_score_adj: i32,
}

const KB_A_PAGE: u64 = 4;

impl OomTask<'_> {
    /// Writes its line of the table.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_row(&self, w: &mut dyn fmt::Write) -> fmt::Result {
        let Self { pid, name, total_vm, rss_anon, rss_file, rss_shmem, pgtables_bytes, swapents, .. } = *self;
        let (rss, adj) = (rss_anon + rss_file + rss_shmem, self.oom_score_adj);
        writeln!(
            w,
            "[{pid:>7}] {:>5} {pid:>5} {total_vm:>8} {rss:>8} {rss_anon:>8} {rss_file:>8} {rss_shmem:>9} \
             {pgtables_bytes:>8} {swapents:>8}         {adj:>5} {name}",
            0
        )
    }

    /// Writes the line that says that it was killed, after `why`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_killed(&self, w: &mut dyn fmt::Write, why: &str) -> fmt::Result {
        writeln!(
            w,
            "{why}: Killed process {} ({}) total-vm:{}kB, anon-rss:{}kB, file-rss:{}kB, shmem-rss:{}kB, UID:0 \
             pgtables:{}kB oom_score_adj:{}",
            self.pid,
            self.name,
            self.total_vm * KB_A_PAGE,
            self.rss_anon * KB_A_PAGE,
            self.rss_file * KB_A_PAGE,
            self.rss_shmem * KB_A_PAGE,
            self.pgtables_bytes / 1024,
            self.oom_score_adj
        )
    }
}
