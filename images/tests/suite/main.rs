//! Images as a whole: built, inspected, damaged, taken apart, and given to the tools of the host.

mod damage;
mod host_tools;
mod round_trip;
mod support;
