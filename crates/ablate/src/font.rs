//! The one font of figures, part of the program, so that they look the same wherever they are made.

use plotters::style::{FontStyle, register_font};

use crate::error::{Error, Result};

/// A part of DejaVu Sans: Latin, Greek, Cyrillic, arrows and mathematical signs. Its licence lies beside it.
const FONT: &[u8] = include_bytes!("../assets/vendor/DejaVuSans-subset.ttf");

/// Makes the font known by the name `sans-serif`; any number of times.
///
/// # Errors
/// A font that cannot be read, which would be a mistake in the program.
pub(crate) fn register() -> Result<()> {
    register_font("sans-serif", FontStyle::Normal, FONT)
        .map_err(|_| Error::argument("internal: the font cannot be read", "report this"))
}
