//! The scheduler of the simulated processes: one of them has the turn at any time, time is simulated, and
//! every raw call passes through here. So a simulation of the real library on a real directory is repeated
//! exactly by its seed.

use std::collections::BTreeSet;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use lockbydir::simulated::Call;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use rustix::io::Errno;

use super::faults::{FaultRates, InjectedFault, Lie};
use super::machines::BEGIN;
use super::oracle::{Doer, Oracle};
use super::state::{Phase, ProcessState, SharedState};
use crate::chance::Dice;

/// How far the wall clocks are ahead of the simulated time.
pub(super) const WALL: Duration = Duration::from_secs(1_700_000_000);
/// A time longer than any simulation. The real clocks are ahead of the simulated ones by more than that.
const LONGEST: Duration = Duration::from_secs(100 * 24 * 3600);
/// The granularity of a kernel's directory times, in nanoseconds.
const TICK: u128 = 4_000_000;
/// The time for which a process is stopped after it started another, unless the scheduler continues it.
const FOR_EVER: Duration = Duration::MAX;

/// A simulation that is running.
pub(super) struct Scheduler {
    pub(super) folder: PathBuf,
    /// Whether it lies only as a local file system does.
    is_truly_local: bool,
    /// Whether the library takes the file system for local.
    pub(super) is_local: bool,
    state: Mutex<SharedState>,
    turns: Vec<Condvar>,
}

/// The payload with which the thread of a process unwinds when the process dies.
pub(super) struct Died;

type Now<'a> = MutexGuard<'a, SharedState>;

impl Scheduler {
    /// Returns a scheduler. `processes` has each process's own timeout, and whether it waits to be started.
    pub(super) fn new(
        folder: &Path,
        (is_truly_local, is_local): (bool, bool),
        processes: impl Iterator<Item = (Duration, bool)>,
        spells: Vec<InjectedFault>,
        mood: FaultRates,
        seed: u64,
        has_story: bool,
    ) -> Scheduler {
        let process = |(timeout, waits)| ProcessState {
            doing: if waits { Phase::NotStarted } else { Phase::Ready },
            deed: 0,
            calls: 0,
            is_dead: false,
            forces: false,
            timeout,
            persisting: Vec::new(),
            errors: Vec::new(),
            lies: 0,
            deadline: Duration::ZERO,
            drawn: Vec::new(),
        };
        let processes: Vec<ProcessState> = processes.map(process).collect();
        let turns = processes.iter().map(|_| Condvar::new()).collect();
        let state = SharedState {
            now: BEGIN,
            turn: 0,
            events: 0,
            processes,
            oracle: Oracle::default(),
            spells,
            mood,
            dice: Dice::seeded(seed),
            started_by: None,
            story: has_story.then(Vec::new),
            calls: 0,
            counts: BTreeMap::new(),
            made: HashMap::new(),
        };
        Scheduler {
            folder: folder.to_owned(),
            is_truly_local,
            is_local,
            state: Mutex::new(state),
            turns,
        }
    }

    pub(super) fn state(&self) -> Now<'_> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn into_state(self) -> SharedState {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock directory.
    pub(super) fn lockdir(&self) -> PathBuf {
        self.folder.join("jobs.lockdir")
    }

    /// Waits for the first turn of a process.
    pub(super) fn enter(&self, me: usize) {
        drop(self.wait(me, self.state()));
    }

