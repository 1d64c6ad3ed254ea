//! Tests of what host and guest agree on.

mod cmdline;
mod context;
mod cross;
mod disk;
mod exit;
mod forms;
mod layout;
mod numa;
mod numbers;
mod params;
mod script;
mod stats;
mod text;
mod vmallocinfo;
mod volume;
mod zoneinfo;
