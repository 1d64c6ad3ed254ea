//! The text of `numactl -H`. Source: numactl's `hardware()` as version 2.0.16 prints it.

use core::fmt;

/// One node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node<'a> {
    /// Node number.
    pub id: u32,
    /// Its CPUs, by number; empty for a node without CPUs.
    pub cpus: &'a [u32],
    /// Memory in bytes; 0 for a node without memory.
    pub size: u64,
    /// Free memory in bytes.
    pub free: u64,
    /// Distances to every node, in the order of the nodes.
    pub distances: &'a [u8],
}

const MIB: u64 = 1 << 20;

/// Writes the whole text. `nodes` come by number.
///
/// # Errors
/// Those of the writer.
pub fn write_hardware(w: &mut dyn fmt::Write, nodes: &[Node<'_>]) -> fmt::Result {
    write!(w, "available: {} nodes (", nodes.len())?;
    write_ranges(w, nodes)?;
    w.write_str(")\n")?;
    for node in nodes {
        write!(w, "node {} cpus:", node.id)?;
        for cpu in node.cpus {
            write!(w, " {cpu}")?;
        }
        let (size, free) = (node.size / MIB, node.free / MIB);
        write!(w, "\nnode {id} size: {size} MB\nnode {id} free: {free} MB\n", id = node.id)?;
    }
    w.write_str("node distances:\nnode ")?;
    for node in nodes {
        write!(w, "{:>3} ", node.id)?;
    }
    w.write_char('\n')?;
    for node in nodes {
        write!(w, "{:>3}: ", node.id)?;
        for distance in node.distances {
            write!(w, "{distance:>3} ")?;
        }
        w.write_char('\n')?;
    }
    Ok(())
}

/// Writes the node numbers, neighbours joined (`0-1,3`).
fn write_ranges(w: &mut dyn fmt::Write, nodes: &[Node<'_>]) -> fmt::Result {
    let follows = |a: &Node<'_>, b: &Node<'_>| a.id.checked_add(1) == Some(b.id);
    for (i, run) in nodes.chunk_by(follows).enumerate() {
        let comma = if i == 0 { "" } else { "," };
        match run {
            [] => {}
            [one] => write!(w, "{comma}{}", one.id)?,
            [first, .., last] => write!(w, "{comma}{}-{}", first.id, last.id)?,
        }
    }
    Ok(())
}