    fn wait<'a>(&'a self, me: usize, mut state: Now<'a>) -> Now<'a> {
        while state.turn != me {
            state = self.turns[me].wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Phase::Stopped(_) = state.processes[me].doing {
            state.processes[me].doing = Phase::Ready;
        }
        state
    }

    fn give_turn(&self, state: &mut SharedState, to: usize) {
        state.turn = to;
        if let Some(turn) = self.turns.get(to) {
            turn.notify_one();
        }
    }

    /// Gives the turn to a process that can continue, and waits until it is our turn again.
    fn pass<'a>(&'a self, me: usize, mut state: Now<'a>) -> Now<'a> {
        let next = state.next();
        if next != me {
            self.give_turn(&mut state, next);
        }
        self.wait(me, state)
    }

    /// Ends a process that has performed all its actions.
    pub(super) fn leave(&self, me: usize) {
        let mut state = self.state();
        state.processes[me].doing = Phase::Gone;
        state.oracle.dead.insert(me);
        state.events += 1;
        let next = state.next();
        self.give_turn(&mut state, next);
    }

    /// Begins an action.
    pub(super) fn begin(&self, me: usize, deed: &str, forces: bool) {
        let mut state = self.state();
        let process = &mut state.processes[me];
        process.deed += 1;
        process.calls = 0;
        process.forces = forces;
        process.drawn.clear();
        state.log(me, || format!("-- {deed}"));
    }

    /// Kills a process: it does nothing any more, and its thread unwinds. Values that are dropped on the way
    /// may still make calls, which are refused.
    fn die(&self, me: usize, mut state: Now<'_>) -> Errno {
        state.processes[me].is_dead = true;
        state.oracle.dead.insert(me);
        drop(state);
        if !std::thread::panicking() {
            std::panic::resume_unwind(Box::new(Died));
        }
        Errno::IO
    }

    pub(super) fn dies(&self, me: usize) {
        self.die(me, self.state());
    }

    /// Does nothing for this time.
    pub(super) fn pause(&self, me: usize, how_long: Duration) {
        drop(self.stall(me, self.state(), how_long));
    }

    /// Makes the lock directory as a plain `mkdir` does.
    pub(super) fn make_bare(&self, me: usize) {
        let mut state = self.state();
        let made = std::fs::create_dir(self.lockdir());
        self.date(state.now);
        state.log(me, || format!("a bare directory: {made:?}"));
    }

    fn stall<'a>(&'a self, me: usize, mut state: Now<'a>, how_long: Duration) -> Now<'a> {
        state.processes[me].doing = Phase::Stopped(state.now + how_long);
        self.pass(me, state)
    }

    /// Lets a process that waits to be started run to its end, and then continues.
    fn barrier<'a>(&'a self, me: usize, mut state: Now<'a>) -> Now<'a> {
        let last = state.processes.len() - 1;
        let waits = |process: &ProcessState| process.doing == Phase::NotStarted;
        let Some(next) = state.processes[..last].iter().position(waits) else {
            return state;
        };
        state.processes[me].doing = Phase::Stopped(FOR_EVER);
        state.processes[next].doing = Phase::Ready;
        state.started_by = Some(me);
        self.give_turn(&mut state, next);
        self.wait(me, state)
    }

    /// Performs a raw call, or injects a fault instead.
    pub(super) fn call(
        &self,
        me: usize,
        call: &Call<'_>,
        perform: &mut dyn FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut state = self.state();
        if state.processes[me].is_dead {
            return Err(Errno::IO);
        }
        state.begin_call(me, call.kind);
        if state.oracle.broken.is_some() {
            return Err(self.die(me, state));
        }
        let turns = state.mood.turns;
        if state.dice.below(1000) < turns {
            state = self.pass(me, state);
        }
        let lie = state.lie(me, call.kind, self.is_truly_local);
        match lie {
            Some(Lie::StalledBefore(how_long)) => state = self.stall(me, state, how_long),
            Some(Lie::Meanwhile) => state = self.barrier(me, state),
            Some(Lie::DiedBefore) => {
                state.log(me, || format!("dies before {call:?}"));
                return Err(self.die(me, state));
            }
            _ => {}
        }
        let answer = match lie {
            Some(Lie::Refused(errno)) => Err(errno),
            Some(Lie::NotDone) => Ok(()),
            Some(Lie::MovedInto) => self.move_into(&mut state, call, perform),
            _ => {
                let answer = perform();
                if answer.is_ok() && call.kind.is_change() {
                    self.changed(me, &mut state, call);
                }
                answer
            }
        };
        let answer = match lie {
            Some(Lie::DoneBut(errno)) => answer.and(Err(errno)),
            _ => answer,
        };
        state.log(me, || describe(call, lie, answer));
        match lie {
            Some(Lie::StalledAfter(how_long)) => drop(self.stall(me, state, how_long)),
            Some(Lie::MeanwhileAfter) => drop(self.barrier(me, state)),
            Some(Lie::DiedAfter) => return Err(self.die(me, state)),
            _ => {}
        }
        answer
    }

    fn changed(&self, me: usize, state: &mut SharedState, call: &Call<'_>) {
        let process = &state.processes[me];
        let doer =
            Doer { who: me, now: state.now, forces: process.forces, timeout: process.timeout };
        state.oracle.changed(&doer, call);
        self.date(state.now);
    }

    /// Sets the simulated time on what the real file system has just dated by its own clock: D, stages, the
    /// queue, and what was moved into D.
    pub(super) fn date(&self, now: Duration) {
        for folder in [&self.folder, &self.lockdir()] {
            for name in names(folder).iter().filter(|name| name.starts_with("jobs.lockdir")) {
                let directory = folder.join(name);
                let is_dated_anew = |meta: &Metadata| {
                    let dated = meta.modified().unwrap_or(UNIX_EPOCH);
                    meta.is_dir() && dated > UNIX_EPOCH + BEGIN + WALL + LONGEST
                };
                if std::fs::symlink_metadata(&directory).is_ok_and(|meta| is_dated_anew(&meta)) {
                    stamp(&directory, now);
                }
            }
        }
    }

    /// Moves the stage into D if D exists; otherwise the stage becomes D correctly.
    fn move_into(
        &self,
        state: &mut SharedState,
        call: &Call<'_>,
        perform: &mut dyn FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let (Some(to), Some(name)) = (call.to, call.on.file_name()) else { return perform() };
        if rustix::fs::rename(call.on, to.join(name)).is_err() {
            return perform();
        }
        self.date(state.now);
        *state.counts.entry(MOVED_INTO).or_default() += 1;
        Err(Errno::EXIST)
    }

    /// Sleeps until this simulated time.
    pub(super) fn sleep(&self, me: usize, until: Duration, is_woken: &mut dyn FnMut() -> bool) {
        let mut state = self.state();
        let deaths = state.oracle.dead.len();
        state.log(me, || format!("sleeps until {until:?}"));
        loop {
            if state.oracle.broken.is_some() {
                self.die(me, state);
                return;
            }
            // A sleeper that watches a process notices its end.
            if state.now >= until || state.oracle.dead.len() != deaths || is_woken() {
                state.processes[me].doing = Phase::Ready;
                return;
            }
            state.processes[me].doing = Phase::Asleep(until, state.events);
            state = self.pass(me, state);
        }
    }

    /// Whether this name is left out of a listing, as a name may be that is renamed meanwhile.
    pub(super) fn is_hidden(&self, me: usize) -> bool {
        let mut state = self.state();
        let chance = if me + 1 == state.processes.len() { 0 } else { state.mood.lies / 2 };
        let is_hidden = state.dice.below(1000) < chance;
        if is_hidden {
            state.processes[me].lies += 1;
            *state.counts.entry("hidden").or_default() += 1;
            state.log(me, || "a name is left out".into());
        }
        is_hidden
    }

    /// Whether this process has ended.
    pub(super) fn is_gone(&self, who: usize) -> bool {
        self.state()
            .processes
            .get(who)
            .is_none_or(|process| process.is_dead || process.doing == Phase::Gone)
    }

    pub(super) fn nonce(&self, me: usize) -> u128 {
        let mut state = self.state();
        let (high, low) = (state.dice.below(u64::MAX), state.dice.below(u64::MAX));
        let nonce = u128::from(high) << 64 | u128::from(low);
        state.oracle.drawn.insert(nonce, me);
        state.processes[me].drawn.push(nonce);
        nonce
    }
}

/// The name under which moves into D are counted.
pub(super) const MOVED_INTO: &str = "moved into";

fn describe(call: &Call<'_>, lie: Option<Lie>, answer: Result<(), Errno>) -> String {
    let short = |path: &Path| match path.file_name() {
        // The number of a handle is not part of the simulation.
        Some(_) if path.starts_with("/proc/self/fd") && path.components().count() == 5 => {
            "a handle".into()
        }
        name => name.unwrap_or_default().to_string_lossy().into_owned(),
    };
    let to = call.to.map(|to| format!(" -> {}", short(to))).unwrap_or_default();
    let answer = match answer {
        Ok(()) => "done".into(),
        Err(errno) => format!("{errno:?}"),
    };
    let lie = lie.map(|lie| format!("  ** {lie:?}")).unwrap_or_default();
    format!("{:?} {}{to}: {answer}{lie}", call.kind, short(call.on))
}

/// Sets the simulated time on a directory.
fn stamp(directory: &Path, now: Duration) {
    let nanos = (now + WALL).as_nanos();
    let nanos = nanos - nanos % TICK;
    let time = Timespec {
        tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or(0),
    };
    let times = Timestamps { last_access: time, last_modification: time };
    let _ = utimensat(CWD, directory, &times, AtFlags::empty());
}

/// Returns the names in a folder.
pub(super) fn names(folder: &Path) -> BTreeSet<String> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found.map(|name| name.file_name().to_string_lossy().into_owned()).collect()
}
