//! The command line of `vmm`: its words and their help.
//!
//! Owns: names, defaults and help texts. Stays outside: what values mean together (`config`).

pub mod image;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, FromArgMatches, Parser, Subcommand, ValueEnum};

use image::ImageCommand;

/// A microVM whose kernel is nothing but a memory manager.
#[derive(Debug, Parser)]
#[command(name = "vmm", version, arg_required_else_help = true, after_help = OVERVIEW)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot a microVM and run guest commands in it
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Say what this host offers: accelerator, ring, huge pages, NUMA, KVM capabilities
    #[command(after_help = PROBE_EXAMPLES)]
    Probe,
    /// List every boot parameter of the guest: name, type, default, range, meaning
    #[command(after_help = PARAMS_EXAMPLES)]
    Params(ParamsArgs),
    /// Build and inspect disk images: swap areas and data volumes
    #[command(subcommand, after_help = image::EXAMPLES)]
    Image(ImageCommand),
    /// Print the script that completes words of this command in a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Print a manual page, of this command or of one of its subcommands
    #[command(after_help = MAN_EXAMPLES)]
    Man(ManArgs),
}

const OVERVIEW: &str = "\
Start here:
  vmm run                          the tour: every subsystem shown at work, with evidence
  vmm run --run 'cat /proc/meminfo'
  vmm run --help                   all options, with examples
  vmm params                       what --append understands";

const RUN_EXAMPLES: &str = "\
Examples:
  vmm run
      2 vCPUs, 2 NUMA nodes, 512 MiB, a temporary data disk and a temporary swap disk; runs `tour`.
  vmm run --mem 64M --swap 256M --run 'cat /proc/meminfo; cat /proc/swaps'
      Commands are separated by `;`. The first one that fails ends the run.
  vmm run --numa node=0,cpus=0,mem=128M,distance=1:30 --numa node=1,cpus=1,mem=64M
      Two unequal nodes, 30 apart.
  vmm run --append 'swappiness=10 debug_pagealloc=on'
      Boot parameters, checked before boot; `vmm params` lists them.
  vmm run --procfs proc --report report.json --run 'buddy storm; cat /proc/meminfo'
      The guest's numbers for tools of the host, while it runs, and for programs when it is over.
  vmm run --mem 64M --pressure 'some 150000 1000000' --run 'thrash 90M ops=10000'
      Says when more than 0.15 of a second are lost for lack of memory, while it happens.
  vmm run --kernel vmlinuz --initrd initrd.img --append console=ttyS0
      Linux. A kernel with a PVH entry (vmlinux) works as well.

Exit status:
  0 all well             1 a check failed        2 bad usage or parameter
  3 guest out of memory  4 corruption detected   5 unhandled guest fault
  6 guest crashed        7 time limit reached    8 this host cannot run it
  130 interrupted";

const PROBE_EXAMPLES: &str = "\
Prints one fact per line as key=value.

Examples:
  vmm probe
  vmm probe | grep -E '^(accelerator|ring)='
      What `vmm run` will take, and why.";

const PARAMS_EXAMPLES: &str = "\
Examples:
  vmm params | grep -A 2 swappiness
  vmm params --json | jq -r '.[].name'
  vmm run --append 'sysctl.vm.swappiness=10' --run 'sysctl vm.swappiness'
      Parameters are given to the guest with --append and checked before boot.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  vmm completions bash > ~/.local/share/bash-completion/completions/vmm
  vmm completions zsh > ~/.zfunc/_vmm
      With ~/.zfunc in fpath.
  vmm completions fish > ~/.config/fish/completions/vmm.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  vmm man | man -l -
  vmm man image mkdata > vmm-image-mkdata.1";

