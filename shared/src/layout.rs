//! Where things are: virtual areas of the guest, guest-physical addresses of the machine, I/O ports.
//!
//! Owns constants only. Building page tables (guest), memory slots and tables (VMM) stays outside.
//! Invariants, checked when the crate compiles: no two virtual areas overlap, every area is canonical and
//! page aligned, and no two boot structures below 1 MiB overlap. Source: the design's sections on the
//! address space and on boot; Linux `Documentation/arch/x86/x86_64/mm.rst` for the area addresses, the
//! PC memory map and the Intel SDM for the devices.

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Size of a page and of a page frame, in bytes.
pub const PAGE_SIZE: u64 = 4 * KIB;

// ---- Virtual areas -------------------------------------------------------------------------------

/// Virtual address of the first byte of the guest image.
pub const IMAGE_BASE: u64 = 0xffff_ffff_8020_0000;
/// Physical address at which the image is loaded.
pub const IMAGE_LOAD: u64 = 0x20_0000;
/// What to add to a physical address inside the image to get its virtual address.
pub const IMAGE_OFFSET: u64 = IMAGE_BASE - IMAGE_LOAD;
/// Largest size of the image in bytes, bss included (Linux `KERNEL_IMAGE_SIZE` less the load offset).
pub const IMAGE_SIZE: u64 = 512 * MIB - IMAGE_LOAD;

/// Virtual address at which physical address 0 appears in the direct map.
pub const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
/// Size of the direct map area in bytes; also the limit of physical memory.
pub const DIRECT_MAP_SIZE: u64 = 64 * TIB;

/// First address of the vmalloc area.
pub const VMALLOC: u64 = 0xffff_c900_0000_0000;
/// Size of the vmalloc area in bytes.
pub const VMALLOC_SIZE: u64 = 32 * TIB;

/// First address of the array of frame descriptors.
pub const VMEMMAP: u64 = 0xffff_ea00_0000_0000;
/// Size of the vmemmap area in bytes.
pub const VMEMMAP_SIZE: u64 = TIB;

/// First address of the windows on frames outside the direct map.
pub const KMAP: u64 = 0xffff_ffff_fe00_0000;
/// Size of these windows in bytes.
pub const KMAP_SIZE: u64 = 8 * MIB;

/// First address of the fixmap: device pages whose virtual address is known when the image is linked.
pub const FIXMAP: u64 = FIXMAP_IOAPIC;
/// Size of the fixmap in bytes.
pub const FIXMAP_SIZE: u64 = 2 * PAGE_SIZE;
/// Fixmap page of the I/O APIC.
pub const FIXMAP_IOAPIC: u64 = 0xffff_ffff_ff5f_c000;
/// Fixmap page of the local APIC.
pub const FIXMAP_LAPIC: u64 = 0xffff_ffff_ff5f_d000;

/// First address above everything a task can use: the end of the lower canonical half.
pub const TASK_END: u64 = 1 << 47;
/// First address of the overlay window: the one place where contexts see different frames at the same
/// address.
pub const OVERLAY: u64 = 0x7000_0000_0000;
/// Size of the overlay window in bytes.
pub const OVERLAY_SIZE: u64 = TASK_END - OVERLAY;

/// One virtual area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualArea {
    /// Short name, as the guest's `layout` command prints it.
    pub name: &'static str,
    /// First address.
    pub start: u64,
    /// First address after the area.
    pub end: u64,
}

impl VirtualArea {
    const fn new(name: &'static str, start: u64, size: u64) -> Self {
        Self { name, start, end: start + size }
    }

    /// Whether `address` lies in the area.
    #[must_use]
    pub const fn contains(&self, address: u64) -> bool {
        self.start <= address && address < self.end
    }
}

/// Every virtual area, sorted by address; no two overlap.
pub const VIRTUAL_AREAS: &[VirtualArea] = &[
    VirtualArea::new("tasks", 0, OVERLAY),
    VirtualArea::new("overlay", OVERLAY, OVERLAY_SIZE),
    VirtualArea::new("direct", DIRECT_MAP, DIRECT_MAP_SIZE),
    VirtualArea::new("vmalloc", VMALLOC, VMALLOC_SIZE),
    VirtualArea::new("vmemmap", VMEMMAP, VMEMMAP_SIZE),
    VirtualArea::new("image", IMAGE_BASE, IMAGE_SIZE),
    VirtualArea::new("kmap", KMAP, KMAP_SIZE),
    VirtualArea::new("fixmap", FIXMAP, FIXMAP_SIZE),
];

/// The PML4 slot that some hosts cannot use at CPL3: software KVM faults on every user access to it.
pub const UNUSABLE_PML4_SLOT: u64 = 256;

/// The PML4 slot of a virtual address.
#[must_use]
pub const fn pml4_slot(address: u64) -> u64 {
    (address >> 39) & 511
}

const fn is_canonical(address: u64) -> bool {
    address < TASK_END || address >= TASK_END.wrapping_neg()
}

const fn sorted_and_disjoint(areas: &[VirtualArea]) -> bool {
    let mut i = 0;
    while i < areas.len() {
        let area = areas[i];
        if area.start >= area.end
            || !area.start.is_multiple_of(PAGE_SIZE)
            || !area.end.is_multiple_of(PAGE_SIZE)
        {
            return false;
        }
        if !is_canonical(area.start) || !is_canonical(area.end - 1) {
            return false;
        }
        if i > 0 && areas[i - 1].end > area.start {
            return false;
        }
        i += 1;
    }
    true
}

