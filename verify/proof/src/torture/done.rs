//! How often each fault was injected.

use super::fault::Fault;
use crate::history::{Record, Span};

/// The number of times that each fault was injected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    /// Disks filled.
    pub(crate) full: usize,
    /// Lock directories and queues removed.
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
    /// Times in which replies were lost.
    pub(crate) losses: usize,
    /// The calls of the hosts to the file server, known if no host was without power.
    pub(crate) calls: Option<u64>,
    /// The spans in which the hosts' common clock stood still.
    pub(crate) stops: Vec<Span>,
}

impl Done {
    /// Returns one of the faults that tested nothing, according to these histories, if there is one.
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
