//! `/proc` and `/sys`: what the machine is and does, in the texts of Linux 6.18.
//!
//! Owns: which path shows what, and the numbers. Stays outside: formats (`shared::text`) and who asks.
//! A number whose mechanism does not exist is 0, never a guess; `docs/proc.md` lists them.
//!
//! | file | texts |
//! |---|---|
//! | `blocks` | buddyinfo, pagetypeinfo, `/sys/kernel/debug/extfrag` |
//! | `zoneinfo`, `vmstat`, `meminfo` | the three of the same name |
//! | `slabinfo` | slabinfo |
//! | `vmallocinfo` | vmallocinfo |
//! | `iomem` | iomem |
//! | `interrupts` | interrupts |
//! | `page_owner` | `/sys/kernel/debug/page_owner`, `page_owner_stacks` |
//! | `machine` | cmdline, version |
//! | `tasks` | stat, uptime, loadavg, cpuinfo, swaps |
//! | `node` | `/sys/devices/system/node` |
//! | `context` | `/proc/PID/maps`, `smaps`, `status` |
//! | `thp` | `/sys/kernel/mm/transparent_hugepage` |

mod blocks;
pub mod context;
mod interrupts;
mod iomem;
mod machine;
mod meminfo;
mod node;
mod page_owner;
mod pressure;
mod show_mem;
mod slabinfo;
mod tasks;
mod thp;
mod vmallocinfo;
mod vmstat;
mod zoneinfo;

use crate::context::Context;
use crate::settings::{self, Shown};
pub use blocks::free_blocks;
use core::fmt::{self, Write};
pub use meminfo::numbers as meminfo;
use mm::phys::Node;
pub use node::cpus as cpus_of;
use shared::params::ParamSpec;
pub use show_mem::show_mem;
pub use tasks::numbers as tasks;
pub use vmstat::numbers as vmstat;
pub use zoneinfo::for_each as for_each_zone;

/// Writes one text.
type Render = fn(&mut dyn Write) -> fmt::Result;

/// Every file with a path of its own.
const FILES: &[(&str, Render)] = &[
    ("/proc/buddyinfo", blocks::buddyinfo),
    ("/proc/cmdline", machine::cmdline),
    ("/proc/cpuinfo", tasks::cpuinfo),
    ("/proc/interrupts", interrupts::interrupts),
    ("/proc/iomem", iomem::iomem),
    ("/proc/loadavg", tasks::loadavg),
    ("/proc/meminfo", meminfo::meminfo),
    ("/proc/pagetypeinfo", blocks::pagetypeinfo),
    ("/proc/pressure/memory", pressure::memory),
    ("/proc/slabinfo", slabinfo::slabinfo),
    ("/proc/stat", tasks::stat),
    ("/proc/swaps", crate::memory::swap::show),
    ("/proc/sys/vm/nr_pdflush_threads", tasks::nr_pdflush_threads),
    ("/proc/uptime", tasks::uptime),
    ("/proc/version", machine::version),
    ("/proc/vmallocinfo", vmallocinfo::vmallocinfo),
    ("/proc/vmstat", vmstat::vmstat),
    ("/proc/zoneinfo", zoneinfo::zoneinfo),
    ("/sys/devices/system/node/online", node::online),
    ("/sys/kernel/debug/extfrag/extfrag_index", blocks::extfrag_index),
    ("/sys/kernel/debug/extfrag/unusable_index", blocks::unusable_index),
    ("/sys/kernel/debug/page_owner", page_owner::page_owner),
    ("/sys/kernel/debug/page_owner_stacks/show_stacks", page_owner::show_stacks),
    ("/sys/kernel/mm/transparent_hugepage/enabled", thp::enabled),
    ("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", thp::hpage_pmd_size),
];

/// Where `sysctl vm.*` is a directory.
const SETTINGS: &str = "/proc/sys/vm/";
const SETTING_PREFIX: &str = "vm.";

/// A text that can be written.
pub enum File {
    /// A file with a path of its own.
    Plain(Render),
    /// A file of a node.
    Node(node::Render, &'static Node),
    /// A file of a context.
    Context(context::Render, Context),
    /// A setting.
    Setting(&'static ParamSpec),
}

/// What is at `path`.
pub fn find(path: &str) -> Option<File> {
    if let Some((_, render)) = FILES.iter().find(|(known, _)| *known == path) {
        return Some(File::Plain(*render));
    }
    if let Some(name) = path.strip_prefix(SETTINGS) {
        let is_it =
            |spec: &&ParamSpec| spec.sysctl_name().and_then(|n| n.strip_prefix(SETTING_PREFIX)) == Some(name);
        return settings::sysctls().filter(|spec| Shown(spec).is_readable()).find(is_it).map(File::Setting);
    }
    if let Some((render, context)) = context::find(path) {
        return Some(File::Context(render, context));
    }
    node::find(path).map(|(render, node)| File::Node(render, node))
}

/// The paths there are, each passed to `visit`; those of settings end at their directory.
pub fn paths(visit: &mut dyn FnMut(fmt::Arguments<'_>)) {
    for (path, _) in FILES {
        visit(format_args!("{path}"));
    }
    visit(format_args!("{SETTINGS}"));
    node::paths(visit);
    context::paths(visit);
}

impl File {
    /// Writes the text.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn render(&self, w: &mut dyn Write) -> fmt::Result {
        match self {
            Self::Plain(render) => render(w),
            Self::Node(render, node) => render(node, w),
            Self::Context(render, context) => render(context, w),
            Self::Setting(spec) => writeln!(w, "{}", Shown(spec)),
        }
    }
}

/// The place of a counter in a list of names; a misspelt name does not compile where this is a constant.
const fn place(names: &[&str], name: &str) -> usize {
    match shared::text::names::position(names, name) {
        Some(place) => place,
        None => panic!("no such counter"),
    }
}

/// Kibibytes of `pages`.
const fn kb(pages: u64) -> u64 {
    pages * (mm::addr::PAGE_SIZE / 1024)
}
