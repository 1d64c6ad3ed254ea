//! Typed addresses: physical, virtual, frame and page numbers, orders and nodes.
//!
//! Owns: the only conversions between them. There is no `From<u64>`: a number becomes an address at one
//! visible call. Invariants: a [`PhysAddr`] is below 2^52, a [`VirtAddr`] is canonical for 57 bits or fewer,
//! an [`Order`] is at most [`Order::MAX`]. Source: Intel SDM vol. 3 ch. 4; Linux `include/linux/pfn.h`.

use core::fmt;

/// log2 of the base page size.
pub const PAGE_SHIFT: u32 = 12;
/// Base page size in bytes.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;
/// Bits of a physical address that x86-64 can name.
pub const PHYS_BITS: u32 = 52;

/// Rounds `value` up to a multiple of `align`, a power of two. `None` on overflow.
#[must_use]
pub const fn align_up(value: u64, align: u64) -> Option<u64> {
    match value.checked_add(align - 1) {
        Some(v) => Some(v & !(align - 1)),
        None => None,
    }
}

/// Rounds `value` down to a multiple of `align`, a power of two.
#[must_use]
pub const fn align_down(value: u64, align: u64) -> u64 {
    value & !(align - 1)
}

/// A physical address of the guest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct PhysAddr(u64);

impl PhysAddr {
    /// `addr` as a physical address; `None` if it does not fit 52 bits.
    #[must_use]
    pub const fn new(addr: u64) -> Option<Self> {
        if addr >> PHYS_BITS == 0 { Some(Self(addr)) } else { None }
    }

    /// `addr` with the bits above 2^52 cut off.
    #[must_use]
    pub const fn truncate(addr: u64) -> Self {
        Self(addr & ((1 << PHYS_BITS) - 1))
    }

    /// The address in bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The frame that holds this address.
    #[must_use]
    pub const fn pfn(self) -> Pfn {
        Pfn(self.0 >> PAGE_SHIFT)
    }

    /// Bytes past the start of the page.
    #[must_use]
    pub const fn page_offset(self) -> u64 {
        self.0 & (PAGE_SIZE - 1)
    }

    /// The address with the bits of `mask`, one less than a power of two, cleared.
    #[must_use]
    pub const fn align_down(self, mask: u64) -> Self {
        Self(self.0 & !mask)
    }

    /// The address `bytes` further on; `None` past 2^52.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(v) => Self::new(v),
            None => None,
        }
    }
}

impl fmt::Debug for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{:#x}", self.0)
    }
}

/// A virtual address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct VirtAddr(u64);

impl VirtAddr {
    /// `addr` as a virtual address; `None` if it is not canonical for 57 bits (5-level tables).
    ///
    /// A machine with fewer levels narrows this further at its walker.
    #[must_use]
    pub const fn new(addr: u64) -> Option<Self> {
        let top = (addr as i64) >> 56;
        if top == 0 || top == -1 { Some(Self(addr)) } else { None }
    }

    /// `addr` with the bits above 56 replaced by copies of bit 56.
    #[must_use]
    pub const fn truncate(addr: u64) -> Self {
        Self((((addr << 7) as i64) >> 7) as u64)
    }

    /// The address in bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The page that holds this address.
    #[must_use]
    pub const fn vpn(self) -> Vpn {
        Vpn(self.0 >> PAGE_SHIFT)
    }

    /// Bytes past the start of the page.
    #[must_use]
    pub const fn page_offset(self) -> u64 {
        self.0 & (PAGE_SIZE - 1)
    }

    /// The address `bytes` further on; `None` if it leaves the canonical half.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(v) => Self::new(v),
            None => None,
        }
    }

    /// Whether the address is canonical with `levels` page-table levels (4: 48 bits, 5: 57 bits).
    #[must_use]
    pub const fn is_canonical(self, levels: u32) -> bool {
        let bits = PAGE_SHIFT + 9 * levels;
        let top = (self.0 as i64) >> (bits - 1);
        top == 0 || top == -1
    }
}

