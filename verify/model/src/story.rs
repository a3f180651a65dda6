//! A path through a world in words: what each contender did, and the state of D afterwards.

use std::fmt::Write;

use lockbydir_protocol::{Answer, Entry, Handoff, Observation, Operation, State, Wake, WakeSource};
use stateright::Path;

use crate::contender::{Next, owner_of};
use crate::state::Moment;
use crate::transitions::Act;

/// Describes a path, one line per step.
#[must_use]
pub fn story(path: Path<Moment, Act>) -> String {
    let steps = path.into_vec();
    let mut text = String::new();
    for (number, pair) in steps.windows(2).enumerate() {
        let ((before, act), (after, _)) = (&pair[0], &pair[1]);
        let Some(act) = act else { continue };
        let line = describe(before, *act, after);
        let _ = writeln!(text, "{:>3}. t{} {line}", number + 1, after.time);
    }
    text
}

fn name(id: usize) -> char {
    (b'A' + u8::try_from(id).unwrap_or(0)) as char
}

fn describe(before: &Moment, act: Act, after: &Moment) -> String {
    let done = match act {
        Act::Tick => "time goes on".into(),
        Act::TickAsleep => "time goes on while A's computer sleeps".into(),
        Act::Acquire(id) => format!("{} takes what it left open", name(id)),
        Act::Renew(id) => format!("{} begins to renew", name(id)),
        Act::RenewByKey(id) => format!("{} begins to renew by the key", name(id)),
        Act::Release(id, stays) => {
            let how = if stays { ", and lets D stay" } else { "" };
            format!("{} begins to release{how}", name(id))
        }
        Act::GiveUp(id) => format!("{} gives up", name(id)),
        Act::Effect(id) => format!("{} {}", name(id), asked(before, id, after)),
        Act::EffectAndPause(id) => {
            format!("{} {}; it stands still", name(id), asked(before, id, after))
        }
        Act::Lie(id, trick) => format!("{} {} ({trick:?})", name(id), asked(before, id, after)),
        Act::GoOn(id) => format!("{} goes on", name(id)),
        Act::Wake(id) => format!("{} wakes", name(id)),
        Act::Crash(id) => format!("{} crashes", name(id)),
        Act::Bare => "somebody's plain mkdir, or its rmdir".into(),
        Act::Foreign => "somebody puts a file into D".into(),
    };
    let mut line = done;
    if before.disk != after.disk {
        let _ = write!(line, " -> D is {}", disk(after));
    }
    for (id, person) in after.people.iter().enumerate() {
        let held = before.people[id].hold.is_some();
        match (&person.hold, held) {
            (Some(_), false) => {
                let _ = write!(line, "; {} holds", name(id));
            }
            (None, true) if !matches!(act, Act::Release(..)) => {
                let _ = write!(line, "; {} holds no more", name(id));
            }
            _ => {}
        }
    }
    line
}

fn asked(before: &Moment, id: usize, after: &Moment) -> String {
    let Next::Ask(operation, step) = &before.people[id].next else { return "waits".into() };
    let is_asleep = matches!(after.people[id].next, Next::Asleep(..));
    match operation {
        Operation::Look => "looks".into(),
        Operation::Stage(_) => "stages".into(),
        Operation::Install(to) => format!("installs {}", entry(to)),
        Operation::Unstage(_) => "clears its stage away".into(),
        Operation::Rename(from, to) => format!("renames {} to {}", entry(from), entry(to)),
        Operation::Unlink(from) => format!("unlinks {}", entry(from)),
        Operation::RemoveDir(_) => "removes D if it is empty".into(),
        Operation::Reopen(to) => format!("makes {} beside what litters D", entry(to)),
        Operation::AskLiveness(_) => "asks who lives".into(),
        Operation::ReadFileClock => "reads the file system's clock".into(),
        Operation::AskRemovable => "asks whether it may remove D".into(),
        Operation::HasWaiters => "listens whether somebody waits".into(),
        Operation::WakeFirst => "rings the bell".into(),
        Operation::ListQueue => "lists the queue".into(),
        Operation::Enter(_) if *step == 0 => "makes its ticket".into(),
        Operation::Enter(_) => "opens its ticket".into(),
        Operation::Leave(_, handoff) if *step == 0 => format!("says \"{}\"", message(handoff)),
        Operation::Leave(..) => "unlinks its ticket".into(),
        Operation::Expel(ticket, handoff) => {
            format!(
                "removes {}'s ticket, saying \"{}\"",
                name(owner_of(ticket.nonce)),
                message(handoff)
            )
        }
        Operation::Listen => "opens the bell".into(),
        Operation::CloseQueue if *step == 0 => "clears the queue of the dead".into(),
        Operation::CloseQueue => "removes the queue".into(),
        Operation::Sleep(source, _) => {
            let whom = match source {
                WakeSource::Ticket(ticket) => format!("{}'s ticket", name(owner_of(ticket.nonce))),
                WakeSource::Bell(_) => "the bell".into(),
                WakeSource::Nothing => "nothing".into(),
            };
            let end = if is_asleep { "falls asleep on" } else { "would sleep, but is notified by" };
            format!("{end} {whom}")
        }
    }
}

fn message(handoff: &Handoff) -> String {
    match handoff {
        Handoff::First => "you are first".into(),
        Handoff::Behind(ticket) => format!("{} is ahead of you", name(owner_of(ticket.nonce))),
    }
}

/// Returns a short form of an entry: its owner, the count in its name, and its token.
fn entry(entry: &Entry) -> String {
    let state = if entry.state == State::Held { "" } else { "open:" };
    let (nonce, renewals) = (entry.nonce.0 & 7, entry.renewals);
    format!("{state}{}{nonce}.{renewals}#{}", name(owner_of(entry.nonce)), entry.token)
}

fn disk(moment: &Moment) -> String {
    match &moment.disk.inside {
        None => "absent".into(),
        Some(inside) => {
            let mut names: Vec<String> = inside.entry.iter().map(entry).collect();
            names.extend(inside.foreign.then(|| "a file of others".into()));
            names.extend((inside.litter != 0).then(|| "a stage".into()));
            if names.is_empty() { "empty".into() } else { format!("[{}]", names.join(", ")) }
        }
    }
}

impl Moment {
    /// Returns what each contender is about to do, to explain the end of a story.
    #[must_use]
    pub fn end(&self) -> String {
        let all = self.people.iter().enumerate().map(|(id, person)| {
            let next = match &person.next {
                Next::Nothing if person.is_crashed => "is dead".into(),
                Next::Nothing => "does nothing".into(),
                Next::Ask(..) => format!("is about to: {}", asked(self, id, self)),
                Next::Asleep(..) => "sleeps".into(),
                Next::Answered(Answer::Seen(Observation::Absent), _) => {
                    "saw that D is absent".into()
                }
                Next::Answered(Answer::Woken(Wake::Time), _) => "woke at its time".into(),
                Next::Answered(..) => "received an answer".into(),
            };
            format!("{} {next}", name(id))
        });
        all.collect::<Vec<_>>().join("; ")
    }
}
