//! Durations as users type them for the programs of this crate.

use std::time::Duration;

/// Reads a duration such as `200us`, `100ms` or `2s`.
///
/// # Errors
/// A description of the format, if `text` does not have it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok()
    });
    parsed.ok_or_else(|| "write it like 200us, 100ms or 2s".to_owned())
}
