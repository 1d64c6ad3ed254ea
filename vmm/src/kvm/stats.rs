//! KVM's own counters of a VM and its vCPUs, for `--stats`.
//!
//! They prove what no guest can see: `pages_2m` and `pages_4k` are the second-level mappings KVM made.
//! Owns: reading the binary statistics interface. Histograms are left out.
//! Source: Linux `Documentation/virt/kvm/api.rst`, section 4.133 (KVM_GET_STATS_FD).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

use kvm_bindings::{KVM_STATS_TYPE_MASK, KVM_STATS_TYPE_PEAK};
use vmm_sys_util::ioctl::ioctl;

/// `_IO(KVMIO, 0xce)`, which `kvm-ioctls` does not have.
const KVM_GET_STATS_FD: libc::c_ulong = 0xaece;

/// Bytes of the header: flags, name size, count, and the offsets of id, descriptors and data.
const HEADER_SIZE: usize = 24;
/// Bytes of a descriptor before its name.
const DESCRIPTOR_SIZE: usize = 16;
/// More counters, or longer names, than any kernel has.
const MAX_COUNTERS: u32 = 4096;
const MAX_NAME: u32 = 256;

/// The counters of one VM or vCPU.
pub struct KvmStats {
    file: File,
    /// Name and byte offset of each counter in the file.
    counters: Vec<(String, u64)>,
}

impl KvmStats {
    /// Opens the counters of a VM or vCPU. Fails on kernels before 5.14, which have none.
    pub fn open(source: &impl AsRawFd) -> io::Result<Self> {
        // SAFETY: this ioctl takes no argument and returns a new descriptor.
        let fd = unsafe { ioctl(source, KVM_GET_STATS_FD) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let file = unsafe { File::from_raw_fd(fd) };
        let mut header = [0; HEADER_SIZE];
        file.read_exact_at(&mut header, 0)?;
        let [_, name_size, count, _, descriptors, data] = words(&header);
        if name_size > MAX_NAME || count > MAX_COUNTERS {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let stride = DESCRIPTOR_SIZE + name_size as usize;
        let mut table = vec![0; stride * count as usize];
        file.read_exact_at(&mut table, descriptors.into())?;
        let counters = table.chunks_exact(stride).filter_map(|row| counter(row, data)).collect();
        Ok(Self { file, counters })
    }

    /// Reads every counter: its name and value.
    pub fn read(&self) -> io::Result<Vec<(&str, u64)>> {
        let value = |offset| {
            let mut bytes = [0; 8];
            self.file.read_exact_at(&mut bytes, offset).map(|()| u64::from_ne_bytes(bytes))
        };
        self.counters.iter().map(|(name, offset)| Ok((name.as_str(), value(*offset)?))).collect()
    }
}

/// Name and file offset of the counter that the descriptor `row` is about; `None` for a histogram.
fn counter(row: &[u8], data: u32) -> Option<(String, u64)> {
    let (head, name) = row.split_first_chunk::<DESCRIPTOR_SIZE>()?;
    let [flags, _, offset, _] = words(head);
    if flags & KVM_STATS_TYPE_MASK > KVM_STATS_TYPE_PEAK {
        return None;
    }
    let name = name.split(|byte| *byte == 0).next()?;
    Some((String::from_utf8_lossy(name).into_owned(), u64::from(data) + u64::from(offset)))
}

/// The 32-bit words of `bytes`, in the byte order of the host, zero where there are none.
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = bytes.chunks_exact(4).map(|chunk| chunk.try_into().map_or(0, u32::from_ne_bytes));
    [(); N].map(|()| words.next().unwrap_or(0))
}
