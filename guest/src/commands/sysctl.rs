//! `sysctl`: reads and changes settings at run time, as the tool of that name does.

use super::{Args, Command, Outcome, usage};
use crate::console;
use crate::settings::{self, Complaint, Refused, Shown};
use shared::params;

/// The family.
pub const SYSCTL: &[Command] = &[Command {
    name: "sysctl",
    usage: "NAME | NAME=VALUE | -a",
    summary: "reads or changes settings (vm.swappiness=10)",
    run: sysctl,
}];

fn sysctl(args: &mut Args<'_>) -> Outcome {
    if args.take("-a") {
        settings::sysctls().filter(|spec| Shown(spec).is_readable()).for_each(show);
        return Ok(());
    }
    if args.peek().is_none() {
        return Err(usage(format_args!("sysctl: expected a name, name=value or -a")));
    }
    while let Some(word) = args.next_word() {
        match word.split_once('=') {
            Some((name, value)) => write(name, value)?,
            None => read(word)?,
        }
    }
    Ok(())
}

fn show(spec: &'static params::ParamSpec) {
    console::print(format_args!("{} = {}\n", spec.sysctl_name().unwrap_or_default(), Shown(spec)));
}

fn read(name: &str) -> Outcome {
    match params::lookup_sysctl(name) {
        None => Err(usage(format_args!("{}", Complaint(name, Refused::Unknown)))),
        Some(spec) if Shown(spec).is_readable() => {
            show(spec);
            Ok(())
        }
        Some(_) => Err(usage(format_args!("sysctl: {name} can only be written"))),
    }
}

fn write(name: &str, value: &str) -> Outcome {
    match settings::set(name, value) {
        Ok(spec) => {
            console::print(format_args!("{} = {value}\n", spec.sysctl_name().unwrap_or_default()));
            Ok(())
        }
        Err(refused) => Err(usage(format_args!("{}", Complaint(name, refused)))),
    }
}
