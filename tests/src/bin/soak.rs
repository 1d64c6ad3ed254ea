//! Long versions of tests, for `cargo xtask soak`.

use std::process::ExitCode;
use std::time::Duration;

use tests::{Guest, any_host};

fn main() -> ExitCode {
    let numbers: Vec<_> = std::env::args().skip(1).map(|word| word.parse::<u64>()).collect();
    let [Ok(rounds), Ok(seconds), Ok(seed)] = numbers[..] else {
        eprintln!(
            "soak: give the number of rounds, of seconds for the stress of memory, and a seed for the rounds"
        );
        return ExitCode::from(2);
    };
    let stress = format!("mm stress ms={}", seconds * 1000);
    let guest = Guest::on(any_host()).mem("256M").cpus(2).run(&[&stress, "mm verify"]);
    let run = guest.start().assert_ok();
    println!("memory: seconds={seconds} {}", run.output(0).line_with("pages=").as_str());
    println!("memory: {}", run.output(0).line_with("verify=").as_str());
    coherence(seconds);
    let Some(host) = tests::kvm() else {
        eprintln!("soak: killing the monitor needs KVM");
        return ExitCode::from(8);
    };
    let promised = tests::kill_rounds(host, rounds, seed);
    println!("kill: rounds={rounds} flushed={promised} lost=0");
    let storms = tests::swap_storms(host, rounds, seed);
    println!("swap: rounds={rounds} {storms:?} lost=0");
    let promised = tests::kill_file_rounds(host, rounds, seed);
    println!("kill: rounds={rounds} of a file operations={promised} lost=0");
    ExitCode::SUCCESS
}

/// Two CPUs, one of which changes what the other uses: `seconds` for each kind of change.
fn coherence(seconds: u64) {
    let test = format!("tlb test {seconds}");
    let commands = [test.as_str(), "tlb dirty-race 100000", "mm verify"];
    let limit = Duration::from_secs(3 * seconds + 300);
    let run = Guest::on(any_host()).mem("256M").cpus(2).limit(limit).run(&commands).start().assert_ok();
    for phase in ["unmap: ", "protect: ", "clone: "] {
        println!("coherence: seconds={seconds} {}", run.output(0).line_with(phase).as_str());
    }
    println!("coherence: {}", run.output(1).line_with("lost_writes=").as_str());
}
