//! `disk journal`: a writer that says what is safe. It writes numbered sectors, flushes, and prints the number once the
//! flush has completed; whoever stops the machine at any moment can check that every number printed is on the disk.

use super::{Buffer, SECTOR, io_error, named};
use crate::commands::support::parse;
use crate::commands::{Args, Outcome};
use crate::console;

/// Sectors of one record: one page.
const RECORD_SECTORS: u64 = 8;

/// `disk journal NAME [count=N]`: record `n` is at sector 8 (n mod records) and holds `n` in each of its words.
pub fn journal(args: &mut Args<'_>) -> Outcome {
    let (_, disk) = named(args)?;
    let mut count = u64::MAX;
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("count", Some(text)) => count = parse::count("count", text)?,
            _ => return Err(parse::unexpected("disk journal", word)),
        }
    }
    let records = (disk.sectors() / RECORD_SECTORS).max(1);
    let buffer = Buffer::of(RECORD_SECTORS as usize * SECTOR)?;
    for n in 1..=count {
        for word in buffer.bytes.chunks_exact_mut(8) {
            word.copy_from_slice(&n.to_le_bytes());
        }
        disk.write_sectors(n % records * RECORD_SECTORS, buffer.bytes)
            .map_err(|error| io_error(disk, error))?;
        disk.flush().map_err(|error| io_error(disk, error))?;
        console::print(format_args!("flushed={n}\n"));
    }
    Ok(())
}
