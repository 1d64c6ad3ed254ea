//! Facts as lines of `key=value`, one thing per line.
//!
//! A value that may hold anything comes last in its line, or in quotes.

use std::fmt;

use super::{FileFacts, Inspection, Kind, PartitionFacts, SwapFacts, TableFacts};

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "image={} bytes={} kind={}", Quoted(&self.image), self.bytes, self.kind)?;
        if let Some(disk) = &self.disk {
            let (uuid, first, last) = (&disk.uuid, disk.first_lba, disk.last_lba);
            writeln!(
                f,
                "disk={uuid} first_lba={first} last_lba={last} partitions={}",
                self.partitions.len()
            )?;
        }
        self.partitions.iter().try_for_each(|partition| partition.fmt(f))?;
        self.tables.iter().try_for_each(|table| table.fmt(f))?;
        self.files.iter().try_for_each(|file| file.fmt(f))?;
        self.swap.iter().try_for_each(|swap| swap.fmt(f))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning={warning}"))?;
        self.errors.iter().try_for_each(|error| writeln!(f, "error={error}"))?;
        writeln!(f, "warnings={} errors={}", self.warnings.len(), self.errors.len())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gpt => "gpt",
            Self::Swap => "swap",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for PartitionFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, name, kind, uuid, first_lba, last_lba } = self;
        write!(f, "partition={number} name={} type={kind} first_lba={first_lba} ", Quoted(name))?;
        writeln!(f, "last_lba={last_lba} uuid={uuid}")
    }
}

impl fmt::Display for TableFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, uuid, sequence, slot, copies, files, blocks, free_blocks } = self;
        write!(f, "table={uuid} partition={partition} sequence={sequence} slot={slot} copies={copies} ")?;
        writeln!(f, "files={files} blocks={blocks} free_blocks={free_blocks}")
    }
}

impl fmt::Display for FileFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, name, bytes, valid, room, extents, holes } = self;
        write!(f, "file={} partition={partition} bytes={bytes} valid={valid} ", Quoted(name))?;
        write!(f, "room={room} holes={holes} extents=")?;
        for (at, [logical, start, blocks]) in extents.iter().enumerate() {
            write!(f, "{}{logical}->{start}+{blocks}", if at == 0 { "" } else { "," })?;
        }
        writeln!(f)
    }
}

impl fmt::Display for SwapFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, pages, bad_pages, label, uuid } = self;
        write!(f, "swap={uuid} pages={pages} bad_pages={} label={}", bad_pages.len(), Quoted(label))?;
        if let Some(partition) = partition {
            write!(f, " partition={partition}")?;
        }
        writeln!(f)
    }
}

/// A text that is quoted where it would not read as one value.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\\' | '=');
        if self.0.chars().all(plain) { f.write_str(self.0) } else { write!(f, "{:?}", self.0) }
    }
}
