//! `/proc/pressure/memory`.

use crate::machine::CPU;
use crate::task::pressure::{self, PSI};
use core::fmt::{self, Write};
use shared::text::pressure::{Line, write_line};

/// Writes it. With `psi=0` there is nothing to say.
pub fn memory(w: &mut dyn Write) -> fmt::Result {
    if !pressure::is_on() {
        return Ok(());
    }
    PSI.pressure(&CPU).into_iter().zip(["some", "full"]).try_for_each(|(pressure, kind)| {
        let averages = pressure.averages.map(|share| (share.percent, share.hundredths));
        write_line(w, &Line { kind, averages, total: pressure.total })
    })
}
