//! What a simulation consists of: its processes with their actions, and the faults of their calls.

use std::time::Duration;

use super::faults::{FaultRates, InjectedFault};
use super::mutant::Mutant;

/// A simulation.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Whether the file system is local.
    pub is_local: bool,
    /// Whether the library takes it for local, though it lies as others do. Then the simulation must detect
    /// that.
    pub is_mistaken: bool,
    /// The processes; the last one starts when all others are gone.
    pub parts: Vec<SimulatedProcess>,
    /// The faults of particular calls.
    pub spells: Vec<InjectedFault>,
    /// The rates of random faults.
    pub mood: FaultRates,
    /// The seed of every random choice.
    pub seed: u64,
}

/// An action of a simulated process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Waits for the lock, at most for this time.
    Acquire(Duration),
    /// Renews its holding, by guard or key.
    Renew,
    /// The same with a new timeout, by guard.
    SetTimeout(Duration),
    /// Holds, or idles, for this time.
    Work(Duration),
    /// Renews the holding of another process, by its key.
    RenewAnothers,
    /// Releases its holding, by guard or key.
    Release,
    /// Drops its guard.
    Drop,
    /// Gives up its guard and keeps the key.
    Keep,
    /// Drops its lock handle, and the lock that lingers with it.
    Forget,
    /// Breaks an expired lock.
    BreakStale,
    /// Breaks by force.
    BreakByForce,
    /// Reads the status of the lock.
    Look,
    /// Makes the lock directory as a plain `mkdir` does, if there is none.
    MakeBare,
    /// Dies.
    Die,
    /// Misbehaves once, in the way of its [`Mutant`].
    Misbehave,
}

/// A simulated process, and its actions.
#[derive(Clone, Debug)]
pub struct SimulatedProcess {
    /// The machine it runs on.
    pub host: u64,
    /// The timeout of its holds.
    pub timeout: Duration,
    /// Whether its lock is fenced.
    pub fenced: bool,
    /// Whether its lock lingers.
    pub lingers: bool,
    /// Whether its locks are independent of the life of its process.
    pub is_nobodys: bool,
    /// Whether it starts only when an injected fault starts it, or last.
    pub waits_for_cue: bool,
    /// Its actions, in order.
    pub deeds: Vec<Action>,
    /// Whether its directories are shared with a group.
    pub shares: bool,
    /// Its misbehavior, if it has one.
    pub mutant: Option<Mutant>,
}

impl SimulatedProcess {
    /// Returns a process without special options on the first machine.
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

    /// Returns the longest timeout of its holds.
    pub(super) fn longest(&self) -> Duration {
        let set = self.deeds.iter().map(|deed| match deed {
            Action::SetTimeout(timeout) => *timeout,
            _ => Duration::ZERO,
        });
        set.max().unwrap_or_default().max(self.timeout)
    }
}
