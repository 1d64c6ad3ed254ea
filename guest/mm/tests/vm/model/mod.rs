//! Contexts against an oracle: maps of what each page of each context holds, allows and costs.
//!
//! Two CPUs with TLBs that forget nothing take turns, so a run repeats. The oracle predicts every result: values, the
//! kinds of refusals, error numbers, ways of faults, and what is counted. Which touch gets a huge page is told by the
//! fault, and where an area ends by the area; the oracle says whether it might. After every run all contexts end, and
//! not a page is missing.
//!
//! | file | job |
//! |---|---|
//! | here | the steps of a run, by chance |
//! | `oracle` | what is known of each page, and what a step must make of it |
//! | `steps` | the same step in the contexts and in the oracle |
//! | `moves` | the steps that move, copy and share what is there |
//! | `pool` | pages from a pool of huge pages, with an oracle of their own |

mod moves;
mod oracle;
mod pool;
mod steps;

use super::{World, cpu, page, watch};
use mm::port::{Access, Machine as _};
use mm::space::{Advice, MapFlags, Moving, ThpMode};
use mm::vma::VmFlags;
use oracle::Oracle;
use proptest::prelude::*;
use std::cell::RefCell;

const CPUS: u32 = 2;
const CONTEXTS: usize = 3;
/// Places in a window; a place is one page, or a part of a huge page.
const PLACES: u64 = 24;
/// Base pages of a huge page.
const HUGE: u64 = 512;
/// Pages that stay empty below a stack.
const GUARD_GAP: u64 = 2;

/// A range in one of the two windows of a context: in its slice, or where clones have theirs.
#[derive(Clone, Copy, Debug)]
struct Span {
    overlay: bool,
    first: u64,
    places: u64,
}

/// What is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Private,
    Shared,
    /// Grows down when it is touched below.
    Stack,
}

/// One step of a run, on a CPU and a context.
#[derive(Clone, Copy, Debug)]
enum Op {
    Create,
    Clone,
    End,
    Map(Span, VmFlags, MapFlags, What),
    MapAnywhere(u64),
    /// Another size, in places.
    Remap(Span, u64, Moving),
    Snapshot(Span),
    /// Shows one of the shared areas in another context.
    Share(usize, usize),
    Unmap(Span),
    Protect(Span, VmFlags),
    Advise(Span, Advice),
    Lock(Span),
    Unlock(Span),
    Brk(u64),
    /// A page in a window.
    Touch(bool, u64, Access),
    /// One of the pages that are mapped.
    TouchMapped(usize, Access),
    Bad(u32),
    Verify,
}

