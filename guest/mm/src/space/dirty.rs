//! Pages of files that were written through a mapping (Linux `folio_mark_dirty`, `zap_present_folio_ptes`).

use super::Vm;
use crate::folio::Folio;
use crate::port::Machine;

impl<'p, M: Machine> Vm<'p, M> {
    /// An entry that mapped `folio` was dirty; it is gone, or clean now, and all CPUs know that. The caller has a reference,
    /// and keeps the inode.
    pub(crate) fn dirtied(&self, folio: Folio<'p>) {
        if let Some(inode) = self.cache().inode_of(folio) {
            self.cache().set_dirty(inode, folio);
        }
    }
}
