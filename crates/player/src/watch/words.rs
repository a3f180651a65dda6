//! Facts as text: contenders, durations, times. Text from other processes is made printable here.

use jiff::Timestamp;
use lockbydir::printable;

use super::style::Look;
use crate::board::{Card, State};
use crate::event::{Contender, How};

/// Returns a duration in a few characters: `20ms`, `0.5s`, `12s`, `3m20s`, `2h05m`, `4d03h`.
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

/// Returns a rate of holdings per second in at most five characters.
pub(super) fn rate(a_second: f64) -> String {
    match a_second {
        0.0 => "-".into(),
        _ if a_second < 10.0 => format!("{a_second:.1}"),
        _ if a_second < 100_000.0 => format!("{a_second:.0}"),
        _ => format!("{:.0}k", a_second / 1000.0),
    }
}

/// Returns the time of day, to the tenth of a second if `has_tenths`.
pub(super) fn clock(at: f64, has_tenths: bool, look: &Look) -> String {
    let Ok(at) = Timestamp::from_millisecond((at * 1000.0).round() as i64) else {
        return "--:--:--".into();
    };
    let form = if has_tenths { "%H:%M:%S.%1f" } else { "%H:%M:%S" };
    at.to_zoned_datetime(look.zone.clone()).strftime(form).to_string()
}

/// Returns the command of a contender, unless its label is the same.
fn command(who: &Contender) -> Option<String> {
    who.command.as_ref().filter(|command| Some(*command) != who.label.as_ref()).map(printable)
}

/// Returns a contender as one line, the most specific first: `4242 backup.sh nightly`.
pub(super) fn lane_of(who: &Contender) -> String {
    let pid = who.pid.map_or_else(|| "a key".into(), |pid| pid.to_string());
    [Some(pid), command(who), who.label.as_ref().map(printable)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns a contender in short form: `web1:4242 backup.sh nightly`.
pub(super) fn brief(who: &Contender) -> String {
    let host = who.host.split('.').next().unwrap_or_default();
    let host: String = printable(host).chars().take(12).collect();
    let separator = if who.pid.is_some() { ":" } else { ": " };
    format!("{host}{separator}{}", lane_of(who))
}

/// Returns a contender as part of a sentence: "pid 4242 on web1 (backup.sh, `nightly`)".
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
        How::Before => "held before the view started",
        How::Free => "it was free",
        How::HandedOver => "handed over",
        How::AfterExpiry => "taken over after expiry",
        How::AfterDeath => "taken over after a death",
    }
}

/// Returns how long the first waiter of the queue has waited.
pub(super) fn longest_wait(card: &Card, now: f64) -> Option<f64> {
    card.queue.first().map(|first| (now - first.since).max(0.0))
}

/// Returns what is left of a lock's timeout in seconds, negative after its end, and its share of
/// the whole timeout, from 0 to 1.
pub(super) fn rest(card: &Card, now: f64) -> Option<(f64, f64)> {
    let (from, to) = (card.renewed_at?, card.expires_at?);
    let rest = to - now;
    let whole = (to - from).max(f64::MIN_POSITIVE);
    Some((rest, (rest / whole).clamp(0.0, 1.0)))
}

/// Returns the text that is shown instead of an unknown holder.
pub(super) fn unknown_holder(card: &Card) -> Option<String> {
    match card.state {
        State::Bare => Some("unknown (mkdir lock)".into()),
        State::Foreign => card.note.as_deref().map(printable),
        _ => None,
    }
}
