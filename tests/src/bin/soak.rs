//! Long versions of tests, for `cargo xtask soak`.

use std::process::ExitCode;

use tests::{Guest, any_host};

fn main() -> ExitCode {
    let numbers: Vec<_> = std::env::args().skip(1).map(|word| word.parse()).collect();
    let [Ok(rounds), Ok(seconds)] = numbers[..] else {
        eprintln!("soak: give the number of rounds, and of seconds for the stress of memory");
        return ExitCode::from(2);
    };
    let stress = format!("mm stress ms={}", seconds * 1000);
    let guest = Guest::on(any_host()).mem("256M").cpus(2).run(&[&stress, "mm verify"]);
    let run = guest.start().assert_ok();
    println!("memory: seconds={seconds} {}", run.output(0).line_with("pages=").as_str());
    println!("memory: {}", run.output(0).line_with("verify=").as_str());
    let Some(host) = tests::kvm() else {
        eprintln!("soak: killing the monitor needs KVM");
        return ExitCode::from(8);
    };
    let promised = tests::kill_rounds(host, rounds);
    println!("kill: rounds={rounds} flushed={promised} lost=0");
    ExitCode::SUCCESS
}
