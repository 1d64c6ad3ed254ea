//! `slab_debug=`: which checks run on which caches. Source: Linux `mm/slub.c` (`parse_slub_debug_flags`).

use crate::params::spec::Problem;

/// The checks that letters switch on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlabFlags {
    /// `F`: consistency checks.
    pub sanity: bool,
    /// `Z`: red zones.
    pub red_zone: bool,
    /// `P`: poisoning.
    pub poison: bool,
    /// `U`: who allocated and freed.
    pub user: bool,
    /// `T`: trace every allocation and free.
    pub trace: bool,
    /// `A`: fault injection (`failslab` filter).
    pub failslab: bool,
    /// `O`: no checks on caches whose order they would raise.
    pub no_higher_order: bool,
}

impl SlabFlags {
    /// What an empty set of letters means: every check that finds bugs (`FZPU`).
    pub const FULL: Self = Self {
        sanity: true,
        red_zone: true,
        poison: true,
        user: true,
        trace: false,
        failslab: false,
        no_higher_order: false,
    };

    fn set(&mut self, letter: char) -> Result<(), Problem> {
        let flag = match letter.to_ascii_uppercase() {
            'F' => &mut self.sanity,
            'Z' => &mut self.red_zone,
            'P' => &mut self.poison,
            'U' => &mut self.user,
            'T' => &mut self.trace,
            'A' => &mut self.failslab,
            'O' => &mut self.no_higher_order,
            _ => return Err(Problem::UnknownFlag(letter)),
        };
        *flag = true;
        Ok(())
    }
}

/// One `;`-separated part: flags, and the caches they apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabSelection<'a> {
    /// The checks; `None` for `-`, which switches every check off.
    pub flags: Option<SlabFlags>,
    /// Cache names between commas, each with an optional `*`; `None` means every cache.
    pub caches: Option<&'a str>,
}

impl SlabSelection<'_> {
    /// Whether the part applies to the cache `name`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let Some(caches) = self.caches else { return true };
        caches.split(',').any(|glob| match glob.split_once('*') {
            Some((head, tail)) => {
                name.strip_prefix(head).is_some_and(|rest| rest.len() >= tail.len() && rest.ends_with(tail))
            }
            None => glob == name,
        })
    }
}

/// A checked `slab_debug=` value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabDebug<'a> {
    text: &'a str,
}

impl<'a> SlabDebug<'a> {
    pub(in crate::params) fn parse(text: &'a str) -> Result<Self, Problem> {
        text.split(';').try_for_each(|part| match split_part(part) {
            ("-", _) => Ok(()),
            (letters, _) => letters.chars().try_for_each(|c| SlabFlags::default().set(c)),
        })?;
        Ok(Self { text })
    }

    /// The value with its unknown letters skipped, as Linux goes on.
    pub(in crate::params) const fn lenient(text: &'a str) -> Self {
        Self { text }
    }

    /// The parts, in order; for one cache the last part that matches wins.
    pub fn selections(&self) -> impl Iterator<Item = SlabSelection<'a>> + 'a {
        self.text.split(';').map(|part| {
            let (letters, caches) = split_part(part);
            SlabSelection { flags: flags_of(letters), caches }
        })
    }
}

fn split_part(part: &str) -> (&str, Option<&str>) {
    match part.split_once(',') {
        Some((letters, caches)) => (letters, Some(caches)),
        None => (part, None),
    }
}

fn flags_of(letters: &str) -> Option<SlabFlags> {
    match letters {
        "-" => None,
        "" => Some(SlabFlags::FULL),
        _ => {
            let mut flags = SlabFlags::default();
            for letter in letters.chars() {
                // Unknown letters were reported when the value was checked.
                let _ = flags.set(letter);
            }
            Some(flags)
        }
    }
}
