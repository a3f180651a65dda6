//! One play from its beginning to its end, in a folder that serves for many.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use lockbydir::simulated::Kind;
use tempfile::TempDir;

use super::contender::{self, SimulatedProcess, boot, booted};
use super::final_check::names;
use super::oracle::Broken;
use super::scheduler::Scheduler;
use super::state::{FaultRates, InjectedFault};

/// What is played.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Is the file system one kernel's alone?
    pub is_local: bool,
    /// Is it believed to be, though it lies as others do? Then a play must find it out.
    pub is_mistaken: bool,
    /// Who plays; the last one comes when all others are gone.
    pub parts: Vec<SimulatedProcess>,
    /// What becomes of which call.
    pub spells: Vec<InjectedFault>,
    /// What else may become of any.
    pub mood: FaultRates,
    /// Everything that chance decides.
    pub seed: u64,
}

/// What a play came to.
#[derive(Debug, Default)]
pub struct Played {
    /// The first promise that was broken.
    pub broken: Option<Broken>,
    /// Call by call, where it was asked for.
    pub story: Vec<String>,
    /// How often the lock was had.
    pub holds: u64,
    /// Raw calls.
    pub calls: u64,
    /// How often something became of a call.
    pub counts: BTreeMap<&'static str, u64>,
    /// The calls that each contender made in each deed, where turns are not left to chance.
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

/// More contenders than this never meet.
const MOST: usize = 8;

/// A folder in memory, where plays are played, one after the other.
#[derive(Debug, Default)]
pub struct House {
    folder: Option<TempDir>,
}

impl House {
    /// Plays; with the whole story if it is asked for.
    ///
    /// # Panics
    /// When there is no folder to play in.
    pub fn play(&mut self, plot: &Plot, tells: bool) -> Played {
        let folder = self.folder.get_or_insert_with(furnish).path().to_owned();
        let cast =
            plot.parts.iter().enumerate().map(|(who, part)| {
                (part.timeout, part.waits_for_cue || who + 1 == plot.parts.len())
            });
        let play = Scheduler::new(
            &folder,
            (plot.is_local, plot.is_local || plot.is_mistaken),
            cast,
            plot.spells.clone(),
            plot.mood,
            plot.seed,
            tells,
        );
        {
            let mut scene = play.scene();
            scene.truth.others = names(&folder);
            scene.truth.longest =
                plot.parts.iter().map(SimulatedProcess::longest).max().unwrap_or_default();
            for part in &plot.parts {
                scene.truth.boots.insert(boot(part.host), booted(part.host));
            }
        }
        let play = Arc::new(play);
        thread::scope(|scope| {
            for (me, part) in plot.parts.iter().enumerate() {
                let play = &play;
                scope.spawn(move || contender::play(play, me, part));
            }
        });
        let play = Arc::into_inner(play).expect("all contenders are gone");
        let mut scene = play.into_scene();
        let fenced = plot.parts.iter().any(|part| part.fenced);
        if scene.truth.broken.is_some() {
            // Whatever is there now shall not disturb the next play.
            self.folder = None;
        } else if fenced {
            let _ = fs::remove_dir_all(folder.join("jobs.lockdir"));
        }
        Played {
            story: scene.story(),
            holds: scene.truth.holds,
            calls: scene.calls,
            broken: scene.truth.broken,
            counts: scene.counts,
            made: scene.made,
        }
    }
}

/// A folder with the ways that contenders take to it, and with what is other people's.
fn furnish() -> TempDir {
    let folder = tempfile::Builder::new().prefix("lockbydir-lying-").tempdir_in("/dev/shm");
    let folder = folder.expect("a folder in memory");
    contender::make_ways(folder.path(), MOST).expect("ways to it");
    let theirs = folder.path().join("other.lockdir");
    fs::create_dir(&theirs).expect("another's lock");
    for name in ["jobs.txt", "jobs.lockdir.old", "other.lockdir/note"] {
        fs::write(folder.path().join(name), "not ours").expect("another's file");
    }
    folder
}

/// What many plays came to.
#[derive(Debug, Default)]
pub struct Tally {
    /// Plays.
    pub plays: u64,
    /// Holds.
    pub holds: u64,
    /// Raw calls.
    pub calls: u64,
    /// What became of calls, and how often.
    pub counts: BTreeMap<&'static str, u64>,
    /// The first of all plays in which a promise was broken, and how.
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

/// Plays them all, on all processors, until a promise is broken.
///
/// # Panics
/// When a thread of its own does.
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
