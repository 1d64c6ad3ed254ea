//! `/proc/PID/status`: the lines that are about a context's name and memory. Source: Linux `fs/proc/array.c`,
//! `fs/proc/task_mmu.c` (`task_mem`), `mm/hugetlb.c` (`hugetlb_report_usage`).

use core::fmt;

/// The numbers of `/proc/PID/status`, in kB unless they say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "lines by their names")]
pub struct Status<'a> {
    pub name: &'a str,
    /// A number, not kB.
    pub pid: u32,
    pub vm_peak: u64,
    pub vm_size: u64,
    pub vm_lck: u64,
    pub vm_hwm: u64,
    pub rss_anon: u64,
    pub rss_file: u64,
    pub rss_shmem: u64,
    pub vm_data: u64,
    pub vm_stk: u64,
    pub vm_exe: u64,
    pub vm_pte: u64,
    pub vm_swap: u64,
    pub hugetlb_pages: u64,
    /// Whether the context may have huge pages.
    pub thp_enabled: bool,
}

impl Status<'_> {
    /// Writes the text.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, w: &mut dyn fmt::Write) -> fmt::Result {
        let pid = self.pid;
        writeln!(w, "Name:\t{}\nState:\tS (sleeping)\nTgid:\t{pid}\nPid:\t{pid}", self.name)?;
        let lines = [
            ("VmPeak", self.vm_peak),
            ("VmSize", self.vm_size),
            ("VmLck", self.vm_lck),
            ("VmPin", 0),
            ("VmHWM", self.vm_hwm),
            ("VmRSS", self.rss_anon + self.rss_file + self.rss_shmem),
            ("RssAnon", self.rss_anon),
            ("RssFile", self.rss_file),
            ("RssShmem", self.rss_shmem),
            ("VmData", self.vm_data),
            ("VmStk", self.vm_stk),
            ("VmExe", self.vm_exe),
            ("VmLib", 0),
            ("VmPTE", self.vm_pte),
            ("VmSwap", self.vm_swap),
            ("HugetlbPages", self.hugetlb_pages),
        ];
        lines.into_iter().try_for_each(|(name, kb)| writeln!(w, "{name}:\t{kb:>8} kB"))?;
        writeln!(w, "CoreDumping:\t0\nTHP_enabled:\t{}", u8::from(self.thp_enabled))
    }
}
