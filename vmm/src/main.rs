//! The `vmm` command: arguments in, a machine run, an exit status out.
//!
//! The only place that prints or exits.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use shared::exit::ExitStatus;
use shared::stats::StatsNote;
use vmm::accel::{self, Accelerator};
use vmm::boot::e820;
use vmm::cli::image::ImageCommand;
use vmm::cli::{self, Command, Params, ParamsArgs, RunArgs};
use vmm::config::MachineConfig;
use vmm::devices::transcript::Kept;
use vmm::devices::virtio::console::OutputLoss;
use vmm::exit::End;
use vmm::kernel::Kernel;
use vmm::machine::Machine;
use vmm::memory::layout::ram_ranges;
use vmm::report::{self, DiskActivity, Outcome, Report, Sources};
use vmm::sandbox::Role;
use vmm::stats::MachineStats;
use vmm::timing::Phases;
use vmm::view::procfs::Procfs;
use vmm::view::snapshot::StatsReader;
use vmm::view::watcher::{Viewers, WatchError, Watched, Watcher};
use vmm::witness::{self, Told};
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
    let mut config = MachineConfig::new(args).map_err(|error| Failure::new(ExitStatus::Usage, &error))?;
    if args.dump_e820 {
        return Ok(print(&e820::text(&e820::e820_map(&ram_ranges(config.topology.nodes())))));
    }
    let kernel = Kernel::open(config.kernel.as_deref(), config.initrd.as_deref());
    let kernel = kernel.map_err(|error| Failure::new(ExitStatus::Usage, &error))?;
    if !kernel.is_ballast() {
        if args.run.as_ref().is_some_and(|commands| !commands.is_empty()) {
            let line =
                format!("--run: {} is not our kernel and takes no commands; use --append", kernel.name());
            return Err(Failure(ExitStatus::Usage, vec![line]));
        }
        config.for_other_kernel();
    } else if args.params == Params::Strict {
        let mistakes = params::mistakes(&config.cmdline, config.topology.memory());
        if !mistakes.is_empty() {
            return Err(Failure(ExitStatus::Usage, mistakes));
        }
    }
    let viewers = prepare_views(&config, &kernel)?;
    let name = kernel.name().to_owned();
    phases.mark("config");
    let mut seen = Seen::default();
    let result = run_on_accelerator(args, &config, kernel, viewers, &mut phases, &mut seen);
    if let Err(Failure(_, lines)) = &result {
        lines.iter().for_each(|line| complain(line));
    }
    let mut status = match &result {
        Ok(end) => end.status(),
        Err(Failure(status, _)) => status.code() as u8,
    };
    let line = result.as_ref().map(ToString::to_string).unwrap_or_default();
    if !line.is_empty() {
        complain(&line);
    }
    let outcome = match &result {
        Ok(end) => Outcome::Ended(end),
        Err(Failure(status, lines)) => Outcome::Refused(status.code() as u8, lines.join("; ")),
    };
    if let Err(line) = finish_files(&config, &name, outcome, &phases, seen) {
        complain(&line);
        // What the user asked for is not there; a failure of the guest says more.
        if status == ExitStatus::Ok.code() as u8 {
            status = ExitStatus::HostUnable.code() as u8;
        }
    }
    Ok(ExitCode::from(status))
}

/// What there is to report of a run, beside its end.
#[derive(Default)]
struct Seen {
    accelerator: &'static str,
    /// Writes the report once the machine has run.
    watcher: Option<Watcher>,
    watched: Option<Watched>,
    output: Kept,
    warnings: Vec<String>,
    disks: Vec<DiskActivity>,
    counters: BTreeMap<String, u64>,
}

impl Seen {
    fn warn(&mut self, line: String) {
        complain(&format!("warning: {line}"));
        self.warnings.push(line);
    }
}

/// Checks the places of `--procfs` and `--report` before anything runs, and whether there will be something to see.
fn prepare_views(config: &MachineConfig, kernel: &Kernel) -> Result<Viewers, Failure> {
    if let Some(path) = &config.report {
        report::check(path).map_err(|error| Failure::new(ExitStatus::Usage, &error))?;
    }
    let options = [("--procfs", config.procfs.is_some()), ("--pressure", config.pressure.is_some())];
    if let Some((option, _)) =
        options.into_iter().find(|(_, is_given)| *is_given && kernel.stats_note().is_none())
    {
        let line =
            format!("{option}: {} does not publish its numbers; use the built-in guest", kernel.name());
        return Err(Failure(ExitStatus::Usage, vec![line]));
    }
    let procfs = config.procfs.as_deref().map(Procfs::create).transpose();
    let procfs = procfs.map_err(|error| Failure::new(ExitStatus::Usage, &error))?;
    Ok(Viewers { procfs, pressure: config.pressure.map(|_| complain as fn(&str)) })
}

