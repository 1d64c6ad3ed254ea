//! The `vmm` command: arguments in, a machine run, an exit status out.
//!
//! The only place that prints or exits.

use std::error::Error;
use std::process::ExitCode;

use kvm_ioctls::Kvm;
use shared::exit::ExitStatus;
use vmm::boot::e820::e820_map;
use vmm::cli::{self, Command, RunArgs};
use vmm::config::MachineConfig;
use vmm::kernel::Kernel;
use vmm::memory::layout::ram_ranges;
use vmm::timing::Phases;

fn main() -> ExitCode {
    let phases = Phases::start();
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(error) if error.is_help() => {
            print!("{}", error.help());
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(ExitStatus::Usage, &error.line()),
    };
    match cli.command {
        Command::Run(args) => run(&args, phases),
        Command::Probe | Command::Params(_) => ExitCode::SUCCESS,
    }
}

fn run(args: &RunArgs, mut phases: Phases) -> ExitCode {
    let config = match MachineConfig::new(args) {
        Ok(config) => config,
        Err(error) => return fail(ExitStatus::Usage, &chain(&error)),
    };
    if args.dump_e820 {
        for entry in e820_map(&ram_ranges(config.topology.nodes())) {
            println!("{entry}");
        }
        return ExitCode::SUCCESS;
    }
    let kernel = match Kernel::open(config.kernel.as_deref()) {
        Ok(kernel) => kernel,
        Err(error) => return fail(ExitStatus::Usage, &chain(&error)),
    };
    phases.mark("config");
    let kvm = Kvm::new().expect("kvm");
    let machine = match vmm::builder::build(&config, &kernel, &kvm, &mut phases) {
        Ok(machine) => machine,
        Err(error) => return fail(error.status(), &chain(&error)),
    };
    if args.stats {
        println!("{phases}");
    }
    match vmm::run::run(machine, config.timeout) {
        Ok(end) => {
            let line = end.to_string();
            if !line.is_empty() {
                eprintln!("vmm: {line}");
            }
            ExitCode::from(end.status())
        }
        Err(error) => fail(ExitStatus::HostUnable, &chain(&error)),
    }
}

/// Prints one line and gives the status to exit with.
fn fail(status: ExitStatus, line: &str) -> ExitCode {
    eprintln!("vmm: {line}");
    ExitCode::from(status.code() as u8)
}

/// An error and its causes as one line.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}
