//! The stage on which contenders meet: one of them has the turn at any time, time is made, and
//! every raw call passes by here. So a play of the real library on a real directory is repeated
//! exactly by its seed.

use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use lockbydir::simulated::Call;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use rustix::io::Errno;

use super::faults::Lie;
use super::final_check::names;
use super::oracle::{Doer, Oracle};
use super::state::{FaultRates, Figure, InjectedFault, Phase, SharedState};
use crate::chance::Dice;

/// When a play begins, in its own time.
pub(super) const BEGIN: Duration = Duration::from_secs(10_000_000);
/// The wall clocks are so much ahead of a play's time.
pub(super) const WALL: Duration = Duration::from_secs(1_700_000_000);
/// No play lasts as long. The real clocks are ahead of the plays' by more than that.
const EVER: Duration = Duration::from_secs(100 * 24 * 3600);
/// Kernels stamp directories by the tick.
const TICK: u128 = 4_000_000;
/// How long one who gave a cue stands still, unless it is told to go on.
const FOR_EVER: Duration = Duration::MAX;

/// A play under way.
pub(super) struct Scheduler {
    pub(super) folder: PathBuf,
    /// Does it lie as a file system of one kernel does?
    is_truly_local: bool,
    /// What the library is told of that.
    pub(super) is_local: bool,
    scene: Mutex<SharedState>,
    turns: Vec<Condvar>,
}

/// The payload with which a contender's thread unwinds when it dies.
pub(super) struct Died;

type Now<'a> = MutexGuard<'a, SharedState>;

impl Scheduler {
    /// `timeouts` are those that the contenders use themselves; who waits for a cue is marked.
    pub(super) fn new(
        folder: &Path,
        (is_truly_local, is_local): (bool, bool),
        cast: impl Iterator<Item = (Duration, bool)>,
        spells: Vec<InjectedFault>,
        mood: FaultRates,
        seed: u64,
        tells: bool,
    ) -> Scheduler {
        let figure = |(timeout, waits)| Figure {
            doing: if waits { Phase::OffStage } else { Phase::Ready },
            deed: 0,
            calls: 0,
            is_dead: false,
            forces: false,
            timeout,
            persisting: Vec::new(),
            told: Vec::new(),
            lies: 0,
            deadline: Duration::ZERO,
            drawn: Vec::new(),
        };
        let figures: Vec<Figure> = cast.map(figure).collect();
        let turns = figures.iter().map(|_| Condvar::new()).collect();
        let scene = SharedState {
            now: BEGIN,
            turn: 0,
            events: 0,
            figures,
            truth: Oracle::default(),
            spells,
            mood,
            dice: Dice::seeded(seed),
            cued_by: None,
            story: tells.then(Vec::new),
            calls: 0,
            counts: BTreeMap::new(),
            made: HashMap::new(),
        };
        Scheduler {
            folder: folder.to_owned(),
            is_truly_local,
            is_local,
            scene: Mutex::new(scene),
            turns,
        }
    }

    pub(super) fn scene(&self) -> Now<'_> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn into_scene(self) -> SharedState {
        self.scene.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock directory.
    pub(super) fn lockdir(&self) -> PathBuf {
        self.folder.join("jobs.lockdir")
    }

    /// Waits for one's first turn.
    pub(super) fn enter(&self, me: usize) {
        drop(self.wait(me, self.scene()));
    }

    fn wait<'a>(&'a self, me: usize, mut scene: Now<'a>) -> Now<'a> {
        while scene.turn != me {
            scene = self.turns[me].wait(scene).unwrap_or_else(PoisonError::into_inner);
        }
        if let Phase::Stopped(_) = scene.figures[me].doing {
            scene.figures[me].doing = Phase::Ready;
        }
        scene
    }

    fn give_turn(&self, scene: &mut SharedState, to: usize) {
        scene.turn = to;
        if let Some(turn) = self.turns.get(to) {
            turn.notify_one();
        }
    }

    /// Lets somebody who can go on do so, and waits until it is our turn again.
    fn pass<'a>(&'a self, me: usize, mut scene: Now<'a>) -> Now<'a> {
        let next = scene.next();
        if next != me {
            self.give_turn(&mut scene, next);
        }
        self.wait(me, scene)
    }

