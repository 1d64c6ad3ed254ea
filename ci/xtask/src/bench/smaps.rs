//! Resident memory of a monitor without the guest's RAM, from `/proc/PID/smaps`.
//!
//! A mapping counts as guest RAM when it is writable, backed by no file on disk and no smaller than the
//! smallest guest. Source: Linux `Documentation/filesystems/proc.rst`.

use std::fs;

/// The smallest guest RAM, in kB; nothing else in a monitor is mapped in such pieces and writable.
const RAM_KB: u64 = 16 << 10;

/// Resident memory of process `pid` outside guest RAM, in kB; `None` when the process is gone.
pub fn overhead(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).ok()?;
    (!text.is_empty()).then(|| overhead_of(&text))
}

fn overhead_of(smaps: &str) -> u64 {
    let mut sum = 0;
    let mut anonymous = false;
    let mut ram = false;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some(field) = first.strip_suffix(':') {
            let kb = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            match field {
                "Size" => ram = anonymous && kb >= RAM_KB,
                "Rss" if !ram => sum += kb,
                _ => {}
            }
        } else {
            let writable = words.next().is_some_and(|rights| rights.starts_with("rw"));
            let file = words.nth(3).unwrap_or_default();
            let memory = ["", "/memfd:", "/anon_hugepage", "[anon"];
            anonymous = writable
                && memory.iter().any(|name| match name.is_empty() {
                    true => file.is_empty(),
                    false => file.starts_with(name),
                });
        }
    }
    sum
}

#[cfg(test)]
mod tests;