const _: () = assert!(sorted_and_disjoint(VIRTUAL_AREAS));
const _: () = assert!(IMAGE_OFFSET == 0xffff_ffff_8000_0000);
const _: () = assert!(pml4_slot(DIRECT_MAP) > UNUSABLE_PML4_SLOT);

// ---- Guest-physical memory -----------------------------------------------------------------------

/// Smallest RAM size the machine accepts, in bytes.
pub const MIN_MEM: u64 = 16 * MIB;

/// First address that is never RAM below 4 GiB: devices live from here to [`HIGH_RAM_START`].
pub const PCI_HOLE_START: u64 = 3 * GIB;
/// Where RAM goes on above the hole.
pub const HIGH_RAM_START: u64 = 4 * GIB;

/// First address of the extended BIOS data area: conventional RAM ends here.
pub const EBDA: u64 = 0x9_fc00;
/// First address of RAM above the legacy video and ROM range.
pub const EXTENDED_RAM_START: u64 = MIB;

/// Physical address of the PVH `hvm_start_info` structure.
pub const PVH_START_INFO: u64 = 0x6000;
/// Physical address of the PVH memory map entries.
pub const PVH_MEMMAP: u64 = 0x7000;
/// Size of the room for PVH memory map entries, in bytes.
pub const PVH_MEMMAP_SIZE: u64 = PAGE_SIZE;
/// Physical address of the command line, a string that ends with NUL.
pub const PVH_CMDLINE: u64 = 0x2_0000;
/// Largest command line in bytes, the final NUL included.
pub const PVH_CMDLINE_SIZE: u64 = 4096;
/// Largest part of the command line, in bytes, that comes from the user. The rest of
/// [`PVH_CMDLINE_SIZE`] is for the words the monitor adds (`virtio_mmio.device=`).
pub const GUEST_PARAMETERS_SIZE: u64 = 2048;

/// Page that application processors start in after SIPI; below 1 MiB and page aligned.
pub const AP_TRAMPOLINE: u64 = 0x8000;

/// First address of the ACPI tables; the RSDP comes first.
pub const ACPI_TABLES: u64 = 0xe_0000;
/// First address after the room for ACPI tables.
pub const ACPI_TABLES_END: u64 = BIOS_ENTRY;
/// Where a PC's firmware is entered in real mode.
pub const BIOS_ENTRY: u64 = 0xf_fff0;

const _: () = assert!(PVH_START_INFO + PAGE_SIZE <= PVH_MEMMAP);
const _: () = assert!(PVH_MEMMAP + PVH_MEMMAP_SIZE <= AP_TRAMPOLINE);
const _: () = assert!(AP_TRAMPOLINE + PAGE_SIZE <= PVH_CMDLINE);
const _: () = assert!(PVH_CMDLINE + PVH_CMDLINE_SIZE <= EBDA);
const _: () = assert!(EBDA < ACPI_TABLES && ACPI_TABLES_END <= BIOS_ENTRY && BIOS_ENTRY < EXTENDED_RAM_START);
const _: () = assert!(GUEST_PARAMETERS_SIZE < PVH_CMDLINE_SIZE);
const _: () = assert!(EXTENDED_RAM_START <= IMAGE_LOAD && IMAGE_LOAD < MIN_MEM);

// ---- Devices -------------------------------------------------------------------------------------

/// Physical address of the first virtio-mmio device; the others follow without gaps.
pub const VIRTIO_MMIO_BASE: u64 = 0xd000_0000;
/// Size of the register window of one virtio-mmio device, in bytes.
pub const VIRTIO_MMIO_SIZE: u64 = 0x1000;
/// Global system interrupt of the first virtio-mmio device; the others follow.
pub const VIRTIO_FIRST_GSI: u32 = 5;
/// Number of input pins of the I/O APIC: GSIs are below this.
pub const IOAPIC_PINS: u32 = 24;
/// Largest number of virtio-mmio devices: one I/O APIC pin each.
pub const VIRTIO_MAX_DEVICES: u32 = IOAPIC_PINS - VIRTIO_FIRST_GSI;

/// Physical address of the I/O APIC.
pub const IOAPIC: u64 = 0xfec0_0000;
/// Physical address of the local APIC after reset.
pub const LAPIC: u64 = 0xfee0_0000;

const _: () = assert!(VIRTIO_MMIO_BASE >= PCI_HOLE_START);
const _: () = assert!(VIRTIO_MMIO_BASE + VIRTIO_MAX_DEVICES as u64 * VIRTIO_MMIO_SIZE <= IOAPIC);
const _: () = assert!(IOAPIC < LAPIC && LAPIC + PAGE_SIZE <= HIGH_RAM_START);

/// First I/O port of the 16550 serial port.
pub const COM1_PORT: u16 = 0x3f8;
/// I/O port of `isa-debug-exit`; takes one 32-bit write of an [`crate::exit::ExitStatus`] code.
pub const DEBUG_EXIT_PORT: u16 = 0xf4;
/// Command port of the i8042 keyboard controller.
pub const I8042_PORT: u16 = 0x64;
/// Command that, written to [`I8042_PORT`], resets the machine.
pub const I8042_RESET: u8 = 0xfe;
/// Sleep control register of hardware-reduced ACPI; the status register follows it.
pub const ACPI_SLEEP_PORT: u16 = 0x600;
/// The sleep type that switches the machine off.
pub const ACPI_SLEEP_OFF: u8 = 5;
