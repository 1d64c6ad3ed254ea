//! Long versions of tests, for `cargo xtask soak`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(Ok(rounds)) = std::env::args().nth(1).map(|word| word.parse()) else {
        eprintln!("soak: give the number of rounds");
        return ExitCode::from(2);
    };
    let Some(host) = tests::kvm() else {
        eprintln!("soak: killing the monitor needs KVM");
        return ExitCode::from(8);
    };
    let promised = tests::kill_rounds(host, rounds);
    println!("kill: rounds={rounds} flushed={promised} lost=0");
    ExitCode::SUCCESS
}
