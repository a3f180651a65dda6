//! The worlds that are walked through, each with its number of states, and the world that convicts
//! each mutant.

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use crate::event::Event::{self, *};
use crate::mutant::Mutant;
use crate::plan::{Arrival, Force, Plan};
use crate::story::story;
use crate::world::{Clocks, World};

/// A world that is walked through to its end.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// A description in words.
    pub name: &'static str,
    /// Whether the walk takes seconds rather than minutes.
    pub is_small: bool,
    make: fn() -> World,
    /// The number of its states, pinned so that a change that adds or removes states is noticed.
    pub states: usize,
    /// Events that must happen in it: a promise kept because nothing happened proves nothing.
    pub happens: &'static [Event],
}

/// The result of a walk.
#[derive(Debug)]
pub struct Walk {
    /// The number of distinct states visited.
    pub states: usize,
    /// The number of steps to the deepest state, each state reached by its shortest path.
    pub depth: usize,
    /// The duration of the walk.
    pub time: Duration,
    /// Every fault found, in words.
    pub faults: Vec<String>,
}

impl Known {
    /// Walks through the world with `threads` threads.
    #[must_use]
    pub fn walk(&self, threads: usize) -> Walk {
        let start = Instant::now();
        let checker = (self.make)().checker().threads(threads).spawn_bfs().join();
        let (states, depth, time) =
            (checker.unique_state_count(), checker.max_depth(), start.elapsed());
        let mut found = checker.discoveries();
        let mut faults = Vec::new();
        for promise in lockbydir_protocol::promise::ALL {
            if let Some(path) = found.remove(promise) {
                let end = path.last_state().end();
                faults.push(format!("not kept: {promise}: {end}\n{}", story(path)));
            }
        }
        let missing = self.happens.iter().filter(|event| !found.contains_key(event.words()));
        faults.extend(missing.map(|event| format!("never happened: {}", event.words())));
        if states != self.states {
            faults.push(format!("{states} states, and {} are pinned", self.states));
        }
        Walk { states, depth, time, faults }
    }
}

/// How a mutant was convicted.
#[derive(Debug)]
pub struct Conviction {
    /// The number of steps of the shortest path.
    pub steps: usize,
    /// The path, one step per line.
    pub story: String,
}

impl Mutant {
    /// Returns the shortest path on which the mutant breaks its promise, or `None` if it keeps the promise.
    #[must_use]
    pub fn convict(self) -> Option<Conviction> {
        let world = World { mutant: Some(self), ..self.world() };
        let only = HasDiscoveries::AllOf([self.promise()].into());
        let checker = world.checker().finish_when(only).spawn_bfs().join();
        let path = checker.discovery(self.promise())?;
        Some(Conviction { steps: path.clone().into_actions().len(), story: story(path) })
    }

    /// Returns the world that convicts the mutant. Without the mutant, that world keeps all promises.
    fn world(self) -> World {
        match self {
            Mutant::RenewsInPlace | Mutant::BreaksByFixedName | Mutant::CountsFromAfterTheCall => {
                two(renewing(1))
            }
            Mutant::JudgesByTheWallClock => World { ticks: 1, ..two(once()) },
            Mutant::HasNoMargin => World { clocks: Clocks::Drifting, ..two(once()) },
            Mutant::BelievesItsCalls | Mutant::LooksNotAfterAnError => {
                World { is_local: false, lies: 1, ticks: 1, ..two(hasty()) }
            }
            Mutant::JudgesByItsOwnTimeout => {
                let plans = [3, 1].map(|timeout| Plan { timeout, ..once() }).to_vec();
                World { plans, ..World::default() }
            }
            Mutant::ShortensByKey => keyed(1),
            Mutant::AdoptsForeign => World { foreigner: true, ..two(once()) },
            Mutant::EmptyDirectoryStays => World { crashes: 1, ..two(once()) },
            Mutant::EmptiesWhatItMayNotRemove => World { is_sticky: true, ..two(once()) },
            Mutant::GivesUpAmidACall => two(hasty()),
            Mutant::PassesOverAtOnce => one_try(2, &[Arrival::Stopped]),
            Mutant::TriesNotBehindAWaiter => one_try(0, &[Arrival::Stopped]),
            Mutant::LooksNotAgainAfterItsMoment => one_try(2, &[Arrival::Before, Arrival::Stopped]),
            Mutant::TriesForEver => one_try(5, &[Arrival::Stopped]),
            Mutant::BeginsWithoutAsking => commanding(1),
            Mutant::LooksBeforeItHasATicket | Mutant::RingsBeforeTheRelease => in_queue(2, true),
            Mutant::TicketRenamed | Mutant::RingsAnOldBell | Mutant::DoesNotQueue => {
                in_queue(3, true)
            }
            Mutant::ReusesItsNonce
            | Mutant::ClockStopsInSuspend
            | Mutant::InstallReplaces
            | Mutant::SaysThatTheLivingAreGone
            | Mutant::ReadsAddsAndWritesItsNumber
            | Mutant::ReleasesByPath
            | Mutant::RemovesByPath => two(once()),
        }
    }
}

