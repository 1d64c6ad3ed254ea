//! Parameters of the group "Size and layout".

use super::{MIB, NONE, OFF, TIB, computed, int, is};
use crate::layout::MIN_MEM;
use crate::params::spec::Kind::{Bool, Enum, Flag, Memmap, Size, SizeOrPercent, U64};
use crate::params::spec::{OnBad, ParamSpec, Problem, SizeRange};

/// Zone boundaries fall on blocks of the largest buddy order.
const ZONE_STEP: u64 = 4 * MIB;

pub(super) const PARAMS: &[ParamSpec] = &[
    ParamSpec::linux(
        "mem",
        Size(SizeRange::new(MIN_MEM, u64::MAX)),
        computed("all RAM"),
        "use only so much RAM",
    )
    .unit("bytes")
    .on_bad(OnBad::TextFor(Problem::TooSmall, "mem=: {v} is below the minimum 16M, ignored")),
    ParamSpec::linux("memmap", Memmap, computed("e820"), "add, reserve or replace ranges of the memory map")
        .repeats()
        .on_bad(OnBad::Text("memmap= \"{v}\": expected nn[@$#]ss, ignored")),
    ParamSpec::linux(
        "highmem",
        Size(SizeRange::new(0, u64::MAX).multiple(2 * MIB)),
        is("0"),
        "leave the top of RAM out of the direct map, as ZONE_HIGHMEM",
    )
    .unit("bytes")
    .on_bad(OnBad::TextFor(Problem::TooLarge, "highmem=: leaves less than 16M lowmem, ignored")),
    ParamSpec::new(
        "layout",
        Enum(&["native", "3g1g", "2g2g", "1g3g"]),
        is("native"),
        "split between task and kernel addresses",
    )
    .on_bad(OnBad::Text("mm: bad value \"{v}\" for layout= (native,3g1g,2g2g,1g3g), using native")),
    ParamSpec::linux(
        "vmalloc",
        Size(SizeRange::new(4 * MIB, 32 * TIB)),
        computed("32T, 128M in 3g1g"),
        "size of the vmalloc area",
    )
    .unit("bytes")
    .on_bad(OnBad::Nearest),
    ParamSpec::new(
        "zones.dma",
        Size(SizeRange::new(ZONE_STEP, 64 * TIB).multiple(ZONE_STEP)),
        is("16M"),
        "upper boundary of ZONE_DMA (for tests)",
    )
    .unit("bytes"),
    ParamSpec::new(
        "zones.dma32",
        Size(SizeRange::new(ZONE_STEP, 64 * TIB).multiple(ZONE_STEP)),
        is("4G"),
        "upper boundary of ZONE_DMA32 (for tests)",
    )
    .unit("bytes"),
    ParamSpec::linux(
        "kernelcore",
        SizeOrPercent(SizeRange::new(0, u64::MAX)),
        OFF,
        "memory for allocations that cannot move; the rest becomes ZONE_MOVABLE",
    )
    .unit("bytes"),
    ParamSpec::linux(
        "movablecore",
        SizeOrPercent(SizeRange::new(0, u64::MAX)),
        is("0"),
        "memory for ZONE_MOVABLE",
    )
    .unit("bytes"),
    ParamSpec::linux("movable_node", Flag, OFF, "hot-pluggable nodes hold only ZONE_MOVABLE"),
    ParamSpec::linux("nokaslr", Flag, OFF, "fixed kernel addresses"),
    ParamSpec::linux("norandmaps", Flag, OFF, "fixed addresses of task mappings"),
    ParamSpec::new("seed", U64, is("0"), "seed of every random choice; 0 makes runs repeatable"),
    ParamSpec::linux("page_alloc.shuffle", Bool, is("0"), "shuffle the free lists at boot"),
    ParamSpec::new(
        "directmap",
        Enum(&["auto", "4k", "2m", "1g"]),
        is("auto"),
        "largest leaf of the direct map",
    ),
    ParamSpec::linux("nogbpages", Flag, OFF, "no 1 GiB leaves in the direct map"),
    ParamSpec::linux("nohugevmalloc", Flag, OFF, "no 2 MiB leaves in the vmalloc area"),
    ParamSpec::linux("nopcid", Flag, OFF, "no process-context identifiers"),
    ParamSpec::linux("no5lvl", Flag, OFF, "no five-level page tables"),
    ParamSpec::linux(
        "noexec",
        Enum(&["on"]),
        is("on"),
        "no execution of writable memory; cannot be switched off",
    )
    .on_bad(OnBad::Text("noexec={v} refused: W^X is not optional")),
    ParamSpec::linux("stack_guard_gap", int(0, 65536), is("256"), "gap kept below a growing stack")
        .unit("pages"),
    ParamSpec::linux("memblock", Enum(&["debug"]), NONE, "log boot-time reservations"),
    ParamSpec::linux("mminit_loglevel", int(0, 4), is("0"), "detail of the log of memory initialisation"),
    ParamSpec::linux("initcall_debug", Flag, OFF, "log the time of every boot step"),
    ParamSpec::linux("memtest", int(0, 17), is("0"), "number of patterns that test free RAM at boot")
        .on_bad(OnBad::Nearest),
];

// The text of `mem=` names the minimum.
const _: () = assert!(MIN_MEM == 16 * MIB);
