//! Why flushes are there: the same steps on a machine whose flushes do nothing go wrong.

use crate::map_fixture::{activate, new_tree, pa, range, va};
use mm::addr::PAGE_SIZE;
use mm::pgtable::{PageTable, Rights};
use mm::port::{CpuId, Level, Machine as _, PteBits, PteView};
use sim::{Fault, Machine, TablePool};

const RW: PteBits = PteBits::WRITE.union(PteBits::USER);
const GIB: u64 = 1 << 30;
/// Where the data are: RAM this time.
const DATA: u64 = 8 << 20;

/// A machine with RAM for data, and tables below it.
fn data_machine() -> Machine {
    Machine::builder().ram(0..DATA + (8 << 20)).cpus(2).build()
}

/// Whether the machine's flushes do anything from some point on.
#[derive(Clone, Copy)]
enum Flushes {
    Work,
    Broken,
}

impl Flushes {
    fn begin(self, m: &Machine) {
        if matches!(self, Self::Broken) {
            m.tlb().break_flushes();
        }
    }
}

/// A tree that maps 512 pages of data, active on both CPUs.
fn data_tree<'m>(m: &'m Machine, pool: &TablePool<'_>) -> PageTable<'m, Machine> {
    let tree = new_tree(m, pool);
    tree.map_range(range(GIB, 512), pa(DATA), Level::PTE, RW, pool).unwrap();
    activate(m, tree);
    tree
}

/// Unmaps a page that CPU 1 has used and gives what CPU 1 sees then.
fn read_after_unmap(flushes: Flushes) -> Result<u64, Fault> {
    let m = data_machine();
    let pool = TablePool::new(&m, 1..512);
    let tree = data_tree(&m, &pool);
    let on_one = |work: &dyn Fn() -> Result<u64, Fault>| m.cpu().run_on(CpuId(1), work);
    m.user().store_u64(va(GIB), 42).unwrap();
    on_one(&|| m.user().load_u64(va(GIB))).unwrap();
    flushes.begin(&m);
    let mut gather = tree.gather(&pool);
    tree.unmap(range(GIB, 1), &mut gather, |_, _, _| ()).unwrap();
    gather.finish();
    on_one(&|| m.user().load_u64(va(GIB)))
}

#[test]
fn without_the_flush_an_unmapped_page_is_still_read() {
    assert!(matches!(read_after_unmap(Flushes::Work), Err(Fault::Page { .. })));
    assert_eq!(read_after_unmap(Flushes::Broken), Ok(42), "the stale TLB must show");
}

/// A second CPU has the table cached and does not look until the table is freed.
fn stale_table(flushes: Flushes) -> Result<u64, Fault> {
    let m = data_machine();
    let pool = TablePool::new(&m, 1..512);
    let tree = data_tree(&m, &pool);
    m.cpu().run_on(CpuId(1), || m.user().load_u64(va(GIB))).unwrap();
    flushes.begin(&m);
    let mut gather = tree.gather(&pool);
    tree.unmap(range(GIB, 512), &mut gather, |_, _, _| ()).unwrap();
    gather.finish();
    m.cpu().run_on(CpuId(1), || m.user().load_u64(va(GIB + PAGE_SIZE)))
}

#[test]
fn without_the_flush_a_freed_table_is_still_walked() {
    assert!(matches!(stale_table(Flushes::Work), Err(Fault::Page { .. })));
    assert!(matches!(stale_table(Flushes::Broken), Err(Fault::NotRam { .. })), "the poison must be walked");
}

#[test]
fn a_table_without_a_present_leaf_is_flushed_too() {
    let m = data_machine();
    let pool = TablePool::new(&m, 1..512);
    let tree = data_tree(&m, &pool);
    let mut gather = tree.gather(&pool);
    tree.protect(range(GIB, 512), Rights::None, &mut gather).unwrap();
    gather.finish();
    m.user().speculate(va(GIB));
    let mut gather = tree.gather(&pool);
    tree.unmap(range(GIB, 512), &mut gather, |_, _, _| ()).unwrap();
    gather.finish();
    assert!(matches!(m.user().load_u64(va(GIB)), Err(Fault::Page { .. })));
}

/// Cleans a dirty page, lets CPU 1 write it again, and tells whether the write shows.
fn write_after_clean(flushes: Flushes) -> bool {
    let m = data_machine();
    let pool = TablePool::new(&m, 1..512);
    let tree = data_tree(&m, &pool);
    let store = |value| m.cpu().run_on(CpuId(1), || m.user().store_u64(va(GIB), value)).unwrap();
    store(1);
    flushes.begin(&m);
    let mut gather = tree.gather(&pool);
    tree.update(range(GIB, 1), &mut gather, |_, _, view| match view {
        PteView::Present { addr, bits } => PteView::Present { addr, bits: bits - PteBits::DIRTY },
        other => other,
    })
    .unwrap();
    gather.finish();
    store(2);
    matches!(tree.view(va(GIB)), Some(PteView::Present { bits, .. }) if bits.contains(PteBits::DIRTY))
}

#[test]
fn without_the_flush_a_write_after_cleaning_is_lost() {
    assert!(write_after_clean(Flushes::Work));
    assert!(!write_after_clean(Flushes::Broken), "the cached D must show");
}

#[test]
fn without_the_flush_a_write_protected_page_is_still_written() {
    for (flushes, written) in [(Flushes::Work, false), (Flushes::Broken, true)] {
        let m = data_machine();
        let pool = TablePool::new(&m, 1..512);
        let tree = data_tree(&m, &pool);
        m.user().store_u64(va(GIB), 1).unwrap();
        flushes.begin(&m);
        let mut gather = tree.gather(&pool);
        tree.protect(range(GIB, 1), Rights::Of(PteBits::USER), &mut gather).unwrap();
        gather.finish();
        assert_eq!(m.user().store_u64(va(GIB), 2).is_ok(), written);
    }
}
