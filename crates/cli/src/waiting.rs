//! What a waiter prints: a live line on a terminal; elsewhere a line from time to time, for a log.

use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockbydir::{Lock, Waiting, printable};

use crate::args::Holding;
use crate::output;
use crate::render::{ordinal, short, who};

/// How long a waiter without a terminal waits before its first line: a shorter wait is not worth one.
const FIRST: Duration = Duration::from_secs(5);
/// The pause between its further lines, so that a log grows slowly.
const EVERY: Duration = Duration::from_secs(60);

/// Returns the lock, set to print what it waits for, unless `--quiet` is given.
pub(crate) fn announced(lock: Lock, holding: &Holding) -> Lock {
    if holding.quiet {
        return lock;
    }
    let hint = holding.hint();
    let is_first = AtomicBool::new(true);
    let say_hint = move || {
        if let Some(hint) = hint.as_ref().filter(|_| is_first.swap(false, Ordering::Relaxed)) {
            output::note(hint);
        }
    };
    if stderr().is_terminal() {
        return lock.on_wait(move |waiting| {
            say_hint();
            let width = match terminal_size::terminal_size_of(stderr()) {
                Some((terminal_size::Width(columns), _)) if columns > 0 => usize::from(columns),
                _ => 80,
            };
            output::live(&line(waiting).chars().take(width.max(20) - 1).collect::<String>());
        });
    }
    lock.on_wait_every(FIRST, EVERY, move |waiting| {
        say_hint();
        output::note(line(waiting));
    })
}

fn line(waiting: &Waiting<'_>) -> String {
    let status = waiting.status;
    let what = match (&status.holder, &status.note) {
        (Some(holder), _) => {
            let held = status.age.map(short).unwrap_or_default();
            let label =
                holder.label.as_ref().map(|label| format!(" `{label}`")).unwrap_or_default();
            let since = holder.since.elapsed().map(short).unwrap_or(held);
            let rest = status.remaining.map(short).unwrap_or_default();
            format!("held by {}{label} for {since}; expires in {rest} unless renewed", who(holder))
        }
        (None, Some(note)) => note.clone(),
        (None, None) => format!("{} lock directory", status.state),
    };
    let patience = match waiting.patience.duration() {
        Some(all) => format!("{}/{}", short(waiting.waited), short(all)),
        None => short(waiting.waited),
    };
    let name = printable(&status.name);
    let place = match waiting.place {
        Some(1) | None => String::new(),
        Some(place) => {
            let ahead = status.queue.get(place - 2);
            let behind = ahead.map(|ahead| format!(", behind {ahead}")).unwrap_or_default();
            format!("{} in the queue{behind}; ", ordinal(place))
        }
    };
    format!("waiting {patience} for {name}: {place}{what}")
}
