//! What a context has, for whoever shows it.

use super::{Mm, Vm};
use crate::addr::VirtAddr;
use crate::port::Machine;
use crate::vma::{Vma, VmaInit};

impl<'p, M: Machine> Vm<'p, M> {
    /// The area at `va`, or the first above it, as it is now.
    pub fn area_from(&self, mm: &Mm<'p, M>, va: VirtAddr) -> Option<VmaInit> {
        mm.areas.read(self.machine().cpu()).next_from(va.vpn().get()).map(Vma::init)
    }
}
