//! The Ballast microVM monitor.
