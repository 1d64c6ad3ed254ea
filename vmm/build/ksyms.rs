//! Writes the guest's table of function names into its image, for backtraces.
//!
//! Owns: which symbols get in and how the table is laid out; the reader is `guest/src/symbols.rs`. Stays
//! outside: the section itself, which the guest reserves. Invariants: nothing but the bytes of that section
//! changes; a table that does not fit is an error, not a shorter table.
//!
//! Layout, little endian, 32 bits each: magic, count, then count pairs (offset of a function from the image
//! start, offset of its name in the names), sorted by the first, then the names, each ended by a zero byte.
//! The last pair is the end of the code, without a name.

use std::collections::BTreeMap;

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSegment, ObjectSymbol, SectionKind, SymbolKind};

/// The section that holds the table.
const SECTION: &str = ".ksyms";
/// "KSYM".
pub const MAGIC: u32 = 0x4d59_534b;
/// Bytes before the first pair, and of a pair.
const HEAD: usize = 8;

/// Writes the table into `image`, a static ELF file, and returns how many functions it names.
///
/// # Errors
/// One line: the file is no such image, names no function, or reserves too little room.
pub fn embed(image: &mut [u8]) -> Result<usize, String> {
    let (start, size, functions) = read(image)?;
    let table = encode(&functions)?;
    if table.len() > size {
        return Err(format!(
            "{SECTION} has room for {size} bytes, {} functions need {}; raise CAPACITY in guest/src/symbols.rs",
            functions.len() - 1,
            table.len()
        ));
    }
    let room =
        image.get_mut(start..start + table.len()).ok_or("the image is shorter than its sections say")?;
    room.copy_from_slice(&table);
    Ok(functions.len() - 1)
}

/// Names by offset from the image start; the last one is empty and stands for the end of the code.
type Functions = BTreeMap<u32, String>;

/// Where the section lies in the file, how long it is, and what to write.
fn read(image: &[u8]) -> Result<(usize, usize, Functions), String> {
    let wrong = |error| format!("the image is no ELF file that can be read: {error}");
    let file = ElfFile64::<Endianness>::parse(image).map_err(wrong)?;
    let section = file.section_by_name(SECTION).ok_or(format!("the image has no section {SECTION}"))?;
    let (start, size) = section.file_range().ok_or(format!("{SECTION} takes no room in the file"))?;
    let base = file.segments().map(|segment| segment.address()).min().ok_or("the image loads nothing")?;
    let offset = |address: u64| {
        let offset = address.checked_sub(base).and_then(|offset| u32::try_from(offset).ok());
        offset.ok_or(format!("address {address:#x} is too far from the image start {base:#x}"))
    };
    let mut functions = Functions::new();
    // Functions come last, so that they win over bare labels of the assembly at the same address.
    for kind in [SymbolKind::Unknown, SymbolKind::Label, SymbolKind::Text] {
        for symbol in file.symbols().filter(|symbol| symbol.kind() == kind && is_code(&file, symbol)) {
            let name = symbol.name().map_err(wrong)?;
            functions.insert(offset(symbol.address())?, format!("{:#}", rustc_demangle::demangle(name)));
        }
    }
    if functions.is_empty() {
        return Err(String::from("the image names no function; build it without `strip`"));
    }
    let code = file.sections().filter(|section| section.kind() == SectionKind::Text);
    let end = code.map(|section| section.address() + section.size()).max().ok_or("the image has no code")?;
    functions.insert(offset(end)?, String::new());
    Ok((start as usize, size as usize, functions))
}

/// Whether the symbol is a named place in code; the linker script also names physical addresses.
fn is_code<'data>(file: &ElfFile64<'data, Endianness>, symbol: &impl ObjectSymbol<'data>) -> bool {
    let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
    let in_code = section.is_some_and(|section| {
        let inside = symbol.address().checked_sub(section.address()).is_some_and(|at| at < section.size());
        section.kind() == SectionKind::Text && inside
    });
    in_code && symbol.name().is_ok_and(|name| !name.is_empty())
}

/// The bytes of the table.
fn encode(functions: &Functions) -> Result<Vec<u8>, String> {
    let number = |value: usize| u32::try_from(value).map_err(|_| String::from("the table passes 4 GiB"));
    let mut pairs = Vec::with_capacity(HEAD * (functions.len() + 1));
    let mut names = Vec::new();
    pairs.extend(MAGIC.to_le_bytes());
    pairs.extend(number(functions.len())?.to_le_bytes());
    for (offset, name) in functions {
        pairs.extend(offset.to_le_bytes());
        pairs.extend(number(names.len())?.to_le_bytes());
        names.extend(name.bytes().filter(|byte| *byte != 0));
        names.push(0);
    }
    pairs.extend(names);
    Ok(pairs)
}
