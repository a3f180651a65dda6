//! One who plays: a thread that is a process of its own to the library, on a machine of its own.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use lockbydir::Guard;
use lockbydir::simulated::{Call, World, within};
use lockbydir_protocol::{Now, Origin, Process};
use rustix::io::Errno;

use super::actor::act;
use super::mutant::Mutant;
use super::oracle::EVERY_CALL_ENDS;
use super::scheduler::{BEGIN, Died, Scheduler, WALL};

/// Something that a contender does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Waits for the lock for so long.
    Acquire(Duration),
    /// Renews what it holds, by guard or key.
    Renew,
    /// The same with a new timeout, by guard.
    SetTimeout(Duration),
    /// Holds, or idles, for so long.
    Work(Duration),
    /// Renews what another process holds, by its key.
    RenewAnothers,
    /// Releases what it holds, by guard or key.
    Release,
    /// Drops its guard.
    Drop,
    /// Keeps the key alone.
    Keep,
    /// Forgets its lock handle, and what lingers with it.
    Forget,
    /// Breaks what has expired.
    BreakLapsed,
    /// Breaks by force.
    BreakByForce,
    /// Looks.
    Look,
    /// Makes the lock directory as a plain `mkdir` does, if there is none.
    MakeBare,
    /// Dies.
    Die,
    /// Does what its [`Mutant`] does, once.
    Misbehave,
}

/// Who plays, and what it does.
#[derive(Clone, Debug)]
pub struct SimulatedProcess {
    /// The machine it runs on.
    pub host: u64,
    /// Of its holds.
    pub timeout: Duration,
    /// For its number.
    pub fenced: bool,
    /// Its directory stays for a while.
    pub lingers: bool,
    /// Its locks do not live by its process.
    pub is_nobodys: bool,
    /// It begins when somebody's spell says so, or last.
    pub waits_for_cue: bool,
    /// What it does.
    pub deeds: Vec<Action>,
    /// Its directories are shared with a group.
    pub shares: bool,
    /// What is wrong with it.
    pub mutant: Option<Mutant>,
}

impl SimulatedProcess {
    /// A plain one on the first machine.
    #[must_use]
    pub fn new(timeout: Duration, deeds: Vec<Action>) -> SimulatedProcess {
        SimulatedProcess {
            host: 0,
            timeout,
            fenced: false,
            lingers: false,
            is_nobodys: false,
            waits_for_cue: false,
            deeds,
            shares: false,
            mutant: None,
        }
    }

    /// The longest timeout of its holds.
    pub(super) fn longest(&self) -> Duration {
        let set = self.deeds.iter().map(|deed| match deed {
            Action::SetTimeout(timeout) => *timeout,
            _ => Duration::ZERO,
        });
        set.max().unwrap_or_default().max(self.timeout)
    }
}

/// When the boot clock of a machine was zero, in the time of the play.
pub(super) fn booted(host: u64) -> Duration {
    BEGIN - Duration::from_secs(5_000 * (host + 1))
}

/// The machine's boot.
pub(super) fn boot(host: u64) -> u64 {
    0xB007 + host
}

/// What the library sees of the world, as this contender.
struct View {
    play: Arc<Scheduler>,
    me: usize,
    host: u64,
    /// Its wall clock is wrong by so much.
    behind: Duration,
    /// What it holds, to be asked at any call.
    guard: Rc<Holding>,
}

/// The guard that a contender has, if it has one.
pub(super) type Holding = RefCell<Weak<Guard>>;

const FIRST_PID: u32 = 1000;

impl World for View {
    fn call(
        &self,
        call: &Call<'_>,
        perform: &mut dyn FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        // What it tells its user while a verb lasts must be as true as what it told before.
        let guard = self.guard.borrow().upgrade();
        if let Some(rest) = guard.map(|guard| guard.remaining()) {
            self.play.scene().has_left(self.me, rest);
        }
        self.play.call(self.me, call, perform)
    }

    fn is_hidden(&self) -> bool {
        self.play.is_hidden(self.me)
    }

    fn sleep(&self, until: Duration, is_heard: &mut dyn FnMut() -> bool) {
        self.play.sleep(self.me, until.saturating_add(booted(self.host)), is_heard);
    }

    fn now(&self) -> Now {
        let now = self.play.scene().now;
        Now { boot: now - booted(self.host), wall: now + WALL - self.behind }
    }

    fn nonce(&self) -> u128 {
        self.play.nonce(self.me)
    }

    fn is_local(&self) -> bool {
        self.play.is_local
    }

    fn here(&self) -> (Origin, Process) {
        // The first namespaces of a kernel have these numbers everywhere.
        let origin = Origin { boot: boot(self.host), time: 0xEFFF_FFFA, pids: 0xEFFF_FFFC };
        (origin, Process { pid: FIRST_PID + self.me as u32, start: 1 })
    }

    fn host(&self) -> String {
        format!("host{}", self.host)
    }

    fn is_gone(&self, process: Process) -> bool {
        self.play.is_gone(process.pid.saturating_sub(FIRST_PID) as usize)
    }
}

/// Plays a part to its end.
pub(super) fn play(play: &Arc<Scheduler>, me: usize, part: &SimulatedProcess) {
    play.enter(me);
    let behind = match part.mutant {
        Some(Mutant::SetsItsClockBack) => Duration::from_secs(3600),
        _ => Duration::ZERO,
    };
    let guard = Rc::new(Holding::default());
    let asked = guard.clone();
    let world = Rc::new(View { play: play.clone(), me, host: part.host, behind, guard: asked });
    let acted = catch_unwind(AssertUnwindSafe(|| within(world, || act(play, me, part, &guard))));
    if let Err(payload) = acted
        && !payload.is::<Died>()
    {
        let what = payload.downcast_ref::<String>().cloned();
        let what = what.or_else(|| payload.downcast_ref::<&str>().map(|what| (*what).into()));
        let seen = format!("contender {me} panicked: {}", what.unwrap_or_default());
        play.scene().truth.broke(EVERY_CALL_ENDS, seen);
    }
    play.leave(me);
}

/// The ways to the lock's folder, one for each contender.
pub(super) fn make_ways(folder: &Path, count: usize) -> std::io::Result<()> {
    (0..count).try_for_each(|way| std::os::unix::fs::symlink(".", folder.join(format!("way{way}"))))
}
