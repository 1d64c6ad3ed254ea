//! The program's bytes and the threshold.

use super::*;

#[test]
fn the_jumps_of_the_program_hit_their_labels() {
    let target = |at: usize| (at as i64 + 2 + i64::from(PROGRAM[at + 1] as i8)) as usize;
    assert_eq!((PROGRAM[8], target(8)), (0x75, 7), "jnz goes to dec");
    assert_eq!((PROGRAM[11], target(11)), (0xeb, 0), "jmp goes to out");
    assert_eq!(PROGRAM[ROUNDS_AT as usize - 1], 0xb9, "the rounds are loaded into ecx");
}

#[test]
fn the_threshold_separates_the_measured_hosts() {
    for (ns, kind, ring) in [(1, Kind::Hardware, 0), (60, Kind::Hardware, 0), (700, Kind::Software, 3)] {
        assert_eq!(Kind::from_ns(ns), kind);
        assert_eq!(kind.ring(), ring);
    }
}

#[test]
fn one_fast_pass_is_proof_and_a_slow_one_is_not() {
    let judged = |times: &[u64]| {
        let mut times = times.iter();
        let best = fastest(|| times.next().copied().ok_or_else(|| String::from("a pass too many")));
        (best, times.len())
    };
    assert_eq!(judged(&[60, 700]), (Ok(60), 1), "the first fast one ends it");
    assert_eq!(judged(&[900, 151, 150, 1]), (Ok(150), 1));
    assert_eq!(judged(&[900, 700, 800, 750, 850, 1]), (Ok(700), 1), "five slow ones are believed");
    assert_eq!(fastest(|| Err(String::from("no"))), Err(String::from("no")));
}
