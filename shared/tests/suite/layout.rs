//! The address layout: the numbers that other monitors and kernels also know.

use shared::layout::{
    DIRECT_MAP, FIXMAP_IOAPIC, FIXMAP_LAPIC, IMAGE_BASE, IMAGE_LOAD, IMAGE_OFFSET, OVERLAY, TASK_END,
    UNUSABLE_PML4_SLOT, VIRTUAL_AREAS, VMALLOC, VMEMMAP, pml4_slot,
};

#[test]
fn areas_are_found_by_their_addresses() {
    let area = |address| VIRTUAL_AREAS.iter().find(|area| area.contains(address)).map(|area| area.name);
    for (address, name) in [
        (0x1_0000, Some("tasks")),
        (OVERLAY - 1, Some("tasks")),
        (OVERLAY, Some("overlay")),
        (TASK_END - 1, Some("overlay")),
        (TASK_END, None),
        (DIRECT_MAP, Some("direct")),
        (DIRECT_MAP + (64 << 40), None),
        (VMALLOC, Some("vmalloc")),
        (VMEMMAP, Some("vmemmap")),
        (IMAGE_BASE, Some("image")),
        (IMAGE_OFFSET, None),
        (FIXMAP_IOAPIC, Some("fixmap")),
        (FIXMAP_LAPIC + 4095, Some("fixmap")),
        (u64::MAX, None),
    ] {
        assert_eq!(area(address), name, "{address:#x}");
    }
}

#[test]
fn no_area_touches_the_unusable_slot() {
    for area in VIRTUAL_AREAS {
        let slots = pml4_slot(area.start)..=pml4_slot(area.end - 1);
        assert!(!slots.contains(&UNUSABLE_PML4_SLOT), "{}", area.name);
    }
    assert_eq!(pml4_slot(DIRECT_MAP), 273);
    assert_eq!(IMAGE_LOAD + IMAGE_OFFSET, IMAGE_BASE);
}
