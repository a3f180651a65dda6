//! The last process, which starts when all others are gone and the file system works correctly again: it
//! acquires the lock within the promised time, and cleans up what docs/protocol.md permits to be left.

use std::fs;
use std::time::Duration;

use lockbydir::Guard;
use lockbydir_protocol::{Entry, Nonce, State, promise};

use super::handles::{lock, nonce};
use super::machines::BEGIN;
use super::plot::SimulatedProcess;
use super::scheduler::{MOVED_INTO, Scheduler, names};

/// The time that waiting may take in addition to timeouts: to pass over tickets of dead waiters.
const QUEUE_TIME: Duration = Duration::from_secs(3);
/// The additional time for a process that shares no boot clock and looks only once (docs/protocol.md, "The
/// verdict").
const SLACK: Duration = Duration::from_secs(61);
/// The age at which even the most careful judge counts everything as old.
const OLD_AGE: Duration = Duration::from_secs(3 * 3600);

/// Runs the last process. `part.deeds` is empty for a process that waits, and not empty for one that starts
/// later and tries once.
pub(super) fn act(scheduler: &Scheduler, me: usize, part: &SimulatedProcess) {
    remove_litter(scheduler);
    let longest = {
        let state = scheduler.state();
        state.oracle.longest.max(part.timeout)
    };
    // First the last hold expires; then the remains of an interrupted release age by our own timeout.
    let bound = longest + part.timeout + QUEUE_TIME;
    let tries_once = !part.deeds.is_empty();
    let lock = lock(scheduler, me, part);
    let patience = if tries_once { Duration::ZERO } else { bound };
    if tries_once {
        scheduler.pause(me, bound + SLACK);
    }
    scheduler.begin(
        me,
        if tries_once { "the next one tries" } else { "the next one waits" },
        false,
    );
    let got = lock.clone().patience(patience).acquire();
    match got {
        Ok(guard) => hold(scheduler, me, guard),
        Err(error) => {
            let left = names(&scheduler.folder).into_iter().chain(names(&scheduler.lockdir()));
            let seen = format!("{error}; there are {:?}", left.collect::<Vec<_>>());
            let promise = promise::A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN;
            return scheduler.state().oracle.broke(promise, seen);
        }
    }
    drop(lock);
    scheduler.pause(me, OLD_AGE);
    let cleaned = lockbydir::clean(&scheduler.folder);
    let mut state = scheduler.state();
    state.log(me, || format!("cleaned {cleaned:?}"));
    let left: Vec<String> = names(&scheduler.folder)
        .into_iter()
        .filter(|name| !state.oracle.others.contains(name) && !is_kept(scheduler, name))
        .collect();
    if !left.is_empty() {
        let promise = promise::A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN;
        state.oracle.broke(promise, format!("{left:?} is left"));
    }
    let gone: Vec<&String> =
        state.oracle.others.iter().filter(|name| !scheduler.folder.join(name).exists()).collect();
    if !gone.is_empty() {
        let seen = format!("{gone:?} is gone");
        state.oracle.broke(promise::NAMES_OF_OTHERS_ARE_NEVER_TOUCHED, seen);
    }
}

fn hold(scheduler: &Scheduler, me: usize, guard: Guard) {
    let key = guard.key();
    let rest = guard.remaining();
    let mut state = scheduler.state();
    let now = state.now;
    let until = now + rest;
    state.log(me, || format!("holds {key} until {:?}", until - BEGIN));
    state.oracle.believes(me, nonce(&key), key.token(), now, until, true);
    drop(state);
    let released = guard.release();
    let mut state = scheduler.state();
    state.oracle.beliefs.remove(&me);
    if let Err(error) = released {
        let promise = promise::A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN;
        state.oracle.broke(promise, format!("the last release: {error}"));
    }
}

/// Whether this is the directory of a fenced lock, which stays with one open entry.
fn is_kept(scheduler: &Scheduler, name: &str) -> bool {
    let entries: Vec<String> = names(&scheduler.lockdir()).into_iter().collect();
    let is_open = |entry: Entry| entry.state == State::Open && entry.fenced;
    name == "jobs.lockdir" && entries.len() == 1 && Entry::parse(&entries[0]).is_some_and(is_open)
}

/// Removes stages that were moved into D. Such a stage keeps D from being removed until somebody removes
/// the stage (docs/protocol.md, "Foreign things"). If none was moved, none may be there.
fn remove_litter(scheduler: &Scheduler) {
    let is_stage = |name: &String| {
        name.strip_prefix("jobs.lockdir.").is_some_and(|nonce| Nonce::parse(nonce).is_some())
    };
    for name in names(&scheduler.lockdir()).iter().filter(|name| is_stage(name)) {
        let mut state = scheduler.state();
        if !state.counts.contains_key(MOVED_INTO) {
            let promise = promise::A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN;
            state.oracle.broke(promise, format!("{name} is in D, where no lie brought it"));
        }
        let _ = fs::remove_dir_all(scheduler.lockdir().join(name));
        scheduler.date(state.now);
    }
}