    /// Our part is over; so is our process.
    pub(super) fn leave(&self, me: usize) {
        let mut scene = self.scene();
        scene.figures[me].doing = Phase::Gone;
        scene.truth.dead.insert(me);
        scene.events += 1;
        let next = scene.next();
        self.give_turn(&mut scene, next);
    }

    /// Begins a deed.
    pub(super) fn begin(&self, me: usize, deed: &str, forces: bool) {
        let mut scene = self.scene();
        let figure = &mut scene.figures[me];
        figure.deed += 1;
        figure.calls = 0;
        figure.forces = forces;
        figure.drawn.clear();
        scene.tell(me, || format!("-- {deed}"));
    }

    /// It dies: it does nothing any more, and its thread unwinds. What is dropped on the way
    /// may still ask, and is refused.
    fn die(&self, me: usize, mut scene: Now<'_>) -> Errno {
        scene.figures[me].is_dead = true;
        scene.truth.dead.insert(me);
        drop(scene);
        if !std::thread::panicking() {
            std::panic::resume_unwind(Box::new(Died));
        }
        Errno::IO
    }

    pub(super) fn dies(&self, me: usize) {
        self.die(me, self.scene());
    }

    /// Does nothing for so long.
    pub(super) fn pause(&self, me: usize, how_long: Duration) {
        drop(self.stall(me, self.scene(), how_long));
    }

    /// Makes the lock directory as a plain `mkdir` does.
    pub(super) fn make_bare(&self, me: usize) {
        let mut scene = self.scene();
        let made = std::fs::create_dir(self.lockdir());
        self.date(scene.now);
        scene.tell(me, || format!("a bare directory: {made:?}"));
    }

    fn stall<'a>(&'a self, me: usize, mut scene: Now<'a>, how_long: Duration) -> Now<'a> {
        scene.figures[me].doing = Phase::Stopped(scene.now + how_long);
        self.pass(me, scene)
    }

    /// Somebody who waits for its cue acts now, and we go on when it is done.
    fn barrier<'a>(&'a self, me: usize, mut scene: Now<'a>) -> Now<'a> {
        let last = scene.figures.len() - 1;
        let waits = |figure: &Figure| figure.doing == Phase::OffStage;
        let Some(next) = scene.figures[..last].iter().position(waits) else {
            return scene;
        };
        scene.figures[me].doing = Phase::Stopped(FOR_EVER);
        scene.figures[next].doing = Phase::Ready;
        scene.cued_by = Some(me);
        self.give_turn(&mut scene, next);
        self.wait(me, scene)
    }

    /// A raw call: what becomes of it.
    pub(super) fn call(
        &self,
        me: usize,
        call: &Call<'_>,
        perform: &mut dyn FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut scene = self.scene();
        if scene.figures[me].is_dead {
            return Err(Errno::IO);
        }
        scene.begin_call(me, call.kind);
        if scene.truth.broken.is_some() {
            return Err(self.die(me, scene));
        }
        let turns = scene.mood.turns;
        if scene.dice.below(1000) < turns {
            scene = self.pass(me, scene);
        }
        let lie = scene.lie(me, call.kind, self.is_truly_local);
        match lie {
            Some(Lie::StalledBefore(how_long)) => scene = self.stall(me, scene, how_long),
            Some(Lie::Meanwhile) => scene = self.barrier(me, scene),
            Some(Lie::DiedBefore) => {
                scene.tell(me, || format!("dies before {call:?}"));
                return Err(self.die(me, scene));
            }
            _ => {}
        }
        let answer = match lie {
            Some(Lie::Refused(errno)) => Err(errno),
            Some(Lie::NotDone) => Ok(()),
            Some(Lie::MovedInto) => self.move_into(&mut scene, call, perform),
            _ => {
                let answer = perform();
                if answer.is_ok() && call.kind.is_change() {
                    self.changed(me, &mut scene, call);
                }
                answer
            }
        };
        let answer = match lie {
            Some(Lie::DoneBut(errno)) => answer.and(Err(errno)),
            _ => answer,
        };
        scene.tell(me, || spell_out(call, lie, answer));
        match lie {
            Some(Lie::StalledAfter(how_long)) => drop(self.stall(me, scene, how_long)),
            Some(Lie::MeanwhileAfter) => drop(self.barrier(me, scene)),
            Some(Lie::DiedAfter) => return Err(self.die(me, scene)),
            _ => {}
        }
        answer
    }