impl fmt::Debug for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "V{:#x}", self.0)
    }
}

/// A page frame number: a physical address in pages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Pfn(u64);

impl Pfn {
    /// Frame number `n`; `None` if its address does not fit 52 bits.
    #[must_use]
    pub const fn new(n: u64) -> Option<Self> {
        if n >> (PHYS_BITS - PAGE_SHIFT) == 0 { Some(Self(n)) } else { None }
    }

    /// Frame number `n`: 32 bits always fit.
    #[must_use]
    pub const fn from_u32(n: u32) -> Self {
        Self(n as u64)
    }

    /// The frame number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The first byte of the frame.
    #[must_use]
    pub const fn addr(self) -> PhysAddr {
        PhysAddr(self.0 << PAGE_SHIFT)
    }

    /// The frame `n` further on; `None` past 2^52 bytes.
    #[must_use]
    pub const fn checked_add(self, n: u64) -> Option<Self> {
        match self.0.checked_add(n) {
            Some(v) => Self::new(v),
            None => None,
        }
    }

    /// The buddy of the block of `order` that starts here.
    #[must_use]
    pub const fn buddy(self, order: Order) -> Self {
        Self(self.0 ^ (1 << order.get()))
    }

    /// Whether a block of `order` may start here.
    #[must_use]
    pub const fn is_aligned(self, order: Order) -> bool {
        self.0 & ((1 << order.get()) - 1) == 0
    }
}

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "F{:#x}", self.0)
    }
}

/// A virtual page number: a virtual address in pages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Vpn(u64);

impl Vpn {
    /// The page number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The first byte of the page.
    #[must_use]
    pub const fn addr(self) -> VirtAddr {
        VirtAddr(self.0 << PAGE_SHIFT)
    }
}

impl fmt::Debug for Vpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "N{:#x}", self.0)
    }
}

/// log2 of a block size in pages: 0 to 10 (Linux `MAX_PAGE_ORDER`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct Order(u8);

impl Order {
    /// One page.
    pub const ZERO: Self = Self(0);
    /// The largest buddy block: 4 MiB.
    pub const MAX: Self = Self(10);
    /// A pageblock, and a 2 MiB huge page.
    pub const PAGEBLOCK: Self = Self(9);
    /// How many orders there are.
    pub const COUNT: usize = Self::MAX.0 as usize + 1;

    /// `order` if it is one of 0 to 10.
    #[must_use]
    pub const fn new(order: u32) -> Option<Self> {
        if order <= Self::MAX.0 as u32 { Some(Self(order as u8)) } else { None }
    }

    /// The smallest order whose block holds `pages` pages (Linux `get_order`); `None` for 0 or too many.
    #[must_use]
    pub const fn covering(pages: u64) -> Option<Self> {
        if pages == 0 {
            return None;
        }
        Self::new(64 - (pages - 1).leading_zeros())
    }

    /// The order as a number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// The order as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Pages in a block of this order.
    #[must_use]
    pub const fn pages(self) -> u64 {
        1 << self.0
    }

    /// The next larger order, if there is one.
    #[must_use]
    pub const fn up(self) -> Option<Self> {
        Self::new(self.0 as u32 + 1)
    }

    /// The next smaller order, if there is one.
    #[must_use]
    pub const fn down(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(o) => Some(Self(o)),
            None => None,
        }
    }

    /// Every order, smallest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        (0..=Self::MAX.0).map(Self)
    }
}

/// A NUMA node number, below [`NodeId::MAX_NODES`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct NodeId(u8);

impl NodeId {
    /// How many nodes the memory manager can hold.
    pub const MAX_NODES: usize = 8;
    /// The first node, the only one of a machine without NUMA.
    pub const ZERO: Self = Self(0);

    /// Node `id`, if it is in range.
    #[must_use]
    pub const fn new(id: u32) -> Option<Self> {
        if (id as usize) < Self::MAX_NODES { Some(Self(id as u8)) } else { None }
    }

    /// The node as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Every node number, smallest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        (0..Self::MAX_NODES as u8).map(Self)
    }
}
