//! Where commands map things: the part of the tasks' half that lies below the overlay window.
//!
//! Nothing else maps here, and the interpreter runs one command at a time, so each command owns its part.

use shared::layout::OVERLAY;

const TIB: u64 = 1 << 40;

/// Mappings that stay until a later command takes them away.
pub const MAPPINGS: u64 = 64 * TIB;
/// Room of one such mapping.
pub const MAPPING_BYTES: u64 = TIB;
/// Sparse mappings.
pub const SPARSE: u64 = 80 * TIB;
/// First address after them.
pub const SPARSE_END: u64 = 104 * TIB;
/// The window on single frames.
pub const WINDOW: u64 = 108 * TIB;

const _: () = assert!(SPARSE_END <= WINDOW && WINDOW + TIB <= OVERLAY);