/// Options of `vmm run`.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct RunArgs {
    /// Number of vCPUs [default: 2]
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub cpus: Option<u32>,
    /// Guest memory: a number with K, M or G, at least 16M [default: 512M]
    #[arg(long, value_name = "SIZE", help_heading = "Machine")]
    pub mem: Option<String>,
    /// A NUMA node: node=0,cpus=0-1,mem=256M[,distance=1:20]; give one per node
    ///
    /// Every vCPU belongs to one node. cpus= and distance= may be repeated or left out (a node of
    /// memory only); mem=0 makes a node of vCPUs only. Distances are 11 to 254, the same both ways.
    #[arg(long, value_name = "NODE", help_heading = "Machine")]
    pub numa: Vec<String>,
    /// A data disk: PATH[,ro][,id=NAME][,OPTION]...; give one per disk [default: a temporary one]
    ///
    /// The guest calls the first disk vda. Options without a PATH apply to the temporary disk.
    /// cache=writeback|none (none goes around the host's page cache), io=uring|threads (default: uring
    /// where the host allows it). A disk that misbehaves on purpose: latency=5ms (each request takes at
    /// least that long), bps=4M (bytes per second), error=write@sector:2048 or error=read@sector:N
    /// (requests that touch the sector fail), torn=N (the N-th write is done by half and fails),
    /// fail_nth=N (the N-th request fails).
    #[arg(long, value_name = "DISK", help_heading = "Machine")]
    pub disk: Vec<String>,
    /// The disk that the guest swaps to, after the data disks: a size for a temporary one, the path of an
    /// image with a swap area, or none
    #[arg(long, value_name = "SIZE|PATH|none", default_value = "256M", help_heading = "Machine")]
    pub swap: String,

    /// Guest commands, separated by `;`, up to 1 MiB; other kernels take none [default: tour]
    #[arg(long, value_name = "COMMANDS", help_heading = "Guest")]
    pub run: Option<String>,
    /// Boot parameters for the guest (`vmm params` lists them); may be repeated
    #[arg(long, value_name = "PARAMS", allow_hyphen_values = true, help_heading = "Guest")]
    pub append: Vec<String>,
    /// Refuse unknown or bad boot parameters before boot, or let the guest report them
    #[arg(long, value_enum, default_value_t = Params::Strict, help_heading = "Guest")]
    pub params: Params,
    /// Boot this kernel instead of the built-in guest: ELF with a PVH entry, or Linux's bzImage
    #[arg(long, value_name = "FILE", help_heading = "Guest")]
    pub kernel: Option<PathBuf>,
    /// An initial RAM disk for --kernel
    #[arg(long, value_name = "FILE", help_heading = "Guest")]
    pub initrd: Option<PathBuf>,

    /// What runs the guest: KVM, QEMU's TCG, or KVM where this host has it
    #[arg(long, value_enum, default_value_t = Accel::Auto, help_heading = "Host")]
    pub accel: Accel,
    /// The CPU ring of the guest kernel; by itself it takes 3 where KVM has no hardware to run ring 0
    #[arg(long, value_enum, default_value_t = Ring::Auto, help_heading = "Host")]
    pub ring: Ring,
    /// Host pages behind guest memory: auto takes transparent huge pages where the host has them
    #[arg(long, value_enum, default_value_t = HugePages::Auto, help_heading = "Host")]
    pub hugepages: HugePages,
    /// Bring all guest memory in before the guest starts
    #[arg(long, help_heading = "Host")]
    pub prefault: bool,
    /// Run without system call filters, for debugging and on hosts without seccomp
    ///
    /// Only for guests you trust: one that breaks out of its machine can then do all that you can.
    #[arg(long, help_heading = "Host")]
    pub no_seccomp: bool,
    /// The CPU model of `--accel tcg`
    #[arg(long, value_name = "MODEL", default_value = "max", hide = true)]
    pub tcg_cpu: String,

    /// Stop after this many seconds, with exit status 7
    #[arg(long, value_name = "SECONDS", help_heading = "Run")]
    pub timeout: Option<f64>,
    /// Write what the run was, did and cost to this file, as JSON (docs/report.md describes it)
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub report: Option<PathBuf>,
    /// Keep the guest's /proc in this directory, in Linux's formats, while it runs
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub procfs: Option<PathBuf>,
    /// Say when the guest loses time because memory is short: some|full THRESHOLD WINDOW, in microseconds
    ///
    /// As written to Linux's /proc/pressure/memory: `some` is time in which a task waits for memory, `full` time in which
    /// all do. A line on standard error tells, while the guest runs and at most once in a window of 0.5 to 10 seconds, that
    /// more than the threshold was lost in it. The same as --append 'psi.trigger="..."', which only --report shows.
    #[arg(long, value_name = "TRIGGER", help_heading = "Run")]
    pub pressure: Option<String>,
    /// Print times, exits by reason, disk traffic, host memory and KVM's counters when the run is over
    #[arg(long, help_heading = "Run")]
    pub stats: bool,
    /// Print the guest's memory map and do not boot
    #[arg(long, help_heading = "Run")]
    pub dump_e820: bool,
}

