//! What is counted, what it may cost, and what it costs elsewhere.
//!
//! Peers are best of N under the same emulator with the same CPU model: Linux is Debian's 6.1.192 cloud kernel with
//! `mitigations=off init_on_alloc=0 cgroup_disable=memory`, measured inside the kernel; the others ran in its user
//! space.

/// An operation.
pub struct Row {
    /// What the guest prints it as.
    pub key: &'static str,
    /// In words.
    pub name: &'static str,
    /// More than that is too much.
    pub must: f64,
    /// What it should come down to.
    pub aim: Option<f64>,
    /// Linux's count, if it has such an operation.
    pub linux: Option<f64>,
    /// The best other allocator that has such an operation.
    pub peer: Option<(&'static str, f64)>,
    /// It waits for the disk of this machine.
    pub waits: bool,
}

/// Part of a recorded count that a new one may differ by: counts repeat exactly.
const EXACT: f64 = 0.02;
/// What is executed while the guest waits depends on when the disk of this machine answers.
const WAITING: f64 = 0.1;

/// A row with everything.
const fn row(key: &'static str, name: &'static str, must: f64, aim: f64) -> Row {
    Row { key, name, must, aim: Some(aim), linux: None, peer: None, waits: false }
}

impl Row {
    const fn without_aim(key: &'static str, name: &'static str, must: f64) -> Self {
        Self { key, name, must, aim: None, linux: None, peer: None, waits: false }
    }

    const fn linux(mut self, count: f64) -> Self {
        self.linux = Some(count);
        self
    }

    const fn peer(mut self, name: &'static str, count: f64) -> Self {
        self.peer = Some((name, count));
        self
    }

    const fn waiting(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Part of a recorded count that a new one may differ by.
    pub fn tolerance(&self) -> f64 {
        if self.waits { WAITING } else { EXACT }
    }
}

/// In the order in which the guest prints them.
pub const ROWS: &[Row] = &[
    row("frame_init", "frame descriptor, initialise, per page", 20.0, 5.0).linux(89.0),
    row("order0_pair", "order 0, allocate and free", 260.0, 150.0).linux(699.0).peer("llfree", 526.0),
    row("order9_pair", "order 9, allocate and free", 420.0, 285.0)
        .linux(18_752.0)
        .peer("buddy_system_allocator", 285.0),
    row("bulk_api", "order 0, 64 with one call, per page", 68.0, 30.0).linux(68.5),
    // What the others were measured at is the rows below: 4096 in a row, then freed in random order, with whatever each
    // allocator keeps for a CPU. These two begin with empty lists and end when the zone has every page, which nobody
    // else was measured at. The limit of the first is that of the row below all the same. The second is that row and, for
    // each page, the way from the list to the zone: taken off, merged once on average, and one block linked in a list.
    // So it has a limit of its own, six tenths of what Linux needs for a free that leaves a few hundred pages on its
    // lists, and the limit of the row below is its aim.
    row("order0_alloc_drained", "order 0, allocate, 4096 in a row, empty per-CPU lists", 300.0, 150.0),
    row("order0_free_drained", "order 0, free these in random order, all of them to the zone", 320.0, 256.0),
    row("order0_alloc", "order 0, allocate, 4096 in a row", 300.0, 150.0).linux(547.0).peer("llfree", 300.0),
    row("order0_free_random", "order 0, free these in random order", 256.0, 150.0)
        .linux(535.0)
        .peer("llfree", 256.0),
    row("slab64_pair", "slab object of 64 bytes, allocate and free", 113.0, 61.0)
        .linux(226.0)
        .peer("jemalloc", 61.0),
    row("kmalloc64_pair", "kmalloc of 64 bytes, allocate and free", 135.0, 73.0)
        .linux(270.0)
        .peer("mimalloc", 72.9),
    row("slab64_alloc", "slab objects of 64 bytes, allocate 10,000", 170.0, 58.0)
        .linux(337.0)
        .peer("mimalloc", 58.5),
    row("slab64_free_random", "slab objects of 64 bytes, free these in random order", 100.0, 40.0)
        .linux(199.0)
        .peer("mimalloc", 31.0),
    Row::without_aim("vmalloc_4k_pair", "vmalloc of 4 KiB and vfree", 1816.0).linux(3632.0),
    row("vmalloc_16k_pair", "vmalloc of 16 KiB and vfree", 2400.0, 1500.0).linux(4790.0),
    Row::without_aim("vmalloc_64k_pair", "vmalloc of 64 KiB and vfree", 4978.0).linux(9956.0),
    Row::without_aim("vmalloc_2m_pair", "vmalloc of 2 MiB in small pages and vfree", 110_489.0)
        .linux(220_979.0),
    row("xarray_load", "xarray, load, random among 65,536", 155.0, 80.0).linux(155.0),
    row("xarray_store", "xarray, store, 65,536 in a row with their nodes", 300.0, 200.0).linux(409.0),
    row("anon_fault", "first touch of an anonymous page, 512 of it the clear", 1350.0, 1000.0).linux(2685.0),
    row("zero_fault", "first read, the page of zeroes", 600.0, 400.0).linux(1158.0),
    row("cow_fault", "write to a shared page, 512 of it the copy", 1700.0, 1200.0).linux(3347.0),
    row("reuse_fault", "write to a page whose other owner is gone", 640.0, 400.0).linux(1267.0),
    row("thp_fault", "first touch of a huge page, 262,144 of it the clear", 270_000.0, 264_000.0)
        .linux(284_378.0),
    row("dontneed", "MADV_DONTNEED, per page", 400.0, 200.0).linux(803.0),
    row("unmap", "munmap, per page", 400.0, 200.0).linux(808.0),
    row("clone", "clone (fork), per mapped page", 120.0, 60.0).linux(159.0),
    row("protect_ro", "mprotect to read-only, per page", 130.0, 60.0).linux(133.0),
    row("protect_rw", "mprotect to writable, per page", 130.0, 60.0).linux(194.0),
    row("cache_read", "read of 4 KiB in the page cache, 512 of it the copy", 1100.0, 700.0).linux(1851.0),
    row("cache_miss", "read of 4 KiB that is not in memory, without the disk's driver", 5000.0, 4000.0)
        .linux(13_900.0),
    row("file_fault", "read of a file through a mapping, 16 pages mapped around it", 3900.0, 2500.0)
        .linux(7720.0),
    // From here on by the counter outside, all that is executed while the guest waits included.
    row("disk_miss", "read of 4 KiB that is not in memory, from the disk", 5000.0, 4000.0)
        .linux(13_900.0)
        .waiting(),
    row("swap_out", "swap-out, per page", 3600.0, 2500.0).linux(7280.0).waiting(),
    row("swap_in", "swap-in in order, per page", 3600.0, 2500.0).linux(7250.0).waiting(),
    row("swap_in_random", "swap-in of single pages in any order", 7000.0, 5000.0).linux(20_750.0).waiting(),
];
