//! One simulation from its beginning to its end, in a folder that serves for many.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use lockbydir::simulated::Kind;
use tempfile::TempDir;

use super::contender;
use super::machines::{boot, booted};
use super::oracle::Broken;
use super::plot::{Plot, SimulatedProcess};
use super::scheduler::{Scheduler, names};

/// The result of a simulation.
#[derive(Debug, Default)]
pub struct Played {
    /// The first promise that was broken.
    pub broken: Option<Broken>,
    /// The story, call by call, if it was requested.
    pub story: Vec<String>,
    /// The number of acquisitions.
    pub holds: u64,
    /// Raw calls.
    pub calls: u64,
    /// The number of each fault.
    pub counts: BTreeMap<&'static str, u64>,
    /// The calls that each process made in each action, if turns are not random.
    pub made: HashMap<(usize, usize), Vec<Kind>>,
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.story {
            writeln!(f, "{line}")?;
        }
        match &self.broken {
            Some(Broken { promise, seen }) => write!(f, "broken: {promise}\n  {seen}"),
            None => write!(f, "every promise kept"),
        }
    }
}

/// The largest number of processes in one simulation.
const MOST_PROCESSES: usize = 8;

/// A folder in memory, in which simulations run one after the other.
#[derive(Debug, Default)]
pub struct House {
    folder: Option<TempDir>,
}

impl House {
    /// Runs a simulation; with the whole story if `has_story`.
    ///
    /// # Panics
    /// If the folder cannot be made.
    pub fn play(&mut self, plot: &Plot, has_story: bool) -> Played {
        let folder = self.folder.get_or_insert_with(make_folder).path().to_owned();
        let processes =
            plot.parts.iter().enumerate().map(|(who, part)| {
                (part.timeout, part.waits_for_cue || who + 1 == plot.parts.len())
            });
        let scheduler = Scheduler::new(
            &folder,
            (plot.is_local, plot.is_local || plot.is_mistaken),
            processes,
            plot.spells.clone(),
            plot.mood,
            plot.seed,
            has_story,
        );
        {
            let mut state = scheduler.state();
            state.oracle.others = names(&folder);
            state.oracle.longest =
                plot.parts.iter().map(SimulatedProcess::longest).max().unwrap_or_default();
            for part in &plot.parts {
                state.oracle.boots.insert(boot(part.host), booted(part.host));
            }
        }
        let scheduler = Arc::new(scheduler);
        thread::scope(|scope| {
            for (me, part) in plot.parts.iter().enumerate() {
                let scheduler = &scheduler;
                scope.spawn(move || contender::run(scheduler, me, part));
            }
        });
        let scheduler = Arc::into_inner(scheduler).expect("all contenders are gone");
        let mut state = scheduler.into_state();
        let fenced = plot.parts.iter().any(|part| part.fenced);
        if state.oracle.broken.is_some() {
            // The remains must not disturb the next simulation.
            self.folder = None;
        } else if fenced {
            let _ = fs::remove_dir_all(folder.join("jobs.lockdir"));
        }
        Played {
            story: state.story(),
            holds: state.oracle.holds,
            calls: state.calls,
            broken: state.oracle.broken,
            counts: state.counts,
            made: state.made,
        }
    }
}

/// Makes a folder with the paths that the processes use to it, and with files of others.
fn make_folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("lockbydir-simulation-").tempdir_in("/dev/shm");
    let folder = folder.expect("a folder in memory");
    contender::make_ways(folder.path(), MOST_PROCESSES).expect("ways to it");
    let theirs = folder.path().join("other.lockdir");
    fs::create_dir(&theirs).expect("another's lock");
    for name in ["jobs.txt", "jobs.lockdir.old", "other.lockdir/note"] {
        fs::write(folder.path().join(name), "not ours").expect("another's file");
    }
    folder
}

/// The results of many simulations.
#[derive(Debug, Default)]
pub struct Tally {
    /// The number of simulations.
    pub plays: u64,
    /// The number of holds.
    pub holds: u64,
    /// Raw calls.
    pub calls: u64,
    /// The number of each fault.
    pub counts: BTreeMap<&'static str, u64>,
    /// The first of all simulations in which a promise was broken, and how.
    pub broken: Option<(u64, Plot, Broken)>,
}

impl Tally {
    fn add(&mut self, nth: u64, plot: Plot, played: Played) {
        self.plays += 1;
        self.holds += played.holds;
        self.calls += played.calls;
        for (what, count) in played.counts {
            *self.counts.entry(what).or_default() += count;
        }
        if let Some(broken) = played.broken
            && self.broken.as_ref().is_none_or(|(first, ..)| nth < *first)
        {
            self.broken = Some((nth, plot, broken));
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { plays, holds, calls, .. } = self;
        write!(f, "{plays} plays, {holds} holds, {calls} calls; of these")?;
        for (what, count) in &self.counts {
            write!(f, " {count} {what},")?;
        }
        write!(f, " the others as they should")
    }
}

/// Runs all simulations, on all processors, until a promise is broken.
///
/// # Panics
/// If a thread of a simulation does.
pub fn play_all(numbers: std::ops::Range<u64>, plot: impl Fn(u64) -> Plot + Sync) -> Tally {
    let next = AtomicU64::new(numbers.start);
    let tally = Mutex::new(Tally::default());
    let work = || {
        let mut house = House::default();
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            if nth >= numbers.end || tally.lock().expect("a tally").broken.is_some() {
                return;
            }
            let plot = plot(nth);
            let played = house.play(&plot, false);
            tally.lock().expect("a tally").add(nth, plot, played);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    tally.into_inner().expect("a tally")
}