fn once() -> Plan {
    Plan::default()
}

fn twice() -> Plan {
    Plan { acquisitions: 2, ..once() }
}

fn renewing(renewals: u8) -> Plan {
    Plan { renewals, ..once() }
}

fn hasty() -> Plan {
    Plan { patience: Some(0), ..once() }
}

fn breaking(force: Force) -> Plan {
    Plan { acquisitions: 0, breaks: Some(force), ..once() }
}

/// Two contenders, and a third that sets this timeout on any holder's lock, by the key.
fn keyed(timeout: u16) -> World {
    let keyed = Plan { acquisitions: 0, timeout, by_key: true, ..once() };
    people(&[renewing(1), once(), keyed])
}

fn people(plans: &[Plan]) -> World {
    World { plans: plans.to_vec(), ..World::default() }
}

fn two(plan: Plan) -> World {
    people(&[plan; 2])
}

fn three(plan: Plan) -> World {
    people(&[plan; 3])
}

/// Gives each contender its own clock, and lets nobody trust an answer.
fn apart(world: World) -> World {
    World { clocks: Clocks::Apart, is_local: false, ..world }
}

/// A queue of `people` contenders, while no time passes. A tick is how long the first waiter in the queue
/// is left alone with a free lock.
fn in_queue(people: usize, is_held: bool) -> World {
    let plans = vec![Plan { timeout: 8, ..once() }; people];
    let tick = Duration::from_millis(100);
    World { plans, has_queue: true, is_held, tick, ticks: 0, ..World::default() }
}

/// A holder, some waiters that queue now or later, and a process that tries once.
fn one_try(ticks: u16, waiters: &[Arrival]) -> World {
    let holder = Plan { timeout: 2, ..once() };
    let waiters = waiters.iter().map(|arrival| Plan { arrival: *arrival, ..holder });
    let hasty = Plan { patience: Some(0), ..holder };
    let plans = [holder].into_iter().chain(waiters).chain([hasty]).collect();
    World { plans, ticks, ..in_queue(0, true) }
}

/// A holder that releases, and a waiter whose patience is a tick.
fn waiter_gives_up() -> World {
    let holder = Plan { timeout: 8, ..once() };
    let plans = vec![holder, Plan { patience: Some(1), ..holder }];
    World { plans, ticks: 2, ..in_queue(0, true) }
}

/// A process that names a command in its lock and then starts it, and another that takes over; answers
/// may be late.
fn commanding(ticks: u16) -> World {
    let plans =
        [true, false].map(|has_command| Plan { timeout: 1, has_command, ..once() }).to_vec();
    World { plans, ticks, ..World::default() }
}

/// Marks a world whose walk takes seconds.
const SMALL: bool = true;
/// Marks a world whose walk takes minutes.
const LARGE: bool = false;

macro_rules! catalogue {
    ($($size:ident $name:literal: $states:literal, $happens:expr, $world:expr;)*) => {
        /// All worlds, the small ones first.
        pub const WORLDS: &[Known] = &[$(Known {
            name: $name,
            is_small: $size,
            make: || $world,
            states: $states,
            happens: &$happens,
        }),*];
    };
}

