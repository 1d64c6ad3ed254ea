//! The corpus and simple mutations of it, in the ordinary tests: what fuzzing once found stays found.

use std::fs;
use std::path::Path;

use fuzz_targets::TARGETS;

/// Runs of each target that follow the corpus.
const MUTATIONS: u64 = 3000;

/// The inputs of a target, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// xorshift64: the same numbers on every machine.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }

    fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.below(256) as u8),
                2 => bytes.extend(&corpus[self.below(corpus.len())]),
                _ if bytes.is_empty() => {}
                3 => bytes[at] ^= 1 << self.below(8),
                _ => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
            }
        }
        bytes
    }
}

#[test]
fn the_corpus_and_its_mutations_break_nothing() {
    for target in &TARGETS {
        let corpus = corpus(target.name);
        assert!(corpus.len() >= 3, "{} has {} inputs", target.name, corpus.len());
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        for bytes in &corpus {
            (target.run)(bytes);
        }
        for run in 0..MUTATIONS {
            let bytes = numbers.mutate(&corpus);
            let outcome = std::panic::catch_unwind(|| (target.run)(&bytes));
            assert!(outcome.is_ok(), "{} run {run}: {bytes:02x?}", target.name);
        }
    }
}

#[test]
fn targets_are_found_by_their_names() {
    for target in &TARGETS {
        assert_eq!(fuzz_targets::find(target.name).map(|found| found.name), Some(target.name));
    }
    assert!(fuzz_targets::find("nothing").is_none());
}
