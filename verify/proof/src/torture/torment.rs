//! What all who make faults happen have in common, wherever the lock is.

use super::{contender::Outcome, faults::Fault, worker_pool::WorkerPool};
use crate::history::{Record, Span};

/// How often.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    /// Disks filled.
    pub(crate) full: usize,
    /// Lock directories and lines removed.
    pub(crate) removed: usize,
    /// Permissions taken.
    pub(crate) closed: usize,
    /// Members killed.
    pub(crate) members: usize,
    /// Leaders stopped.
    pub(crate) leaders: usize,
    /// Members cut off.
    pub(crate) cuts: usize,
    /// Hosts frozen.
    pub(crate) frozen: usize,
    /// Hosts without power.
    pub(crate) powered_off: usize,
    /// File servers without power.
    pub(crate) servers: usize,
    /// Times in which answers were lost.
    pub(crate) losses: usize,
    /// What the hosts asked of the file server, while none was without power.
    pub(crate) calls: Option<u64>,
    /// When the hosts' common clock stood still.
    pub(crate) stops: Vec<Span>,
}

impl Done {
    /// One of the faults that put nothing to the test, by these histories, if there is one.
    pub(crate) fn untested(&self, faults: &[Fault], record: &Record) -> Option<Fault> {
        faults.iter().copied().find(|fault| match fault {
            Fault::Kill => record.killed == 0,
            Fault::Stop => record.stopped == 0 || record.lost == 0,
            Fault::Full => self.full == 0,
            Fault::Remove => self.removed == 0,
            Fault::Permission => self.closed == 0,
            Fault::Member => self.members == 0,
            Fault::Leader => self.leaders == 0,
            Fault::Cut => self.cuts == 0,
            Fault::Freeze => self.frozen == 0,
            Fault::Power => self.powered_off == 0,
            Fault::Server => self.servers == 0,
            Fault::Replies => self.losses == 0,
            Fault::Clock | Fault::Namespace | Fault::Pids => false,
        })
    }
}

/// Whoever makes faults happen, and looks at what is left at the end.
pub(crate) trait Torment {
    /// Does what is due.
    fn torment(&mut self, crew: &mut WorkerPool<'_>) -> Outcome<()>;
    /// Puts everything in order again.
    fn relieve(&mut self, crew: &mut WorkerPool<'_>) -> Outcome<()>;
    /// How often each was done so far.
    fn done(&self) -> &Done;
    /// Adds to that what is counted at the end.
    fn conclude(&mut self) {}
    /// What of the lock is still there at the end.
    fn left_behind(&self) -> Outcome<Vec<String>>;
    /// What is not the lock's, and was removed all the same.
    fn bystanders_gone(&self) -> Outcome<Vec<String>>;
}
