//! What host and guest agree on.
#![no_std]
#![forbid(unsafe_code)]