catalogue! {
    SMALL "two on one kernel, each renewing twice": 59_742,
        [Free, AfterExpiry, Renewed, RenewedLate, LostAtRenewal, LostAtRelease, InstallRaceLost,
            RenameRaceLost, NumberRaised],
        two(renewing(2));
    SMALL "two who do not see each other's processes, and a crash": 6_016, [Crashed, AfterExpiry],
        World { clocks: Clocks::Namespaces, crashes: 1, ticks: 2, ..two(once()) };
    LARGE "two on clocks apart": 178_269, [AfterExpiry], World { ticks: 4, ..apart(two(once())) };
    LARGE "two of whom one has a slow clock": 132_762, [AfterExpiry],
        World { clocks: Clocks::Drifting, ticks: 4, ..apart(two(once())) };
    SMALL "two with different timeouts": 33_556, [AfterExpiry],
        people(&[Plan { timeout: 3, ..renewing(1) }, Plan { timeout: 1, ..once() }]);
    SMALL "two, and a renewal by key that would shorten": 72_568, [Renewed, RefusedToShorten, AfterExpiry],
        World { ticks: 2, ..keyed(1) };
    LARGE "two, and a renewal by key that lengthens": 1_094_402, [Renewed, RenewedByKey, AfterExpiry],
        World { ticks: 3, ..keyed(3) };
    SMALL "two, and a break by force": 98_205, [Broken, LostAtRenewal, LostAtRelease],
        World { ticks: 1, ..people(&[renewing(1), once(), breaking(Force::Forced)]) };
    SMALL "two where only its maker may remove the directory, a crash, and a break by force": 58_807,
        [Broken, Crashed, HandedOver, AfterDeath],
        World {
            is_sticky: true, crashes: 1, ticks: 1,
            ..people(&[once(), once(), breaking(Force::Forced)])
        };
    LARGE "two, a crash, and a break of what is expired or dead": 223_105, [Broken, AfterDeath],
        World { ticks: 2, crashes: 1, ..people(&[once(), once(), breaking(Force::Judged)]) };
    LARGE "two, and a plain mkdir": 187_350, [BareCame, BareRemoved, AfterBare],
        World { bare: true, ..two(once()) };
    SMALL "two, and a file of others in the directory": 42_626, [ForeignCame],
        World { foreigner: true, ..two(once()) };
    SMALL "two that acquire twice and may give up": 31_740, [GaveUp],
        World { ticks: 1, ..two(Plan { acquisitions: 2, ..hasty() }) };
    SMALL "two that acquire twice and leave the directory in place": 51_471, [HandedOver],
        World { lingers: true, ticks: 1, ..two(twice()) };
    SMALL "two with a fenced lock, while the wall clock stands still": 25_205,
        [HandedOver, AfterExpiry], World { fenced: true, ticks: 2, ..two(twice()) };
    SMALL "two, with an error or a torn listing": 34_281, [Torn, Lied],
        World { lies: 1, ticks: 2, ..two(once()) };
    SMALL "two on clocks apart, and a lie": 34_890, [Lied, Stale, MovedInside, Torn],
        World { lies: 1, ticks: 1, ..apart(two(once())) };
    SMALL "two in the queue, and a crash": 29_058, [Entered, Notified, HandedOver, HolderEnded, QueueClosed],
        World { ticks: 1, crashes: 1, ..in_queue(2, false) };
    SMALL "one whose command begins when the lock names it, late or not, and another": 15_940,
        [CommandBegun, NamedLate, CommandNotStarted, AfterExpiry], commanding(2);
    SMALL "one try behind a stopped waiter and a living one": 14_460,
        [PassedOver, NotifiedFirst, Expelled, GotAfterAPause, PausedInVain],
        one_try(2, &[Arrival::Stopped, Arrival::Before]);
    SMALL "one try behind a living waiter and a stopped one": 19_686,
        [PassedOver, Notified, Expelled, GotAfterAPause, PausedInVain],
        one_try(2, &[Arrival::Before, Arrival::Stopped]);
    SMALL "one try behind a stopped waiter, and a crash": 5_660,
        [PassedOver, AfterExpiry, AfterDeath, GotAfterAPause, PausedInVain],
        World { crashes: 1, ..one_try(4, &[Arrival::Stopped]) };
    SMALL "a holder, and a waiter that may give up": 6_841, [Entered, PatienceOver, Notified, QueueClosed],
        waiter_gives_up();
    LARGE "two, each renewing twice, with a crash and a pause anywhere": 922_768,
        [Paused, Crashed, RenewedLate, AfterDeath],
        World { pauses: true, crashes: 1, ..two(renewing(2)) };
    LARGE "two on clocks apart, each renewing, and a lie": 2_678_490,
        [Lied, Stale, MovedInside, Torn, AfterExpiry, Renewed],
        World { lies: 1, ..apart(two(renewing(1))) };
    LARGE "two on clocks apart, and two lies": 243_063, [Lied, Stale, MovedInside, Torn],
        World { lies: 2, ticks: 1, ..apart(two(once())) };
    LARGE "two, a crash, a plain mkdir, and a break by force": 1_529_445, [Crashed, Broken, BareCame],
        World {
            bare: true, crashes: 1, ticks: 1,
            ..people(&[renewing(1), once(), breaking(Force::Forced)])
        };
    LARGE "three on one kernel": 670_686, [AfterExpiry, InstallRaceLost, RenameRaceLost],
        World { ticks: 2, ..three(once()) };
    LARGE "three, one of whom renews twice, with a crash and a pause anywhere": 4_219_445,
        [Paused, Crashed, AfterDeath, Renewed],
        World { pauses: true, crashes: 1, ticks: 1, ..people(&[renewing(2), once(), once()]) };
    LARGE "three on clocks apart, one of whom renews twice, and a crash": 551_493, [Crashed, Renewed],
        World { crashes: 1, ticks: 1, ..apart(people(&[renewing(2), once(), once()])) };
    LARGE "three on clocks apart": 2_252_860, [AfterExpiry], World { ticks: 2, ..apart(three(once())) };
    LARGE "three on clocks apart, and a lie": 357_558, [Lied],
        World { ticks: 0, lies: 1, ..apart(three(once())) };
    LARGE "two in the queue while time passes, and a crash": 118_226,
        [Entered, Notified, HandedOver, HolderEnded],
        World { ticks: 2, crashes: 1, ..in_queue(2, false) };
    LARGE "three in the queue": 1_217_095, [Entered, EnteredAnew, Notified, NotifiedFirst], in_queue(3, true);
    LARGE "three in the queue, and a crash": 2_414_210, [Crashed, Silent, HolderEnded],
        World { crashes: 1, ..in_queue(3, true) };
}
