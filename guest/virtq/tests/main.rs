//! The driver's queue against a device that follows the specification to the letter, and against one that does not.
//!
//! The device here is written from the specification's text and shares no code with the queue.

mod device;
mod honest;
mod hostile;
