//! What each mutant does, once, among the actions of its process.

use std::fs;

use lockbydir::simulated::{Call, Kind};
use lockbydir_protocol::{Entry, State};

use super::machines::booted;
use super::mutant::{Mutant, THING};
use super::plot::SimulatedProcess;
use super::scheduler::Scheduler;

impl Mutant {
    /// Performs the misbehavior.
    pub(super) fn misbehave(self, scheduler: &Scheduler, me: usize, part: &SimulatedProcess) {
        let now = scheduler.state().now;
        let found = fs::read_dir(scheduler.lockdir()).into_iter().flatten().flatten();
        let found = found.filter_map(|name| name.file_name().to_str().and_then(Entry::parse));
        let mut held = found.filter(|entry| entry.state == State::Held);
        match self {
            Mutant::HoldsTooLong | Mutant::SetsItsClockBack => {}
            Mutant::EndsWhatItFinds => held.for_each(|entry| end(scheduler, me, &entry)),
            Mutant::ObeysItsOwnTimeout => held
                .filter(|entry| booted(part.host) + entry.stamp + part.timeout <= now)
                .for_each(|entry| end(scheduler, me, &entry)),
            Mutant::ShortensWhatItFinds => held.for_each(|entry| {
                let (timeout, renewals) = (part.timeout, entry.renewals + 1);
                let shorter = Entry { timeout, renewals, ..entry.clone() };
                rename(scheduler, me, &entry, &shorter);
            }),
            Mutant::ComesLate => {
                let given_up = scheduler.state().oracle.given_up.iter().next().copied();
                if let (Some(entry), Some(nonce)) = (held.next(), given_up) {
                    rename(scheduler, me, &entry, &Entry { nonce, ..entry.clone() });
                }
            }
            Mutant::LeavesAThing => {
                let _ = fs::create_dir(scheduler.lockdir());
                let _ = fs::write(scheduler.lockdir().join(THING), "mine");
            }
            Mutant::TidiesUp => drop(fs::remove_file(scheduler.folder.join("jobs.lockdir.old"))),
            Mutant::Panics => std::panic::resume_unwind(Box::new("as it was ordered to")),
        }
    }
}

/// Ends a hold, by the calls that the library would make.
fn end(scheduler: &Scheduler, me: usize, entry: &Entry) {
    let name = entry.to_string();
    let call = Call { kind: Kind::Unlink, on: name.as_ref(), to: None };
    let _ = scheduler.call(me, &call, &mut || rustix::fs::unlink(scheduler.lockdir().join(&name)));
}

fn rename(scheduler: &Scheduler, me: usize, from: &Entry, to: &Entry) {
    let (from, to) = (from.to_string(), to.to_string());
    let call = Call { kind: Kind::Rename, on: from.as_ref(), to: Some(to.as_ref()) };
    let lockdir = scheduler.lockdir();
    let _ = scheduler
        .call(me, &call, &mut || rustix::fs::rename(lockdir.join(&from), lockdir.join(&to)));
}
