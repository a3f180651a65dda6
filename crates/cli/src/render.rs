//! Formats statuses and lists, for people and for programs.

use std::io::stdout;
use std::path::Path;
use std::time::{Duration, SystemTime};

use lockbydir::{Holder, How, Predecessor, State, Status, is_printable, printable};
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct StatusJson {
    name: String,
    path: String,
    /// The bytes of both in hexadecimal, where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    state: String,
    token: Option<u64>,
    timeout_s: Option<f64>,
    age_s: Option<f64>,
    remaining_s: Option<f64>,
    holder: Option<HolderJson>,
    queue: Vec<TicketJson>,
}

#[derive(Serialize)]
struct HolderJson {
    host: String,
    pid: Option<u32>,
    command: Option<String>,
    label: Option<String>,
    since: String,
}

#[derive(Serialize)]
struct TicketJson {
    pid: Option<u32>,
    host: String,
    label: Option<String>,
    waiting_s: f64,
}

impl StatusJson {
    pub(crate) fn of(status: &Status) -> StatusJson {
        let seconds = |duration: Duration| (duration.as_secs_f64() * 1000.0).round() / 1000.0;
        StatusJson {
            name: status.name.to_string_lossy().into_owned(),
            path: status.path.to_string_lossy().into_owned(),
            name_hex: hex(&status.name),
            path_hex: hex(&status.path),
            state: status.state.to_string(),
            token: status.token,
            timeout_s: status.timeout.map(seconds),
            age_s: status.age.map(seconds),
            remaining_s: status.remaining.map(seconds),
            holder: status.holder.as_ref().map(|holder| HolderJson {
                host: holder.host.clone(),
                pid: holder.pid,
                command: holder.command.clone(),
                label: holder.label.clone(),
                since: timestamp(holder.since),
            }),
            queue: status
                .queue
                .iter()
                .map(|ticket| TicketJson {
                    pid: ticket.pid,
                    host: ticket.host.clone(),
                    label: ticket.label.clone(),
                    waiting_s: seconds(ticket.waiting),
                })
                .collect(),
        }
    }
}

/// Returns the bytes of a path that is not UTF-8, since two such paths may look the same as text.
fn hex(path: &Path) -> Option<String> {
    let bytes = || path.as_os_str().as_encoded_bytes().iter();
    path.to_str().is_none().then(|| bytes().map(|byte| format!("{byte:02x}")).collect())
}

/// Formats a value as pretty-printed JSON and a newline. Characters that are not
/// [printable](is_printable) are escaped; a reader of JSON reads them back unchanged.
pub(crate) fn json(value: &impl Serialize) -> Result<String, crate::exit::Failure> {
    let escaped = |c: char| match c {
        '\n' => c.to_string(),
        c if is_printable(c) => c.to_string(),
        c => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
    };
    serde_json::to_string_pretty(value)
        .map(|text| text.chars().map(escaped).collect::<String>() + "\n")
        .map_err(|error| crate::exit::Failure::new(crate::exit::IO, error.to_string()))
}

fn timestamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map(|time| format!("{time:.3}")).unwrap_or_default()
}

