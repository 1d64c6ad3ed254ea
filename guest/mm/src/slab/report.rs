//! Reports of corruption, in Linux's words (`mm/slub.c`: `slab_bug`, `print_trailer`, `check_bytes_and_report`).
//!
//! Owns: the text. Stays outside: what to do about it.

use super::cache::Cache;
use super::debug::Parts;
use super::track::Shown;
use core::fmt;

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// Bytes that nobody may write have changed.
    Overwritten {
        /// Which ones: `Left Redzone`, `Right Redzone`, `Poison`, `End Poison`, `Object padding`, `Padding`.
        what: &'static str,
        /// The first address.
        from: usize,
        /// The last address.
        to: usize,
        /// What is at the first address.
        found: u8,
        /// What was there.
        expected: u8,
    },
    /// The object is free already.
    AlreadyFree,
    /// No object starts at the address.
    InvalidPointer,
    /// A link of a free list leads nowhere.
    BadLink,
    /// The count of objects in use is not what the free list says.
    BadCount,
    /// Not a corruption: an object under `T` was allocated (true) or freed.
    Trace(bool),
}

/// A report about an object. [`fmt::Display`] writes the whole text.
pub struct Report<'a> {
    pub(super) cache: &'a Cache,
    pub(super) problem: Problem,
    /// The first address of the slab.
    pub(super) slab: usize,
    /// The object's address.
    pub(super) object: usize,
    /// Objects of the slab in use.
    pub(super) inuse: u32,
    /// The first free object of the slab.
    pub(super) freelist: usize,
    pub(super) now_ms: u64,
    pub(super) parts: Option<Parts<'a>>,
}

impl Report<'_> {
    /// What is wrong.
    #[must_use]
    pub fn problem(&self) -> Problem {
        self.problem
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        self.cache
    }

    /// The address of the object.
    #[must_use]
    pub fn object(&self) -> usize {
        self.object
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overwritten { what, .. } => write!(f, "{what} overwritten"),
            Self::AlreadyFree => f.write_str("Object already free"),
            Self::InvalidPointer => f.write_str("Invalid object pointer"),
            Self::BadLink => f.write_str("Freechain corrupt"),
            Self::BadCount => f.write_str("Wrong number of objects in use"),
            Self::Trace(true) => f.write_str("alloc"),
            Self::Trace(false) => f.write_str("free"),
        }
    }
}

const DOUBLE: &str = "=============================================================================";
const SINGLE: &str = "-----------------------------------------------------------------------------";

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.cache.name;
        if let Problem::Trace(_) = self.problem {
            let Self { problem, object, inuse, freelist, .. } = self;
            return writeln!(f, "TRACE {name} {problem} 0x{object:016x} inuse={inuse} fp=0x{freelist:016x}");
        }
        writeln!(f, "{DOUBLE}\nBUG {name} (Not tainted): {}\n{SINGLE}\n", self.problem)?;
        if let Problem::Overwritten { from, to, found, expected, .. } = self.problem {
            let offset = from.wrapping_sub(self.slab);
            writeln!(
                f,
                "0x{from:016x}-0x{to:016x} @offset={offset}. First byte 0x{found:x} instead of 0x{expected:x}"
            )?;
        }
        if let Some(parts) = &self.parts {
            self.tracks(f, parts)?;
        }
        let Self { slab, object, inuse, freelist, .. } = self;
        let objects = self.cache.geometry.objects;
        writeln!(f, "Slab 0x{slab:016x} objects={objects} used={inuse} fp=0x{freelist:016x}")?;
        writeln!(f, "Object 0x{object:016x} @offset={}\n", object.wrapping_sub(*slab))?;
        if let Some(parts) = &self.parts {
            for (title, at, bytes) in parts.sections() {
                dump(f, title, at, bytes)?;
            }
        }
        match self.problem {
            Problem::Overwritten { what, from, to, expected, .. } => {
                writeln!(f, "FIX {name}: Restoring {what} 0x{from:016x}-0x{to:016x}=0x{expected:x}")
            }
            Problem::AlreadyFree | Problem::InvalidPointer => {
                writeln!(f, "FIX {name}: Object at 0x{object:016x} not freed")
            }
            _ => writeln!(f, "FIX {name}: Marking all objects used"),
        }
    }
}

impl Report<'_> {
    fn tracks(&self, f: &mut fmt::Formatter<'_>, parts: &Parts<'_>) -> fmt::Result {
        for (verb, track) in ["Allocated", "Freed"].into_iter().zip(&parts.tracks) {
            if let Some(track) = track.as_ref().filter(|track| track.is_sound(self.cache.key)) {
                write!(f, "{}", Shown { verb, track, now_ms: self.now_ms })?;
            }
        }
        Ok(())
    }
}

/// Sixteen bytes a line, as numbers and as text.
fn dump(f: &mut fmt::Formatter<'_>, title: &str, at: usize, bytes: &[u8]) -> fmt::Result {
    for (n, line) in bytes.chunks(16).enumerate() {
        write!(f, "{title:<8} {:016x}: ", at + n * 16)?;
        for byte in line {
            write!(f, "{byte:02x} ")?;
        }
        write!(f, "{:1$} ", "", (16 - line.len()) * 3)?;
        for byte in line {
            let shown = if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
            write!(f, "{shown}")?;
        }
        writeln!(f)?;
    }
    Ok(())
}
