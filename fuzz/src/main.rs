//! libFuzzer around one target, which the variable `FUZZ_TARGET` names.
//!
//! Owns: the choice of the target. Stays outside: the targets (`fuzz-targets`), corpora and limits (`cargo xtask fuzz`).
#![no_main]

use std::env;
use std::process;
use std::sync::OnceLock;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = env::var("FUZZ_TARGET").unwrap_or_default();
        match fuzz_targets::find(&name) {
            Some(target) => drop(TARGET.set(target.run)),
            None => {
                eprintln!("FUZZ_TARGET '{name}' is no target; use `cargo xtask fuzz`");
                process::exit(2);
            }
        }
    },
    |data: &[u8]| {
        if let Some(run) = TARGET.get() {
            run(data);
        }
    }
);
