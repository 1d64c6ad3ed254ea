//! The `vmm` command: arguments in, a machine run, an exit status out.
//!
//! The only place that prints or exits.

use std::env;
use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use shared::exit::ExitStatus;
use vmm::accel::{self, Accelerator};
use vmm::boot::e820;
use vmm::cli::image::ImageCommand;
use vmm::cli::{self, Command, Params, ParamsArgs, RunArgs};
use vmm::config::MachineConfig;
use vmm::devices::virtio::console::OutputLoss;
use vmm::exit::End;
use vmm::kernel::Kernel;
use vmm::machine::Machine;
use vmm::memory::layout::ram_ranges;
use vmm::stats::MachineStats;
use vmm::timing::Phases;
use vmm::{builder, image, manual, params, probe, run, signals, tcg};

/// Why the process ends without a machine having run: a status and what to print, line by line.
struct Failure(ExitStatus, Vec<String>);

impl Failure {
    fn new(status: ExitStatus, error: &dyn Error) -> Self {
        Self(status, vec![chain(error)])
    }
}

fn main() -> ExitCode {
    let phases = Phases::start();
    signals::ignore_file_size_limit();
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(error) if error.is_help() => return print(&error.help(wants_colour())),
        Err(error) => return fail(Failure(ExitStatus::Usage, vec![error.line()])),
    };
    let result = match cli.command {
        Command::Run(args) => start(&args, phases),
        Command::Probe => Ok(print(&(probe::facts().join("\n") + "\n"))),
        Command::Params(ParamsArgs { json: true }) => Ok(print(&params::json())),
        Command::Params(ParamsArgs { json: false }) => Ok(print(&params::text())),
        Command::Image(command) => image(&command),
        Command::Completions(args) => Ok(print(&manual::completions(args.shell))),
        Command::Man(args) => man(&args.path),
    };
    result.unwrap_or_else(fail)
}

/// `vmm image`.
fn image(command: &ImageCommand) -> Result<ExitCode, Failure> {
    match image::run(command, &mut io::stdout().lock()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::new(error.status(), &error)),
    }
}

/// `vmm man`.
fn man(path: &[String]) -> Result<ExitCode, Failure> {
    match manual::page(path) {
        Ok(page) => Ok(print(&page)),
        Err(error) => Err(Failure::new(ExitStatus::Usage, &error)),
    }
}

/// `vmm run`.
fn start(args: &RunArgs, mut phases: Phases) -> Result<ExitCode, Failure> {
    let config = MachineConfig::new(args).map_err(|error| Failure::new(ExitStatus::Usage, &error))?;
    if args.dump_e820 {
        return Ok(print(&e820::text(&e820::e820_map(&ram_ranges(config.topology.nodes())))));
    }
    let kernel = Kernel::open(config.kernel.as_deref(), config.initrd.as_deref());
    let kernel = kernel.map_err(|error| Failure::new(ExitStatus::Usage, &error))?;
    if args.params == Params::Strict && kernel.is_ballast() {
        let mistakes = params::mistakes(&config.cmdline, config.topology.memory());
        if !mistakes.is_empty() {
            return Err(Failure(ExitStatus::Usage, mistakes));
        }
    }
    phases.mark("config");
    let accelerator = accel::open(args.accel);
    let end = match accelerator.map_err(|error| Failure::new(ExitStatus::HostUnable, &error))? {
        Accelerator::Tcg(why) => {
            if let Some(why) = why {
                if !tcg::is_installed() {
                    let line = format!(
                        "{why}; QEMU, which could stand in, is not installed (Debian: qemu-system-x86)"
                    );
                    return Err(Failure(ExitStatus::HostUnable, vec![line]));
                }
                complain(&format!("warning: {why}; going on with QEMU's TCG, which is slow"));
            }
            let end = tcg::run(&config, &kernel, &args.tcg_cpu);
            phases.mark("guest");
            if args.stats {
                print(&format!("{phases}\n"));
            }
            end.map_err(|error| Failure::new(error.status(), &error))?
        }
        Accelerator::Kvm(kvm) => {
            phases.mark("open_kvm");
            let mut machine = builder::build(&config, &kernel, &kvm, &mut phases)
                .map_err(|error| Failure::new(error.status(), &error))?;
            // It is in guest RAM now; another copy would only cost memory.
            kernel.release();
            run_machine(&mut machine, &config, args, &mut phases)?
        }
    };
    let line = end.to_string();
    if !line.is_empty() {
        complain(&line);
    }
    Ok(ExitCode::from(end.status()))
}

fn run_machine(
    machine: &mut Machine,
    config: &MachineConfig,
    args: &RunArgs,
    phases: &mut Phases,
) -> Result<End, Failure> {
    let stats = args.stats.then(|| MachineStats::open(machine));
    let end = run::run(machine, config.timeout, config.sandbox);
    phases.mark("guest");
    for fault in machine.device_faults() {
        complain(&format!("warning: {fault}"));
    }
    if let Some(stats) = stats {
        print(&format!("{phases}\n"));
        match stats.and_then(|stats| stats.lines()) {
            Ok(lines) => drop(print(&lines)),
            Err(error) => complain(&format!("warning: the counters cannot be read: {error}")),
        }
    }
    let end = end.map_err(|error| Failure::new(ExitStatus::HostUnable, &error))?;
    match machine.output_loss() {
        // Its own bad end tells more than where its words went.
        Some(loss) if !loss.reader_gone && end.status() == 0 => {
            let OutputLoss { bytes, reason, .. } = loss;
            let line = format!(
                "{bytes} bytes of guest output are lost: {reason}; redirect it to where there is room"
            );
            Err(Failure(ExitStatus::HostUnable, vec![line]))
        }
        _ => Ok(end),
    }
}

/// Whether output goes to a terminal whose user has not asked for plain text (<https://no-color.org>).
fn wants_colour() -> bool {
    io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints to standard output. A reader that went away is no failure; text that cannot be written is.
fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let line =
                format!("cannot write to standard output: {error}; redirect it to where there is room");
            fail(Failure(ExitStatus::HostUnable, vec![line]))
        }
    }
}

/// One line on standard error. Where that cannot be written, the status still tells.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "vmm: {line}");
}

fn fail(Failure(status, lines): Failure) -> ExitCode {
    for line in lines {
        complain(&line);
    }
    ExitCode::from(status.code() as u8)
}

/// An error and its causes as one line.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some libraries repeat the cause in their own text.
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}