/// Formats a duration in a few characters: `0.5s`, `12s`, `3m20s`, `2h05m`, `4d03h`.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// Whether frames can be drawn on standard output.
#[cfg(feature = "player")]
pub(crate) fn can_draw() -> bool {
    std::io::IsTerminal::is_terminal(&stdout())
        && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Whether text on standard output may have colours.
pub(crate) fn has_colours() -> bool {
    crate::output::has_colours(&stdout())
}

fn colour(state: State, text: &str) -> String {
    let code = match state {
        State::Free | State::Open => "32",
        State::Held | State::Bare => "33",
        _ => "31",
    };
    if has_colours() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

pub(crate) fn who(holder: &Holder) -> String {
    match (holder.pid, &holder.command) {
        (Some(pid), Some(command)) => format!("pid {pid} ({command}) on {}", holder.host),
        (Some(pid), None) => format!("pid {pid} on {}", holder.host),
        (None, _) => format!("a key, on {}", holder.host),
    }
}

/// Formats an ordinal: `1st`, `2nd`, `3rd`, `4th`, `11th`.
pub(crate) fn ordinal(number: usize) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// Formats one lock as a block of aligned lines.
pub(crate) fn status(status: &Status) -> String {
    let mut rows = vec![
        ("lock", printable(&status.name)),
        ("state", colour(status.state, &status.state.to_string())),
        ("path", printable(&status.path)),
    ];
    if let Some(holder) = &status.holder {
        rows.push(("holder", who(holder)));
        if let Some(label) = &holder.label {
            rows.push(("label", label.clone()));
        }
        rows.push(("since", timestamp(holder.since)));
    }
    let times = [("timeout", status.timeout), ("age", status.age), ("remaining", status.remaining)];
    rows.extend(times.iter().filter_map(|(name, time)| Some((*name, short((*time)?)))));
    rows.extend(status.token.map(|token| ("token", token.to_string())));
    rows.extend(status.queue.iter().enumerate().map(|(nth, ticket)| {
        let title = if nth == 0 { "queue" } else { "" };
        (title, format!("{:<5} {ticket}, for {}", ordinal(nth + 1), short(ticket.waiting)))
    }));
    rows.extend(status.note.as_ref().map(|note| ("note", note.clone())));
    rows.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect()
}

/// Formats locks as a table with one line each.
pub(crate) fn table(found: &[Status]) -> String {
    let dash = || "-".to_owned();
    let mut rows = vec![["NAME", "STATE", "HOLDER", "LABEL", "AGE", "REMAINING"].map(String::from)];
    rows.extend(found.iter().map(|status| {
        let holder = status.holder.as_ref();
        [
            printable(&status.name),
            status.state.to_string(),
            holder.map_or_else(dash, who),
            holder.and_then(|holder| holder.label.clone()).unwrap_or_else(dash),
            status.age.map_or_else(dash, short),
            status.remaining.map_or_else(dash, short),
        ]
    }));
    let widths: Vec<usize> = (0..6)
        .map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for (nth, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[at] - cell.chars().count() + 2);
            let cell = match nth.checked_sub(1).map(|lock| found[lock].state) {
                Some(state) if at == 1 => colour(state, cell),
                _ => cell.clone(),
            };
            line += &(cell + &padding);
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// Describes how the lock was acquired, for `-v` and for users who must repair something.
pub(crate) fn how(how: &How) -> String {
    let from = |before: &Predecessor| {
        let Some(holder) = &before.holder else { return before.to_string() };
        let label = holder.label.as_ref().map(|label| format!(" `{label}`")).unwrap_or_default();
        let since = timestamp(holder.since);
        let token = before.token.map(|token| format!(", token {token}")).unwrap_or_default();
        format!("{}{label} that held it since {since}{token}", who(holder))
    };
    match how {
        How::AfterExpiry(before) if before.holder.is_none() => {
            format!(
                "removed the lock of {}, which has no timeout of its own, and got it; its work may be half done, or still go on: use a longer --timeout if it does",
                from(before)
            )
        }
        How::Free => "got the lock: it was free".into(),
        How::HandedOver(before) => format!("got the lock, handed over by {}", from(before)),
        How::AfterExpiry(before) => {
            format!(
                "took the lock over after its timeout from {}; its work may be half done",
                from(before)
            )
        }
        How::AfterDeath(before) => {
            format!(
                "took the lock over after the death of {}; its work may be half done",
                from(before)
            )
        }
        _ => "got the lock".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_escapes_unprintable_text_and_reads_back_the_same() {
        let text = "b\u{e4}ckup\u{1b}[2J\u{7f}\u{3164}\u{200b}\u{5d0}\u{627}\u{202e}\u{1e900}";

        let printed = json(&text).unwrap_or_default();

        let escapes = r"\u001b[2J\u007f\u3164\u200b\u05d0\u0627\u202e\ud83a\udd00";
        assert_eq!(printed, format!("\"b\u{e4}ckup{escapes}\"\n"));
        assert_eq!(serde_json::from_str::<String>(&printed).unwrap(), text);
    }
}
