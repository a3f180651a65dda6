//! Facts in words: who, how long, at what time. What others wrote is made printable here.

use jiff::Timestamp;
use lockbydir::printable;

use super::style::Look;
use crate::board::{Card, State};
use crate::event::{Contender, How};

/// Seconds in a few characters: `20ms`, `0.5s`, `12s`, `3m20s`, `2h05m`, `4d03h`.
pub(super) fn short(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        _ if seconds > 0.0 && seconds < 0.1 => format!("{:.0}ms", (seconds * 1000.0).ceil()),
        0..10 => format!("{:.1}s", seconds.max(0.0)),
        10..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86400 => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86400, whole / 3600 % 24),
    }
}

/// Holdings a second in at most five characters.
pub(super) fn rate(a_second: f64) -> String {
    match a_second {
        0.0 => "-".into(),
        _ if a_second < 10.0 => format!("{a_second:.1}"),
        _ if a_second < 100_000.0 => format!("{a_second:.0}"),
        _ => format!("{:.0}k", a_second / 1000.0),
    }
}

/// The time of day, to the tenth of a second if that is asked for.
pub(super) fn clock(at: f64, has_tenths: bool, look: &Look) -> String {
    let Ok(at) = Timestamp::from_millisecond((at * 1000.0).round() as i64) else {
        return "--:--:--".into();
    };
    let form = if has_tenths { "%H:%M:%S.%1f" } else { "%H:%M:%S" };
    at.to_zoned_datetime(look.zone.clone()).strftime(form).to_string()
}

/// Its command, unless its label says the same.
fn command(who: &Contender) -> Option<String> {
    who.command.as_ref().filter(|command| Some(*command) != who.label.as_ref()).map(printable)
}

/// Who, in one line, the most telling first: `4242 backup.sh nightly`.
pub(super) fn lane_of(who: &Contender) -> String {
    let pid = who.pid.map_or_else(|| "a key".into(), |pid| pid.to_string());
    [Some(pid), command(who), who.label.as_ref().map(printable)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Who, where lines are short: `web1:4242 backup.sh nightly`.
pub(super) fn brief(who: &Contender) -> String {
    let host = who.host.split('.').next().unwrap_or_default();
    let host: String = printable(host).chars().take(12).collect();
    let separator = if who.pid.is_some() { ":" } else { ": " };
    format!("{host}{separator}{}", lane_of(who))
}

/// Who, as a sentence has it: "pid 4242 on web1 (backup.sh, `nightly`)".
pub(super) fn whole(who: &Contender) -> String {
    let host = printable(&who.host);
    let name = match who.pid {
        Some(pid) => format!("pid {pid} on {host}"),
        None => format!("a key, no process, from {host}"),
    };
    let label = who.label.as_ref().map(|label| format!("`{}`", printable(label)));
    let more: Vec<_> = command(who).into_iter().chain(label).collect();
    if more.is_empty() { name } else { format!("{name} ({})", more.join(", ")) }
}

pub(super) fn how(how: How) -> &'static str {
    match how {
        How::Before => "held before it was looked at",
        How::Free => "it was free",
        How::HandedOver => "handed over",
        How::AfterExpiry => "taken over after expiry",
        How::AfterDeath => "taken over after a death",
    }
}

/// How long the first in the queue has waited.
pub(super) fn longest_wait(card: &Card, now: f64) -> Option<f64> {
    card.line.first().map(|first| (now - first.since).max(0.0))
}

/// What is left of a lock's time, and how much that is of the whole; less than nothing when it is
/// over.
pub(super) fn rest(card: &Card, now: f64) -> Option<(f64, f64)> {
    let (from, to) = (card.renewed_at?, card.expires_at?);
    let rest = to - now;
    let whole = (to - from).max(f64::MIN_POSITIVE);
    Some((rest, (rest / whole).clamp(0.0, 1.0)))
}

/// What stands in the place of a holder that nobody knows.
pub(super) fn odd(card: &Card) -> Option<String> {
    match card.state {
        State::Bare => Some("a plain directory".into()),
        State::Foreign => card.note.as_deref().map(printable),
        _ => None,
    }
}