/// Writes the report, and says what became of `--procfs`; an error is a line.
fn finish_files(
    config: &MachineConfig,
    kernel: &str,
    outcome: Outcome<'_>,
    phases: &Phases,
    seen: Seen,
) -> Result<(), String> {
    let failure = seen.watched.as_ref().and_then(|watched| watched.failure.as_ref()).map(ToString::to_string);
    let Some(path) = &config.report else { return failure.map_or(Ok(()), Err) };
    let report = Report::new(Sources {
        arguments: env::args().skip(1).collect(),
        accelerator: seen.accelerator,
        config,
        kernel,
        outcome,
        phases,
        watched: seen.watched.as_ref(),
        output: &seen.output.bytes,
        output_truncated: seen.output.truncated,
        warnings: seen.warnings.into_iter().chain(failure.clone()).collect(),
        disks: seen.disks,
        counters: seen.counters,
    });
    let written = report.write(path, seen.watcher.as_ref()).map_err(|error| error.to_string());
    failure.map_or(written, Err)
}

/// Runs the machine with what `--accel` asks for.
fn run_on_accelerator(
    args: &RunArgs,
    config: &MachineConfig,
    kernel: Kernel,
    viewers: Viewers,
    phases: &mut Phases,
    seen: &mut Seen,
) -> Result<End, Failure> {
    let accelerator = accel::open(args.accel);
    match accelerator.map_err(|error| Failure::new(ExitStatus::HostUnable, &error))? {
        Accelerator::Tcg(why) => {
            seen.accelerator = "tcg";
            if let Some(why) = why {
                if !tcg::is_installed() {
                    let line = format!(
                        "{why}; QEMU, which could stand in, is not installed (Debian: qemu-system-x86)"
                    );
                    return Err(Failure(ExitStatus::HostUnable, vec![line]));
                }
                seen.warn(format!("{why}; going on with QEMU's TCG, which is slow"));
            }
            let run = tcg::run(config, &kernel, &args.tcg_cpu, viewers);
            phases.mark("guest");
            if args.stats {
                print(&format!("{phases}\n"));
            }
            let run = run.map_err(|error| Failure::new(error.status(), &error))?;
            (seen.watcher, seen.watched, seen.output) = (run.watcher, run.watched, run.output);
            Ok(run.end)
        }
        Accelerator::Kvm(kvm) => {
            seen.accelerator = "kvm";
            phases.mark("open_kvm");
            let note = kernel.stats_note();
            let mut machine = builder::build(config, kernel, &kvm, phases)
                .map_err(|error| Failure::new(error.status(), &error))?;
            if config.is_watched() {
                let reader = note.map(|note| StatsReader::new(Box::new(machine.ram().clone()), note));
                let filter = config.sandbox.filter(Role::Watcher).map_err(WatchError::from);
                let watcher = filter.and_then(|filter| Watcher::start(reader, viewers, filter));
                seen.watcher = Some(watcher.map_err(|error| Failure::new(ExitStatus::HostUnable, &error))?);
            }
            let end = run_machine(&mut machine, note, config, args, phases, seen);
            seen.watched = seen.watcher.as_ref().and_then(Watcher::look_back);
            seen.output = machine.output();
            end
        }
    }
}

fn run_machine(
    machine: &mut Machine,
    note: Option<StatsNote>,
    config: &MachineConfig,
    args: &RunArgs,
    phases: &mut Phases,
    seen: &mut Seen,
) -> Result<End, Failure> {
    let wanted = args.stats || config.report.is_some();
    let stats = wanted.then(|| MachineStats::open(machine));
    let end = run::run(machine, config.timeout, config.sandbox);
    phases.mark("guest");
    machine.device_faults().into_iter().for_each(|fault| seen.warn(fault));
    match stats.map(|stats| stats.and_then(|stats| stats.counters())) {
        Some(Ok(counters)) => seen.counters = counters.into_iter().collect(),
        Some(Err(error)) => seen.warn(format!("the counters cannot be read: {error}")),
        None => {}
    }
    let told = wanted.then(|| ask_guest(machine, note)).flatten();
    if let Some(told) = &told {
        seen.counters.extend(witness::told(told, machine.disks()));
    }
    if config.report.is_some() {
        let disks = machine.disks().iter();
        seen.disks = disks.map(|(id, counters)| DiskActivity::new(id, counters)).collect();
    }
    if args.stats {
        let lines = seen.counters.iter().map(|(name, value)| format!("{name}={value}\n"));
        print(&format!("{phases}\n{}", lines.collect::<String>()));
    }
    let end = end.map_err(|error| Failure::new(ExitStatus::HostUnable, &error))?;
    if let Some(told) = told.filter(|_| end.status() == 0) {
        compare_counts(machine, &told, &seen.counters)?;
    }
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

/// What a guest says of itself; nothing of one that publishes nothing.
fn ask_guest(machine: &Machine, note: Option<StatsNote>) -> Option<Told> {
    let reader = StatsReader::new(Box::new(machine.ram().clone()), note?);
    let snapshot = reader.snapshot().ok()?;
    let events = snapshot.vmstat.numbers();
    let event = |wanted| events.iter().find(|(name, _)| *name == wanted).map_or(0, |(_, value)| value);
    Some(Told {
        disks: reader.disks().ok()?,
        swapped: [event("pswpin"), event("pswpout")],
        page_faults: snapshot.traps.page_faults,
        pressure_events: reader.pressure().ok()?.count,
    })
}

/// A guest that ends well has counted what was counted here.
fn compare_counts(machine: &Machine, told: &Told, counters: &BTreeMap<String, u64>) -> Result<(), Failure> {
    match witness::differences(told, machine.disks(), counters) {
        lines if lines.is_empty() => Ok(()),
        lines => Err(Failure(ExitStatus::CheckFailed, lines)),
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
