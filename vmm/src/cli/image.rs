//! The words of `vmm image`.
//!
//! Owns: names, defaults and help texts. Stays outside: what the values mean (`crate::image`).

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to do with an image.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Build a swap area, in the format of mkswap
    #[command(after_help = MKSWAP_EXAMPLES)]
    Mkswap(MkswapArgs),
    /// Build a data volume: files, and raw and swap partitions beside them
    #[command(after_help = MKDATA_EXAMPLES)]
    Mkdata(MkdataArgs),
    /// Say what is in an image and whether it is sound, or take a file out of it
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
}

/// The help of `vmm image`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vmm image mkswap --out swap.img --size 256M --label swap0
  vmm image mkdata --out data.img --size 64M --file db=./db.bin --raw log=8M
  vmm image inspect data.img
  vmm run --disk data.img --swap swap.img

Exit status: 0 all well, 1 the image is damaged, 2 it could not be built or read.";

pub(crate) const MKSWAP_EXAMPLES: &str = "\
Examples:
  vmm image mkswap --out swap.img --size 256M --label swap0
      The same bytes as `truncate -s 256M swap.img; mkswap -L swap0 swap.img`.
  vmm image mkswap --out swap.img --size 1M --bad-pages 7,9 --force
      An area with two pages that must not be used, in place of an older image.";

pub(crate) const MKDATA_EXAMPLES: &str = "\
Examples:
  vmm image mkdata --out data.img --size 64M --file db=./db.bin --raw log=8M
      A copy of db.bin that the guest finds as `db`, and a partition of zeros called `log`.
  vmm image mkdata --out data.img --dir ./files --file new=1M,room=16M --swap swap0=32M
      Every file below ./files, a file of 1 MiB that can grow to 16, and a swap partition.
  vmm image mkdata --out data.img --file core=./core,sparse
      Blocks of zeros become holes and take no room.

A value that reads as a size is one; a host file called `8M` is given as `./8M`.
A build that fails leaves nothing behind. Images are sparse: room comes with the first write.";

pub(crate) const INSPECT_EXAMPLES: &str = "\
Examples:
  vmm image inspect data.img
      One fact per line as key=value; the last line counts warnings and errors.
  vmm image inspect --json data.img
  vmm image inspect data.img --extract db > db.bin
      The contents of the file `db`, or of the partition of that name.

Exit status: 0 sound, 1 damaged, 2 it cannot be read.";

/// Options of `vmm image mkswap`.
#[derive(Debug, Args)]
pub struct MkswapArgs {
    /// The image to build
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Its size: a number with K, M or G, a multiple of 4K from 40K on
    #[arg(long, value_name = "SIZE")]
    pub size: String,
    /// Its name, at most 15 bytes
    #[arg(long, default_value = "")]
    pub label: String,
    /// Its identifier [default: a random one]
    #[arg(long)]
    pub uuid: Option<String>,
    /// Numbers of pages that must not be used, separated by commas
    #[arg(long, value_name = "PAGES", value_delimiter = ',')]
    pub bad_pages: Vec<u32>,
    /// Replace the image if it exists
    #[arg(long)]
    pub force: bool,
}

/// Options of `vmm image mkdata`.
#[derive(Debug, Args)]
pub struct MkdataArgs {
    /// The image to build
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Its size [default: 64M, or what the contents need]
    #[arg(long, value_name = "SIZE")]
    pub size: Option<String>,
    /// A file: NAME=HOSTFILE or NAME=SIZE, then [,room=SIZE][,sparse]; give one per file
    #[arg(long, value_name = "SPEC")]
    pub file: Vec<String>,
    /// Every file below this directory, named by its path from there
    #[arg(long, value_name = "DIR")]
    pub dir: Vec<PathBuf>,
    /// A raw partition: NAME=HOSTFILE or NAME=SIZE; give one per partition
    #[arg(long, value_name = "SPEC")]
    pub raw: Vec<String>,
    /// A swap partition, behind the raw ones: NAME=SIZE
    #[arg(long, value_name = "SPEC")]
    pub swap: Vec<String>,
    /// The identifier of the volume; those of its parts follow from it [default: a random one]
    #[arg(long)]
    pub uuid: Option<String>,
    /// Replace the image if it exists
    #[arg(long)]
    pub force: bool,
}

/// Options of `vmm image inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The image
    #[arg(value_name = "FILE")]
    pub image: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
    /// Write the contents of this file or partition to standard output instead
    #[arg(long, value_name = "NAME", conflicts_with = "json")]
    pub extract: Option<String>,
}
