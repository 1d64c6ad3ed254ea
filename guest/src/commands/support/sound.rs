//! What a broken invariant of physical memory does: it ends the machine.

use crate::report;
use mm::phys::Violation;

/// The value of a verdict; a violation is corruption.
pub fn sound<T>(verdict: Result<T, Violation>) -> T {
    match verdict {
        Ok(value) => value,
        Err(violation) => report::corruption(format_args!("{violation}")),
    }
}
