//! Breaks locks, each on its own thread, since an engine may take its time.

use std::sync::mpsc::Sender;

use lockbydir::{Broken, Lock, printable};

use super::view::Question;
use crate::background::spawn;
use crate::board::State;
use crate::source::Locks;

/// Begins to break the lock; the outcome is sent as a message.
pub(super) fn begin(locks: &Locks, question: Question, answers: Sender<String>) {
    let name = printable(&question.lock);
    let Some(lock) = locks.find(&question.lock) else {
        let _ = answers.send(format!("{name} is gone"));
        return;
    };
    let failed = answers.clone();
    let run = move || {
        // Sending fails if the user has quit; then the outcome is not needed.
        let _ = answers.send(break_it(&lock, &question, &name));
    };
    if let Err(error) = spawn("breaking", run) {
        let _ = failed.send(error.to_string());
    }
}

fn break_it(lock: &Lock, question: &Question, name: &str) -> String {
    match lock.status() {
        // The question was about another holding.
        Ok(status) if status.token != question.token && status.holder.is_some() => {
            return format!("{name} has changed hands meanwhile: it was left as it is");
        }
        Ok(_) => {}
        Err(error) => return error.to_string(),
    }
    let broken = if question.by_force { lock.break_by_force() } else { lock.break_stale() };
    match broken {
        Ok(Broken::Removed(_)) if question.state == State::Bare => {
            format!("{name} is broken; its holder is unknown")
        }
        Ok(Broken::Removed(_)) => format!("{name} is broken; {} held it", question.holder),
        Ok(Broken::WasFree) => format!("{name} was free already"),
        Ok(Broken::StillHeld(None)) => {
            format!("{name} was left as it is: it is not old; press B to break it anyway")
        }
        Ok(Broken::StillHeld(_)) => {
            format!("{name} was left as it is: its holder lives; press B to break it anyway")
        }
        Ok(_) => format!("{name} was left as it is"),
        Err(error) => error.to_string(),
    }
}
