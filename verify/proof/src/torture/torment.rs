//! The interface of all code that injects faults, wherever the lock is.

use super::{contender::Outcome, done::Done, worker_pool::WorkerPool};

/// Injects faults, and examines what is left at the end.
pub(crate) trait Torment {
    /// Injects the faults that are due.
    fn torment(&mut self, pool: &mut WorkerPool<'_>) -> Outcome<()>;
    /// Repairs everything.
    fn relieve(&mut self, pool: &mut WorkerPool<'_>) -> Outcome<()>;
    /// Returns how often each fault was injected so far.
    fn done(&self) -> &Done;
    /// Adds the figures that are counted at the end.
    fn conclude(&mut self) {}
    /// Returns the remains of the lock at the end.
    fn left_behind(&self) -> Outcome<Vec<String>>;
    /// Returns the names that do not belong to the lock but were removed.
    fn bystanders_gone(&self) -> Outcome<Vec<String>>;
}
