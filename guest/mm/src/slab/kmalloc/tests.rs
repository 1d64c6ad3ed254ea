//! Which class serves which size.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

extern crate std;

use super::*;

#[test]
fn the_smallest_class_that_holds_a_size_serves_it() {
    let mut sizes: std::vec::Vec<u32> = (1..CLASSES).map(class_bytes).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192]);
    for size in 1..=MAX_CACHED {
        let smallest = *sizes.iter().find(|class| **class as usize >= size).unwrap();
        assert_eq!(class_bytes(class_of(size).unwrap()), smallest, "size {size}");
    }
    // The class 0 has no cache.
    assert_eq!([0, usize::MAX].map(class_of), [Some(0); 2]);
    assert_eq!(class_of(MAX_CACHED + 1), None);
}

#[test]
fn classes_have_the_names_that_linux_gives_them() {
    let name = |family: KmallocType, size| NAMES[family as usize][class_of(size).unwrap()];
    assert_eq!(name(KmallocType::Normal, 100), "kmalloc-128");
    assert_eq!(name(KmallocType::Normal, 96), "kmalloc-96");
    assert_eq!(name(KmallocType::Reclaimable, 1), "kmalloc-rcl-8");
    assert_eq!(name(KmallocType::Dma, 8192), "dma-kmalloc-8k");
    assert_eq!(name(KmallocType::Cgroup, 1025), "kmalloc-cg-2k");
}

#[test]
fn flags_choose_the_family() {
    assert_eq!(KmallocType::of(GfpFlags::GFP_KERNEL), KmallocType::Normal);
    assert_eq!(KmallocType::of(GfpFlags::GFP_KERNEL_ACCOUNT), KmallocType::Cgroup);
    assert_eq!(KmallocType::of(GfpFlags::GFP_KERNEL | GfpFlags::__GFP_RECLAIMABLE), KmallocType::Reclaimable);
    let both = GfpFlags::GFP_KERNEL_ACCOUNT | GfpFlags::__GFP_DMA | GfpFlags::__GFP_RECLAIMABLE;
    assert_eq!(KmallocType::of(both), KmallocType::Dma);
}