fn op() -> impl Strategy<Value = (usize, u32, Op)> {
    let span = || {
        let parts = (any::<bool>(), 0..PLACES, prop_oneof![3 => 1_u64..5, 1 => 5_u64..=PLACES]);
        parts.prop_map(|(overlay, first, places)| Span { overlay, first, places: places.min(PLACES - first) })
    };
    let rights = || {
        prop_oneof![
            1 => Just(VmFlags::empty()),
            2 => Just(VmFlags::READ),
            1 => Just(VmFlags::READ | VmFlags::EXEC),
            4 => Just(VmFlags::READ | VmFlags::WRITE),
        ]
    };
    let how = prop_oneof![4 => Just(MapFlags::FIXED), 1 => Just(MapFlags::FIXED_NOREPLACE)];
    let what = prop_oneof![4 => Just(What::Private), 2 => Just(What::Shared), 1 => Just(What::Stack)];
    let moving = prop_oneof![1 => Just(Moving::Stay), 3 => Just(Moving::May)];
    let access =
        || prop_oneof![2 => Just(Access::Read), 4 => Just(Access::Write), 1 => Just(Access::Execute)];
    let advice = prop_oneof![
        4 => Just(Advice::DontNeed),
        1 => Just(Advice::HugePage),
        1 => Just(Advice::NoHugePage),
        1 => Just(Advice::DontFork),
        1 => Just(Advice::DoFork),
        1 => Just(Advice::Random),
    ];
    let op = prop_oneof![
        1 => Just(Op::Create),
        3 => Just(Op::Clone),
        1 => Just(Op::End),
        10 => (span(), rights(), how, what).prop_map(|(span, rights, how, what)| Op::Map(span, rights, how, what)),
        1 => (1..PLACES).prop_map(Op::MapAnywhere),
        2 => (span(), 1..2 * PLACES, moving).prop_map(|(span, places, moving)| Op::Remap(span, places, moving)),
        1 => span().prop_map(Op::Snapshot),
        2 => (any::<usize>(), 0..CONTEXTS).prop_map(|(n, to)| Op::Share(n, to)),
        3 => span().prop_map(Op::Unmap),
        4 => (span(), rights()).prop_map(|(span, rights)| Op::Protect(span, rights)),
        4 => (span(), advice).prop_map(|(span, advice)| Op::Advise(span, advice)),
        1 => span().prop_map(Op::Lock),
        1 => span().prop_map(Op::Unlock),
        1 => (0..PLACES).prop_map(Op::Brk),
        3 => (any::<bool>(), any::<u64>(), access()).prop_map(|(window, n, access)| Op::Touch(window, n, access)),
        18 => (any::<usize>(), access()).prop_map(|(n, access)| Op::TouchMapped(n, access)),
        1 => (0_u32..11).prop_map(Op::Bad),
        1 => Just(Op::Verify),
    ];
    // Most steps are of one context, so that runs get somewhere.
    (prop_oneof![3 => Just(0_usize), 1 => 1..CONTEXTS], 0..CPUS, op)
}

/// A world that has been used once, so that what is made once is there.
fn world(thp: ThpMode) -> (&'static World, u64) {
    let ram = if thp == ThpMode::Never { 16 } else { 96 };
    let world: &'static World = super::keep(World::with(ram, CPUS, thp == ThpMode::Never));
    world.vm.settings().set_thp(thp);
    world.vm.settings().set_stack_guard_gap(GUARD_GAP);
    let mm = world.context();
    let at = world.map(mm, HUGE);
    world.load(mm, at).unwrap();
    world.store(mm, page(at, 1), 1).unwrap();
    world.end(mm);
    world.shrink_slabs();
    (world, world.free_pages())
}

/// Runs `ops` in a world that earlier runs may have used; one that failed is left alone.
fn run(worlds: &RefCell<Option<(&'static World, u64)>>, thp: ThpMode, ops: &[(usize, u32, Op)]) {
    let (world, free) = worlds.borrow_mut().take().unwrap_or_else(|| self::world(thp));
    let _watched = watch(world.machine());
    let mut oracle = Oracle::new(world, if thp == ThpMode::Never { 1 } else { 64 });
    for (turn, &(n, id, op)) in ops.iter().enumerate() {
        match op {
            // All CPUs must leave it.
            Op::End => oracle.end(n),
            _ => world.machine().cpu().run_on(cpu(id), || oracle.step(n, op)),
        }
        oracle.check_counts();
        if turn % 4 == 3 {
            world.verify();
        }
    }
    oracle.finish(free);
    *worlds.borrow_mut() = Some((world, free));
}

thread_local! {
    static SMALL: RefCell<Option<(&'static World, u64)>> = const { RefCell::new(None) };
    static HUGES: RefCell<Option<(&'static World, u64)>> = const { RefCell::new(None) };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8000, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn contexts_agree_with_the_oracle(ops in prop::collection::vec(op(), 1..100)) {
        SMALL.with(|worlds| run(worlds, ThpMode::Never, &ops));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn contexts_with_huge_pages_agree_with_the_oracle(ops in prop::collection::vec(op(), 1..80)) {
        HUGES.with(|worlds| run(worlds, ThpMode::Always, &ops));
    }
}
