//! What the memory commands share.
//!
//! | file | job |
//! |---|---|
//! | `arena` | the arena that a script may have open |
//! | `balance` | what is in use, before and after |
//! | `area` | where commands may map things |
//! | `block` | an owned block of frames, its words and its marks |
//! | `ledger` | any number of blocks, without other memory |
//! | `words` | a table of numbers |
//! | `window` | a second mapping of single frames |
//! | `pool` | blocks from all over memory |
//! | `parse` | orders, flags, zones, addresses |
//! | `random` | reproducible randomness |
//! | `sound` | the end of a machine whose memory is corrupt |
//! | `trace` | the steps of one allocation |
//! | `translate` | whether walker and MMU agree |

pub mod area;
pub mod arena;
mod balance;
mod block;
mod ledger;
pub mod parse;
mod pool;
mod random;
mod sound;
mod trace;
mod translate;
mod window;
mod words;

pub use balance::Balance;
pub use block::{Block, Damage};
pub use ledger::Ledger;
pub use pool::Pool;
pub use random::Random;
pub use sound::sound;
pub use trace::Trace;
pub use translate::Agreement;
pub use window::Window;
pub use words::Words;
