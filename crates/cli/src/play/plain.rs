//! A play as lines, where no frames can be drawn: the words of the players, and a line for each event.

use std::time::Duration;

use lockbydir_player::{Contender, Event, How, Source, What, Why};

use crate::exit::Failure;
use crate::output;

/// Prints all events as they arrive, and the verdict last.
pub(super) fn print_events(mut source: Box<dyn Source>) -> Result<(), Failure> {
    let mut begun = None;
    let mut verdict = String::new();
    while !source.is_over() {
        let mut lines = String::new();
        for event in source.next(Duration::from_secs(1))? {
            let since = event.at - *begun.get_or_insert(event.at);
            let Some(line) = line(&event, since) else { continue };
            if line.starts_with("Verdict: ") {
                verdict += &(line + "\n");
                continue;
            }
            lines += &(line + "\n");
        }
        if !output::has_reader(&lines)? {
            return Ok(());
        }
    }
    output::print(&verdict).map(drop)
}

fn line(event: &Event, since: f64) -> Option<String> {
    let of_lock = || Some(format!("{since:9.3} s | {}: {}", event.lock, words(&event.what)?));
    event.what.said().or_else(of_lock)
}

fn words(what: &What) -> Option<String> {
    let by = what.by().map(name).unwrap_or_default();
    Some(match what {
        What::Acquired { how, .. } => format!("{by} holds it, {}", gained(*how)),
        What::Renewed { times, .. } => match times {
            None | Some(1) => format!("{by} renewed it"),
            Some(times) => format!("{by} renewed it {times} times"),
        },
        What::Expired { .. } => format!("{by} let it expire"),
        What::Died { .. } => format!("{by} died and left it held"),
        What::Released { .. } => format!("{by} released it"),
        What::Broken { .. } => format!("{by}'s lock was broken"),
        What::Joined { .. } => format!("{by} waits"),
        What::Left { why: Why::GaveUp, .. } => format!("{by} gave up waiting"),
        What::Left { why: Why::Died, .. } => format!("{by} died waiting"),
        What::Left { why: Why::Gone, .. } => format!("{by} stopped waiting (reason not seen)"),
        What::Bare => "a plain mkdir lock is in its place".into(),
        What::Foreign { why } => format!("cannot be locked: {why}"),
        What::Cleared => "the foreign entry in its place is gone".into(),
        What::Missed { count } => format!("{count} holdings were too short to be seen"),
        What::Busy { a_second } => format!("changes hands about {a_second} times a second"),
        What::Calm => "each holding is seen again".into(),
        What::Left { why: Why::Served, .. }
        | What::Appeared
        | What::Unreachable { .. }
        | What::Reachable { .. }
        | What::Said { .. } => return None,
    })
}

fn gained(how: How) -> &'static str {
    match how {
        How::Before => "since before",
        How::Free => "it was free",
        How::HandedOver => "handed over",
        How::AfterExpiry => "after expiry",
        How::AfterDeath => "after a death",
    }
}

fn name(who: &Contender) -> String {
    let name = who.label.as_deref().or(who.command.as_deref()).unwrap_or("somebody");
    match who.pid {
        Some(pid) => format!("{name} (pid {pid})"),
        None => name.to_owned(),
    }
}
