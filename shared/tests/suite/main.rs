//! Tests of what host and guest agree on.

mod cmdline;
mod cross;
mod exit;
mod forms;
mod numbers;
mod params;
