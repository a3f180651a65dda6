//! Durations as people type them: `500ms`, `10s`, `2m`, `1h30m`, or plain seconds `10`, `0.5`.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use lockbydir::Patience;

/// The longest duration that is accepted: ten years.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Parses a duration of at most ten years.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let bad = |why: &str| {
        format!("`{text}` is {why}; write it like 500ms, 10s, 2m, 1h30m, or 0.5 for seconds")
    };
    if text.starts_with('-') {
        return Err(bad("negative"));
    }
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let duration = if is_plain {
        let seconds: f64 = text.parse().map_err(|_| bad("no duration"))?;
        Duration::try_from_secs_f64(seconds).map_err(|_| bad("too long"))?
    } else if text.starts_with(|first: char| first.is_ascii_digit()) {
        let span: Span = text.parse().map_err(|_| bad("no duration"))?;
        span.to_duration(SpanRelativeTo::days_are_24_hours())
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok())
            .ok_or_else(|| bad("no duration"))?
    } else {
        return Err(bad(if text.is_empty() { "empty" } else { "no duration" }));
    };
    if duration > LONGEST { Err(bad("longer than ten years")) } else { Ok(duration) }
}

/// Parses a timeout: a duration of at least 100 ms.
pub(crate) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let duration = parse(text)?;
    if duration < lockbydir::MIN_TIMEOUT {
        return Err(format!("`{text}` is too short for a timeout; the shortest is 100ms"));
    }
    Ok(duration)
}

/// Parses a patience: a duration, or `forever`.
pub(crate) fn parse_patience(text: &str) -> Result<Patience, String> {
    if text == "forever" { Ok(Patience::FOREVER) } else { parse(text).map(Patience::from) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("10", 10_000),
            ("0.5", 500),
            ("1.5s", 1_500),
            ("0", 0),
            ("1d", 86_400_000),
            ("10 s", 10_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn wrong_durations_are_refused_and_named() {
        for text in [
            "",
            "-1",
            "-1s",
            "NaN",
            "nan",
            "inf",
            "1e9",
            "1e999",
            "10x",
            "s",
            ".",
            "1m1h",
            "2y",
            "P1D",
            "1s1s",
            "99999999999999999999",
            "4000d",
            "1h30",
            "+5",
            "٣s",
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
        assert!(parse_timeout("0").is_err());
        assert_eq!(parse_patience("forever"), Ok(Patience::FOREVER));
    }
}