    fn changed(&self, me: usize, scene: &mut SharedState, call: &Call<'_>) {
        let figure = &scene.figures[me];
        let doer = Doer { who: me, now: scene.now, forces: figure.forces, timeout: figure.timeout };
        scene.truth.changed(&doer, call);
        self.date(scene.now);
    }

    /// What the real file system has just dated by its own clock is dated by the play's: D, stages,
    /// the line, and what was moved into D.
    pub(super) fn date(&self, now: Duration) {
        for folder in [&self.folder, &self.lockdir()] {
            for name in names(folder).iter().filter(|name| name.starts_with("jobs.lockdir")) {
                let directory = folder.join(name);
                let is_dated_anew = |meta: &Metadata| {
                    let dated = meta.modified().unwrap_or(UNIX_EPOCH);
                    meta.is_dir() && dated > UNIX_EPOCH + BEGIN + WALL + EVER
                };
                if std::fs::symlink_metadata(&directory).is_ok_and(|meta| is_dated_anew(&meta)) {
                    stamp(&directory, now);
                }
            }
        }
    }

    /// Where D is, the stage goes into it; where it is not, it becomes D as it should.
    fn move_into(
        &self,
        scene: &mut SharedState,
        call: &Call<'_>,
        perform: &mut dyn FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let (Some(to), Some(name)) = (call.to, call.on.file_name()) else { return perform() };
        if rustix::fs::rename(call.on, to.join(name)).is_err() {
            return perform();
        }
        self.date(scene.now);
        *scene.counts.entry(MOVED_INTO).or_default() += 1;
        Err(Errno::EXIST)
    }

    /// Sleeps until this time of the play.
    pub(super) fn sleep(&self, me: usize, until: Duration, is_heard: &mut dyn FnMut() -> bool) {
        let mut scene = self.scene();
        let deaths = scene.truth.dead.len();
        scene.tell(me, || format!("sleeps until {until:?}"));
        loop {
            if scene.truth.broken.is_some() {
                self.die(me, scene);
                return;
            }
            // Who listens to a process hears its end.
            if scene.now >= until || scene.truth.dead.len() != deaths || is_heard() {
                scene.figures[me].doing = Phase::Ready;
                return;
            }
            scene.figures[me].doing = Phase::Asleep(until, scene.events);
            scene = self.pass(me, scene);
        }
    }

    /// Is this name left out of a listing, as one may be that is renamed meanwhile?
    pub(super) fn is_hidden(&self, me: usize) -> bool {
        let mut scene = self.scene();
        let chance = if me + 1 == scene.figures.len() { 0 } else { scene.mood.lies / 2 };
        let is_hidden = scene.dice.below(1000) < chance;
        if is_hidden {
            scene.figures[me].lies += 1;
            *scene.counts.entry("hidden").or_default() += 1;
            scene.tell(me, || "a name is left out".into());
        }
        is_hidden
    }

    /// Has the process of this contender ended?
    pub(super) fn is_gone(&self, who: usize) -> bool {
        self.scene()
            .figures
            .get(who)
            .is_none_or(|figure| figure.is_dead || figure.doing == Phase::Gone)
    }

    pub(super) fn nonce(&self, me: usize) -> u128 {
        let mut scene = self.scene();
        let (high, low) = (scene.dice.below(u64::MAX), scene.dice.below(u64::MAX));
        let nonce = u128::from(high) << 64 | u128::from(low);
        scene.truth.drawn.insert(nonce, me);
        scene.figures[me].drawn.push(nonce);
        nonce
    }
}

/// How moves into D are counted.
pub(super) const MOVED_INTO: &str = "moved into";

fn spell_out(call: &Call<'_>, lie: Option<Lie>, answer: Result<(), Errno>) -> String {
    let short = |path: &Path| match path.file_name() {
        // The number of a handle is no part of the play.
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

/// Dates a directory by the time of the play.
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
