//! Tests of what host and guest agree on.

mod exit;
