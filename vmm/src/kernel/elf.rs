//! What the host reads from an ELF file: its segments and notes.
//!
//! Stays outside: loading (`loader`). Everything is bounds-checked: the file may be anything, and looking at it takes
//! no longer because it wants to.
//! Source: ELF-64 Object File Format, version 1.5; System V ABI, "Note Section".

/// First bytes of every ELF file.
pub const MAGIC: &[u8] = b"\x7fELF";
/// Program header type of a segment to load.
pub const PT_LOAD: u32 = 1;
/// Program header type of notes.
const PT_NOTE: u32 = 4;
/// Bytes of a program header.
const PROGRAM_HEADER: u16 = 56;
/// Most program headers: 64 KiB of them, as in Linux (`load_elf_phdrs`).
const MAX_HEADERS: u16 = u16::MAX / PROGRAM_HEADER;
/// Most bytes of notes that are looked at, in one segment.
const MAX_NOTES: usize = 64 << 10;
/// Names and descriptors are padded to this many bytes.
const ALIGNMENT: usize = 4;
/// Bytes of a note before its name.
const NOTE_HEADER: usize = 12;

/// One note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note<'a> {
    /// What the note is, in its owner's numbering.
    pub kind: u32,
    /// The note's contents.
    pub descriptor: &'a [u8],
}

/// All notes in the little-endian ELF64 file `elf` whose owner is `owner`.
pub fn notes_of<'a>(elf: &'a [u8], owner: &str) -> Vec<Note<'a>> {
    let mut found = Vec::new();
    for segment in segments(elf, PT_NOTE).flatten() {
        let mut rest = segment.get(..MAX_NOTES).unwrap_or(segment);
        while let Some((name, note, after)) = split_note(rest) {
            if name.strip_suffix(&[0]).unwrap_or(name) == owner.as_bytes() {
                found.push(note);
            }
            rest = after;
        }
    }
    found
}

/// The segments of type `wanted` in the little-endian ELF64 file `elf`: the bytes the file has for each,
/// or `None` for a segment that does not lie in the file. A table of impossible format counts as one of these.
pub fn segments(elf: &[u8], wanted: u32) -> impl Iterator<Item = Option<&[u8]>> {
    let table = u64_at(elf, 32).unwrap_or(0);
    let size = u16_at(elf, 54).unwrap_or(0);
    let count = if elf.starts_with(MAGIC) { u16_at(elf, 56).unwrap_or(0) } else { 0 };
    let impossible = count > 0 && (size != PROGRAM_HEADER || count > MAX_HEADERS);
    let count = if impossible { 0 } else { count };
    let header = move |index| {
        let start = usize::try_from(table.checked_add(index * u64::from(size))?).ok()?;
        elf.get(start..)
    };
    let headers = (0..u64::from(count)).filter_map(move |index| {
        let Some((header, kind)) = header(index).and_then(|header| Some((header, u32_at(header, 0)?))) else {
            return Some(None);
        };
        (kind == wanted).then(|| {
            let start = usize::try_from(u64_at(header, 8)?).ok()?;
            let length = usize::try_from(u64_at(header, 32)?).ok()?;
            elf.get(start..start.checked_add(length)?)
        })
    });
    impossible.then_some(None).into_iter().chain(headers)
}

/// The first note in `bytes`: its owner, itself, and what follows.
fn split_note(bytes: &[u8]) -> Option<(&[u8], Note<'_>, &[u8])> {
    let name_size = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let descriptor_size = usize::try_from(u32_at(bytes, 4)?).ok()?;
    let kind = u32_at(bytes, 8)?;
    let name = bytes.get(NOTE_HEADER..NOTE_HEADER.checked_add(name_size)?)?;
    let start = NOTE_HEADER.checked_add(name_size.checked_next_multiple_of(ALIGNMENT)?)?;
    let end = start.checked_add(descriptor_size)?;
    let descriptor = bytes.get(start..end)?;
    let after = bytes.get(end.checked_next_multiple_of(ALIGNMENT)?..).unwrap_or_default();
    Some((name, Note { kind, descriptor }, after))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests;
