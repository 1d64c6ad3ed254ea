//! The TLB: what is cached stays until a flush, on every CPU.

use crate::tables::{A, D, DATA, G, P, PS, RW, US, entry, machine, map, pa, set, table, va, word};
use mm::addr::VirtAddr;
use mm::port::{CpuId, Machine as _, Mmu, Tlb};
use sim::Machine;
use std::sync::atomic::Ordering;

const FULL: u64 = P | RW | US;
const OTHER: u64 = DATA + 0x1000;

/// A machine where `at` maps DATA, which holds 1; OTHER holds 2.
fn mapped(cpus: u32, at: VirtAddr, bits: u64) -> Machine {
    let m = machine(4, cpus);
    map(&m, 1, at, DATA | FULL | bits);
    word(&m, DATA).store(1, Ordering::Relaxed);
    word(&m, OTHER).store(2, Ordering::Relaxed);
    m
}

#[test]
fn a_translation_is_stale_until_flushed() {
    let at = va(0x40_0000);
    let m = mapped(2, at, 0);
    let load = |cpu| m.cpu().run_on(CpuId(cpu), || m.user().load_u64(at));
    assert_eq!((load(0), load(1)), (Ok(1), Ok(1)));
    set(&m, 1, at, OTHER | FULL);
    assert_eq!((load(0), load(1)), (Ok(1), Ok(1)), "no flush yet");
    m.tlb().flush_range(va(0x40_1000), 100);
    assert_eq!(load(0), Ok(1), "a flush of other pages");
    m.tlb().flush_range(at, 1);
    assert_eq!((load(0), load(1)), (Ok(2), Ok(2)));
    set(&m, 1, at, 0);
    m.tlb().flush_all();
    assert!(load(0).is_err() && load(1).is_err());
}

#[test]
fn a_large_leaf_is_flushed_by_any_page_of_it() {
    let m = machine(4, 1);
    let at = va(0x40_0000);
    map(&m, 2, at, DATA | FULL | PS);
    m.user().load_u64(at).unwrap();
    set(&m, 2, at, 0);
    m.tlb().flush_range(va(0x5f_f000), 1);
    assert!(m.user().load_u64(at).is_err());
}

#[test]
fn a_new_root_keeps_only_global_translations() {
    let (own, global) = (va(0x40_0000), va(0x40_1000));
    let m = mapped(1, own, 0);
    set(&m, 1, global, DATA | FULL | G);
    assert_eq!((m.user().load_u64(own), m.user().load_u64(global)), (Ok(1), Ok(1)));
    // The frame of level 5 is unused here: an empty root.
    // SAFETY: this machine runs no code of its own.
    unsafe { m.mmu().activate(pa(table(5))) }
    assert!(m.user().load_u64(own).is_err());
    assert_eq!(m.user().load_u64(global), Ok(1), "global");
    m.tlb().flush_all();
    assert!(m.user().load_u64(global).is_err());
}

#[test]
fn a_table_is_remembered_until_flushed() {
    let (first, second) = (va(0x40_0000), va(0x40_1000));
    let m = mapped(1, first, 0);
    set(&m, 1, second, OTHER | FULL);
    m.user().load_u64(first).unwrap();
    set(&m, 2, first, 0);
    assert_eq!(m.user().load_u64(second), Ok(2), "walked through the cached table");
    m.tlb().flush_range(second, 1);
    assert!(m.user().load_u64(second).is_err());
}

#[test]
fn a_cached_dirty_translation_writes_without_telling() {
    let at = va(0x40_0000);
    let m = mapped(1, at, 0);
    m.user().store_u64(at, 5).unwrap();
    set(&m, 1, at, entry(&m, 1, at) & !(A | D));
    m.user().store_u64(at, 6).unwrap();
    assert_eq!(entry(&m, 1, at) & (A | D), 0, "the write is lost to who trusts D");
    m.tlb().flush_range(at, 1);
    m.user().store_u64(at, 7).unwrap();
    assert_eq!(entry(&m, 1, at) & (A | D), A | D);
}

#[test]
fn a_clean_translation_looks_again_before_the_first_write() {
    let at = va(0x40_0000);
    let m = mapped(1, at, 0);
    m.user().load_u64(at).unwrap();
    set(&m, 1, at, 0);
    assert!(m.user().store_u64(at, 5).is_err());
    assert_eq!(word(&m, DATA).load(Ordering::Relaxed), 1);
}

#[test]
fn more_rights_cost_one_spurious_fault() {
    let at = va(0x40_0000);
    let m = mapped(1, at, 0);
    set(&m, 1, at, DATA | P | US);
    m.user().load_u64(at).unwrap();
    set(&m, 1, at, DATA | FULL);
    assert!(m.user().store_u64(at, 5).is_err());
    assert_eq!(m.user().store_u64(at, 5), Ok(()));
}

#[test]
fn speculation_caches_tables_without_a_leaf() {
    let (there, absent) = (va(0x40_0000), va(0x40_1000));
    let m = mapped(1, there, 0);
    m.user().speculate(absent);
    set(&m, 2, there, 0);
    assert_eq!(m.user().load_u64(there), Ok(1), "walked through the table that speculation has cached");
    m.user().speculate(va(1 << 47));
    assert_eq!(m.tlb().stats().walks, 2);
}

#[test]
fn walks_and_hits_are_counted() {
    let at = va(0x40_0000);
    let m = mapped(1, at, 0);
    m.user().load_u64(at).unwrap();
    m.user().load_u64(at).unwrap();
    let stats = m.tlb().stats();
    assert_eq!((stats.walks, stats.table_reads, stats.hits), (1, 4, 1));
    m.user().load_u64(va(0x40_1000)).unwrap_err();
    assert_eq!(m.tlb().stats().table_reads, 5, "the cached leaf table saves three reads");
}

#[test]
fn broken_flushes_are_counted_and_forgotten() {
    let at = va(0x40_0000);
    let m = mapped(1, at, 0);
    m.user().load_u64(at).unwrap();
    m.tlb().break_flushes();
    set(&m, 1, at, OTHER | FULL);
    m.tlb().flush_range(at, 1);
    m.tlb().flush_all();
    assert_eq!(m.user().load_u64(at), Ok(1));
    assert_eq!((m.tlb().stats().flushes, m.tlb().stats().full_flushes), (1, 1));
}
