//! What the simulated CPU raises when an access does not succeed.

use bitflags::bitflags;
use mm::addr::{PhysAddr, VirtAddr};

bitflags! {
    /// The error code of a page fault. Source: Intel SDM vol. 3 ch. 4.7.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct FaultCode: u32 {
        /// The translation is present: its rights forbid the access.
        const PRESENT = 1 << 0;
        /// The access was a store.
        const WRITE = 1 << 1;
        /// The access came from user mode.
        const USER = 1 << 2;
        /// An entry on the way has a reserved bit set.
        const RESERVED = 1 << 3;
        /// The access was an instruction fetch.
        const FETCH = 1 << 4;
    }
}

/// Why an access did not succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// #PF.
    Page {
        /// What CR2 would hold.
        va: VirtAddr,
        /// The error code.
        code: FaultCode,
    },
    /// #GP: the address is not canonical for this number of levels.
    NotCanonical {
        /// The address.
        va: VirtAddr,
    },
    /// The page or a table on the way to it is not RAM. Hardware would read all ones; a test wants to know.
    NotRam {
        /// The physical address that nobody answers.
        pa: PhysAddr,
    },
}
