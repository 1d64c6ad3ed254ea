//! Disk images: builds swap areas and data volumes, inspects them, and takes out what is in them.
//!
//! | module | job |
//! |---|---|
//! | `draft` | an image is whole before it has its name |
//! | `swap` | swap areas |
//! | `data` | data volumes: where partitions and files are, and what is in them |
//! | `gpt` | partition tables: writing both copies, reading whichever is sound |
//! | `source` | reading an image |
//! | `inspect` | everything that can be said about an image, and what is wrong with it |
//! | `extract` | the bytes of a file or a partition |
//! | `pattern` | data with a known content, and checksums |
//!
//! Stays outside: the formats themselves (`shared::disk`), the command line, and what a guest does with a disk.
//! Invariant: any bytes can be given to what reads images here.

mod data;
mod draft;
mod error;
mod extract;
mod gpt;
mod inspect;
mod pattern;
mod random;
mod source;
mod swap;

pub use data::{
    Content, DataFacts, DataSpec, FileSpec, PartitionContent, PartitionSpec, files_below, make_data,
};
pub use draft::Existing;
pub use error::ImageError;
pub use extract::extract;
pub use inspect::{DiskFacts, FileFacts, Inspection, Kind, PartitionFacts, SwapFacts, TableFacts, inspect};
pub use pattern::{crc32, write_pattern};
pub use swap::{SwapSpec, format_swap, make_swap};
