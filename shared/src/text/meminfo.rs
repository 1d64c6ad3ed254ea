//! `/proc/meminfo`. Source: Linux `fs/proc/meminfo.c`, `mm/hugetlb.c` and `arch/x86/mm/pat/set_memory.c`.

use core::fmt;

/// How the number of a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Kibibytes.
    Kb,
    /// Huge pages.
    Pages,
}

/// Defines the input structure and its walk in one place, so that no field can be forgotten or misplaced.
macro_rules! lines {
    ($($field:ident $name:literal $unit:ident),* $(,)?) => {
        /// The numbers of `/proc/meminfo`, in kB unless a field says pages.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Meminfo {
            $(#[doc = concat!("The line `", $name, "`.")] pub $field: u64,)*
            /// The lines `CmaTotal` and `CmaFree`, where contiguous memory areas are built in.
            pub cma: Option<(u64, u64)>,
            /// The line `DirectMap1G`, where the CPU has 1 GiB pages.
            pub direct_map_1g: Option<u64>,
        }

        /// The lines that are always there, in order.
        const NAMES: &[&str] = &[$($name),*];

        impl Meminfo {
            /// Calls `visit` with every line that is always there, in order.
            fn walk(&self, visit: &mut dyn FnMut(&str, u64, Unit) -> fmt::Result) -> fmt::Result {
                $(visit($name, self.$field, Unit::$unit)?;)*
                Ok(())
            }

            /// The numbers of the lines that are always there, in order.
            #[must_use]
            pub fn values(&self) -> [u64; NAMES.len()] {
                [$(self.$field),*]
            }

            /// The numbers of the lines that are always there, in order; the other lines do not exist.
            #[must_use]
            pub fn from_values(values: [u64; NAMES.len()]) -> Self {
                let [$($field),*] = values;
                Self { $($field,)* ..Self::default() }
            }

            /// The field behind a line that is always there.
            pub fn line_mut(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $($name => Some(&mut self.$field),)*
                    _ => None,
                }
            }
        }
    };
}

lines! {
    mem_total "MemTotal" Kb,
    mem_free "MemFree" Kb,
    mem_available "MemAvailable" Kb,
    buffers "Buffers" Kb,
    cached "Cached" Kb,
    swap_cached "SwapCached" Kb,
    active "Active" Kb,
    inactive "Inactive" Kb,
    active_anon "Active(anon)" Kb,
    inactive_anon "Inactive(anon)" Kb,
    active_file "Active(file)" Kb,
    inactive_file "Inactive(file)" Kb,
    unevictable "Unevictable" Kb,
    mlocked "Mlocked" Kb,
    swap_total "SwapTotal" Kb,
    swap_free "SwapFree" Kb,
    zswap "Zswap" Kb,
    zswapped "Zswapped" Kb,
    dirty "Dirty" Kb,
    writeback "Writeback" Kb,
    anon_pages "AnonPages" Kb,
    mapped "Mapped" Kb,
    shmem "Shmem" Kb,
    kreclaimable "KReclaimable" Kb,
    slab "Slab" Kb,
    sreclaimable "SReclaimable" Kb,
    sunreclaim "SUnreclaim" Kb,
    kernel_stack "KernelStack" Kb,
    page_tables "PageTables" Kb,
    sec_page_tables "SecPageTables" Kb,
    nfs_unstable "NFS_Unstable" Kb,
    bounce "Bounce" Kb,
    writeback_tmp "WritebackTmp" Kb,
    commit_limit "CommitLimit" Kb,
    committed_as "Committed_AS" Kb,
    vmalloc_total "VmallocTotal" Kb,
    vmalloc_used "VmallocUsed" Kb,
    vmalloc_chunk "VmallocChunk" Kb,
    percpu "Percpu" Kb,
    anon_huge_pages "AnonHugePages" Kb,
    shmem_huge_pages "ShmemHugePages" Kb,
    shmem_pmd_mapped "ShmemPmdMapped" Kb,
    file_huge_pages "FileHugePages" Kb,
    file_pmd_mapped "FilePmdMapped" Kb,
    balloon "Balloon" Kb,
    huge_pages_total "HugePages_Total" Pages,
    huge_pages_free "HugePages_Free" Pages,
    huge_pages_rsvd "HugePages_Rsvd" Pages,
    huge_pages_surp "HugePages_Surp" Pages,
    huge_page_size "Hugepagesize" Kb,
    hugetlb "Hugetlb" Kb,
    direct_map_4k "DirectMap4k" Kb,
    direct_map_2m "DirectMap2M" Kb,
}

/// The line before which `CmaTotal` and `CmaFree` stand.
const CMA_BEFORE: &str = "Balloon";

impl Meminfo {
    /// The names of the lines that are always there, in order.
    #[must_use]
    pub const fn names() -> &'static [&'static str] {
        NAMES
    }

    /// Writes the whole text.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, w: &mut dyn fmt::Write) -> fmt::Result {
        self.walk(&mut |name, value, unit| {
            if let (CMA_BEFORE, Some((total, free))) = (name, self.cma) {
                line(w, "CmaTotal", total, Unit::Kb)?;
                line(w, "CmaFree", free, Unit::Kb)?;
            }
            line(w, name, value, unit)
        })?;
        match self.direct_map_1g {
            Some(value) => line(w, "DirectMap1G", value, Unit::Kb),
            None => Ok(()),
        }
    }
}

/// Writes one line: the name and its colon fill 16 columns, then the number.
fn line(w: &mut dyn fmt::Write, name: &str, value: u64, unit: Unit) -> fmt::Result {
    let colon = 15usize.saturating_sub(name.len());
    write!(w, "{name}:{:colon$}", "")?;
    match unit {
        Unit::Kb => writeln!(w, "{value:>8} kB"),
        Unit::Pages => writeln!(w, "   {value:>5}"),
    }
}
