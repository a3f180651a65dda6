//! Who comes last, when all others are gone and the file system is well again: it gets the lock
//! within the promised time, and clears away what docs/protocol.md says may be left.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use lockbydir::Guard;
use lockbydir_protocol::{Entry, Nonce, State, promise};

use super::actor::{lock, nonce};
use super::contender::SimulatedProcess;
use super::scheduler::{BEGIN, MOVED_INTO, Scheduler};

/// What waiting may cost beside timeouts: the moments of those in the queue that are gone.
const MOMENTS: Duration = Duration::from_secs(3);
/// Where no boot clock is shared, and one looks but once (docs/protocol.md, "The verdict").
const SLACK: Duration = Duration::from_secs(61);
/// After it even the most careful judge counts everything as old.
const AGES: Duration = Duration::from_secs(3 * 3600);

/// All the others are gone. `part.deeds` is empty for one who waits, and something for one who
/// comes later and tries once.
pub(super) fn act(play: &Scheduler, me: usize, part: &SimulatedProcess) {
    remove_litter(play);
    let longest = {
        let scene = play.scene();
        scene.truth.longest.max(part.timeout)
    };
    // First the last hold expires; what a release cut short then leaves ages by one's own timeout.
    let bound = longest + part.timeout + MOMENTS;
    let tries_once = !part.deeds.is_empty();
    let lock = lock(play, me, part);
    let patience = if tries_once { Duration::ZERO } else { bound };
    if tries_once {
        play.pause(me, bound + SLACK);
    }
    play.begin(me, if tries_once { "the next one tries" } else { "the next one waits" }, false);
    let got = lock.clone().patience(patience).acquire();
    match got {
        Ok(guard) => hold(play, me, guard),
        Err(error) => {
            let left = names(&play.folder).into_iter().chain(names(&play.lockdir()));
            let seen = format!("{error}; there are {:?}", left.collect::<Vec<_>>());
            let promise = promise::A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN;
            return play.scene().truth.broke(promise, seen);
        }
    }
    drop(lock);
    play.pause(me, AGES);
    let cleaned = lockbydir::clean(&play.folder);
    let mut scene = play.scene();
    scene.tell(me, || format!("cleaned {cleaned:?}"));
    let left: Vec<String> = names(&play.folder)
        .into_iter()
        .filter(|name| !scene.truth.others.contains(name) && !is_kept(play, name))
        .collect();
    if !left.is_empty() {
        let promise = promise::A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN;
        scene.truth.broke(promise, format!("{left:?} is left"));
    }
    let gone: Vec<&String> =
        scene.truth.others.iter().filter(|name| !play.folder.join(name).exists()).collect();
    if !gone.is_empty() {
        let seen = format!("{gone:?} is gone");
        scene.truth.broke(promise::NAMES_OF_OTHERS_ARE_NEVER_TOUCHED, seen);
    }
}

fn hold(play: &Scheduler, me: usize, guard: Guard) {
    let key = guard.key();
    let rest = guard.remaining();
    let mut scene = play.scene();
    let now = scene.now;
    let until = now + rest;
    scene.tell(me, || format!("holds {key} until {:?}", until - BEGIN));
    scene.truth.believes(me, nonce(&key), key.token(), now, until, true);
    drop(scene);
    let released = guard.release();
    let mut scene = play.scene();
    scene.truth.beliefs.remove(&me);
    if let Err(error) = released {
        let promise = promise::A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN;
        scene.truth.broke(promise, format!("the last release: {error}"));
    }
}

/// A fenced lock's directory stays, with one open entry.
fn is_kept(play: &Scheduler, name: &str) -> bool {
    let entries: Vec<String> = names(&play.lockdir()).into_iter().collect();
    let is_open = |entry: Entry| entry.state == State::Open && entry.fenced;
    name == "jobs.lockdir" && entries.len() == 1 && Entry::parse(&entries[0]).is_some_and(is_open)
}

pub(super) fn names(folder: &Path) -> BTreeSet<String> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found.map(|name| name.file_name().to_string_lossy().into_owned()).collect()
}

/// A stage that was moved into D keeps it from vanishing until somebody removes it (docs/protocol.md,
/// "Foreign things"). Where none was moved, none may be there.
fn remove_litter(play: &Scheduler) {
    let is_stage = |name: &String| {
        name.strip_prefix("jobs.lockdir.").is_some_and(|nonce| Nonce::parse(nonce).is_some())
    };
    for name in names(&play.lockdir()).iter().filter(|name| is_stage(name)) {
        let mut scene = play.scene();
        if !scene.counts.contains_key(MOVED_INTO) {
            let promise = promise::A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN;
            scene.truth.broke(promise, format!("{name} is in D, where no lie brought it"));
        }
        let _ = fs::remove_dir_all(play.lockdir().join(name));
        play.date(scene.now);
    }
}