/// Options of `vmm params`.
#[derive(Debug, Args)]
pub struct ParamsArgs {
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// Options of `vmm completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Options of `vmm man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The subcommand, like `run` or `image mkdata`
    #[arg(value_name = "COMMAND")]
    pub path: Vec<String>,
}

/// Shells that words can be completed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// Bourne-again shell.
    Bash,
    /// Z shell.
    Zsh,
    /// Friendly interactive shell.
    Fish,
}

/// Values of `--accel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Accel {
    /// KVM, or TCG where there is no KVM.
    Auto,
    /// KVM only.
    Kvm,
    /// QEMU's TCG only.
    Tcg,
}

/// Values of `--ring`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ring {
    /// The guest decides.
    Auto,
    /// Ring 0.
    #[value(name = "0")]
    Zero,
    /// Ring 3.
    #[value(name = "3")]
    Three,
}

/// Values of `--hugepages`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HugePages {
    /// Transparent huge pages where the host has them.
    Auto,
    /// Transparent huge pages, or an error.
    Thp,
    /// Pages from the hugetlb pool, or an error.
    Hugetlb,
    /// 4 KiB pages only.
    Off,
}

/// Values of `--params`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Params {
    /// Refuse bad parameters before boot.
    Strict,
    /// Pass everything on.
    Lenient,
}

/// Parses the arguments of this process.
///
/// An error holds what to print and how: help and version are no failure.
pub fn parse() -> Result<Cli, CliError> {
    parse_words(&env::args_os().collect::<Vec<_>>())
}

fn parse_words(words: &[OsString]) -> Result<Cli, CliError> {
    if let Some(args) = run_alone(words) {
        return Ok(Cli { command: Command::Run(args) });
    }
    Cli::try_parse_from(words).map_err(|error| CliError { error })
}

/// A `vmm run` in which nothing is wrong, without the words of all other subcommands: to set them up takes longer than
/// to read these. Help and mistakes are left to the whole.
fn run_alone(words: &[OsString]) -> Option<Box<RunArgs>> {
    let words = words.get(1..).filter(|words| words.first().is_some_and(|word| word == "run"))?;
    let command = RunArgs::augment_args(clap::Command::new("run"));
    let matches = command.try_get_matches_from(words).ok()?;
    RunArgs::from_arg_matches(&matches).ok().map(Box::new)
}

/// Arguments that did not parse, or that asked for help.
#[derive(Debug)]
pub struct CliError {
    error: clap::Error,
}

impl CliError {
    /// Whether the user asked for help or the version, which go to standard output.
    pub fn is_help(&self) -> bool {
        !self.error.use_stderr()
    }

    /// The help, with the escape sequences of a terminal or plain.
    pub fn help(&self, coloured: bool) -> String {
        let text = self.error.render();
        if coloured { text.ansi().to_string() } else { text.to_string() }
    }

    /// The mistake as one line.
    pub fn line(&self) -> String {
        let text = self.error.render().to_string();
        let mut line = String::new();
        for part in text.lines().map(str::trim).take_while(|part| !part.starts_with("Usage:")) {
            let part = part.strip_prefix("error: ").unwrap_or(part);
            if part.starts_with("For more information") {
                break;
            }
            if !line.is_empty() && !part.is_empty() {
                line.push_str("; ");
            }
            line.push_str(part);
        }
        line.push_str("; see `vmm --help`");
        line
    }
}

#[cfg(test)]
mod tests;
