//! One run of the measures: its folder, its progress, and how long each measure takes.

use std::sync::Arc;
use std::time::Duration;

use super::place::Place;
use super::report::After;
use super::watch::Progress;
use crate::child::Signals;

/// With more waiters than this, ours and flock take turns only once.
const MANY: usize = 100;

/// Why measuring stops.
pub(super) enum Halt {
    /// A signal asked to stop.
    Stopped,
    /// This measure failed; the next one may succeed.
    Failed(String),
}

/// One run of the measures.
pub(super) struct Bench {
    pub(super) place: Place,
    pub(super) progress: Progress,
    pub(super) signals: Arc<Signals>,
    pub(super) seconds: Duration,
    /// How many times ours and flock take turns.
    pub(super) rounds: usize,
    /// The least number of recoveries.
    pub(super) least: usize,
    /// The timeout of a lock that is to expire.
    pub(super) expiry: Duration,
}

impl Bench {
    /// Redraws the progress; fails if a signal has asked to stop.
    pub(super) fn check_stop(&self) -> Result<(), Halt> {
        self.progress.tick();
        if self.signals.early().is_raised() { Err(Halt::Stopped) } else { Ok(()) }
    }

    /// Returns how many times ours and flock take turns with this many waiters. Many waiters need longer to
    /// come to rest before each turn than the turn lasts.
    pub(super) fn rounds_of(&self, waiters: usize) -> usize {
        if waiters > MANY { 1 } else { self.rounds }
    }

    pub(super) fn alone(&self) -> Duration {
        self.seconds * 2
    }

    /// Estimates how long it takes to count system calls.
    pub(super) fn counting(&self) -> Duration {
        Duration::from_millis(500)
    }

    pub(super) fn recovery(&self, after: After) -> Duration {
        match after {
            After::Kill => self.seconds,
            After::Expiry => self.seconds.max(self.expiry * u32::try_from(self.least).unwrap_or(1)),
        }
    }

    /// Estimates how long it takes to start this many waiters, and to bring them to rest in each round.
    pub(super) fn starting(&self, waiters: usize) -> Duration {
        Duration::from_millis(50)
            + Duration::from_millis(6) * u32::try_from(waiters).unwrap_or(u32::MAX)
    }

    pub(super) fn all(&self, crowds: &[usize]) -> Duration {
        let recovery = self.recovery(After::Kill) * 2 + self.recovery(After::Expiry);
        crowds
            .iter()
            .map(|&waiters| self.starting(waiters) + self.seconds * 5)
            .fold(self.alone() + self.counting() + recovery, |sum, more| sum + more)
    }
}
